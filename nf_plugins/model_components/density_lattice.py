"""The greatest density that probes find in every cell of a box.

Each cell is probed at 3 x 3 x 3 points: its corners, its centre and the middles of its edges and faces. Neighbours
share those on their common sides, so that all probes are one lattice, pooled.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, max_pool3d

COARSENING = 4
"""Cells along an axis that are one when empty space is skipped."""
COARSE_THRESHOLD = 0.1
"""Share of the threshold that says that a coarse cell is worth a closer look."""

DensityFunction = Callable[[Tensor], Tensor]
"""Density ``(N, 1)`` of points ``(N, 3)``."""


def lattice_axes(box: Tensor, resolution: tuple[int, int, int]) -> list[Tensor]:
    """Coordinates of the probes along x, y and z, both faces of the box included: ``2 n + 1`` for n cells."""
    low, high = box.cpu().double()
    return [
        torch.linspace(float(low[axis]), float(high[axis]), 2 * count + 1, dtype=torch.float64).float()
        for axis, count in enumerate(resolution)
    ]


@torch.no_grad()
def cell_maxima(
    density: DensityFunction,
    box: Tensor,
    resolution: tuple[int, int, int],
    *,
    points_per_chunk: int = 1 << 16,
    active: Tensor | None = None,
    on_plane: Callable[[], None] | None = None,
) -> Tensor:
    """The greatest density at the 27 probes of every cell, float ``(X, Y, Z)``.

    Works through the lattice plane by plane, so that memory does not grow with X.

    Args:
        density: What is asked.
        box: Lower and upper corner ``(2, 3)``.
        resolution: Cells along x, y and z.
        points_per_chunk: Points of one call of ``density``.
        active: Cells to look at, bool ``(X, Y, Z)``; the others, where they touch none of these, get 0. None is all.
        on_plane: Called after each of the ``2 X + 1`` planes.
    """
    axes = [axis.to(box.device) for axis in lattice_axes(box, resolution)]
    wanted = None if active is None else _lattice_of_cells(active)
    maxima = torch.zeros(resolution, device=box.device)
    for plane, x in enumerate(axes[0]):
        y, z = torch.meshgrid(axes[1], axes[2], indexing="ij")
        points = torch.stack([x.expand_as(y), y, z], dim=-1)
        values = torch.zeros(y.shape, device=box.device)
        chosen = torch.ones_like(y, dtype=torch.bool) if wanted is None else wanted[plane]
        if bool(chosen.any()):
            asked = points[chosen]
            found = [density(chunk).float().reshape(-1) for chunk in asked.split(points_per_chunk)]
            values[chosen] = torch.cat(found).to(values)
        pooled = max_pool2d(values[None, None], 3, stride=2)[0, 0]
        # An even plane is the common side of two layers of cells.
        for layer in {(plane - 1) // 2, plane // 2} & set(range(resolution[0])):
            maxima[layer] = torch.maximum(maxima[layer], pooled)
        if on_plane is not None:
            on_plane()
    return maxima


@torch.no_grad()
def occupied_cells(
    density: DensityFunction,
    box: Tensor,
    resolution: tuple[int, int, int],
    threshold: float,
    *,
    points_per_chunk: int = 1 << 16,
    dilate: int = 0,
    skip_empty: bool = False,
    on_plane: Callable[[], None] | None = None,
) -> Tensor:
    """Cells in which some probe is denser than a threshold, bool ``(X, Y, Z)``.

    Args:
        density: What is asked.
        box: Lower and upper corner ``(2, 3)``.
        resolution: Cells along x, y and z.
        threshold: In the unit of ``density``.
        points_per_chunk: Points of one call of ``density``.
        dilate: Neighbours, in cells along each axis, that count as occupied too.
        skip_empty: Look first at a lattice four times as coarse, and then only near what is denser there than a tenth
            of the threshold. Faster; thin things that lie between its points are lost.
        on_plane: Called after each of the ``2 X + 1`` planes.
    """
    active = None
    if skip_empty:
        active = active_cells(density, box, resolution, COARSE_THRESHOLD * threshold, points_per_chunk)
    maxima = cell_maxima(density, box, resolution, points_per_chunk=points_per_chunk, active=active, on_plane=on_plane)
    return dilated(maxima > threshold, dilate)


def active_cells(
    density: DensityFunction,
    box: Tensor,
    resolution: tuple[int, int, int],
    threshold: float,
    points_per_chunk: int = 1 << 16,
) -> Tensor:
    """Cells near which a lattice four times as coarse finds more than a threshold, bool ``(X, Y, Z)``."""
    x, y, z = (max(1, -(-count // COARSENING)) for count in resolution)
    coarse = cell_maxima(density, box, (x, y, z), points_per_chunk=points_per_chunk) > threshold
    near = dilated(coarse, 1)
    # The coarse cells divide the box evenly, whether or not the fine ones fill them.
    axes = [
        ((torch.arange(count, device=box.device) + 0.5) * len_coarse / count).long()
        for count, len_coarse in zip(resolution, (x, y, z), strict=True)
    ]
    return near[axes[0]][:, axes[1]][:, :, axes[2]]


def dilated(cells: Tensor, distance: int) -> Tensor:
    """Cells, bool ``(X, Y, Z)``, and their neighbours up to so many cells away along each axis."""
    if distance < 1:
        return cells
    return max_pool3d(cells[None, None].float(), 2 * distance + 1, stride=1, padding=distance)[0, 0] > 0


def _lattice_of_cells(cells: Tensor) -> Tensor:
    """The probes of cells, bool ``(2 X + 1, 2 Y + 1, 2 Z + 1)``."""
    lattice = torch.zeros([2 * count + 1 for count in cells.shape], dtype=torch.bool, device=cells.device)
    for x in range(3):
        for y in range(3):
            for z in range(3):
                ends = [offset + 2 * count - 1 for offset, count in zip((x, y, z), cells.shape, strict=True)]
                lattice[x : ends[0] : 2, y : ends[1] : 2, z : ends[2] : 2] |= cells
    return lattice
