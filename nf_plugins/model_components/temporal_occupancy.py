"""Which cells of the scene box can hold anything, for every frame: what lets a renderer skip empty space."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nf_plugins.model_components.density_lattice import dilated

CARVED, EMPTY, OCCUPIED = 0, 1, 2
"""Cell states: outside the masks' visual hull for good; empty by the field's last look; possibly occupied."""


class TemporalOccupancyGrid(nn.Module):
    """A grid of cell states per frame over the scene box; its state is one buffer, so checkpoints hold it whole.

    Starts with every cell occupied. :meth:`carve` removes cells that the masks exclude, permanently;
    :meth:`update_frames` marks the others empty or occupied by the field's density. Knows neither rays nor networks, so
    any volume-rendered method can own one.

    Args:
        box: Lower and upper corner of the scene ``(2, 3)``, scene units.
        num_frames: Number of training frames T; one grid each.
        resolution: Cells along each axis.
    """

    box: Tensor
    states: Tensor

    def __init__(self, box: Tensor, num_frames: int, resolution: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.resolution = resolution
        self.register_buffer("box", box.clone(), persistent=False)
        self.register_buffer("states", torch.full((num_frames, resolution**3), OCCUPIED, dtype=torch.uint8))

    @property
    def cell_size(self) -> Tensor:
        """Side lengths of a cell ``(3,)``, scene units."""
        return (self.box[1] - self.box[0]) / self.resolution

    @property
    def cell_radius(self) -> Tensor:
        """Distance from a cell's centre to its corners, a scalar in scene units."""
        return self.cell_size.norm() / 2

    def cell_centers(self) -> Tensor:
        """Centres of all cells, ``(resolution^3, 3)``, in the order of ``states``."""
        steps = torch.arange(self.resolution, device=self.box.device) + 0.5
        grid = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1).view(-1, 3)
        return self.box[0] + grid * self.cell_size

    def lookup(self, points: Tensor, frame_ids: Tensor) -> Tensor:
        """Cell states at points; points outside the box count as carved.

        Args:
            points: ``(*batch, 3)``, scene units.
            frame_ids: Frame of each point, int64, broadcastable to ``(*batch)``.

        Returns:
            uint8 states ``(*batch)``.
        """
        cells = ((points - self.box[0]) / self.cell_size).floor().long()
        inside = ((cells >= 0) & (cells < self.resolution)).all(-1)
        x, y, z = cells.clamp(0, self.resolution - 1).unbind(-1)
        flat = (x * self.resolution + y) * self.resolution + z
        states = self.states.view(-1)[frame_ids * self.resolution**3 + flat]
        return torch.where(inside, states, CARVED)

    def occupied_fraction(self) -> Tensor:
        """Share of all cells that are occupied, a scalar tensor."""
        return (self.states == OCCUPIED).float().mean()

    @torch.no_grad()
    def carve(self, frame_id: int, keep: Tensor) -> None:
        """Removes the cells of a frame where ``keep`` (bool, ``(resolution^3,)``) is False."""
        self.states[frame_id][~keep] = CARVED

    @torch.no_grad()
    def update_frames(self, frame_ids: Tensor, is_occupied: Callable[[Tensor, int], Tensor], spread: int = 0) -> None:
        """Looks at every cell of some frames that was not carved.

        Args:
            frame_ids: Frames to look at, int64 ``(n,)``.
            is_occupied: Maps cell centres ``(cells, 3)`` and a frame id to a bool ``(cells,)``. It decides for the
                whole cell, so it has to bound the density over it, not sample the centre.
            spread: Neighbours of an occupied cell, up to so many cells away along each axis, are occupied too.
        """
        centers = self.cell_centers()
        for frame_id in frame_ids.tolist():
            states = self.states[frame_id]
            cells = (states != CARVED).nonzero()[:, 0]
            if len(cells):
                occupied = is_occupied(centers[cells], frame_id)
                if spread > 0:
                    grid = torch.zeros(self.resolution**3, dtype=torch.bool, device=states.device)
                    grid[cells] = occupied
                    occupied = dilated(grid.view([self.resolution] * 3), spread).flatten()[cells]
                states[cells] = torch.where(occupied, OCCUPIED, EMPTY).to(torch.uint8)
