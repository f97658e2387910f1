"""Signed distances on a regular grid, computed only near the surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.surface import SurfaceAtTime


@dataclass(frozen=True)
class GridSettings:
    """How finely and how carefully a surface is sampled."""

    resolution: int = 256
    """Cells along the longest side of the bounds (rounded up to a multiple of ``block_size``); cells are cubes."""
    block_size: int = 8
    """Cells along the side of a coarsest block, a power of two; 1 evaluates the dense grid."""
    lipschitz_factor: float = 1.5
    """How many times steeper than the steepest slope seen on the coarsest level the signed distance may be."""
    boundary_margin: float = 0.025
    """Scene units by which the bounds are shrunk; everything beyond is outside, which closes the mesh."""
    chunk_size: int = 1 << 17
    """Points evaluated at once."""

    def __post_init__(self) -> None:
        if self.block_size < 1 or self.block_size & (self.block_size - 1):
            raise InputError(f"The block size must be a power of two (1, 2, 4, 8, ...), found {self.block_size}.")
        if self.resolution < 2:
            raise InputError(f"The resolution must be at least 2 cells, found {self.resolution}.")


@dataclass
class SignedDistanceGrid:
    """Values at grid points; right in sign everywhere, right in value wherever a cell crosses the surface."""

    values: np.ndarray
    """float32 (nx, ny, nz), negative inside, positive on the whole boundary."""
    origin: np.ndarray
    """Scene position (3,) of the grid point with index (0, 0, 0)."""
    spacing: float
    """Scene units between neighbouring grid points."""
    num_evaluations: int
    """How many points the surface was asked about."""


def signed_distance_grid(
    surface: SurfaceAtTime, settings: GridSettings, on_progress: Callable[[float], None] | None = None
) -> SignedDistanceGrid:
    """Sample a surface's signed distance, coarse to fine.

    The bounds are divided into cubic blocks of ``block_size`` cells. A block whose centre is farther from the surface
    than its half diagonal, times the slope bound, cannot be crossed: its points get the centre's value. The others
    are halved again and again, and all grid points of the cells that remain, their far faces included, are evaluated,
    so that every grid edge that crosses the surface has two exact ends and marching cubes gives the dense grid's mesh.

    A trained signed distance has only approximately unit gradient. The slope bound is therefore ``lipschitz_factor``
    times the steepest slope between neighbouring block centres of the coarsest level (at least 1). Details that are
    steeper than that *and* smaller than a block can be missed; a smaller ``block_size`` or a larger factor is safer.

    The field is cut with the bounds shrunk by ``boundary_margin`` (the larger of the two signed distances), so that a
    surface that leaves the bounds ends in a flat lid instead of a hole.

    Args:
        surface: What to sample.
        settings: Resolution and care.
        on_progress: Called with the done fraction in [0, 1].

    Returns:
        The grid.
    """
    return _GridSampler(surface, settings, on_progress).sample()


class _GridSampler:
    """The state of one sampling: the box, the counters and the volume that is being filled."""

    def __init__(
        self, surface: SurfaceAtTime, settings: GridSettings, on_progress: Callable[[float], None] | None
    ) -> None:
        self.surface, self.settings, self.on_progress = surface, settings, on_progress
        self.device = surface.bounds.device
        bounds = surface.bounds.detach().cpu().double()
        sides = bounds[1] - bounds[0]
        if not bool((sides > 0).all()):
            raise InputError(f"The bounds of the surface are empty: {bounds.tolist()}.")
        margin = min(settings.boundary_margin, 0.25 * float(sides.min()))
        self.inner_box = bounds + margin * torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
        blocks = -(-settings.resolution // settings.block_size)
        self.spacing = float(sides.max()) / (blocks * settings.block_size)
        self.origin = bounds[0]
        self.num_blocks = torch.ceil(sides / (self.spacing * settings.block_size) - 1e-9).long().clamp(min=1)
        self.num_evaluations = 0

    def sample(self) -> SignedDistanceGrid:
        size = self.settings.block_size
        shape = [int(n) * size + 1 for n in self.num_blocks]
        values = torch.ones(shape, dtype=torch.float32)
        blocks = torch.cartesian_prod(*(torch.arange(int(n)) for n in self.num_blocks)).view(-1, 3)
        slope: float | None = None
        while size > 1:
            centres = self.positions(blocks * size, 0.5 * size)
            distance = self.cut_signed_distance(centres)
            if slope is None:
                slope = self.settings.lipschitz_factor * self.steepest_slope(distance, size)
                values[:-1, :-1, :-1] = self.enlarged(distance, size)
            crossed = distance.abs() <= slope * (0.5 * 3**0.5) * size * self.spacing
            self.fill(values, blocks[~crossed], size, distance[~crossed])
            blocks, size = _halve(blocks[crossed]), size // 2
        cells = torch.zeros([n - 1 for n in shape], dtype=torch.bool)
        cells[blocks[:, 0], blocks[:, 1], blocks[:, 2]] = True
        points = _corners_of(cells).nonzero()
        values[points[:, 0], points[:, 1], points[:, 2]] = self.cut_signed_distance(
            self.positions(points), report_progress=True
        )
        for axis in range(3):  # rounding must not open the lid
            for face in (0, -1):
                values.select(axis, face).clamp_(min=1e-6)
        return SignedDistanceGrid(values.numpy(), self.origin.numpy(), self.spacing, self.num_evaluations)

    def positions(self, indices: Tensor, offset: float = 0.0) -> Tensor:
        """Scene positions (N, 3), float64, of grid indices (N, 3) moved by ``offset`` cells along every axis."""
        return self.origin + (indices.double() + offset) * self.spacing

    def cut_signed_distance(self, positions: Tensor, report_progress: bool = False) -> Tensor:
        """Signed distance (N,) of the surface cut with the inner box; positive and exact enough outside the box."""
        results = []
        for first in range(0, len(positions), self.settings.chunk_size):
            chunk = positions[first : first + self.settings.chunk_size]
            with torch.no_grad():
                distance = self.surface.signed_distance(chunk.float().to(self.device)).detach().float().cpu()
            results.append(torch.maximum(distance.view(-1), self.box_distance(chunk).float()))
            self.num_evaluations += len(chunk)
            if report_progress and self.on_progress is not None:
                self.on_progress(min(1.0, (first + len(chunk)) / len(positions)))
        return torch.cat(results) if results else torch.empty(0)

    def box_distance(self, positions: Tensor) -> Tensor:
        """Exact signed distance (N,) of the inner box."""
        beyond = torch.maximum(self.inner_box[0] - positions, positions - self.inner_box[1])
        return beyond.clamp(min=0.0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0.0)

    def steepest_slope(self, distance: Tensor, size: int) -> float:
        """Largest slope, at least 1, between the centres of neighbouring blocks of the coarsest level."""
        grid = distance.view(*(int(n) for n in self.num_blocks))
        slopes = [grid.diff(dim=axis).abs().max() for axis in range(3) if grid.shape[axis] > 1]
        return max([1.0, *(float(slope) / (size * self.spacing) for slope in slopes)])

    def enlarged(self, distance: Tensor, size: int) -> Tensor:
        """The coarsest level's distances, repeated for every grid point of their blocks."""
        grid = distance.view(*(int(n) for n in self.num_blocks))
        for axis in range(3):
            grid = grid.repeat_interleave(size, dim=axis)
        return grid

    def fill(self, values: Tensor, blocks: Tensor, size: int, distance: Tensor) -> None:
        """Give all points of the blocks, lower faces included, the distance of the block's centre."""
        if size == self.settings.block_size:
            return  # done by ``enlarged``
        offsets = torch.cartesian_prod(*[torch.arange(size)] * 3)
        chunk_size = max(1, (1 << 20) // len(offsets))
        for first in range(0, len(blocks), chunk_size):
            chunk = slice(first, first + chunk_size)
            points = (blocks[chunk, None] * size + offsets).view(-1, 3)
            values[points[:, 0], points[:, 1], points[:, 2]] = distance[chunk].repeat_interleave(len(offsets))


def _halve(blocks: Tensor) -> Tensor:
    """Indices (8 N, 3), in units of half the size, of the eight parts of every block (N, 3)."""
    offsets = torch.cartesian_prod(*[torch.arange(2)] * 3)
    return (2 * blocks[:, None] + offsets).view(-1, 3)


def _corners_of(cells: Tensor) -> Tensor:
    """Grid points (nx + 1, ny + 1, nz + 1) that are a corner of any chosen cell (nx, ny, nz)."""
    corners = torch.zeros([n + 1 for n in cells.shape], dtype=torch.bool)
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                view = corners[dx : dx + cells.shape[0], dy : dy + cells.shape[1], dz : dz + cells.shape[2]]
                view |= cells
    return corners
