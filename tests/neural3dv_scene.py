"""The ball of ``tests/ball_capture.py`` before a wall of one colour, in Neural 3D Video's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ball_capture import DISTANCE, MIDDLE, photograph
from numpy.typing import NDArray
from rig_scene import centre_of

from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.writers.neural3dv_writer import write_neural3dv_scene

LENS = Lens(width=40, height=32, fx=60.0, fy=60.0, cx=20.0, cy=16.0)
BOUNDS = (DISTANCE - 1.0, DISTANCE + 1.5)


def grid_poses(num_cameras: int) -> NDArray[np.float64]:
    """OpenGL poses (C, 4, 4) of cameras beside each other that look along -y, metres."""
    poses = []
    for index in range(num_cameras):
        pose = np.eye(4)
        pose[:3, :3] = np.stack([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]], axis=1)
        pose[:3, 3] = MIDDLE + np.array([0.4 * (index - (num_cameras - 1) / 2), DISTANCE, 0.1 * (index % 2)])
        poses.append(pose)
    return np.stack(poses)


def pictures(num_cameras: int, num_frames: int) -> list[list[NDArray[np.uint8]]]:
    """Images by frame, then camera."""
    poses = grid_poses(num_cameras)
    return [[photograph(pose, centre_of(frame, num_frames), LENS)[0] for pose in poses] for frame in range(num_frames)]


def write_neural3dv_ball(root: Path, num_cameras: int = 4, num_frames: int = 5, **options: Any) -> Path:
    """Writes the scene and returns its folder; the options are ``write_neural3dv_scene``'s."""
    intrinsics = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])
    images = pictures(num_cameras, num_frames)
    options = {"bounds": BOUNDS, "request": {"scene": "neural3dv ball"}, **options}
    write_neural3dv_scene(root, grid_poses(num_cameras), intrinsics, images, **options)
    return root
