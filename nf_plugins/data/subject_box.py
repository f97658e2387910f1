"""Where the subject of a capture is: a box in the cameras' world, and the scene units that follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.data.multi_view import point_nearest_to_axes
from nf_plugins.data.parallel import late_progress
from nf_plugins.model_components.visual_hull import cells_inside_silhouette, project_points

HULL_RESOLUTION = 48
MOST_ROUNDS = 6
ENOUGH_SHRINKING = 0.9
"""The search ends when the box keeps more than this part of its volume."""
SHARES_OF_VIEWS = (1.0, 0.75)
"""What part of a time's cameras has to see a place; the next is tried where one leaves nothing."""
LARGEST_MASK = 192
"""Pixels along the longer side to which masks are reduced for the hull."""


def box_around(points: Tensor, padding: float) -> Tensor:
    """The box (2, 3) around points (*batch, 3), NaN left out, widened by ``padding`` on every side.

    Raises:
        ValueError: No point is finite.
    """
    points = points.reshape(-1, 3)
    points = points[torch.isfinite(points).all(dim=-1)]
    if not len(points):
        raise ValueError("there are no points to put a box around")
    return torch.stack([points.amin(0) - padding, points.amax(0) + padding])


def hull_box(cameras: Cameras, masks: Sequence[Tensor], frames: Sequence[int]) -> Tensor | None:
    """The box around the visual hulls of several times.

    A place counts where all of a time's cameras see it as foreground. Where that leaves nothing, because the subject
    reaches beyond some images, three quarters of them suffice if none that sees the place calls it background. The
    search starts in the cube that reaches to the cameras, around the point nearest to all optical axes, and is repeated
    in the box that it found.

    Args:
        cameras: (N), full-size images.
        masks: N foreground masks (H, W), bool.
        frames: The time of each image.

    Returns:
        (2, 3) in the cameras' units, or None where the masks leave nothing.
    """
    small = [_reduced(camera, mask) for camera, mask in zip(_each(cameras), masks, strict=True)]
    centre = point_nearest_to_axes(cameras.camera_to_worlds)
    reach = (cameras.camera_to_worlds[:, :, 3] - centre).norm(dim=-1).median()
    everything = torch.stack([centre - reach, centre + reach])
    times = [[view for view, own in zip(small, frames, strict=True) if own == time] for time in sorted(set(frames))]
    for share in SHARES_OF_VIEWS:
        box: Tensor | None = everything
        with late_progress("Finding the subject", MOST_ROUNDS) as advance:
            for _ in range(MOST_ROUNDS):
                before, box = box, _occupied_box(box, times, share)
                advance()
                if box is None or (box[1] - box[0]).prod() > ENOUGH_SHRINKING * (before[1] - before[0]).prod():
                    break
        if box is not None:
            return box
    return None


def _occupied_box(box: Tensor, times: Sequence[Sequence[tuple[Cameras, Tensor]]], share: float) -> Tensor | None:
    """The box around what the hulls of all times fill of a box; None where they leave it empty."""
    cell = (box[1] - box[0]) / HULL_RESOLUTION
    axes = [box[0, i] + cell[i] * (torch.arange(HULL_RESOLUTION) + 0.5) for i in range(3)]
    centers = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    kept = torch.cat([_hull(views, centers, float(cell.norm()) / 2, share) for views in times])
    if not len(kept):
        return None
    return torch.stack([kept.amin(0) - cell / 2, kept.amax(0) + cell / 2])


def scene_units(box: Tensor) -> tuple[Tensor, Tensor]:
    """The similarity that puts a box into the unit sphere.

    Args:
        box: (2, 3), world units.

    Returns:
        ``world_from_scene`` (4, 4), a scale and a translation, and the box in scene units (2, 3), whose corners lie on
        the unit sphere.
    """
    centre, radius = box.mean(0), (box[1] - box[0]).norm() / 2
    world_from_scene = torch.eye(4)
    world_from_scene[:3, :3] *= radius
    world_from_scene[:3, 3] = centre
    return world_from_scene, (box - centre) / radius


def _hull(views: Sequence[tuple[Cameras, Tensor]], centers: Tensor, radius: float, share: float) -> Tensor:
    """Those of the cells (N, 3) that may be foreground in every view that sees them, and are seen by a share of the
    views, at least two."""
    unseen = torch.zeros(len(centers), dtype=torch.long)
    most_unseen = len(views) - max(2, math.ceil(share * len(views)))
    for camera, mask in views:
        x, y, depth = project_points(camera, centers)
        sees = (depth > 2 * radius) & (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
        unseen += ~sees
        inside = cells_inside_silhouette(camera, mask, centers, radius, beyond_border=False)
        kept = inside & (unseen <= most_unseen)
        centers, unseen = centers[kept], unseen[kept]
    return centers


def _reduced(camera: Cameras, mask: Tensor) -> tuple[Cameras, Tensor]:
    """A small image's camera and mask; a pixel is foreground where any part of it was."""
    factor = math.ceil(max(mask.shape) / LARGEST_MASK)
    reduced = torch.nn.functional.max_pool2d(mask[None, None].float(), factor, ceil_mode=True)[0, 0] > 0
    small = Cameras(
        camera.camera_to_worlds[None],
        camera.fx[None] / factor,
        camera.fy[None] / factor,
        camera.cx[None] / factor,
        camera.cy[None] / factor,
        reduced.shape[1],
        reduced.shape[0],
        distortion_params=None if camera.distortion_params is None else camera.distortion_params[None],
    )
    return small[0], reduced


def _each(cameras: Cameras) -> list[Cameras]:
    return [cameras[index] for index in range(len(cameras))]
