"""Points in space from their images in several calibrated cameras.

Cameras are OpenCV's: x right, y down, looking along +z. Coordinates on the plane at depth 1 (``x / z``, ``y / z``) are
called plane coordinates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
NEWTON_STEPS = 20


def distort_plane(points: FloatArray, distortion: FloatArray) -> FloatArray:
    """Plane coordinates (*batch, 2) after a lens with OpenCV's k1, k2, p1, p2, k3 (5,)."""
    k1, k2, p1, p2, k3 = distortion
    x, y = points[..., 0], points[..., 1]
    squared = x * x + y * y
    radial = 1 + squared * (k1 + squared * (k2 + squared * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
            y * radial + 2 * p2 * x * y + p1 * (squared + 2 * y * y),
        ],
        axis=-1,
    )


def undistort_plane(points: FloatArray, distortion: FloatArray) -> FloatArray:
    """Inverse of :func:`distort_plane` by fixed-point iteration, for lenses of moderate distortion."""
    undistorted = np.array(points, dtype=np.float64)
    for _ in range(NEWTON_STEPS):
        undistorted = undistorted + points - distort_plane(undistorted, distortion)
    return undistorted


def triangulate(points: FloatArray, weights: FloatArray, world_to_cameras: FloatArray) -> FloatArray:
    """Points nearest to what the cameras saw, by the direct linear method.

    Args:
        points: (*batch, C, 2) undistorted plane coordinates in C cameras.
        weights: (*batch, C) confidence; 0 = not seen.
        world_to_cameras: (C, 3, 4) or (C, 4, 4).

    Returns:
        (*batch, 3) world points; NaN where fewer than two cameras saw one.
    """
    rows_x, rows_y, rows_z = (world_to_cameras[:, row] for row in range(3))
    equations = np.concatenate(
        [points[..., 0:1] * rows_z - rows_x, points[..., 1:2] * rows_z - rows_y], axis=-2
    )  # (*batch, 2 C, 4)
    both = np.concatenate([weights, weights], axis=-1)[..., None]
    _, _, basis = np.linalg.svd(np.where(both > 0, both * equations, 0.0))
    homogeneous = basis[..., -1, :]
    scale = homogeneous[..., 3:]
    found = ((weights > 0).sum(-1, keepdims=True) >= 2) & (np.abs(scale) > 1e-12)
    return np.where(found, homogeneous[..., :3] / np.where(found, scale, 1.0), np.nan)


def reprojection_errors(
    world_points: FloatArray,
    pixels: FloatArray,
    world_to_cameras: FloatArray,
    intrinsics: FloatArray,
    distortions: FloatArray,
) -> FloatArray:
    """Distances in pixels (*batch, C) between seen points and the images of world points.

    Args:
        world_points: (*batch, 3).
        pixels: (*batch, C, 2) as seen, with distortion.
        world_to_cameras: (C, 3, 4) or (C, 4, 4).
        intrinsics: (C, 3, 3) in the same pixel convention as ``pixels``.
        distortions: (C, 5).
    """
    errors = []
    for camera, (pose, matrix, distortion) in enumerate(zip(world_to_cameras, intrinsics, distortions, strict=True)):
        local = world_points @ pose[:3, :3].T + pose[:3, 3]
        plane = distort_plane(local[..., :2] / local[..., 2:], distortion)
        image = plane @ matrix[:2, :2].T + matrix[:2, 2]
        errors.append(np.linalg.norm(image - pixels[..., camera, :], axis=-1))
    return np.stack(errors, axis=-1)


def plane_coordinates(pixels: FloatArray, intrinsics: FloatArray, distortions: FloatArray) -> FloatArray:
    """Undistorted plane coordinates (*batch, C, 2) of pixels (*batch, C, 2); matrices (C, 3, 3) and (C, 5)."""
    planes = []
    for camera, (matrix, distortion) in enumerate(zip(intrinsics, distortions, strict=True)):
        offset = pixels[..., camera, :] - matrix[:2, 2]
        planes.append(undistort_plane(offset / np.diag(matrix)[:2], distortion))
    return np.stack(planes, axis=-2)
