"""A scan of a standing ball with known truth in IDR's layout: images, masks, cameras as projection matrices.

The ball lies at the origin of the scene frame and is coloured by its outward normal before a plain backdrop, so every
pixel follows from one ray-sphere intersection and no part of the package is needed to write it. World units are
millimetres far from the world's origin, as in DTU, so that a forgotten ``scale_mat`` shows; the principal point is off
the middle and the focal lengths differ, so that a swapped or rescaled one shows.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RADIUS = 0.5
"""Scene units."""
DISTANCE = 3.0
"""Of the cameras from the ball's centre, scene units."""
WORLD_SCALE = 120.0
WORLD_CENTRE = np.array([40.0, -25.0, 610.0])
BACKDROP = (20, 160, 40)


def scale_mat(scale: float = WORLD_SCALE, centre: NDArray[np.float64] = WORLD_CENTRE) -> NDArray[np.float64]:
    """Scene to world (4, 4)."""
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = centre
    return matrix


def integer_pixel_intrinsics(resolution: int) -> NDArray[np.float64]:
    """K (3, 3) in which the centre of the first pixel is (0, 0), as IDR counts pixels."""
    focal = 1.8 * resolution
    return np.array([[focal, 0, resolution / 2 + 0.2], [0, 1.05 * focal, resolution / 2 - 0.9], [0, 0, 1.0]])


def scan_poses(num_views: int) -> NDArray[np.float64]:
    """OpenCV camera-to-world (N, 4, 4), scene units, spread over the sphere between 30 degrees below and 60 above."""
    poses = np.tile(np.eye(4), (num_views, 1, 1))
    for index in range(num_views):
        azimuth = 2.399963 * index
        height = -0.5 + 1.36 * (index + 0.5) / num_views
        level = math.sqrt(1 - height**2)
        forward = -np.array([level * math.cos(azimuth), level * math.sin(azimuth), height])
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        poses[index, :3] = np.stack([right, np.cross(forward, right), forward, -DISTANCE * forward], axis=1)
    return poses


def world_mat(pose: NDArray[np.float64], intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """World (millimetres) to integer pixels (4, 4) of a camera-to-world (4, 4) in scene units."""
    rotation = pose[:3, :3].T
    centre = WORLD_SCALE * pose[:3, 3] + WORLD_CENTRE
    matrix = np.eye(4)
    matrix[:3] = intrinsics @ np.concatenate([rotation, -(rotation @ centre)[:, None]], axis=1)
    return matrix


def photograph(
    pose: NDArray[np.float64], intrinsics: NDArray[np.float64], resolution: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Colour (H, W, 3) and object mask (H, W) through every pixel's centre."""
    columns, rows = np.meshgrid(np.arange(resolution), np.arange(resolution))
    local = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(intrinsics).T
    directions = local @ pose[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    centre = pose[:3, 3]
    half_b = directions @ centre
    discriminant = half_b**2 - (centre @ centre - RADIUS**2)
    mask = discriminant > 0
    distance = -half_b - np.sqrt(np.maximum(discriminant, 0))
    normals = (centre + distance[..., None] * directions) / RADIUS
    colour = np.where(mask[..., None], 127.5 + 115 * normals, np.array(BACKDROP, dtype=np.float64))
    return np.round(colour).astype(np.uint8), mask


def turned(pose: NDArray[np.float64], degrees: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The pose turned by an angle about a random axis through the camera's centre."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    result = pose.copy()
    result[:3, :3] = (np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross) @ pose[:3, :3]
    return result


def write_ball_scan(
    root: Path,
    num_views: int = 8,
    resolution: int = 32,
    *,
    camera_file: str = "cameras_sphere.npz",
    linear_init_degrees: float | None = None,
    image_folder: str = "image",
    suffix: str = ".png",
    mask_channels: int = 3,
) -> Path:
    """Writes a scan; returns its folder.

    Args:
        camera_file: Name of the true cameras' file, "cameras.npz" for IDR's own layout.
        linear_init_degrees: Also writes ``cameras_linear_init.npz``: every camera turned by this angle about a random
            axis, and a ``scale_mat`` of its own (5 % smaller, moved by 3 mm along x).
        image_folder: "image" or "images".
        suffix: Of the images, such as ".JPEG"; masks stay PNG.
        mask_channels: 3 as in DTU, or 1.
    """
    for folder in (image_folder, "mask"):
        (root / folder).mkdir(parents=True)
    intrinsics = integer_pixel_intrinsics(resolution)
    poses = scan_poses(num_views)
    for index, pose in enumerate(poses):
        colour, mask = photograph(pose, intrinsics, resolution)
        Image.fromarray(colour).save(root / image_folder / f"{index:06d}{suffix}")
        values = 255 * mask.astype(np.uint8)
        Image.fromarray(values if mask_channels == 1 else np.repeat(values[..., None], 3, axis=-1)).save(
            root / "mask" / f"{index:03d}.png"
        )
    _write_cameras(root / camera_file, poses, intrinsics, scale_mat())
    if linear_init_degrees is not None:
        rng = np.random.default_rng(7)
        noisy = [turned(pose, linear_init_degrees, rng) for pose in poses]
        other = scale_mat(0.95 * WORLD_SCALE, WORLD_CENTRE + [3.0, 0.0, 0.0])
        _write_cameras(root / "cameras_linear_init.npz", noisy, intrinsics, other)
    return root


def _write_cameras(
    path: Path,
    poses: list[NDArray[np.float64]] | NDArray[np.float64],
    intrinsics: NDArray[np.float64],
    world_from_scene: NDArray[np.float64],
) -> None:
    matrices: dict[str, NDArray[np.float64]] = {}
    for index, pose in enumerate(poses):
        matrices[f"world_mat_{index}"] = world_mat(pose, intrinsics)
        matrices[f"scale_mat_{index}"] = world_from_scene
    np.savez(path, **matrices)


def change_matrices(path: Path, **changed: np.ndarray | None) -> None:
    """Matrices of a camera file take other values; None takes them out."""
    matrices = {**np.load(path), **changed}
    np.savez(path, **{key: value for key, value in matrices.items() if value is not None})
