"""A smooth closed loop past some of the dataset's cameras, around the scene's origin: the novel views of IDR.

Yariv et al. (NeurIPS 2020) show their disentangled geometry and appearance along such a path.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.trajectories import distinct_cameras, perspective_cameras

PUBLISHED_VIEWS = (11, 16, 34, 28)
"""Cameras of a DTU scan that the path passes before it returns to the first."""
PUBLISHED_KNOTS = (0.0, 2.0, 3.0, 5.0, 6.0)
"""When it passes them, and when it is back."""
PUBLISHED_NUM_VIEWS = 35
"""So many cameras a scan needs for these views."""


def orbit_cameras(
    cameras: Cameras,
    times: Tensor,
    views: Sequence[int] | None = None,
    radius: tuple[float, float] = (3.8, 4.2),
    intrinsics_index: int = 0,
) -> Cameras:
    """A camera whose orientation passes through those of some views, always looking at the scene's origin.

    Orientations: a periodic cubic spline through the unit quaternions of the views, normalised again. Distance: the
    greatest at the first half of the views, the least at the others, by a monotone spline between them (the original's
    cubic one overshoots by half of the difference to either side). The first pose comes again as the last.

    Args:
        cameras: Dataset cameras.
        times: (N,); their number is the number of poses.
        views: Indices of the distinct cameras to pass, in order; None takes the published ones by their ``camera_id``
            where the cameras have one, the nearest of those that a split leaves out, or as many spread alike over
            fewer cameras. Four views are passed at the published times, others evenly.
        radius: Least and greatest distance from the origin, scene units.
        intrinsics_index: Dataset camera whose intrinsics are taken.

    Raises:
        InputError: if there is no such camera.
    """
    if not 0 <= intrinsics_index < len(cameras):
        raise InputError(f"--camera-index {intrinsics_index}: the split has {len(cameras)} cameras.")
    stations = distinct_cameras(cameras)
    if views is None:
        views = published_stations(stations)
    for view in views:
        if not 0 <= view < len(stations):
            raise InputError(f"--orbit-views {view}: the split has {len(stations)} cameras, expected 0 to its last.")
    if len(views) == 0:
        raise InputError("--orbit-views is empty, expected at least one camera.")
    knots = np.array(PUBLISHED_KNOTS) if len(views) == 4 else np.arange(len(views) + 1, dtype=np.float64)
    where = np.linspace(0.0, knots[-1], len(times))
    poses = stations.camera_to_worlds[torch.tensor(list(views))].double().cpu().numpy()
    rotations = closed_rotations(poses[:, :, :3], knots, where)
    far_first = np.where(np.arange(len(views)) < (len(views) + 1) // 2, radius[1], radius[0])
    # nerfstudio's cameras look along their negative third axis.
    positions = closed_distances(far_first, knots, where)[:, None] * rotations[:, :, 2]
    moved = np.concatenate([rotations, positions[:, :, None]], axis=-1)
    like = cameras[intrinsics_index : intrinsics_index + 1]
    return perspective_cameras(like, torch.from_numpy(moved).float(), times)


def published_stations(stations: Cameras) -> list[int]:
    """Indices of the cameras with the published numbers, or nearest to them; see :func:`published_views` without."""
    numbers = (stations.metadata or {}).get("camera_id")
    if numbers is None or int(numbers.max()) < PUBLISHED_NUM_VIEWS - 1:
        return published_views(len(stations))
    return [int((numbers.flatten() - view).abs().argmin()) for view in PUBLISHED_VIEWS]


def published_views(num_views: int) -> list[int]:
    """The published views of a scan, or those at the same places among fewer cameras."""
    if num_views >= PUBLISHED_NUM_VIEWS:
        return list(PUBLISHED_VIEWS)
    return [round(view * (num_views - 1) / (PUBLISHED_NUM_VIEWS - 1)) for view in PUBLISHED_VIEWS]


def closed_rotations(
    rotations: NDArray[np.float64], knots: NDArray[np.float64], where: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rotations (N, 3, 3) of a smooth loop through rotations (V, 3, 3).

    Args:
        rotations: At the knots but the last, where the first comes again.
        knots: Increasing (V + 1,), from 0.
        where: (N,), from the first to the last knot.
    """
    from scipy.interpolate import CubicSpline
    from scipy.spatial.transform import Rotation

    quaternions = Rotation.from_matrix(rotations).as_quat()
    # A quaternion and its negative are one rotation; neighbours get the nearer signs. A loop may end at the negative of
    # its start, and then closes after a second lap.
    laps = np.concatenate([quaternions, quaternions, quaternions[:1]])
    for index in range(1, len(laps)):
        if laps[index] @ laps[index - 1] < 0:
            laps[index] = -laps[index]
    laps[-1] = laps[0]
    both = np.concatenate([knots[:-1], knots + knots[-1]])
    return Rotation.from_quat(CubicSpline(both, laps, bc_type="periodic")(where)).as_matrix()


def closed_distances(
    distances: NDArray[np.float64], knots: NDArray[np.float64], where: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distances (N,) of a smooth loop through distances (V,), nowhere beyond their range.

    See :func:`closed_rotations` for the arguments.
    """
    from scipy.interpolate import PchipInterpolator

    # A lap before and one after make it smooth where it closes.
    lap = knots[-1]
    three = np.concatenate([knots[:-1] - lap, knots[:-1], knots + lap])
    return PchipInterpolator(three, np.concatenate([distances, distances, distances, distances[:1]]))(where)
