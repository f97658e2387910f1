"""The rig of ``tests/rig_scene.py`` in DNA-Rendering's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from ball_capture import OPENCV, RADIUS
from rig_scene import centre_of, picture, rig_lens, rig_poses

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.writers.smc_writer import write_smc_scene
from nf_plugins.data.writers.zju_writer import ZjuCamera, ZjuFrame, ZjuImage


def write_smc_ball(
    root: Path,
    num_cameras: int = 5,
    num_frames: int = 4,
    distortion: Sequence[float] | None = None,
    **options: Any,
) -> Path:
    """Writes the scene and returns its folder; the options are ``write_smc_scene``'s."""
    lens, poses = rig_lens(distortion=distortion), rig_poses(num_cameras)
    intrinsics = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
    cameras = [
        ZjuCamera(name, intrinsics, pose @ OPENCV, np.array(distortion or [0.0] * 5)) for name, pose in poses.items()
    ]
    ball: Any = trimesh.creation.icosphere(subdivisions=1, radius=RADIUS)
    frames = []
    for frame in range(num_frames):
        centre = centre_of(frame, num_frames)
        images = [ZjuImage(*picture(pose, centre, lens)) for pose in poses.values()]
        vertices = np.asarray(ball.vertices) + centre
        frames.append(ZjuFrame(ColouredMesh(vertices, np.asarray(ball.faces), np.full_like(vertices, 0.5)), images))
    write_smc_scene(root, cameras, frames, world_from_scene=np.eye(4), request={"scene": "smc ball"}, **options)
    return root
