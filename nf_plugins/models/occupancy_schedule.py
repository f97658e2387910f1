"""When and how a model's occupancy is carved, refreshed and asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import PrintableConfig
from torch import Tensor

from nf_plugins.data.parallel import late_progress
from nf_plugins.field_components.frame_times import frame_ids_from_times
from nf_plugins.model_components.occupancy_cache import OccupancyCache
from nf_plugins.model_components.occupied_space import occupied_range
from nf_plugins.model_components.probed_occupancy import BoundedDensity
from nf_plugins.model_components.temporal_occupancy import CARVED, OCCUPIED, TemporalOccupancyGrid
from nf_plugins.model_components.visual_hull import cells_inside_silhouette

if TYPE_CHECKING:
    from nf_plugins.data.dynamic_datamanager import DynamicDataManager


# Frozen, so that it can be the plain default of a config field, which configs saved without it fall back to.
@dataclass(frozen=True)
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


@dataclass(frozen=True)
class TrainingOccupancyConfig(OccupancyScheduleConfig):
    """Skipping of empty space in training, for methods that look at all of their box unless told otherwise."""

    enabled: bool = False
    """Whether rays are cut, in training and in rendering, to where the occupancy says that something can be."""
    visual_hull: bool = False
    """Whether the masks' visual hull carves the grid before step 0 (needs masks; wrong masks carve away the scene)."""
    start_step: int = 1500
    """Step from which the density empties cells; before it everything counts as occupied."""


class OccupancySchedule:
    """Drives a :class:`TemporalOccupancyGrid`; holds no state of its own, all follows from the step and the grid.

    Args:
        config: Schedule.
        grid: The grid to drive.
    """

    def __init__(self, config: OccupancyScheduleConfig, grid: TemporalOccupancyGrid) -> None:
        self.config = config
        self.grid = grid

    def occupied_segments(
        self, ray_bundle: RayBundle, coordinates: Tensor, explore: bool, num_segments: int | None = None
    ) -> Tensor:
        """Which of equal segments of each ray are occupied, by the state at their middle.

        Between two frames a segment is occupied when it is in either of them.

        Args:
            ray_bundle: Rays ``(R,)`` with nears and fars.
            coordinates: Fractional frame index of each ray ``(R,)``.
            explore: Lets the configured share of rays, chosen at random, see emptied cells too.
            num_segments: N; None is twice the grid's resolution.

        Returns:
            bool ``(R, N)``; all False for rays that miss the box.
        """
        assert ray_bundle.nears is not None and ray_bundle.fars is not None
        num_segments = num_segments or 2 * self.grid.resolution
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

    def before_step(self, step: int, datamanager: DynamicDataManager, density: BoundedDensity | None) -> None:
        """Carves at step 0, then looks at some frames every ``update_interval`` steps.

        Args:
            step: Training step.
            datamanager: Has the masks.
            density: What empties cells; without it, for a density that has no bound, only the masks do.
        """
        has_masks = datamanager.train_dataset.metadata.get("fg_mask_filenames") is not None
        if step == 0 and self.config.visual_hull and has_masks:
            self.carve_visual_hull(datamanager)
        if step < self.config.start_step or step % self.config.update_interval or density is None:
            return
        first = (step // self.config.update_interval) * self.config.frames_per_update
        frame_ids = (first + torch.arange(self.config.frames_per_update)) % self.grid.num_frames
        self.grid.update_frames(
            frame_ids.unique(),
            lambda centers, frame: self.may_be_dense(centers, frame, density),
            spread=int(density.spreads),
        )

    @torch.no_grad()
    def may_be_dense(self, centers: Tensor, frame_id: int, density: BoundedDensity) -> Tensor:
        """Whether a cell may hold more optical depth than the threshold.

        Args:
            centers: Cell centres ``(cells, 3)``.
            frame_id: Their frame.
            density: Bounds the density over a cell.

        Returns:
            bool ``(cells,)``.
        """
        bound = density.density_bound(centers, frame_id, float(self.grid.cell_radius))
        return bound * self.grid.cell_size.max() > self.config.density_threshold

    def carve_visual_hull(self, datamanager: DynamicDataManager) -> None:
        """Empties for good every cell that some image of its frame shows to be background."""
        dataset = datamanager.train_dataset
        cameras = dataset.cameras
        if cameras.times is None:
            frame_ids = torch.zeros(len(dataset), dtype=torch.long)
        else:
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


def training_schedule(config: OccupancyScheduleConfig, box: Tensor, num_frames: int) -> OccupancySchedule | None:
    """A schedule with a grid over a box ``(2, 3)``, scene units; None where it is not enabled."""
    if not config.enabled:
        return None
    return OccupancySchedule(config, TemporalOccupancyGrid(box, num_frames, config.resolution))


def occupied_segments(
    schedule: OccupancySchedule | None,
    cache: OccupancyCache | None,
    ray_bundle: RayBundle,
    coordinates: Tensor,
    *,
    training: bool,
) -> Tensor | None:
    """Which of equal segments of rays are occupied, by what was learnt in training and, in rendering, by a cache.

    Args:
        schedule: Of the training, where there is one.
        cache: Of the trained model, where there is one.
        ray_bundle: Rays ``(R,)`` with nears and fars.
        coordinates: Fractional frame index of each ray ``(R,)``.
        training: Lets rays explore, and ignores the cache.

    Returns:
        bool ``(R, N)``, with two segments to a cell along the longest axis; None where nothing tells.
    """
    cache = None if training else cache
    counts = [] if cache is None else [2 * max(cache.resolution)]
    if schedule is not None:
        counts.append(2 * schedule.grid.resolution)
    if not counts:
        return None
    found = []
    if schedule is not None:
        found.append(schedule.occupied_segments(ray_bundle, coordinates, explore=training, num_segments=max(counts)))
    if cache is not None:
        assert ray_bundle.nears is not None and ray_bundle.fars is not None
        bounds = ray_bundle.nears, ray_bundle.fars
        found.append(
            cache.segments(
                ray_bundle.origins, ray_bundle.directions, *bounds, coordinates=coordinates, num_segments=max(counts)
            )
        )
    return torch.stack(found).all(0)


def cut_to_occupied(
    schedule: OccupancySchedule,
    ray_bundle: RayBundle,
    bounds: tuple[Tensor, Tensor],
    coordinates: Tensor,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cuts rays to the part between their first and their last occupied segment.

    Args:
        schedule: Of the training.
        ray_bundle: Rays ``(R,)``, which stays as it is.
        bounds: Near and far ray distance ``(R, 1)``.
        coordinates: Fractional frame index of each ray ``(R,)``.
        training: Lets rays explore.

    Returns:
        Near and far ``(R, 1)``, and which rays have an occupied segment, bool ``(R,)``; near and far of the others are
        the near that was given.
    """
    near, far = bounds
    rays = RayBundle(ray_bundle.origins, ray_bundle.directions, ray_bundle.pixel_area, nears=near, fars=far)
    occupied = occupied_segments(schedule, None, rays, coordinates, training=training)
    assert occupied is not None
    return (*occupied_range(occupied, near, far), occupied.any(1))
