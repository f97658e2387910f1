"""A capture of a moving ball with known truth: cameras on a ring, images by one ray-sphere intersection a pixel.

World units are metres and the ball is far from the world's origin, so that a forgotten centring or scaling shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.writers.nerfstudio_time_writer import TimedView, write_nerfstudio_time_scene

RADIUS = 0.5
MIDDLE = np.array([3.0, -2.0, 1.5])
DISTANCE = 4.0
NUM_FRAMES = 4
FPS = 10.0
BACKDROP = (20, 160, 40)
OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between OpenGL and OpenCV camera axes."""
LENS = Lens(width=40, height=32, fx=60.0, fy=62.0, cx=20.6, cy=15.7)
"""Its principal point is off the middle, so that a swapped or rescaled one shows."""


def centre_at(seconds: float) -> NDArray[np.float64]:
    """Centre of the ball, world units; it moves by 0.6 along x in the whole sequence."""
    return MIDDLE + np.array([2.0 * seconds - 0.3, 0.0, 0.0])


def ring_pose(angle: float, height: float = 1.2) -> NDArray[np.float64]:
    """OpenGL camera-to-world (4, 4) that looks at the middle of the motion."""
    position = MIDDLE + np.array([DISTANCE * math.cos(angle), DISTANCE * math.sin(angle), height])
    backward = (position - MIDDLE) / np.linalg.norm(position - MIDDLE)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(backward, right), backward, position], axis=1)
    return pose


def ring_poses(number: int) -> dict[str, NDArray[np.float64]]:
    """Poses of cam1, cam2, ..."""
    return {f"cam{k + 1}": ring_pose(2 * math.pi * k / number + 0.3, 0.6 + 0.3 * k) for k in range(number)}


def photograph(
    pose: NDArray[np.float64], centre: NDArray[np.float64], lens: Lens = LENS
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]]:
    """Colour (H, W, 3), foreground (H, W) and z depth (H, W; 0 beside the ball) through every pixel's centre."""
    columns, rows = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
    local = np.stack([(columns - lens.cx) / lens.fx, -(rows - lens.cy) / lens.fy, -np.ones_like(rows)], axis=-1)
    directions = local @ pose[:3, :3].T
    norms = np.linalg.norm(directions, axis=-1)
    directions /= norms[..., None]
    offset = pose[:3, 3] - centre
    half_b = directions @ offset
    discriminant = half_b**2 - (offset @ offset - RADIUS**2)
    mask = discriminant > 0
    distance = np.where(mask, -half_b - np.sqrt(np.maximum(discriminant, 0)), 0.0)
    normals = (offset + distance[..., None] * directions) / RADIUS
    shade = np.array([200.0, 90.0, 90.0]) + 50 * normals
    image = np.where(mask[..., None], shade, np.array(BACKDROP, dtype=np.float64))
    return np.round(image).astype(np.uint8), mask, distance / norms


def views(num_cameras: int = 3, num_frames: int = NUM_FRAMES, **kinds: bool) -> Iterator[TimedView]:
    """All images camera by camera; ``mask=True``, ``depth=True`` (z, millimetres), ``alpha=True`` add these."""
    for name, pose in ring_poses(num_cameras).items():
        for frame in range(num_frames):
            time = frame / FPS
            image, mask, depth = photograph(pose, centre_at(time))
            if kinds.get("alpha"):
                image = np.concatenate([image, 255 * mask[..., None].astype(np.uint8)], axis=-1)
            raw = np.round(1000 * depth).astype(np.uint16)
            yield TimedView(
                name, time, image, pose, mask if kinds.get("mask") else None, raw if kinds.get("depth") else None
            )


def moving_views(num_frames: int = 12, **kinds: bool) -> Iterator[TimedView]:
    """One camera that walks around the ball."""
    for frame in range(num_frames):
        time = 0.3 * frame / (num_frames - 1)
        pose = ring_pose(2.5 * frame / (num_frames - 1), 0.5)
        image, mask, _ = photograph(pose, centre_at(time))
        yield TimedView("phone", time, image, pose, mask if kinds.get("mask") else None)


def write_capture(folder: Path, num_cameras: int = 3, num_frames: int = NUM_FRAMES, **kinds: bool) -> Path:
    """A synchronised capture in nerfstudio's layout with times in seconds; returns the folder."""
    names = [f"cam{k + 1}" for k in range(num_cameras)]
    write_nerfstudio_time_scene(
        folder, dict.fromkeys(names, LENS), views(num_cameras, num_frames, **kinds), time_unit="seconds"
    )
    return folder


def write_video(path: Path, images: list[NDArray[np.uint8]], fps: float = FPS) -> Path:
    """An mp4 of images (H, W, 3) with even sides, as good as without loss."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), mode="w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "1"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_videos(folder: Path, num_cameras: int = 3, num_frames: int = NUM_FRAMES) -> dict[str, NDArray[np.float64]]:
    """A video per camera; returns the cameras' poses."""
    poses = ring_poses(num_cameras)
    for name, pose in poses.items():
        images = [photograph(pose, centre_at(frame / FPS))[0] for frame in range(num_frames)]
        write_video(folder / f"{name}.mp4", images)
    return poses


def colmap_model() -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    """Cameras, images and points of cam1, cam2, cam3 as COLMAP has them."""
    from nerfstudio.data.utils import colmap_parsing_utils as colmap

    cameras = {
        1: colmap.Camera(1, "OPENCV", 40, 32, np.array([60.0, 62, 20.6, 15.7, 0.1, -0.02, 0.001, 0.002])),
        2: colmap.Camera(2, "SIMPLE_PINHOLE", 40, 32, np.array([60.0, 20.6, 15.7])),
    }
    images = {}
    for number, (name, opengl) in enumerate(ring_poses(3).items()):
        pose = np.linalg.inv(opengl @ OPENCV)
        images[number + 1] = colmap.Image(
            number + 1, colmap.rotmat2qvec(pose[:3, :3]), pose[:3, 3], 1 if number else 2, f"{name}.png",
            np.zeros((1, 2)), np.array([-1]),
        )  # fmt: skip
    points = {
        number: colmap.Point3D(number, xyz, np.array([1, 2, 3]), 0.1, np.array([1]), np.array([0]))
        for number, xyz in enumerate(np.random.default_rng(0).normal(size=(6, 3)))
    }
    return cameras, images, points


def write_colmap(folder: Path, suffix: str) -> Path:
    """The model in COLMAP's files, ".bin" or ".txt"."""
    from nerfstudio.data.utils import colmap_parsing_utils as colmap

    folder.mkdir(parents=True, exist_ok=True)
    cameras, images, points = colmap_model()
    if suffix == ".bin":
        colmap.write_cameras_binary(cameras, str(folder / "cameras.bin"))
        colmap.write_images_binary(images, str(folder / "images.bin"))
        colmap.write_points3D_binary(points, str(folder / "points3D.bin"))
    else:
        colmap.write_cameras_text(cameras, str(folder / "cameras.txt"))
        colmap.write_images_text(images, str(folder / "images.txt"))
        colmap.write_points3D_text(points, str(folder / "points3D.txt"))
    return folder


def write_recording(folder: Path, num_cameras: int = 3, num_frames: int = NUM_FRAMES, noise: bool = True) -> Path:
    """An RGB-D recording of the ball before a wall, as a sensor's tools leave it: z depth in millimetres.

    The first camera walks, the others stand. With ``noise`` some pixels have no depth and some float in the air.
    """
    import json

    from PIL import Image

    rng = np.random.default_rng(0)
    entries: dict[str, Any] = {}
    for number, (name, pose) in enumerate(ring_poses(num_cameras).items()):
        poses = [ring_pose(0.3 + 0.05 * frame, 0.6) if number == 0 else pose for frame in range(num_frames)]
        for kind in ("color", "depth"):
            (folder / name / kind).mkdir(parents=True)
        for frame, opengl in enumerate(poses):
            image, mask, depth = photograph(opengl, centre_at(frame / FPS))
            raw = np.round(1000 * np.where(mask, depth, 9.0)).astype(np.uint16)
            if noise:
                raw[rng.random(raw.shape) < 0.02] = 0
                raw[rng.random(raw.shape) < 0.01] = 2500
            Image.fromarray(image).save(folder / name / "color" / f"{frame}.png")
            Image.fromarray(raw).save(folder / name / "depth" / f"{frame}.png")
        matrices = [(opengl @ OPENCV).tolist() for opengl in poses]
        entries[name] = {
            # OpenCV counts pixels from the centre of the first one.
            "K": [[LENS.fx, 0, LENS.cx - 0.5], [0, LENS.fy, LENS.cy - 0.5], [0, 0, 1]],
            "camera_to_world": matrices if number == 0 else matrices[0],
        }
    (folder / "cameras.json").write_text(json.dumps(entries))
    return folder
