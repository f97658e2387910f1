"""The frame that the scene of a monocular video is brought into, and whether normalised device coordinates suit it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data.scene_frame import SceneFrame
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError
from nf_plugins.model_components.ndc import LEAST_SLOPE

Space = Literal["ndc", "contracted"]
NEAR_BOUND_PERCENTILE = 5
LEAST_AGREEMENT = 0.1
"""Of viewing and up axes: cameras whose mean axes span less than this share of a square have no average direction."""
LEAST_BASELINE = 1e-3
"""Cameras that move by less, as a part of the nearest depth, stand still for all purposes."""


def scene_frame(
    camera_to_worlds: NDArray[np.float64], bounds: NDArray[np.float64], space: Space, bd_factor: float
) -> SceneFrame:
    """The frame in which the average pose is the identity (as LLFF's loader centres poses).

    Where cameras look all around and have no average direction, that is for "contracted" the mean place with the
    rotation of the camera in the middle of the video.

    "ndc": scaled so that nearly everything lies behind a near plane at distance 1. "contracted": so that half of the
    range of disparity between the median bounds lies within distance 1, where a contraction leaves space as it is.

    Args:
        camera_to_worlds: (N, 3, 4), OpenGL axes, world units.
        bounds: (N, 2), near and far depth, world units.
        space: Coordinates of the model.
        bd_factor: With "ndc" the 5th percentile of the near bounds comes to lie at 1 / ``bd_factor``.

    Raises:
        InputError: With "ndc", cameras that look in opposite directions.
    """
    one_way = space == "ndc" or _look_one_way(camera_to_worlds)
    average = average_pose(camera_to_worlds) if one_way else _middle_pose(camera_to_worlds)
    if space == "ndc":
        scale = 1 / near_distance(bounds, bd_factor)
    else:
        scale = float((1 / np.median(bounds, axis=0)).mean())
    return SceneFrame(average[:, :3].T, -average[:, :3].T @ average[:, 3], float(scale))


def near_distance(bounds: NDArray[np.float64], bd_factor: float) -> float:
    """Where sampling begins, in the units of bounds (N, 2): ``bd_factor`` of the 5th percentile of the near ones."""
    return bd_factor * float(np.percentile(bounds[:, 0], NEAR_BOUND_PERCENTILE))


def average_pose(camera_to_worlds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pose (3, 4) in the middle of poses (N, 3, 4): their mean centre, summed viewing and summed up axes."""
    back = _unit(camera_to_worlds[:, :, 2].sum(axis=0))
    right = _unit(np.asarray(np.cross(camera_to_worlds[:, :, 1].sum(axis=0), back), dtype=np.float64))
    centre = camera_to_worlds[:, :, 3].mean(axis=0)
    return np.stack([right, np.cross(back, right), back, centre], axis=-1)


def require_forward_facing(camera_to_worlds: NDArray[np.float64], lens: Lens, source: Path) -> None:
    """Every pixel of every camera (N, 3, 4), scene units, looks along -z, as normalised device coordinates need it.

    Raises:
        InputError: A corner of an image looks sideways or backwards.
    """
    slopes = -(_corner_rays(lens) @ camera_to_worlds[:, 2, :3].T)  # corners, cameras
    worst = int(np.argmin(slopes.min(axis=0)))
    if slopes.min() < LEAST_SLOPE:
        angle = np.rad2deg(np.arccos(np.clip(slopes[:, worst].min(), -1, 1)))
        raise InputError(
            f"Camera {worst} of the selected ones of {source} has a pixel that looks {angle:.0f} degrees away from the "
            "average viewing direction, expected less than 90: this video does not face one way. Use --space "
            "contracted, or select fewer frames that do (--start-frame, --end-frame)."
        )


def warn_of_cameras_beyond_near_plane(camera_to_worlds: NDArray[np.float64], source: Path) -> None:
    """Says so when cameras (N, 3, 4), scene units of normalised device coordinates, have moved past the near plane."""
    depths = -camera_to_worlds[:, 2, 3]
    beyond = int((depths > 1).sum())
    if beyond:
        CONSOLE.print(
            f"[yellow]{beyond} of the selected cameras of {source} lie beyond the near plane, by up to "
            f"{depths.max() - 1:.2g} of its distance: the camera moves forwards, and what it passed has no place in "
            "normalised device coordinates. Use --space contracted, or fewer frames (--start-frame, --end-frame).",
            soft_wrap=True,
        )


def warn_of_standing_camera(
    camera_to_worlds: NDArray[np.float64], bounds: NDArray[np.float64], source: Path, *, has_depth: bool
) -> None:
    """Says so when the cameras (N, 3, 4) hardly move: then nothing but given depth tells how far away things are."""
    centres = camera_to_worlds[:, :, 3]
    baseline = np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()
    if baseline < LEAST_BASELINE * np.median(bounds[:, 0]):
        so = (
            "so shape comes from disp/ alone."
            if has_depth
            else "and there is no disp/, so nothing gives the shape: estimate depth, or film with a camera that moves."
        )
        CONSOLE.print(
            f"[yellow]The camera of {source} moves by {baseline:.2g} at a nearest depth of "
            f"{np.median(bounds[:, 0]):.2g}: it turns on the spot or stands still, {so}",
            soft_wrap=True,
        )


def scene_box(
    frame: SceneFrame,
    camera_to_worlds: NDArray[np.float64],
    bounds: NDArray[np.float64],
    lens: Lens,
    space: Space,
) -> NDArray[np.float64]:
    """The box (2, 3), scene units: around what all cameras see between near and far, or [-1, 1]^3 for a contraction."""
    if space == "contracted":
        return np.array([[-1.0] * 3, [1.0] * 3])
    rays = _corner_rays(lens)
    poses = frame.poses(camera_to_worlds)
    rays = rays / -rays[:, 2:]
    directions = np.einsum("nij,cj->nci", poses[:, :, :3], rays)
    depths = frame.scale * bounds
    points = poses[:, None, None, :, 3] + depths[:, :, None, None] * directions[:, None]
    points = points.reshape(-1, 3)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _corner_rays(lens: Lens) -> NDArray[np.float64]:
    """Unit directions (4, 3) of the image's corners, OpenGL camera axes."""
    x = (np.array([0.0, lens.width, 0.0, lens.width]) - lens.cx) / lens.fx
    y = (np.array([0.0, 0.0, lens.height, lens.height]) - lens.cy) / lens.fy
    rays = np.stack([x, -y, -np.ones(4)], axis=-1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _look_one_way(camera_to_worlds: NDArray[np.float64]) -> bool:
    mean = camera_to_worlds.mean(axis=0)
    return bool(np.linalg.norm(np.cross(mean[:, 1], mean[:, 2])) > LEAST_AGREEMENT)


def _middle_pose(camera_to_worlds: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = camera_to_worlds[len(camera_to_worlds) // 2]
    return np.column_stack([middle[:, :3], camera_to_worlds[:, :, 3].mean(axis=0)])


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vector)
    if length < 1e-9:
        raise InputError(
            "The cameras look in opposite directions, expected a video that faces one way: use --space contracted."
        )
    return vector / length
