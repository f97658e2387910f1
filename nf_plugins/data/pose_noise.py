"""Camera poses made wrong on purpose, to see whether a method can mend them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def perturb_poses(
    camera_to_worlds: NDArray[np.float64], degrees: float, translation: float, seed: int
) -> NDArray[np.float64]:
    """Turns every camera about its own centre and moves it, each view by a draw of its own.

    The axis is uniform on the sphere, the angle normal with the standard deviation ``degrees``; the shift is normal
    with the standard deviation ``translation`` along each axis. View i gets the same axis, angle and shift however
    many views there are, up to the two scales.

    Args:
        camera_to_worlds: (N, 3, 4).
        degrees: Standard deviation of the angle.
        translation: Standard deviation of the shift along an axis, in the poses' units.
        seed: Of the draws.

    Returns:
        (N, 3, 4) poses.
    """
    draws = np.stack([np.random.default_rng([seed, view]).normal(size=7) for view in range(len(camera_to_worlds))])
    axes = draws[:, :3] / np.linalg.norm(draws[:, :3], axis=1, keepdims=True)
    rotations = rotation_matrices(axes, np.deg2rad(degrees) * draws[:, 3])
    centres = camera_to_worlds[:, :, 3] + translation * draws[:, 4:]
    return np.concatenate([rotations @ camera_to_worlds[:, :, :3], centres[:, :, None]], axis=2)


def rotation_matrices(axes: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations (N, 3, 3) about unit axes (N, 3) by angles (N,) in radians (Rodrigues' formula)."""
    cross = np.zeros((len(axes), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]] = axes
    cross[:, [1, 2, 0], [2, 0, 1]] = -axes
    sines, cosines = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    return np.eye(3) + sines * cross + (1 - cosines) * cross @ cross
