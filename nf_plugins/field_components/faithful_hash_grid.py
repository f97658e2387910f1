"""The hash grid of the HashModNFFBanks reference as it computes, with its defects; see ``docs/methods``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.hash_grid import INITIAL_FEATURE
from nf_plugins.field_components.point_encoding_base import PointEncoding

FAITHFUL_PRIMES = (1, 3, 2654435761)
"""Its factors of the axes; those of Müller et al. are 1, 2654435761 and 805459861."""


class FaithfulHashGrid(nn.Module):
    """Random Fourier features of the coordinates, and the entry of the vertex below the point, level by level.

    The fraction of a point within its cell comes out as 0, so nothing is interpolated: the features are constant
    within a cell and have no gradient with respect to the point. Indices are truncated towards 0, so that the two
    cells at 0 are one.

    Args:
        in_dim: Dimensions of the points, 1 to 3.
        num_levels: Levels L, and the number of Fourier frequencies.
        features_per_level: Features F of a level.
        log2_table_size: Most entries of a level, as a power of two.
        base_resolution: Resolution of the coarsest level.
        finest_resolution: Resolution of the finest level.

    Raises:
        InputError: Sizes that make no grid.
    """

    frequencies: Tensor

    def __init__(
        self,
        in_dim: int,
        *,
        num_levels: int,
        features_per_level: int,
        log2_table_size: int,
        base_resolution: int,
        finest_resolution: int,
    ) -> None:
        super().__init__()
        if not 1 <= in_dim <= 3 or num_levels < 2 or not 2 <= base_resolution <= finest_resolution:
            raise InputError(
                f"The reference's hash grid needs 1 to 3 dimensions, 2 levels and resolutions from 2 upwards; got "
                f"{in_dim}, {num_levels} and {base_resolution} to {finest_resolution}."
            )
        log_range = math.log(finest_resolution) - math.log(base_resolution)
        growth = math.exp(log_range / (num_levels - 1))
        # 2 ** 5 comes out as 31.99..., which must not be rounded down.
        self.resolutions = [int(base_resolution * growth**level + 1e-6) for level in range(num_levels)]
        entries = [min(resolution**in_dim, 2**log2_table_size) for resolution in self.resolutions]
        self.tables = nn.ParameterList(
            nn.Parameter(torch.empty(count, features_per_level).uniform_(-INITIAL_FEATURE, INITIAL_FEATURE))
            for count in entries
        )
        sigma = log_range / (base_resolution - 1)
        self.register_buffer("frequencies", torch.randn(in_dim, num_levels) * sigma)

    @property
    def out_dim(self) -> int:
        """Features of a point, ``2 L + L F``."""
        return 2 * len(self.tables) + sum(table.shape[-1] for table in self.tables)

    def forward(self, points: Tensor) -> Tensor:
        """``[sin, cos, level 0, level 1, ...]``, ``(N, out_dim)``, at points ``(N, in_dim)``."""
        angles = points @ (2 * math.pi * self.frequencies)
        levels = [
            table[self._entries(points, resolution, len(table))]
            for table, resolution in zip(self.tables, self.resolutions, strict=True)
        ]
        return torch.cat([torch.sin(angles), torch.cos(angles), *levels], dim=-1)

    @staticmethod
    def _entries(points: Tensor, resolution: int, num_entries: int) -> Tensor:
        vertices = (points.detach() * resolution).long()
        entries = torch.zeros_like(vertices[:, 0])
        for axis, prime in enumerate(FAITHFUL_PRIMES[: points.shape[-1]]):
            entries = entries ^ (vertices[:, axis] * prime)
        return (entries & 0xFFFFFFFF) % num_entries


class FaithfulHashEncoding(PointEncoding):
    """``[x, grid(x)]``; the grid gets the points in [-1, 1] as they are.

    Args:
        in_dim: Dimensions of the points.
        sizes: Arguments of :class:`FaithfulHashGrid`.
    """

    def __init__(self, in_dim: int = 3, **sizes: int) -> None:
        grid = FaithfulHashGrid(in_dim, **sizes)
        super().__init__(in_dim, in_dim + grid.out_dim)
        self.grid = grid

    def forward(self, points: Tensor) -> Tensor:
        """Encodes points ``(*batch, in_dim)`` to ``(*batch, out_dim)``."""
        features = self.grid(points.reshape(-1, self.in_dim))
        return torch.cat([points, features.view(*points.shape[:-1], self.grid.out_dim)], dim=-1)
