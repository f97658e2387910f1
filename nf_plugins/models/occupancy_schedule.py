"""When and how a model's occupancy is carved, refreshed and asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import PrintableConfig
from torch import Tensor

from nf_plugins.data.parallel import late_progress
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.frame_times import frame_ids_from_times
from nf_plugins.model_components.temporal_occupancy import CARVED, OCCUPIED, TemporalOccupancyGrid
from nf_plugins.model_components.visual_hull import cells_inside_silhouette

if TYPE_CHECKING:
    from nf_plugins.data.dynamic_datamanager import DynamicDataManager
    from nf_plugins.fields.temporal_sdf_field import TemporalSDFField

POINTS_PER_CHUNK = 65536


@dataclass
class OccupancyScheduleConfig(PrintableConfig):
    """Skipping of empty space."""

    enabled: bool = True
    """Whether rays are sampled only where the occupancy says that something can be."""
    resolution: int = 64
    """Cells along each axis, for every frame."""
    visual_hull: bool = True
    """Whether the masks' visual hull carves the grid before step 0 (needs masks; wrong masks carve away the scene)."""
    start_step: int = 1000
    """Step from which the field's own density empties cells."""
    update_interval: int = 16
    """Steps between looks at the field."""
    frames_per_update: int = 1
    """Frames looked at each time, in turn."""
    density_threshold: float = 0.01
    """A cell is empty when its greatest possible optical depth (density bound times cell size) is below this."""
    exploration: float = 0.1
    """Share of training rays that see all that the masks did not carve, so that emptied cells can fill again."""


class OccupancySchedule:
    """Drives a :class:`TemporalOccupancyGrid`; holds no state of its own, all follows from the step and the grid.

    Args:
        config: Schedule.
        grid: The grid to drive.
    """

    def __init__(self, config: OccupancyScheduleConfig, grid: TemporalOccupancyGrid) -> None:
        self.config = config
        self.grid = grid

    def occupied_segments(self, ray_bundle: RayBundle, coordinates: Tensor, explore: bool) -> Tensor:
        """Which of ``2 * resolution`` equal segments of each ray are occupied, by the state at their middle.

        Between two frames a segment is occupied when it is in either of them.

        Args:
            ray_bundle: Rays ``(R,)`` with nears and fars.
            coordinates: Fractional frame index of each ray ``(R,)``.
            explore: Lets the configured share of rays, chosen at random, see emptied cells too.

        Returns:
            bool ``(R, N)``; all False for rays that miss the box.
        """
        assert ray_bundle.nears is not None and ray_bundle.fars is not None
        num_segments = 2 * self.grid.resolution
        middles = (torch.arange(num_segments, device=coordinates.device) + 0.5) / num_segments
        distances = ray_bundle.nears + middles * (ray_bundle.fars - ray_bundle.nears)
        points = ray_bundle.origins[:, None] + distances[..., None] * ray_bundle.directions[:, None]
        earlier, later = coordinates.floor().long(), coordinates.ceil().long()
        states = self.grid.lookup(points, earlier[:, None])
        if not torch.equal(earlier, later):
            states = torch.maximum(states, self.grid.lookup(points, later[:, None]))
        occupied = states == OCCUPIED
        if explore and self.config.exploration > 0:
            explores = torch.rand(len(coordinates), device=coordinates.device) < self.config.exploration
            occupied = torch.where(explores[:, None], states != CARVED, occupied)
        return occupied & (ray_bundle.fars > ray_bundle.nears)

    def before_step(self, step: int, datamanager: DynamicDataManager, field: TemporalSDFField) -> None:
        """Carves at step 0, then looks at some frames every ``update_interval`` steps.

        A plain density has no bound within a cell, so it is carved by the masks alone.
        """
        has_masks = datamanager.train_dataset.metadata.get("fg_mask_filenames") is not None
        if step == 0 and self.config.visual_hull and has_masks:
            self.carve_visual_hull(datamanager)
        if step < self.config.start_step or step % self.config.update_interval or not field.is_distance:
            return
        first = (step // self.config.update_interval) * self.config.frames_per_update
        frame_ids = (first + torch.arange(self.config.frames_per_update)) % self.grid.num_frames
        self.grid.update_frames(frame_ids.unique(), lambda centers, frame: self.may_be_dense(centers, frame, field))

    @torch.no_grad()
    def may_be_dense(self, centers: Tensor, frame_id: int, field: TemporalSDFField) -> Tensor:
        """Whether a cell may hold more optical depth than the threshold.

        A signed distance changes by at most the distance moved, so the density within a cell is at most the density at
        ``signed_distance(center) - cell_radius``.

        Args:
            centers: Cell centres ``(cells, 3)``.
            frame_id: Their frame.
            field: The field to ask.

        Returns:
            bool ``(cells,)``.
        """
        frames = FrameBatch.from_ids(torch.tensor([frame_id], device=centers.device))
        result = []
        for chunk in centers.split(POINTS_PER_CHUNK):
            signed_distance = field.geometry(chunk[None], frames)[0][0, :, 0]
            bound = field.density(signed_distance - self.grid.cell_radius)
            result.append(bound * self.grid.cell_size.max() > self.config.density_threshold)
        return torch.cat(result)

    def carve_visual_hull(self, datamanager: DynamicDataManager) -> None:
        """Empties for good every cell that some image of its frame shows to be background."""
        dataset = datamanager.train_dataset
        cameras = dataset.cameras
        assert cameras.times is not None
        frame_ids = frame_ids_from_times(cameras.times[:, 0].cpu(), dataset.metadata["frame_times"])
        centers = self.grid.cell_centers()
        radius = float(self.grid.cell_radius)
        with late_progress("Carving the visual hull", len(dataset)) as advance:
            for index in range(len(dataset)):
                mask = datamanager.train_foreground_mask(index)
                camera = cameras[index].to(centers.device)
                keep = cells_inside_silhouette(camera, mask.to(centers.device), centers, radius)
                self.grid.carve(int(frame_ids[index]), keep)
                advance()
