"""Cameras in LLFF's ``poses_bounds.npy``.

A row holds 17 numbers: the 3x5 matrix [R | c | (H, W, f)] row by row, camera-to-world with columns that point down,
right and backwards, and the distances, along the camera's axis, of the nearest and farthest of what it sees
(Mildenhall et al., Local Light Field Fusion, 2019).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.atomic_files import atomic_path
from nf_plugins.data.camera_conventions import require_rigid_pose
from nf_plugins.errors import InputError

SAME_LENS_TOLERANCE = 1e-3


class PosesBounds(NamedTuple):
    """The cameras of a video, one lens for all frames."""

    camera_to_worlds: NDArray[np.float64]
    """(N, 3, 4), OpenGL axes, world units."""
    bounds: NDArray[np.float64]
    """(N, 2), near and far, world units."""
    height: float
    width: float
    focal: float
    """Of the images that the poses were made from, pixels."""


def read_poses_bounds(path: Path) -> PosesBounds:
    """Reads and checks the file.

    Raises:
        InputError: It is missing, damaged or of another shape, a pose is none, bounds are not ordered, or frames have
            different lenses.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except Exception as error:  # damaged files fail in several ways of their own
        raise InputError(f"{path} cannot be read ({error}), expected LLFF's camera poses: write it anew.") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 17:
        shape = getattr(rows, "shape", "of an archive")
        raise InputError(
            f"{path} has the shape {shape}, expected (N, 17): a 3x5 matrix and two bounds per image, as LLFF and NSFF "
            "write them."
        )
    if not np.issubdtype(rows.dtype, np.floating) or not np.isfinite(rows).all():
        raise InputError(f"{path} holds values that are no finite numbers, expected camera poses: calibrate anew.")
    matrices = rows[:, :15].reshape(-1, 3, 5).astype(np.float64)
    down, right, back, centre = (matrices[:, :, column] for column in range(4))
    poses = np.stack([right, -down, back, centre], axis=-1)
    poses = np.stack([require_rigid_pose(pose, f"Pose {index} of {path}") for index, pose in enumerate(poses)])
    lenses, bounds = matrices[:, :, 4], rows[:, 15:].astype(np.float64)
    different = np.abs(lenses / lenses[0] - 1).max(axis=1) > SAME_LENS_TOLERANCE
    if (lenses <= 0).any() or different.any():
        index = int(np.argmax((lenses <= 0).any(axis=1) | different))
        raise InputError(
            f"Row {index} of {path} has height, width and focal length {lenses[index].tolist()}, expected positive "
            f"ones, the same for all images (the first has {lenses[0].tolist()}): calibrate with one shared lens."
        )
    wrong = ~((bounds[:, 0] > 0) & (bounds[:, 0] < bounds[:, 1]))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InputError(
            f"Row {index} of {path} has the bounds {bounds[index].tolist()}, expected 0 < near < far: the scale of the "
            "scene follows from them."
        )
    return PosesBounds(poses, bounds, *(float(value) for value in lenses[0]))


def write_poses_bounds(path: Path, cameras: PosesBounds) -> None:
    """Writes the file, whole or not at all."""
    right, up, back, centre = np.moveaxis(cameras.camera_to_worlds, -1, 0)
    lens = np.broadcast_to([cameras.height, cameras.width, cameras.focal], centre.shape)
    matrices = np.stack([-up, right, back, centre, lens], axis=-1)
    rows = np.concatenate([matrices.reshape(len(matrices), 15), cameras.bounds], axis=1)
    with atomic_path(path) as temporary:
        np.save(temporary, rows.astype(np.float64))
