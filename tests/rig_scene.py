"""A rig of standing cameras around the ball of ``tests/ball_capture.py``, in the EasyVolcap layout.

The truth is known: poses are ``rig_poses``, the ball's centre at a frame is ``centre_of``, its radius ``RADIUS``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from ball_capture import BACKDROP, OPENCV, RADIUS, centre_at, ring_pose
from numpy.typing import NDArray

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.triangulation import undistort_plane
from nf_plugins.data.writers.easymocap_writer import write_easymocap_scene
from nf_plugins.data.writers.zju_writer import ZjuCamera, ZjuFrame, ZjuImage

SECONDS = 0.3
"""Of the whole sequence, in which the ball moves by 0.6 metres."""


def rig_lens(resolution: int = 32, distortion: Sequence[float] | None = None) -> Lens:
    """The lens of all cameras; images are ``resolution`` high and wider.

    Args:
        distortion: OpenCV's k1, k2, p1, p2, k3.
    """
    width, scale = resolution * 5 // 4, resolution / 32
    k1, k2, p1, p2, k3 = distortion or (0.0,) * 5
    return Lens(
        width=width, height=resolution, fx=60.0 * scale, fy=62.0 * scale, cx=20.6 * scale, cy=15.7 * scale,
        distortion=(k1, k2, k3, 0.0, p1, p2),
    )  # fmt: skip


def rig_poses(num_cameras: int) -> dict[str, NDArray[np.float64]]:
    """OpenGL poses (4, 4) of the cameras 00, 01, ..., metres."""
    return {
        f"{index:02d}": ring_pose(2 * math.pi * index / num_cameras + 0.3, 0.6 + 0.3 * (index % 4))
        for index in range(num_cameras)
    }


def centre_of(frame: int, num_frames: int) -> NDArray[np.float64]:
    """The ball's centre, metres."""
    return centre_at(SECONDS * frame / max(num_frames - 1, 1))


def picture(
    pose: NDArray[np.float64], centre: NDArray[np.float64], lens: Lens
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Colour (H, W, 3) and foreground (H, W) through every pixel's centre of a lens with its distortion.

    The ball has stripes, so that one view cannot stand for another; the backdrop is plain.
    """
    columns, rows = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
    k1, k2, k3, _, p1, p2 = lens.distortion
    seen = np.stack([(columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy], axis=-1).astype(np.float64)
    plane = undistort_plane(seen, np.array([k1, k2, p1, p2, k3])) if any(lens.distortion) else seen
    local = np.stack([plane[..., 0], -plane[..., 1], -np.ones_like(rows)], axis=-1)
    directions = local @ pose[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    offset = pose[:3, 3] - centre
    half_b = directions @ offset
    discriminant = half_b**2 - (offset @ offset - RADIUS**2)
    mask = discriminant > 0
    distance = np.where(mask, -half_b - np.sqrt(np.maximum(discriminant, 0)), 0.0)
    normals = (offset + distance[..., None] * directions) / RADIUS
    shade = np.array([160.0, 110.0, 110.0]) + 50 * normals + 40 * np.sign(np.sin(9 * normals[..., :1]))
    image = np.where(mask[..., None], shade, np.array(BACKDROP, dtype=np.float64))
    return np.round(image).astype(np.uint8), mask


def write_ball_rig(  # noqa: PLR0917
    root: Path,
    num_cameras: int = 5,
    num_frames: int = 4,
    resolution: int = 32,
    distortion: Sequence[float] | None = None,
    masks: str = "png",
    **options: Any,
) -> Path:
    """Writes the scene and returns its folder.

    Args:
        distortion: OpenCV's k1, k2, p1, p2, k3; the images have it.
        masks: "png", "schp", "jpg", or "none".
        options: More of ``write_easymocap_scene``'s, such as boxes=True.
    """
    lens, poses = rig_lens(resolution, distortion), rig_poses(num_cameras)
    intrinsics = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
    cameras = [
        ZjuCamera(name, intrinsics, pose @ OPENCV, np.array(distortion or [0.0] * 5)) for name, pose in poses.items()
    ]
    ball: Any = trimesh.creation.icosphere(subdivisions=2, radius=RADIUS)
    frames = []
    for frame in range(num_frames):
        centre = centre_of(frame, num_frames)
        images = [ZjuImage(*picture(pose, centre, lens)) for pose in poses.values()]
        vertices = np.asarray(ball.vertices) + centre
        frames.append(ZjuFrame(ColouredMesh(vertices, np.asarray(ball.faces), np.full_like(vertices, 0.5)), images))
    kind: dict[str, Any] = {"mask_folder": ""} if masks == "none" else {"mask_kind": masks}
    write_easymocap_scene(
        root, cameras, frames, world_from_scene=np.eye(4), request={"scene": "ball rig"}, **{**kind, **options}
    )
    return root
