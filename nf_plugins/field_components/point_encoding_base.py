"""What every encoding of points offers to the geometry network."""

from __future__ import annotations

from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.progressive_levels import ActiveLevels


class PointEncoding(nn.Module):
    """Features of points; the first ``in_dim`` of them are the points themselves.

    Raw coordinates first is what the geometric initialisation of signed-distance networks relies on.

    Args:
        in_dim: Dimensions of the points.
        out_dim: Width of the encoding, raw coordinates included.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.out_dim = out_dim

    def set_step(self, step: int) -> None:
        """Makes the levels active that are due at a training step; does nothing where there are no levels."""

    def finest_cell(self) -> float:
        """Edge of the cells of the finest active level, scene units; 0 where there are no cells."""
        return 0.0

    def forward(self, points: Tensor) -> Tensor:
        """Encodes points ``(*batch, in_dim)`` in the scene's frame to ``(*batch, out_dim)``."""
        raise NotImplementedError


class LevelledPointEncoding(PointEncoding):
    """An encoding with grid levels in the cube of half edge ``bound``, which may come in one after the other.

    Args:
        in_dim: Dimensions of the points.
        out_dim: Width of the encoding, raw coordinates included.
        cells: Edge of a cell of each level, scene units, coarse to fine.
        bound: Half edge of the cube that the grids fill.
        start_levels: See :class:`~nf_plugins.field_components.progressive_levels.ActiveLevels`, as the next.
        steps_per_level: Likewise.

    Raises:
        InputError: A bound that is not positive, or levels that cannot be.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        cells: list[float],
        bound: float,
        start_levels: int | None,
        steps_per_level: int,
    ) -> None:
        super().__init__(in_dim, out_dim)
        if bound <= 0:
            raise InputError(f"The bound of an encoding is {bound:g}, expected a positive number of scene units.")
        self.cells = cells
        self.bound = bound
        self.progress = ActiveLevels(len(cells), start_levels, steps_per_level)

    def set_step(self, step: int) -> None:
        """Makes the levels active that are due at a training step."""
        self.progress.set_step(step)

    def finest_cell(self) -> float:
        """Edge of the cells of the finest active level, scene units."""
        return self.cells[self.progress.count - 1]

    def unit_cube(self, points: Tensor) -> Tensor:
        """Maps the cube from ``-bound`` to ``bound`` to that from 0 to 1."""
        return points / (2 * self.bound) + 0.5
