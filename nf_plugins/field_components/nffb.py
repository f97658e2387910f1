"""Neural Fourier filter bank: levels of a grid, each of its own band of frequencies, on a chain of sine layers."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_grid import (
    GridBackend,
    GridSizes,
    Implementation,
    build_feature_grid,
    cell_edges,
)
from nf_plugins.field_components.hash_grid import Interpolation
from nf_plugins.field_components.point_encoding_base import LevelledPointEncoding

LevelOutput = Literal["linear", "concatenate"]
"""One linear layer on all levels, divided by their number; or all levels side by side."""


class FilterBankSizes(NamedTuple):
    """Sizes of a filter bank beside its grid."""

    width: int = 128
    """Width of the sine layers."""
    out_dim: int = 64
    """Features beside the raw coordinates, with output ``linear``."""
    frequency: float = 45.0
    """Factor in front of the sine layers, w_0 of SIREN."""
    sigma: float = 5.0
    """Standard deviation of the filters of the coarsest level."""
    sigma_growth: float = 1.2
    """Factor of that from a level to the next."""
    output: LevelOutput = "linear"
    """How levels become the encoding."""


class SineChain(nn.Module):
    """Sine layers ``sin(w_0 (A h + a))`` with the initialisation of SIREN (Sitzmann et al., NeurIPS 2020).

    Weights of the first layer are uniform within ``1 / n`` for n inputs, those of the others within
    ``sqrt(6 / n) / w_0``. Biases keep PyTorch's initialisation.

    Args:
        in_dim: Inputs of the first layer.
        width: Width of all layers.
        num_layers: Layers.
        frequency: w_0.
    """

    def __init__(self, in_dim: int, width: int, num_layers: int, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency
        self.layers = nn.ModuleList(nn.Linear(width if layer else in_dim, width) for layer in range(num_layers))
        self.limits = [math.sqrt(6 / width) / frequency if layer else 1 / in_dim for layer in range(num_layers)]
        for layer, limit in zip(self.layers, self.limits, strict=True):
            nn.init.uniform_(layer.weight, -limit, limit)  # type: ignore[arg-type]

    def draw_biases_like_weights(self) -> None:
        """Makes the biases uniform within the limits of the weights."""
        for layer, limit in zip(self.layers, self.limits, strict=True):
            nn.init.uniform_(layer.bias, -limit, limit)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor, layer: int) -> Tensor:
        """Applies one layer to ``(*batch, in_dim or width)``; returns ``(*batch, width)``."""
        linear = self.layers[layer]
        assert isinstance(linear, nn.Linear)
        # w_0 on the weights instead of the many activations.
        return torch.sin(nn.functional.linear(hidden, self.frequency * linear.weight, self.frequency * linear.bias))


class NeuralFourierFilterBank(LevelledPointEncoding):
    """Raw coordinates and the filter bank of Wu, Jin and Yi, *Neural Fourier Filter Bank*, CVPR 2023.

    Level i of a grid gives a feature ``f_i``, a learnt filter ``B_i`` its frequencies: ``sin(2 pi f_i B_i)``. It is
    added to the output of sine layer i, and the sum feeds the next layer, so that detail builds on what is coarser:
    ``h_i = sin(w_0 (A_i h_(i-1) + a_i)) + sin(2 pi f_i B_i)``, where ``h_0`` is a sine layer of the coordinates.

    ``B_i`` starts normal with standard deviation ``sigma * sigma_growth**i``. As the features of the grid start near 0,
    so does what the levels add. A level that is not active yet ends the chain: its output and the following are 0. Its
    columns in the linear layer start at 0 and get no gradient before its time, so the encoding does not jump when it
    comes in; with output ``concatenate`` these columns are those of the network behind, which has to start them at 0.

    Args:
        in_dim: Dimensions of the points.
        grid_sizes: Sizes of the grid; a sine layer for each of its levels and one before them.
        sizes: Sizes of the bank.
        style: Changes what the levels add: called with it, ``(levels, N, width)``, and ``h_0``, ``(N, width)``.
        bound: Half edge of the cube that the grid fills; the sine layers see coordinates divided by it.
        backend: Whose grid.
        interpolation: How the grid interpolates.
        implementation: What computes the grid.
        start_levels: See :class:`~nf_plugins.field_components.progressive_levels.ActiveLevels`, as the next.
        steps_per_level: Likewise.

    Raises:
        InputError: Sizes that make no bank.
    """

    def __init__(
        self,
        in_dim: int,
        grid_sizes: GridSizes,
        sizes: FilterBankSizes | None = None,
        *,
        style: nn.Module | None = None,
        bound: float = 1.0,
        backend: GridBackend = "grid",
        interpolation: Interpolation = "linear",
        implementation: Implementation = "auto",
        start_levels: int | None = None,
        steps_per_level: int = 0,
    ) -> None:
        sizes = sizes or FilterBankSizes()
        if min(sizes.width, sizes.out_dim) < 1 or min(sizes.frequency, sizes.sigma, sizes.sigma_growth) <= 0:
            raise InputError(f"A filter bank needs positive sizes, frequency and sigmas, got {sizes}.")
        if sizes.output not in get_args(LevelOutput):
            raise InputError(f"nffb-output is '{sizes.output}', expected linear or concatenate.")
        grid = build_feature_grid(
            in_dim, grid_sizes, backend=backend, interpolation=interpolation, implementation=implementation
        )
        num_levels = grid_sizes.num_levels
        num_features = sizes.out_dim if sizes.output == "linear" else num_levels * sizes.width
        super().__init__(
            in_dim,
            in_dim + num_features,
            cells=[2 * bound * edge for edge in cell_edges(grid)],
            bound=bound,
            start_levels=start_levels,
            steps_per_level=steps_per_level,
        )
        self.grid = grid
        self.sines = SineChain(in_dim, sizes.width, 1 + num_levels, sizes.frequency)
        deviations = sizes.sigma * sizes.sigma_growth ** torch.arange(num_levels)
        filters = torch.randn(num_levels, grid_sizes.features_per_level, sizes.width)
        self.filters = nn.Parameter(filters * deviations[:, None, None])
        self.style = style
        self.output = nn.Linear(num_levels * sizes.width, num_features) if sizes.output == "linear" else None
        if self.output is not None:
            nn.init.zeros_(self.output.weight[:, self.progress.count * sizes.width :])

    def forward(self, points: Tensor) -> Tensor:
        """Encodes points ``(*batch, in_dim)`` to ``(*batch, out_dim)``."""
        flat = points.reshape(-1, self.in_dim)
        hidden = self.sines(flat / self.bound, 0)
        filtered = self.filtered_features(flat)
        if self.style is not None:
            filtered = self.style(filtered, hidden)
        levels = []
        for index, feature in enumerate(filtered.unbind(0)):
            hidden = self.sines(hidden, 1 + index) + feature
            levels.append(hidden)
        return torch.cat([flat, self._combined(torch.cat(levels, dim=-1))], dim=-1).view(
            *points.shape[:-1], self.out_dim
        )

    def filtered_features(self, points: Tensor) -> Tensor:
        """``sin(2 pi f_i B_i)`` of the active levels, ``(levels, N, width)``, at points ``(N, in_dim)``."""
        num_active = self.progress.count
        features = self.grid(self.unit_cube(points), num_active)
        features = features.view(len(points), len(self.filters), self.grid.features_per_level)[:, :num_active]
        return torch.sin(torch.bmm(features.transpose(0, 1), 2 * math.pi * self.filters[:num_active]))

    def _combined(self, levels: Tensor) -> Tensor:
        """Active levels side by side ``(N, levels * width)`` to the features beside the coordinates."""
        if self.output is None:
            return nn.functional.pad(levels, (0, self.out_dim - self.in_dim - levels.shape[-1]))
        weight = self.output.weight[:, : levels.shape[-1]]
        return nn.functional.linear(levels, weight, self.output.bias) / len(self.filters)
