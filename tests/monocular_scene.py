"""A monocular video with known truth in NSFF's layout: a ball moves before a static wall while the camera moves too.

Ball and wall are textured by closed formulas, so every pixel, depth and flow follows from one intersection and no part
of the package is needed to write it. World units are those of ``poses_bounds.npy``: the cameras stand near the origin
and look along -z, the wall is the plane z = -WALL_DEPTH. Pixels are counted as NSFF does: column u and row v see the
direction ((u - W/2) / f, -(v - H/2) / f, -1) of the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WALL_DEPTH = 6.0
BALL_RADIUS = 0.7
SUPERSAMPLING = 2
HEIGHT, WIDTH = 18, 24
NUM_FRAMES = 5


@dataclass(frozen=True)
class View:
    """What one camera sees at one time."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    points: NDArray[np.float64]
    """(H, W, 3) world points that the pixels' centres see."""
    on_ball: NDArray[np.bool_]
    """(H, W)."""
    depth: NDArray[np.float64]
    """(H, W) along the camera's axis."""


def focal_length(width: int = WIDTH) -> float:
    """Pixels; a horizontal field of view of 53 degrees."""
    return float(width)


def ball_centre(time: float) -> NDArray[np.float64]:
    """World position (3,) at a time in [0, 1]."""
    return np.array([-0.8 + 1.6 * time, 0.3 * np.sin(np.pi * time), -3.6 + 0.4 * time])


def camera_pose(time: float) -> NDArray[np.float64]:
    """OpenGL camera-to-world (4, 4) of the camera that films at a time in [0, 1]: it moves sideways and turns."""
    return _pose(np.array([0.5 - 1.0 * time, 0.15 * np.cos(3 * time), 0.1 * time]), yaw=0.06 - 0.12 * time)


def held_out_pose(camera: int) -> NDArray[np.float64]:
    """OpenGL camera-to-world (4, 4) of a standing camera beside the path of the filming one."""
    return _pose(np.array([0.45 * (-1) ** camera, -0.25 + 0.1 * camera, 0.05]), yaw=0.05 * (-1) ** camera)


def see(pose: NDArray[np.float64], time: float, height: int = HEIGHT, width: int = WIDTH) -> View:
    """Renders a view by intersecting one ray per pixel, and several for its colour."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    points, on_ball = _intersect(pose, time, columns, rows, (height, width))
    depth = -((points - pose[:3, 3]) @ pose[:3, 2])
    steps = (np.arange(SUPERSAMPLING) + 0.5) / SUPERSAMPLING - 0.5
    colours = [
        _colour(*_intersect(pose, time, columns + x, rows + y, (height, width)), time) for x in steps for y in steps
    ]
    return View(np.round(255 * np.mean(colours, axis=0)).astype(np.uint8), points, on_ball, depth)


def project(pose: NDArray[np.float64], points: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """NSFF's integer pixel coordinates (*batch, 2), column before row, of world points (*batch, 3)."""
    x, y, z = np.moveaxis((points - pose[:3, 3]) @ pose[:3, :3], -1, 0)
    focal = focal_length(width)
    return np.stack([x * focal / -z + width / 2, -y * focal / -z + height / 2], axis=-1)


def optical_flow(
    view: View, time: float, other_pose: NDArray[np.float64], other_time: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow (H, W, 2) in pixels to another camera and time, and whether what moved is seen there (H, W)."""
    height, width = view.depth.shape
    motion = ball_centre(other_time) - ball_centre(time)
    moved = view.points + view.on_ball[..., None] * motion
    targets = project(other_pose, moved, height, width)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    seen, _ = _intersect(other_pose, other_time, targets[..., 0], targets[..., 1], (height, width))
    inside = (targets >= 0).all(-1) & (targets <= np.array([width - 1, height - 1])).all(-1)
    visible = inside & (np.linalg.norm(seen - moved, axis=-1) < 1e-6)
    return (targets - np.stack([columns, rows], axis=-1)).astype(np.float32), visible


def write_monocular_scene(
    root: Path,
    num_frames: int = NUM_FRAMES,
    height: int = HEIGHT,
    width: int = WIDTH,
    *,
    num_held_out: int = 2,
    num_rig_cameras: int = 0,
    priors: bool = True,
    motion_masks: bool = True,
) -> Path:
    """Writes the scene; returns its folder.

    Args:
        num_held_out: Cameras in mv_images/ and mv_masks/, whose poses lie in mv_poses_bounds.npy.
        num_rig_cameras: When above 0, the layout of the NVIDIA Dynamic Scene set instead: so many standing cameras,
            frame t is taken by camera t modulo their number, all are in mv_images/, and there is no
            mv_poses_bounds.npy.
        priors: Write disp/ and flow_i1/.
        motion_masks: Write motion_masks/.
    """
    times = np.arange(num_frames) / (num_frames - 1)
    rig = [camera_pose(camera / num_rig_cameras) for camera in range(num_rig_cameras)]
    poses = [rig[frame % len(rig)] for frame in range(num_frames)] if rig else [camera_pose(time) for time in times]
    views = [see(pose, time, height, width) for pose, time in zip(poses, times, strict=True)]
    for folder in (f"images_{width}x{height}", "disp", "flow_i1", "motion_masks"):
        if folder.startswith("images") or (motion_masks if folder == "motion_masks" else priors):
            (root / folder).mkdir(parents=True)
    bounds = [np.percentile(view.depth, (5, 95)) for view in views]
    np.save(root / "poses_bounds.npy", pose_rows(poses, bounds, height, width))
    for frame, view in enumerate(views):
        Image.fromarray(view.rgb).save(root / f"images_{width}x{height}" / f"{frame:05d}.png")
        if motion_masks:
            Image.fromarray(view.on_ball.astype(np.uint8) * 255).save(root / "motion_masks" / f"{frame:05d}.png")
        if not priors:
            continue
        np.save(root / "disp" / f"{frame:05d}.npy", (1 / view.depth).astype(np.float32))
        for name, other in (("fwd", frame + 1), ("bwd", frame - 1)):
            if 0 <= other < num_frames:
                flow, mask = optical_flow(view, times[frame], poses[other], times[other])
                np.savez_compressed(root / "flow_i1" / f"{frame:05d}_{name}.npz", flow=flow, mask=mask)
    held_out = rig or [held_out_pose(camera) for camera in range(num_held_out)]
    for frame, time in enumerate(times if held_out else []):
        for folder in ("mv_images", "mv_masks"):
            (root / folder / f"{frame:05d}").mkdir(parents=True)
        for camera, pose in enumerate(held_out):
            view = see(pose, time, height, width)
            name = f"{frame:05d}/cam{camera + 1:02d}.png"
            Image.fromarray(view.rgb).save(root / "mv_images" / name)
            Image.fromarray(view.on_ball.astype(np.uint8) * 255).save(root / "mv_masks" / name)
    if held_out and not rig:
        np.save(root / "mv_poses_bounds.npy", pose_rows(held_out, bounds[:1] * len(held_out), height, width))
    return root


def pose_rows(
    poses: list[NDArray[np.float64]], bounds: list[NDArray[np.float64]], height: int, width: int
) -> NDArray[np.float64]:
    """Rows (N, 17) of poses_bounds.npy of OpenGL poses; its columns point down, right and back."""
    rows = []
    for pose, near_far in zip(poses, bounds, strict=True):
        right, up, back, centre = pose[:3].T
        size = np.array([height, width, focal_length(width)])
        rows.append(np.concatenate([np.stack([-up, right, back, centre, size], axis=1).ravel(), near_far]))
    return np.array(rows)


def _pose(centre: NDArray[np.float64], yaw: float) -> NDArray[np.float64]:
    pose = np.eye(4)
    cosine, sine = np.cos(yaw), np.sin(yaw)
    pose[:3, :3] = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    pose[:3, 3] = centre
    return pose


def _intersect(
    pose: NDArray[np.float64], time: float, columns: NDArray, rows: NDArray, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    height, width = size
    focal = focal_length(width)
    directions = np.stack([(columns - width / 2) / focal, -(rows - height / 2) / focal, -np.ones_like(rows)], axis=-1)
    directions = directions @ pose[:3, :3].T
    origin = pose[:3, 3]
    to_wall = (-WALL_DEPTH - origin[2]) / directions[..., 2]
    offset = origin - ball_centre(time)
    a, b, c = (directions**2).sum(-1), directions @ offset, offset @ offset - BALL_RADIUS**2
    discriminant = b**2 - a * c
    on_ball = discriminant > 0
    to_ball = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    return origin + np.where(on_ball, to_ball, to_wall)[..., None] * directions, on_ball


def _colour(points: NDArray[np.float64], on_ball: NDArray[np.bool_], time: float) -> NDArray[np.float64]:
    on_wall = 0.5 + 0.25 * np.stack(
        [
            np.sin(2.1 * points[..., 0]) + np.cos(1.3 * points[..., 1]),
            np.sin(1.7 * points[..., 1] + 1) * np.cos(1.1 * points[..., 0]),
            np.cos(2.6 * points[..., 0] + 0.9 * points[..., 1]),
        ],
        axis=-1,
    )
    local = (points - ball_centre(time)) / BALL_RADIUS
    ball = np.stack([0.8 + 0.2 * np.sin(5 * local[..., 0]), 0.3 + 0.3 * local[..., 1], np.full(on_ball.shape, 0.1)], -1)
    return np.clip(np.where(on_ball[..., None], ball, on_wall), 0, 1)
