"""Computes which cells of every frame's box a trained model fills."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.model_digest import model_digest
from nf_plugins.exporters.occupancy_files import frame_times_of, world_scale
from nf_plugins.field_components.frame_times import frame_ids_from_times
from nf_plugins.model_components.density_lattice import COARSE_THRESHOLD, active_cells, cell_maxima, dilated
from nf_plugins.model_components.occupancy_cache import OccupancyCache
from nf_plugins.model_components.visual_hull import cells_inside_silhouette

OPTICAL_DEPTH = 0.01
"""Across a cell: where a method does not say what density counts, less than this is empty."""
Resolution = tuple[int, int, int]


@dataclass(frozen=True)
class GridOptions:
    """Of the cells of a frame."""

    resolution: Resolution = (128, 128, 128)
    """Along x, y and z of the frame's box."""
    dilate: int = 0
    """Neighbours that count as occupied too, in cells along each axis."""
    skip_empty: bool = False
    """Look only near what a lattice four times as coarse finds."""
    points_per_chunk: int = 1 << 16
    """Points of one call of the network."""


def chosen_frames(frames: Sequence[int], count: int) -> list[int]:
    """Training frames of ``first, last, stride``; both ends belong to them, and -1 is the last frame.

    Raises:
        InputError: Which of the numbers is wrong.
    """
    if len(frames) != 3:
        raise InputError(f"--frames has {len(frames)} numbers, expected FIRST LAST STRIDE.")
    first, last, stride = frames
    last = count - 1 if last == -1 else last
    if not (0 <= first <= last < count) or stride < 1:
        raise InputError(
            f"--frames {' '.join(map(str, frames))}: the run has {count} training frames, expected "
            f"0 <= FIRST <= LAST <= {count - 1} (or LAST -1) and STRIDE at least 1."
        )
    return list(range(first, last + 1, stride))


def check_resolution(resolution: Sequence[int]) -> None:
    """Refuses numbers of cells that cannot be.

    Raises:
        InputError: Which.
    """
    if len(resolution) != 3 or min(resolution) < 2 or math.prod(resolution) > 1 << 31:
        raise InputError(
            f"--resolution {' '.join(map(str, resolution))}: expected three numbers of cells, at least 2 each and "
            "2147483648 in all at most."
        )


def raw_to_density(raw: float) -> float:
    """Density per world unit of what Im4D's network gives before its activation: ``exp(raw - 1)``."""
    return math.exp(raw - 1)


def density_threshold(model: Any, resolution: Resolution, per_world_unit: float | None = None) -> float:
    """Density per scene unit above which a cell is occupied.

    Args:
        model: Its ``default_density_threshold`` counts unless another is given.
        resolution: Cells along each axis, for methods that go by the optical depth of a cell.
        per_world_unit: The threshold, per world unit.
    """
    wanted = model.default_density_threshold if per_world_unit is None else per_world_unit
    if wanted is not None:
        return wanted * world_scale(model.metadata)
    box = model.frame_box(0.0).cpu()
    return OPTICAL_DEPTH / float(((box[1] - box[0]) / torch.tensor(resolution)).max())


@torch.no_grad()
def frame_maxima(
    model: Any, frame_id: int, options: GridOptions, threshold: float, on_plane: Callable[[], None] | None = None
) -> tuple[Tensor, Tensor]:
    """The greatest density found in every cell at a frame ``(X, Y, Z)``, and the frame's box ``(2, 3)``.

    Args:
        model: In evaluation mode.
        frame_id: Training frame.
        options: Of the cells; ``dilate`` is left to the caller.
        threshold: The lowest that will be asked for, where empty space is skipped; per scene unit.
        on_plane: Called after each of the ``2 X + 1`` planes of probes.

    Raises:
        InputError: The method has no volume density.
    """
    time = float(frame_times_of(model)[frame_id])
    box = model.frame_box(time).detach()

    def density(points: Tensor) -> Tensor:
        return model.density_at(points, time)

    active = None
    if options.skip_empty:
        active = active_cells(density, box, options.resolution, COARSE_THRESHOLD * threshold, options.points_per_chunk)
    maxima = cell_maxima(
        density, box, options.resolution,
        points_per_chunk=options.points_per_chunk, active=active, on_plane=on_plane,
    )  # fmt: skip
    return maxima.cpu(), box.cpu()


def cache_of_maxima(
    model: Any,
    frame_ids: Sequence[int],
    maxima: Sequence[tuple[Tensor, Tensor]],
    threshold: float,
    *,
    tag: str,
    dilate: int = 0,
) -> OccupancyCache:
    """The cache of a threshold, given what :func:`frame_maxima` found at each frame."""
    grids = torch.stack([dilated(values > threshold, dilate) for values, _ in maxima])
    boxes = torch.stack([box for _, box in maxima])
    return OccupancyCache.from_grids(
        grids, boxes, frame_ids, tag=tag, density_threshold=threshold, checkpoint=model_digest(model)
    )


def bake_field(
    model: Any,
    frame_ids: Sequence[int],
    options: GridOptions,
    threshold: float,
    *,
    tag: str,
    on_frame: Callable[[], None] | None = None,
) -> OccupancyCache:
    """The cache of what a model's density fills, frame by frame, packed as it goes.

    Raises:
        InputError: The method has no volume density.
    """

    def cells(frame_id: int) -> tuple[Tensor, Tensor]:
        maxima, box = frame_maxima(model, frame_id, options, threshold)
        return dilated(maxima > threshold, options.dilate), box

    return _pack(model, frame_ids, cells, threshold=threshold, tag=tag, on_frame=on_frame)


def bake_masks(
    model: Any,
    datamanager: Any,
    frame_ids: Sequence[int],
    options: GridOptions,
    *,
    tag: str,
    on_frame: Callable[[], None] | None = None,
) -> OccupancyCache:
    """The cache of the visual hull of the training masks, which needs no trained model.

    Raises:
        InputError: The data has no masks.
    """
    dataset = datamanager.train_dataset
    if dataset.metadata.get("fg_mask_filenames") is None:
        raise InputError("--from masks needs data with masks; this has none.")
    cameras, frame_times = dataset.cameras, frame_times_of(model)
    ids = torch.zeros(len(dataset), dtype=torch.long)
    if cameras.times is not None:
        ids = frame_ids_from_times(cameras.times[:, 0].cpu(), frame_times)

    def cells(frame_id: int) -> tuple[Tensor, Tensor]:
        box = model.frame_box(float(frame_times[frame_id])).detach().cpu()
        size = (box[1] - box[0]) / torch.tensor(options.resolution)
        axes = [torch.arange(count) + 0.5 for count in options.resolution]
        centers = box[0] + torch.cartesian_prod(*axes) * size
        keep = torch.ones(len(centers), dtype=torch.bool)
        for index in (ids == frame_id).nonzero()[:, 0].tolist():
            mask = datamanager.train_foreground_mask(index).cpu()
            left = keep.nonzero()[:, 0]
            keep[left] = cells_inside_silhouette(cameras[index].to("cpu"), mask, centers[left], float(size.norm()) / 2)
        return dilated(keep.view(options.resolution), options.dilate), box

    return _pack(model, frame_ids, cells, threshold=0.0, tag=tag, on_frame=on_frame)


def bake_points(
    model: Any,
    files: Sequence[Path],
    frame_ids: Sequence[int],
    options: GridOptions,
    *,
    tag: str,
    on_frame: Callable[[], None] | None = None,
) -> OccupancyCache:
    """The cache of the cells that hold points, one file of world points for each frame.

    Raises:
        InputError: The numbers of files and frames differ, or a file holds no points in the frame's box.
    """
    if len(files) != len(frame_ids):
        raise InputError(f"--points-folder has {len(files)} files, --frames names {len(frame_ids)} frames: one each.")
    matrix = model.metadata.get("world_from_scene")
    world_from_scene = torch.eye(4, dtype=torch.float64) if matrix is None else torch.as_tensor(matrix).double().cpu()
    scene_from_world = torch.linalg.inv(world_from_scene)
    file_of = dict(zip(frame_ids, files, strict=True))
    times = frame_times_of(model)

    def cells(frame_id: int) -> tuple[Tensor, Tensor]:
        import trimesh

        box = model.frame_box(float(times[frame_id])).detach().cpu()
        loaded: Any = trimesh.load(file_of[frame_id], process=False)
        world = torch.as_tensor(loaded.vertices.copy(), dtype=torch.float64)
        points = (world @ scene_from_world[:3, :3].T + scene_from_world[:3, 3]).float()
        shape = torch.tensor(options.resolution)
        index = ((points - box[0]) / (box[1] - box[0]) * shape).floor().long()
        index = index[((index >= 0) & (index < shape)).all(-1)]
        if not len(index):
            raise InputError(
                f"{file_of[frame_id]} has no points in the box of frame {frame_id}, which is in {box.tolist()}."
            )
        grid = torch.zeros(options.resolution, dtype=torch.bool)
        grid[index[:, 0], index[:, 1], index[:, 2]] = True
        return dilated(grid, options.dilate), box

    return _pack(model, frame_ids, cells, threshold=0.0, tag=tag, on_frame=on_frame)


def _pack(
    model: Any,
    frame_ids: Sequence[int],
    cells: Callable[[int], tuple[Tensor, Tensor]],
    *,
    threshold: float,
    tag: str,
    on_frame: Callable[[], None] | None,
) -> OccupancyCache:
    parts: list[OccupancyCache] = []
    for frame_id in frame_ids:
        grid, box = cells(frame_id)
        parts.append(OccupancyCache.from_grids(grid[None], box[None], [frame_id]))
        if on_frame is not None:
            on_frame()
    return OccupancyCache(
        torch.cat([part.bits for part in parts]), parts[0].resolution, torch.cat([part.boxes for part in parts]),
        torch.tensor(list(frame_ids)), tag=tag, density_threshold=threshold, checkpoint=model_digest(model),
    )  # fmt: skip
