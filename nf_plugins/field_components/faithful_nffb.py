"""The filter banks of the HashModNFFBanks reference as they compute, with their defects; see ``docs/methods``."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.faithful_hash_grid import FaithfulHashGrid
from nf_plugins.field_components.faithful_octaves import faithful_octaves
from nf_plugins.field_components.hash_grid import HashGridEncoding
from nf_plugins.field_components.nffb import SineChain
from nf_plugins.field_components.octave_encoding import octave_frequencies
from nf_plugins.field_components.point_encoding_base import PointEncoding
from nf_plugins.field_components.style_modulation import LayerNormStyle

GridPath = Literal["torch", "tcnn"]
"""The reference's filter bank on its PyTorch grid, or on that of tiny-cuda-nn."""
TCNN_GROWTH = 2.0


class FaithfulStyle(nn.Module):
    """The layer norm of the reference and its attention, a softmax over a single logit: always 1.

    Args:
        in_dim: Dimensions of the points.
        width: Width of the levels.
    """

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__()
        self.norm = LayerNormStyle(width)
        self.attention_logit = nn.Linear(in_dim, 1)

    def forward(self, octaves: Tensor, points: Tensor) -> Tensor:
        """Styles a level ``(N, width)`` at points ``(N, in_dim)``, which play no part."""
        return self.norm(octaves) * torch.softmax(self.attention_logit(points), dim=-1)


class FaithfulFilterBank(PointEncoding):
    """``[q, sum_i O(e_i) / L]`` with ``q`` the points mapped to [0, 1] and ``e_i`` octaves of the grid plus sines.

    What differs from Wu et al.: fixed octaves instead of learnt filters; the sum is not fed back into the sine layers;
    the last two groups of channels are not used, the sum is divided by L nevertheless; on the PyTorch grid the groups
    are cut across its Fourier and hash features, so that levels beyond the second get no gradient; raw channels are
    ``q``, so that the starting sphere lies around ``(-bound, -bound, -bound)``.

    Args:
        in_dim: Dimensions of the points.
        num_levels: Levels L, at least 3.
        features_per_level: Features F of a level.
        log2_table_size: Most entries of a level, as a power of two.
        base_resolution: Resolution of the coarsest level.
        finest_resolution: Resolution of the finest level; on tiny-cuda-nn's grid levels double instead.
        bound: Half edge of the cube that is mapped to [0, 1].
        has_style: Whether the octaves pass the style block.
        grid: Which grid.

    Raises:
        InputError: Sizes that make no bank.
    """

    frequencies: Tensor

    def __init__(
        self,
        in_dim: int = 3,
        *,
        num_levels: int = 6,
        features_per_level: int = 2,
        log2_table_size: int = 5,
        base_resolution: int = 16,
        finest_resolution: int = 512,
        bound: float = 0.45,
        has_style: bool = False,
        grid: GridPath = "torch",
    ) -> None:
        if num_levels < 3 or features_per_level < 2 or bound <= 0:
            raise InputError(
                f"The reference's filter bank needs 3 levels of 2 features and a positive bound; got {num_levels}, "
                f"{features_per_level} and {bound:g}."
            )
        if grid not in get_args(GridPath):
            raise InputError(f"faithful-grid is '{grid}', expected torch or tcnn.")
        group = 2 * features_per_level if grid == "torch" else features_per_level
        if grid == "torch" and features_per_level != 2:
            raise InputError(f"The reference's PyTorch grid has 2 features per level, not {features_per_level}.")
        width = group * (2 + 2 * num_levels)
        super().__init__(in_dim, in_dim + width)
        self.bound = bound
        self.group = group
        self.num_levels = num_levels
        if grid == "torch":
            self.grid: nn.Module = FaithfulHashGrid(
                in_dim,
                num_levels=num_levels,
                features_per_level=features_per_level,
                log2_table_size=log2_table_size,
                base_resolution=base_resolution,
                finest_resolution=finest_resolution,
            )
        else:
            self.grid = HashGridEncoding(
                in_dim,
                num_levels=num_levels,
                features_per_level=features_per_level,
                log2_table_size=log2_table_size,
                base_resolution=base_resolution,
                growth=TCNN_GROWTH,
            )
        self.register_buffer("frequencies", octave_frequencies(num_levels), persistent=False)
        self.sines = SineChain(in_dim, width, num_levels - 1, num_levels**features_per_level - num_levels)
        self.sines.draw_biases_like_weights()
        self.style = FaithfulStyle(in_dim, width) if has_style else None
        self.output = nn.Linear(width, width)

    def forward(self, points: Tensor) -> Tensor:
        """Encodes points ``(*batch, in_dim)`` to ``(*batch, out_dim)``."""
        flat = points.reshape(-1, self.in_dim)
        unit = (flat + self.bound) / (2 * self.bound)
        groups = self.grid(unit).split(self.group, dim=-1)
        hidden = self.sines(flat / self.bound, 0)
        total = torch.zeros_like(hidden)
        for layer in range(1, self.num_levels - 1):
            hidden = self.sines(hidden, layer)
            octaves = faithful_octaves(groups[layer - 1], self.frequencies)
            total = total + hidden + (octaves if self.style is None else self.style(octaves, unit))
        # The shared output layer is linear: its outputs' sum is its output for the sum, and as many biases.
        bias = (self.num_levels - 2) * self.output.bias
        features = nn.functional.linear(total, self.output.weight, bias) / self.num_levels
        return torch.cat([unit, features], dim=-1).view(*points.shape[:-1], self.out_dim)
