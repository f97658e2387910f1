"""Raw coordinates and the features of a multi-resolution hash grid."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.field_components.feature_grid import (
    GridBackend,
    GridSizes,
    Implementation,
    build_feature_grid,
    cell_edges,
)
from nf_plugins.field_components.hash_grid import Interpolation
from nf_plugins.field_components.point_encoding_base import LevelledPointEncoding


class HashPointEncoding(LevelledPointEncoding):
    """``[x, features of level 0, features of level 1, ...]`` (Müller et al., *Instant NGP*, SIGGRAPH 2022).

    The features start within 1e-4 of 0. Interpolated linearly they have mixed second derivatives alone within a cell: a
    Laplacian taken by autograd does not see them.

    Args:
        in_dim: Dimensions of the points.
        sizes: Sizes of the grid.
        bound: Half edge of the cube that the grid fills; beyond it features are those of its border.
        backend: Whose grid.
        interpolation: ``linear``, or ``smoothstep`` for continuous gradients.
        implementation: What computes it.
        start_levels: See :class:`~nf_plugins.field_components.progressive_levels.ActiveLevels`, as the next.
        steps_per_level: Likewise.
    """

    def __init__(
        self,
        in_dim: int,
        sizes: GridSizes,
        *,
        bound: float = 1.0,
        backend: GridBackend = "grid",
        interpolation: Interpolation = "linear",
        implementation: Implementation = "auto",
        start_levels: int | None = None,
        steps_per_level: int = 0,
    ) -> None:
        grid = build_feature_grid(
            in_dim, sizes, backend=backend, interpolation=interpolation, implementation=implementation
        )
        super().__init__(
            in_dim,
            in_dim + grid.out_dim,
            cells=[2 * bound * edge for edge in cell_edges(grid)],
            bound=bound,
            start_levels=start_levels,
            steps_per_level=steps_per_level,
        )
        self.grid = grid

    def forward(self, points: Tensor) -> Tensor:
        """Encodes points ``(*batch, in_dim)`` to ``(*batch, out_dim)``."""
        return torch.cat([points, self.grid(self.unit_cube(points), self.progress.count)], dim=-1)
