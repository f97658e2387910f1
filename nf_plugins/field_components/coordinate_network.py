"""Coordinate networks with residual layers: SIREN and its ReLU twin, from coordinates to a signal.

SIREN (Sitzmann et al., *Implicit Neural Representations with Periodic Activation Functions*, NeurIPS 2020): sines of
``omega`` times a linear layer, the output linear. Residual layers as in ResFields (ICLR 2024, Sec. 3).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.residual_linear import ResFieldLinear
from nf_plugins.field_components.residual_options import Factorisation, Fuse, Mode, ranks_of_layers


class CoordinateNetwork(nn.Module):
    """MLP of ``num_hidden_layers + 1`` linear layers from coordinates to a signal, some with a residual per frame.

    Args:
        in_dim: Number of coordinates, time among them where it is one.
        out_dim: Channels of the signal.
        hidden_dim: Width of the hidden layers.
        num_hidden_layers: Hidden layers.
        activation: ``sine`` with SIREN's initialisation, or ``relu`` with He's.
        omega: Frequency of the sines.
        residual_layers: Layers with a residual per frame; 0 is the input layer, ``num_hidden_layers`` the output layer.
        num_frames: Number of training frames T.
        residual_rank: Rank of the residuals, see
            :func:`~nf_plugins.field_components.residual_options.ranks_of_layers`.
        residual_mode: See :class:`~nf_plugins.field_components.residual_linear.ResFieldLinear`.
        num_coefficients: Likewise.
        residual_factorisation: Likewise; ``resnet`` adds a vector per frame behind the activation of a hidden layer
            (behind the output layer itself, which has none).
        residual_fuse: Likewise.
        residual_faithful: Likewise.

    Raises:
        InputError: A residual layer that does not exist, ranks that do not fit, or what a residual layer refuses.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        hidden_dim: int = 256,
        num_hidden_layers: int = 4,
        activation: Literal["sine", "relu"] = "sine",
        omega: float = 30.0,
        residual_layers: tuple[int, ...] = (),
        num_frames: int = 1,
        residual_rank: int | tuple[int, ...] = 10,
        residual_mode: Mode = "lookup",
        num_coefficients: int | None = None,
        residual_factorisation: Factorisation = "vm",
        residual_fuse: Fuse = "add",
        residual_faithful: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ("sine", "relu"):
            raise InputError(f"Activation '{activation}' is not known; use 'sine' or 'relu'.")
        if num_hidden_layers < 1 or hidden_dim < 1:
            raise InputError(
                f"A coordinate network needs hidden layers; got num-hidden-layers {num_hidden_layers} of hidden-dim "
                f"{hidden_dim}."
            )
        outside = [layer for layer in residual_layers if not 0 <= layer <= num_hidden_layers]
        if outside or len(set(residual_layers)) != len(residual_layers):
            raise InputError(
                f"residual-layers {' '.join(map(str, residual_layers))}: each must be one of the layers 0 to "
                f"{num_hidden_layers} (with num-hidden-layers {num_hidden_layers}), once."
            )
        self.activation = activation
        self.omega = omega
        ranks = ranks_of_layers(residual_rank, residual_layers, residual_factorisation)
        widths = [in_dim, *[hidden_dim] * num_hidden_layers, out_dim]
        self.layers = nn.ModuleList()
        for layer in range(num_hidden_layers + 1):
            if layer in ranks:
                linear: nn.Linear = ResFieldLinear(
                    widths[layer],
                    widths[layer + 1],
                    num_frames=num_frames,
                    rank=ranks[layer],
                    mode=residual_mode,
                    num_coefficients=num_coefficients,
                    factorisation=residual_factorisation,
                    fuse=residual_fuse,
                    faithful=residual_faithful,
                )
            else:
                linear = nn.Linear(widths[layer], widths[layer + 1])
            self.layers.append(linear)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Shared weights only: residual factors and biases keep their own start."""
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            if self.activation == "relu":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                continue
            fan_in = layer.in_features
            bound = 1 / fan_in if index == 0 else math.sqrt(6 / fan_in) / self.omega
            layer.weight.uniform_(-bound, bound)

    def forward(self, coordinates: Tensor, frames: FrameBatch) -> Tensor:
        """The signal at coordinates grouped by frame.

        Args:
            coordinates: In [-1, 1], shape ``(G, P, in_dim)``.
            frames: Frames of the G groups.

        Returns:
            ``(G, P, out_dim)``, unbounded.
        """
        hidden = coordinates
        for index, layer in enumerate(self.layers):
            residual = layer if isinstance(layer, ResFieldLinear) else None
            hidden = layer(hidden) if residual is None else residual(hidden, frames)
            if index < len(self.layers) - 1:
                hidden = torch.sin(self.omega * hidden) if self.activation == "sine" else torch.relu(hidden)
            if residual is not None:
                hidden = residual.add_output_residual(hidden, frames)
        return hidden
