"""Extra coordinates beside the position: encoded time, a code, or a learned slice of an ambient space.

Each maps observed points ``(G, P, 3)`` and their :class:`MotionContext` to features ``(G, P, out_dim)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nf_plugins.field_components.annealed_encoding import AnnealedPositionalEncoding, annealing_window
from nf_plugins.field_components.geometric_initialisation import SOFTPLUS_BETA
from nf_plugins.field_components.motion_context import MotionContext


class EncodedTime(nn.Module):
    """Hyper coordinates of T-NeRF: the encoded time ``2 f / T - 1`` of frame coordinate f (ResFields, Sec. 4).

    Args:
        num_frames: Number of training frames T.
        num_frequencies: Octaves of the encoding.
    """

    def __init__(self, num_frames: int, num_frequencies: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.num_frequencies = num_frequencies
        self.encoding = AnnealedPositionalEncoding(1, num_frequencies)

    @property
    def out_dim(self) -> int:
        """Number of hyper features."""
        return self.encoding.out_dim

    def forward(self, points: Tensor, context: MotionContext) -> Tensor:
        """Features ``(G, P, out_dim)``, the same for all points of a group."""
        time = network_time(context, self.num_frames).to(points.dtype)
        encoded = self.encoding(time[:, None, None], annealing_window(context.alpha, self.num_frequencies))
        return encoded.expand(-1, points.shape[1], -1)


class CodeCoordinates(nn.Module):
    """Hyper coordinates of DyNeRF: the frame's code as it is (Li et al. 2022).

    Args:
        code_dim: Length of the codes.
    """

    def __init__(self, code_dim: int = 64) -> None:
        super().__init__()
        self.out_dim = code_dim

    def forward(self, points: Tensor, context: MotionContext) -> Tensor:
        """Features ``(G, P, code_dim)``."""
        return context.expanded_codes(points)


class AmbientSlicing(nn.Module):
    """Hyper coordinates of HyperNeRF and NDR: an encoded point of the ambient space (Park et al. 2021, Sec. 4.2).

    A bent slicing surface: the ambient coordinates depend on the observed point and on the frame's code. They start at
    zero, so that all frames begin on one slice.

    Args:
        code_dim: Length of the codes.
        ambient_dim: Number of ambient coordinates.
        hidden_dim: Width of the network.
        num_layers: Linear layers.
        skip_layer: Layer that sees the encoded point again.
        num_frequencies: Octaves of the encodings of the point and of the ambient coordinates.
    """

    def __init__(
        self,
        code_dim: int = 64,
        *,
        ambient_dim: int = 2,
        hidden_dim: int = 64,
        num_layers: int = 8,
        skip_layer: int = 5,
        num_frequencies: int = 6,
    ) -> None:
        super().__init__()
        self.skip_layer = skip_layer
        self.num_frequencies = num_frequencies
        self.position_encoding = AnnealedPositionalEncoding(3, num_frequencies)
        self.ambient_encoding = AnnealedPositionalEncoding(ambient_dim, num_frequencies)
        position_dim = self.position_encoding.out_dim
        self.layers = nn.ModuleList()
        for layer in range(num_layers):
            in_dim = position_dim + code_dim if layer == 0 else hidden_dim
            out_dim = hidden_dim - position_dim if layer == skip_layer - 1 else hidden_dim
            self.layers.append(nn.Linear(in_dim, ambient_dim if layer == num_layers - 1 else out_dim))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            layer.bias.zero_()
            if index == len(self.layers) - 1:
                layer.weight.normal_(0.0, 1e-5)
                continue
            layer.weight.normal_(0.0, math.sqrt(2) / math.sqrt(layer.out_features))
            if index == 0:
                layer.weight[:, 3:] = 0

    @property
    def out_dim(self) -> int:
        """Number of hyper features."""
        return self.ambient_encoding.out_dim

    def ambient_coordinates(self, points: Tensor, context: MotionContext) -> Tensor:
        """Where the points lie in the ambient space, ``(G, P, ambient_dim)``."""
        encoded = self.position_encoding(points, annealing_window(context.alpha, self.num_frequencies))
        hidden = torch.cat([encoded, context.expanded_codes(points)], dim=-1)
        for index, layer in enumerate(self.layers):
            if index == self.skip_layer:
                hidden = torch.cat([hidden, encoded], dim=-1) / math.sqrt(2)
            hidden = layer(hidden)
            if index < len(self.layers) - 1:
                hidden = nn.functional.softplus(hidden, beta=SOFTPLUS_BETA)
        return hidden

    def forward(self, points: Tensor, context: MotionContext) -> Tensor:
        """Features ``(G, P, out_dim)``."""
        window = annealing_window(context.alpha, self.num_frequencies)
        return self.ambient_encoding(self.ambient_coordinates(points, context), window)


def network_time(context: MotionContext, num_frames: int) -> Tensor:
    """ResFields' time ``2 f / T - 1`` of each group ``(G,)``, in [-1, 1)."""
    return 2 * context.frames.coordinates / num_frames - 1
