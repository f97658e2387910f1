"""Cameras as matrices: projection matrices taken apart, axes changed, focal lengths from angles.

OpenCV cameras look along +z with x right and y down; OpenGL (nerfstudio) cameras look along -z with x right and y up.
Pixel coordinates have their origin at the corner of the first pixel, whose centre therefore is (0.5, 0.5).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.errors import InputError

# K R of a real camera has a ratio of singular values near its focal length in pixels (1e2 to 1e5); a rank-deficient
# matrix that went through float32 once still has 1e-8 of its largest singular value left.
SMALLEST_SINGULAR_VALUE_RATIO = 1e-7
LARGEST_SKEW_RATIO = 1e-3


class ProjectionDecomposition(NamedTuple):
    """A 3x4 projection matrix as ``K [R | -R c]``, float64."""

    intrinsics: NDArray[np.float64]
    """K (3, 3), upper triangular with a positive diagonal and K[2, 2] = 1, pixels."""
    rotation: NDArray[np.float64]
    """R (3, 3), world to OpenCV camera, determinant +1."""
    centre: NDArray[np.float64]
    """c (3,), the camera's centre in world coordinates."""


def require_finite_matrix(matrix: NDArray, shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    """The matrix as float64.

    Raises:
        InputError: It has another shape or holds NaN or infinity; the sentence begins with ``name``.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != shape:
        raise InputError(f"{name} has the shape {matrix.shape}, expected {shape}: write the matrix anew.")
    if not np.issubdtype(matrix.dtype, np.number) or np.issubdtype(matrix.dtype, np.complexfloating):
        raise InputError(f"{name} holds {matrix.dtype} values, expected real numbers: write the matrix anew.")
    if not np.isfinite(matrix).all():
        raise InputError(
            f"{name} holds NaN or infinite values, expected a finite camera matrix: calibrate the camera anew or leave "
            "it out."
        )
    return matrix.astype(np.float64)


def decompose_projection(projection: NDArray, name: str = "the projection matrix") -> ProjectionDecomposition:
    """Takes a projection matrix apart by an RQ decomposition.

    The matrix may have any non-zero scale and sign. Points in front of the camera have positive depth in the result.

    Args:
        projection: (3, 4), maps homogeneous world points to homogeneous pixels.
        name: What the error message calls it, e.g. "world_mat_3 of FILE".

    Raises:
        InputError: It is not finite, singular, or has a skew above 0.001 of the focal length.
    """
    projection = require_finite_matrix(projection, (3, 4), name)
    square = projection[:, :3]
    singular_values = np.linalg.svd(square, compute_uv=False)
    if singular_values[2] <= SMALLEST_SINGULAR_VALUE_RATIO * singular_values[0]:
        raise InputError(
            f"{name} is singular (its 3x3 part has the singular values {_in_words(singular_values)}), expected an "
            "invertible K R: calibrate the camera anew or leave it out."
        )
    # The sign of a projection matrix is free; this one gives a rotation rather than a reflection.
    projection = projection * np.sign(np.linalg.det(square))
    square = projection[:, :3]
    # RQ by the QR decomposition of the matrix with its rows reversed and transposed.
    orthogonal, upper = np.linalg.qr(square[::-1].T)
    intrinsics, rotation = upper.T[::-1, ::-1], orthogonal.T[::-1]
    signs = np.sign(np.diag(intrinsics))
    intrinsics, rotation = intrinsics * signs, signs[:, None] * rotation
    intrinsics = intrinsics / intrinsics[2, 2]
    if abs(intrinsics[0, 1]) > LARGEST_SKEW_RATIO * intrinsics[0, 0]:
        raise InputError(
            f"{name} has a skew of {intrinsics[0, 1]:.4g} pixels at a focal length of {intrinsics[0, 0]:.4g}, expected "
            "none: rectify the images first."
        )
    return ProjectionDecomposition(intrinsics, rotation, -np.linalg.solve(square, projection[:, 3]))


def camera_to_world_opengl(rotation: NDArray, centre: NDArray) -> NDArray[np.float64]:
    """OpenGL camera-to-world matrix (3, 4) of a world-to-OpenCV-camera rotation (3, 3) and a centre (3,)."""
    return flip_camera_axes(np.concatenate([np.asarray(rotation).T, np.asarray(centre)[:, None]], axis=1))


def flip_camera_axes(camera_to_worlds: NDArray) -> NDArray:
    """Turns OpenCV camera-to-world matrices (*batch, 3 or 4, 4) into OpenGL ones; its own inverse."""
    return camera_to_worlds * np.array([1.0, -1.0, -1.0, 1.0], dtype=camera_to_worlds.dtype)


def require_rigid_pose(matrix: NDArray, name: str, tolerance: float = 1e-2) -> NDArray[np.float64]:
    """The camera-to-world matrix (3, 4) of a (3 or 4, 4) one, its rotation replaced by the nearest true one.

    Raises:
        InputError: It is not finite, its columns are not orthonormal within ``tolerance``, or it is a reflection.
    """
    matrix = np.asarray(matrix)
    rows = 4 if matrix.ndim == 2 and matrix.shape[0] == 4 else 3
    matrix = require_finite_matrix(matrix, (rows, 4), name)[:3]
    rotation = matrix[:, :3]
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > tolerance or np.linalg.det(rotation) <= 0:
        raise InputError(
            f"{name} is no camera pose (its 3x3 part has the determinant {np.linalg.det(rotation):.4g} and is "
            f"{np.abs(rotation.T @ rotation - np.eye(3)).max():.2g} away from a rotation), expected a rotation and a "
            "translation: calibrate the camera anew or leave it out."
        )
    left, _, right = np.linalg.svd(rotation)
    return np.concatenate([left @ right, matrix[:, 3:]], axis=1)


def focal_from_field_of_view(field_of_view: float, size: float) -> float:
    """Focal length in pixels of a field of view in radians over ``size`` pixels."""
    return 0.5 * size / math.tan(0.5 * field_of_view)


def field_of_view_from_focal(focal: float, size: float) -> float:
    """Field of view in radians over ``size`` pixels of a focal length in pixels."""
    return 2.0 * math.atan(0.5 * size / focal)


def pixel_ray_norms(focals: tuple[float, float], centre: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """Length of the camera-space ray with unit depth through every pixel's centre: ray distance = norm * z.

    Args:
        focals: fx, fy in pixels.
        centre: cx, cy in pixels.
        size: Height and width.

    Returns:
        float32 (H, W), at least 1.
    """
    x = (torch.arange(size[1], dtype=torch.float64) + 0.5 - centre[0]) / focals[0]
    y = (torch.arange(size[0], dtype=torch.float64) + 0.5 - centre[1]) / focals[1]
    return torch.sqrt(x[None, :] ** 2 + y[:, None] ** 2 + 1.0).to(torch.float32)


def _in_words(values: NDArray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
