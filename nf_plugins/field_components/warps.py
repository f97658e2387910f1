"""Warps from observed to canonical points, ``(G, P, 3)`` to ``(G, P, 3)``, scene units.

Layer sizes are those of ResFields' baselines, which share one signed-distance network. Every warp takes points grouped
by frame and their :class:`~nf_plugins.field_components.motion_context.MotionContext`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nf_plugins.field_components.annealed_encoding import AnnealedPositionalEncoding, annealing_window
from nf_plugins.field_components.hyper_coordinates import network_time
from nf_plugins.field_components.motion_context import MotionContext
from nf_plugins.field_components.rigid_motion import transform


class SkipMLP(nn.Module):
    """ReLU layers, all of one width, that see their input once more.

    Args:
        in_dim: Input width.
        hidden_dim: Width of every layer.
        num_layers: Number of layers; each is followed by a ReLU.
        skip_after: The input is concatenated before the output of this layer.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 128, num_layers: int = 8, skip_after: int = 4) -> None:
        super().__init__()
        self.skip_after = skip_after
        self.layers = nn.ModuleList(
            nn.Linear(in_dim if i == 0 else hidden_dim + (in_dim if i == skip_after + 1 else 0), hidden_dim)
            for i in range(num_layers)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """``(*batch, in_dim)`` to ``(*batch, hidden_dim)``."""
        hidden = inputs
        for index, layer in enumerate(self.layers):
            hidden = torch.relu(layer(hidden))
            if index == self.skip_after and index < len(self.layers) - 1:
                hidden = torch.cat([inputs, hidden], dim=-1)
        return hidden


class TranslationWarp(nn.Module):
    """Adds an offset that a network finds from the raw point and time (Pumarola et al., D-NeRF, Sec. 3.2).

    Args:
        num_frames: Number of training frames T; the network sees the time ``2 f / T - 1``.
        hidden_dim: Width of the network.
        num_layers: Its hidden layers.
        starts_as_identity: Whether the last layer starts at zero, where the published one starts at random.
    """

    def __init__(
        self, num_frames: int, hidden_dim: int = 128, num_layers: int = 8, starts_as_identity: bool = False
    ) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.trunk = SkipMLP(4, hidden_dim, num_layers)
        self.offset = nn.Linear(hidden_dim, 3)
        if starts_as_identity:
            set_to_zero(self.offset)

    def forward(self, points: Tensor, context: MotionContext) -> Tensor:
        """Canonical points ``(G, P, 3)``."""
        time = network_time(context, self.num_frames).to(points.dtype)[:, None, None].expand(*points.shape[:2], 1)
        return points + self.offset(self.trunk(torch.cat([points, time], dim=-1)))


class RigidWarp(nn.Module):
    """Moves every point by a rigid motion of its own (Park et al., Nerfies, Sec. 3.2).

    Args:
        code_dim: Length of the frames' codes.
        hidden_dim: Width of the trunk and of the two heads.
        num_layers: Layers of the trunk.
        num_frequencies: Octaves of the position encoding.
        starts_as_identity: Whether the heads start at zero, where ResFields' ones start at random.
    """

    def __init__(
        self,
        code_dim: int = 64,
        hidden_dim: int = 128,
        num_layers: int = 6,
        num_frequencies: int = 6,
        starts_as_identity: bool = False,
    ) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.position_encoding = AnnealedPositionalEncoding(3, num_frequencies)
        self.trunk = SkipMLP(self.position_encoding.out_dim + code_dim, hidden_dim, num_layers)
        self.rotation, self.translation = (
            nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 3)) for _ in range(2)
        )
        if starts_as_identity:
            set_to_zero(self.rotation[2])
            set_to_zero(self.translation[2])

    def forward(self, points: Tensor, context: MotionContext) -> Tensor:
        """Canonical points ``(G, P, 3)``."""
        encoded = self.position_encoding(points, annealing_window(context.alpha, self.num_frequencies))
        hidden = self.trunk(torch.cat([encoded, context.expanded_codes(points)], dim=-1))
        return transform(self.rotation(hidden), self.translation(hidden), points)


@torch.no_grad()
def set_to_zero(layer: nn.Module) -> None:
    """Sets a linear layer to zero, so that what it predicts starts at zero."""
    assert isinstance(layer, nn.Linear)
    layer.weight.zero_()
    layer.bias.zero_()
