"""Where the subject of a capture is: a box from foreground masks, from points, or from what all cameras see.

The box decides where rays are sampled and, with it, how finely an occupancy grid divides the scene; it must hold the
subject at all times. The functions that estimate a box add no margin; ``choose_box`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.data import transforms_json as tj
from nf_plugins.data.multi_view import point_nearest_to_axes
from nf_plugins.data.parallel import threaded_map
from nf_plugins.data.scene_frame import rotated_box
from nf_plugins.data.subject_box import hull_box
from nf_plugins.errors import InputError

MOST_TIMES = 10
MOST_IMAGES = 40
"""For every image of a hull all cells are looked at, several times."""
LEAST_SPREAD_DEGREES = 3.0

BoxSource = Literal["auto", "file", "masks", "points", "cameras"]
ReadMask = Callable[[int], NDArray[np.bool_]]


@dataclass(frozen=True)
class BoxRule:
    """Where a capture's scene box comes from."""

    source: BoxSource = "auto"
    """"auto": the first of the others that is there."""
    aabb: tuple[float, ...] | None = None
    """The box itself, in the poses' coordinates; goes before everything else."""
    margin: float = 0.05
    """Added on every side of a box that is estimated, as a part of its longest side."""


def choose_box(
    rule: BoxRule,
    transforms: tj.TransformsFile,
    *,
    rotation: NDArray[np.float64],
    cameras: Cameras,
    frame_ids: NDArray[np.int64],
    train: Sequence[int],
    read_mask: ReadMask | None,
) -> tuple[NDArray[np.float64], str]:
    """The scene box along the scene's axes, and what it comes from in words.

    Args:
        transforms: The capture's file; may hold ``scene_aabb`` and ``ply_file_path``.
        rotation: (3, 3), from the poses' axes to the scene's.
        cameras: (N,) of all splits, turned by it.
        frame_ids: (N,).
        train: Which images train; masks of others are not looked at.
        read_mask: Gives the foreground of an image by its index; None without masks.

    Raises:
        InputError: What is asked for is not there, or nothing that is there says where the subject is.
    """
    if rule.aabb is not None:
        return rotated_box(tj.require_aabb(rule.aabb, "--scene-aabb"), rotation), "--scene-aabb"
    ply = transforms.contents.get("ply_file_path")
    there = {"file": transforms.contents.get("scene_aabb"), "masks": read_mask, "points": ply}
    names = {"file": "scene_aabb", "masks": "foreground masks", "points": "ply_file_path"}
    if rule.source in there and there[rule.source] is None:
        raise InputError(
            f"{transforms.path} has no {names[rule.source]}, expected them with --scene-box-from {rule.source}."
        )
    wanted = ("file", "masks", "points", "cameras") if rule.source == "auto" else (rule.source,)
    given = tj.scene_aabb_of_file(transforms) if "file" in wanted else None
    if given is not None:
        return rotated_box(given, rotation), "scene_aabb"
    box, words = None, ""
    if "masks" in wanted and read_mask is not None:
        chosen = cameras[torch.tensor(train)]
        box = box_from_masks(chosen, frame_ids[list(train)], lambda index: read_mask(train[index]))
        words = "the masks"
    if box is None and "points" in wanted and ply is not None:
        points = read_points(transforms.path.parent / str(ply))
        box, words = box_from_points(points @ rotation.T), "ply_file_path"
    if box is None and "cameras" in wanted:
        box, words = box_from_cameras(cameras), "what the cameras look at"
    if box is None:
        raise InputError(
            f"No scene box follows from {transforms.path}: its cameras look in one direction, or past each other. Give "
            "it: --scene-aabb xmin ymin zmin xmax ymax zmax, or scene_aabb in the file, in the poses' coordinates."
        )
    margin = rule.margin * float((box[1] - box[0]).max())
    return np.stack([box[0] - margin, box[1] + margin]), words


def box_from_masks(cameras: Cameras, frame_ids: NDArray[np.int64], read_mask: ReadMask) -> NDArray[np.float64] | None:
    """The box around the visual hulls of some times.

    With one view at a time, or where masks and poses contradict each other so that hulls are empty: the rays through
    the masks' centroids pass near the subject, and the masks' sizes say how large it is.

    Args:
        cameras: (N,), the training cameras.
        frame_ids: (N,).
        read_mask: Gives the foreground (H, W) of an image by its index, at the cameras' size.

    Returns:
        (2, 3); None where no box follows: the masks are empty, or all views look in one direction.
    """
    wanted, together = _images_to_look_at(frame_ids)
    masks = threaded_map(read_mask, wanted, "Reading masks")
    filled = [(index, mask) for index, mask in zip(wanted, masks, strict=True) if mask.any()]
    # The hull's projection knows perspective cameras alone; the cones come from nerfstudio's rays.
    is_perspective = bool((cameras.camera_type == CameraType.PERSPECTIVE.value).all())
    if together and filled and is_perspective:
        indices = [index for index, _ in filled]
        tensors = [torch.from_numpy(mask) for _, mask in filled]
        box = hull_box(cameras[torch.tensor(indices)], tensors, frame_ids[indices].tolist())
        if box is not None:
            return box.double().numpy()
    box = _box_of_cones([_MaskCone(cameras[index], mask) for index, mask in filled])
    return None if box is None else box.double().numpy()


def box_from_points(points: NDArray) -> NDArray[np.float64]:
    """The box (2, 3) that holds the middle 98 % of points (N, 3) along each axis, so that stray ones do not count."""
    return np.percentile(np.asarray(points, dtype=np.float64), [1, 99], axis=0)


def box_from_cameras(cameras: Cameras) -> NDArray[np.float64] | None:
    """A cube around the point that the cameras look at, as large as the sphere that a typical camera sees whole.

    Returns:
        (2, 3); None where the cameras look in nearly one direction, or past each other.
    """
    poses = cameras.camera_to_worlds
    centre = point_nearest_to_axes(poses)
    offsets = centre - poses[:, :, 3]
    forward = -poses[:, :, 2]
    ahead = (offsets * forward).sum(-1) > 0
    if _spread_degrees(forward) < LEAST_SPREAD_DEGREES or float(ahead.float().mean()) < 0.5:
        return None
    half_sizes = torch.cat([cameras.width / cameras.fx, cameras.height / cameras.fy], dim=-1).amin(-1) / 2
    radii = offsets.norm(dim=-1) * torch.sin(torch.atan(half_sizes))
    return torch.stack([centre - radii[ahead].median(), centre + radii[ahead].median()]).double().numpy()


def read_points(path: Path) -> NDArray[np.float64]:
    """The points (N, 3) of a .ply file.

    Raises:
        InputError: It cannot be read or holds none.
    """
    import trimesh

    if not path.is_file():
        raise InputError(f"The point cloud {path} does not exist, expected the file that ply_file_path names.")
    try:
        points = np.asarray(trimesh.load(path).vertices, dtype=np.float64)  # type: ignore[union-attr]
    except Exception as error:  # a damaged file may fail in any way
        raise InputError(f"The point cloud {path} cannot be read ({error}), expected a .ply file.") from error
    points = points[np.isfinite(points).all(axis=-1)] if points.ndim == 2 else points[:0]
    if len(points) == 0:
        raise InputError(f"The point cloud {path} holds no points, expected some: remove ply_file_path without any.")
    return points


class _MaskCone:
    """The rays of one camera (batch shape ``()``) around the rectangle of its mask."""

    def __init__(self, camera: Cameras, mask: NDArray[np.bool_]) -> None:
        rows, columns = np.nonzero(mask)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        middle = (rows.mean() + 0.5, columns.mean() + 0.5)
        places = [middle, (top, left), (top, right), (bottom, left), (bottom, right)]
        coords = torch.tensor([[float(row), float(column)] for row, column in places])
        rays = camera.reshape((1,)).generate_rays(torch.zeros(5, 1, dtype=torch.long), coords=coords)
        self.position = camera.camera_to_worlds[:, 3]
        self.direction = rays.directions[0]
        """Through the centroid of the mask."""
        # Scaled to advance by 1 along the central ray.
        self.corners = rays.directions[1:] / (rays.directions[1:] @ self.direction).clamp_min(0.05)[:, None]


def _images_to_look_at(frame_ids: NDArray[np.int64]) -> tuple[list[int], bool]:
    """Positions of images, evenly spread over the times, and whether they come in groups that share a time."""
    frames, counts = np.unique(frame_ids, return_counts=True)
    together = frames[counts >= 2]
    if len(together) == 0:
        return _spread(range(len(frame_ids)), MOST_IMAGES), False
    chosen = _spread(together.tolist(), MOST_TIMES)
    groups = [np.flatnonzero(frame_ids == frame).tolist() for frame in chosen]
    return [index for group in groups for index in _spread(group, MOST_IMAGES // len(chosen))], True


def _spread(items: Sequence[int], number: int) -> list[int]:
    """At most ``number`` of the items, evenly spread, first and last included."""
    places = np.unique(np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int))
    return [int(items[place]) for place in places]


def _box_of_cones(cones: list[_MaskCone]) -> Tensor | None:
    """The box around what lies in the cones about as far away as the point where they meet; None where they do not."""
    if len(cones) < 2:
        return None
    directions = torch.stack([cone.direction for cone in cones])
    positions = torch.stack([cone.position for cone in cones])
    if _spread_degrees(directions) < LEAST_SPREAD_DEGREES:
        return None
    axes = torch.cat([torch.zeros(len(cones), 3, 2), directions[..., None], positions[..., None]], dim=-1)
    offsets = point_nearest_to_axes(axes) - positions
    distances = (offsets * directions).sum(-1)
    if float((distances > 0).float().mean()) < 0.5:
        return None
    corners = torch.stack([cone.corners for cone in cones])
    # The subject is as deep as it is wide, and it moves towards a camera as much as it does across.
    half_sizes = distances * (corners - directions[:, None]).norm(dim=-1).amax(-1)
    misses = torch.linalg.cross(offsets, directions).norm(dim=-1)
    reach = half_sizes.median() + misses.max()
    points = [
        positions[:, None] + depth[:, None, None] * corners
        for depth in ((distances - reach).clamp_min(0), distances + reach)
    ]
    seen = torch.cat(points, dim=1)[distances > 0].reshape(-1, 3)
    return torch.stack([seen.amin(0), seen.amax(0)])


def _spread_degrees(directions: Tensor) -> float:
    """Largest angle between unit vectors (N, 3) and their mean."""
    mean = torch.nn.functional.normalize(directions.mean(dim=0), dim=0)
    return float(torch.rad2deg(torch.arccos((directions @ mean).clamp(-1, 1))).max())
