"""A monocular video with known truth in NSFF's layout whose camera goes all round a moving ball in a round room.

Conventions are those of :mod:`monocular_scene`. Cameras stand on a circle around the origin and look inwards, half of
them away from the direction of the first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from monocular_scene import focal_length, pose_rows, project
from numpy.typing import NDArray
from PIL import Image

ROOM_RADIUS = 6.0
ORBIT_RADIUS = 2.5
BALL_RADIUS = 0.6
HEIGHT, WIDTH = 18, 24
NUM_FRAMES = 8
NEXT = {"fwd": 1, "bwd": -1}


def ball_centre(frame: int) -> NDArray[np.float64]:
    """World position (3,): up and down past the origin."""
    return np.array([0.2 * np.cos(frame), 0.12 * (frame - 3.5), 0.2 * np.sin(frame)])


def camera_pose(frame: int) -> NDArray[np.float64]:
    """OpenGL camera-to-world (4, 4); the cameras of all frames go round once."""
    angle = 2 * np.pi * frame / NUM_FRAMES
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    pose[:3, 3] = ORBIT_RADIUS * pose[:3, 2]
    return pose


def surface(frame: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """World points (H, W, 3) that the pixels of a frame see, and whether they are of the ball (H, W)."""
    columns, rows = np.meshgrid(np.arange(WIDTH, dtype=float), np.arange(HEIGHT, dtype=float))
    focal, pose = focal_length(WIDTH), camera_pose(frame)
    directions = np.stack([(columns - WIDTH / 2) / focal, -(rows - HEIGHT / 2) / focal, -np.ones_like(rows)], axis=-1)
    directions = directions @ pose[:3, :3].T
    to_room, _ = _sphere(pose[:3, 3], directions, np.zeros(3), ROOM_RADIUS, leaving=True)
    to_ball, on_ball = _sphere(pose[:3, 3], directions, ball_centre(frame), BALL_RADIUS, leaving=False)
    return pose[:3, 3] + np.where(on_ball, to_ball, to_room)[..., None] * directions, on_ball


def moved_surface(frame: int, other: int) -> NDArray[np.float64]:
    """The points of :func:`surface` at another time (H, W, 3)."""
    points, on_ball = surface(frame)
    return points + on_ball[..., None] * (ball_centre(other) - ball_centre(frame))


def write_orbit_scene(root: Path) -> Path:
    """Writes images, poses, disparity, flow and motion masks; returns the folder."""
    for folder in (f"images_{WIDTH}x{HEIGHT}", "disp", "flow_i1", "motion_masks"):
        (root / folder).mkdir(parents=True)
    bounds = []
    for frame in range(NUM_FRAMES):
        points, on_ball = surface(frame)
        pose = camera_pose(frame)
        depth = -((points - pose[:3, 3]) @ pose[:3, 2])
        bounds.append(np.percentile(depth, (5, 95)))
        local = np.where(on_ball[..., None], (points - ball_centre(frame)) * 3, points)
        colour = 0.5 + 0.4 * np.sin(local * [1.1, 1.7, 1.3] + on_ball[..., None] * [2.0, 0.0, 4.0])
        name = f"{frame:05d}"
        Image.fromarray(np.round(255 * colour).astype(np.uint8)).save(root / f"images_{WIDTH}x{HEIGHT}" / f"{name}.png")
        Image.fromarray(on_ball.astype(np.uint8) * 255).save(root / "motion_masks" / f"{name}.png")
        np.save(root / "disp" / f"{name}.npy", (1 / depth).astype(np.float32))
        for key, step in NEXT.items():
            if 0 <= frame + step < NUM_FRAMES:
                flow, seen = optical_flow(frame, frame + step)
                np.savez_compressed(root / "flow_i1" / f"{name}_{key}.npz", flow=flow, mask=seen)
    poses = [camera_pose(frame) for frame in range(NUM_FRAMES)]
    np.save(root / "poses_bounds.npy", pose_rows(poses, bounds, HEIGHT, WIDTH))
    return root


def optical_flow(frame: int, other: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow (H, W, 2) in pixels, and which of it leads to a pixel in front of the other camera (H, W)."""
    pose, points = camera_pose(other), moved_surface(frame, other)
    ahead = (points - pose[:3, 3]) @ pose[:3, 2] < -0.5
    targets = project(pose, np.where(ahead[..., None], points, 0.0), HEIGHT, WIDTH)
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    inside = (targets >= 0).all(-1) & (targets <= np.array([WIDTH - 1, HEIGHT - 1])).all(-1)
    return (targets - np.stack([columns, rows], axis=-1)).astype(np.float32), ahead & inside


def _sphere(
    origin: NDArray, directions: NDArray, centre: NDArray, radius: float, *, leaving: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Where rays enter or leave a sphere, in lengths of their directions, and whether they meet it."""
    offset = origin - centre
    a, b, c = (directions**2).sum(-1), directions @ offset, offset @ offset - radius**2
    discriminant = b**2 - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    return (-b + (root if leaving else -root)) / a, discriminant > 0
