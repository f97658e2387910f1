"""Which cells of a box are occupied, at one moment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.model_components.box_collider import intersect_box


class OccupiedSpace(NamedTuple):
    """Occupied cells of one box, or of several that count together (those of two frames)."""

    boxes: tuple[Tensor, ...]
    """Lower and upper corners ``(2, 3)``, scene units."""
    grids: tuple[Tensor, ...]
    """bool ``(X, Y, Z)`` for each box."""

    @property
    def box(self) -> Tensor:
        """What encloses all boxes ``(2, 3)``."""
        corners = torch.stack(self.boxes)
        return torch.stack([corners[:, 0].amin(0), corners[:, 1].amax(0)])

    def lookup(self, points: Tensor) -> Tensor:
        """Whether points ``(*batch, 3)`` lie in an occupied cell, bool ``(*batch)``; outside all boxes none does."""
        found = torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
        for box, grid in zip(self.boxes, self.grids, strict=True):
            found |= lookup_cells(points, box, grid)
        return found

    def occupied_box(self) -> Tensor:
        """What encloses all occupied cells ``(2, 3)``; a box of no extent where there are none."""
        corners = []
        for box, grid in zip(self.boxes, self.grids, strict=True):
            spans = [grid.any(dim=tuple({0, 1, 2} - {axis})).nonzero()[:, 0] for axis in range(3)]
            if not len(spans[0]):
                continue
            cell = (box[1] - box[0]) / torch.tensor(grid.shape, device=box.device)
            first = torch.stack([span[0] for span in spans])
            last = torch.stack([span[-1] + 1 for span in spans])
            corners.append(torch.stack([box[0] + first * cell, box[0] + last * cell]))
        if not corners:
            return self.boxes[0][:1].expand(2, 3)
        stacked = torch.stack(corners)
        return torch.stack([stacked[:, 0].amin(0), stacked[:, 1].amax(0)])

    def segments(self, origins: Tensor, directions: Tensor, nears: Tensor, fars: Tensor, num_segments: int) -> Tensor:
        """Which of equal segments of rays are occupied, by their middles.

        Args:
            origins: ``(R, 3)``.
            directions: ``(R, 3)``.
            nears: Ray distances ``(R, 1)``.
            fars: Likewise; rays whose far is not beyond their near have no occupied segment.
            num_segments: N.

        Returns:
            bool ``(R, N)``.
        """
        # Most rays pass by what is occupied: the box around that tells it before any cell is looked up.
        entry, leave = intersect_box(origins, directions, self.occupied_box())
        near_it = ((torch.minimum(leave, fars) > torch.maximum(entry, nears)) & (fars > nears))[:, 0].nonzero()[:, 0]
        occupied = torch.zeros(len(origins), num_segments, dtype=torch.bool, device=origins.device)
        middles = (torch.arange(num_segments, device=origins.device) + 0.5) / num_segments
        distances = nears[near_it] + middles * (fars - nears)[near_it]
        points = origins[near_it][:, None] + distances[..., None] * directions[near_it][:, None]
        occupied[near_it] = self.lookup(points)
        return occupied


def lookup_cells(points: Tensor, box: Tensor, grid: Tensor) -> Tensor:
    """Whether points ``(*batch, 3)`` lie in a set cell ``floor((x - low) / (high - low) * R)``; outside none does.

    Args:
        points: Scene units.
        box: Lower and upper corner ``(2, 3)``.
        grid: bool ``(X, Y, Z)``.

    Returns:
        bool ``(*batch)``.
    """
    shape = torch.tensor(grid.shape, device=points.device)
    cells = ((points - box[0]) * (shape / (box[1] - box[0]))).floor()
    inside = ((cells >= 0) & (cells < shape)).all(-1)
    x, y, z = torch.minimum(cells.clamp(min=0), shape - 1).long().unbind(-1)
    return grid.reshape(-1)[(x * shape[1] + y) * shape[2] + z] & inside


def occupied_range(occupied: Tensor, nears: Tensor, fars: Tensor) -> tuple[Tensor, Tensor]:
    """Where the first occupied segment of each ray starts and the last one ends.

    Args:
        occupied: bool ``(R, N)``, of equal segments between near and far.
        nears: ``(R, 1)``.
        fars: ``(R, 1)``.

    Returns:
        Near and far ``(R, 1)``; both are ``nears`` for rays without an occupied segment.
    """
    count = occupied.shape[1]
    length = (fars - nears) / count
    first = occupied.to(torch.uint8).argmax(1, keepdim=True)
    last = count - occupied.flip(1).to(torch.uint8).argmax(1, keepdim=True)
    any_occupied = occupied.any(1, keepdim=True)
    start = torch.where(any_occupied, nears + first * length, nears)
    return start, torch.where(any_occupied, nears + last * length, nears)
