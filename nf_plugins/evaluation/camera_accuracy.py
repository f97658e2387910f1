"""How far estimated cameras are from the true ones, up to the similarity that images cannot tell.

The protocol of IDR (Yariv et al. 2020): one rotation for all cameras in the least-squares sense of matrices, then the
scale and translation that minimise the sum of the distances (not their squares) between camera centres, so that a few
lost cameras do not spoil the alignment of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.errors import InputError

FloatArray = NDArray[np.floating]

MOST_ITERATIONS = 1000
RELATIVE_TOLERANCE = 1e-12
SMALLEST_RELATIVE_DISTANCE = 1e-9
"""Of the extent of the centres: keeps the weights finite where a centre is met exactly."""


@dataclass(frozen=True)
class Similarity:
    """x -> scale rotation x + translation."""

    scale: float
    rotation: FloatArray
    """(3, 3)."""
    translation: FloatArray
    """(3,)."""

    def apply(self, points: FloatArray) -> FloatArray:
        """Points (N, 3), moved."""
        return self.scale * points @ self.rotation.T + self.translation

    def matrix(self) -> FloatArray:
        """(4, 4)."""
        result = np.eye(4)
        result[:3, :3], result[:3, 3] = self.scale * self.rotation, self.translation
        return result


@dataclass(frozen=True)
class CameraErrors:
    """Errors of aligned cameras, one each."""

    rotation_degrees: FloatArray
    """(N,): angle between the estimated and the true orientation."""
    translation: FloatArray
    """(N,): distance between the estimated and the true centre, in the units of the true one."""
    alignment: Similarity
    """From the estimated to the true cameras."""

    def as_dict(self) -> dict[str, Any]:
        """Mean, median and largest error, and the alignment."""
        return {
            "rotation_degrees": _statistics(self.rotation_degrees),
            "translation_world_units": _statistics(self.translation),
            "alignment": self.alignment.matrix().tolist(),
            "num_cameras": len(self.translation),
        }


def camera_errors(estimated: FloatArray, true: FloatArray) -> CameraErrors:
    """Align estimated to true cameras and compare them.

    Args:
        estimated: Camera-to-world matrices (N, 3 or 4, 4).
        true: The true ones, of the same cameras and with the same camera axes.

    Raises:
        InputError: for different numbers of cameras, or fewer than two.
    """
    estimated, true = np.asarray(estimated, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if len(estimated) != len(true) or len(true) < 2:
        raise InputError(
            f"Comparing cameras needs the same two or more of them, found {len(estimated)} estimated and {len(true)} "
            "true ones."
        )
    alignment = align_cameras(estimated, true)
    difference = alignment.rotation @ estimated[:, :3, :3] - true[:, :3, :3]
    # |R1 - R2| (Frobenius) = 2 sqrt(2) sin(angle / 2), which is exact for small angles, unlike the arc cosine.
    sine = np.linalg.norm(difference, axis=(1, 2)) / (2.0 * np.sqrt(2.0))
    distances = np.linalg.norm(alignment.apply(estimated[:, :3, 3]) - true[:, :3, 3], axis=1)
    return CameraErrors(np.degrees(2.0 * np.arcsin(np.clip(sine, 0.0, 1.0))), distances, alignment)


def align_cameras(estimated: FloatArray, true: FloatArray) -> Similarity:
    """The similarity from estimated to true cameras, see above.

    Args:
        estimated: Camera-to-world matrices (N, 3 or 4, 4).
        true: Likewise.
    """
    rotation = common_rotation(estimated[:, :3, :3], true[:, :3, :3])
    scale, translation = scale_and_translation(estimated[:, :3, 3] @ rotation.T, true[:, :3, 3])
    return Similarity(scale, rotation, translation)


def common_rotation(estimated: FloatArray, true: FloatArray) -> FloatArray:
    """The rotation (3, 3) R that minimises the sum of |R estimated - true|^2 over rotations (N, 3, 3)."""
    left, _, right = np.linalg.svd(np.einsum("nij,nkj->ik", true, estimated))
    sign = np.linalg.det(left) * np.linalg.det(right)
    return left @ np.diag([1.0, 1.0, np.sign(sign)]) @ right


def scale_and_translation(source: FloatArray, target: FloatArray) -> tuple[float, FloatArray]:
    """Scale c >= 0 and translation t (3,) that minimise the sum of |c source + t - target| over points (N, 3).

    The sum is convex. Iteratively reweighted least squares: each step solves the squared problem in closed form, every
    point weighted by one over its last distance. Where all sources are in one place the scale is 1.
    """
    weights = np.ones(len(source))
    extent = float(np.linalg.norm(target - target.mean(axis=0), axis=1).max()) or 1.0
    previous, scale, translation = np.inf, 1.0, np.zeros(3)
    for _ in range(MOST_ITERATIONS):
        scale, translation = _weighted_fit(source, target, weights / weights.sum())
        distances = np.linalg.norm(scale * source + translation - target, axis=1)
        total = float(distances.sum())
        if abs(previous - total) <= RELATIVE_TOLERANCE * extent:
            break
        previous = total
        weights = 1.0 / np.maximum(distances, SMALLEST_RELATIVE_DISTANCE * extent)
    return scale, translation


def poses_in_world(camera_to_worlds: FloatArray, world_from_scene: FloatArray | None) -> FloatArray:
    """Camera-to-scene matrices (N, 3 or 4, 4) as camera-to-world ones (N, 3, 4), still with rotations.

    Args:
        camera_to_worlds: In the scene's frame.
        world_from_scene: A similarity (4, 4); None leaves the frame.
    """
    poses = np.asarray(camera_to_worlds, dtype=np.float64)[:, :3]
    if world_from_scene is None:
        return poses
    matrix = np.asarray(world_from_scene, dtype=np.float64)
    rotation = matrix[:3, :3] / np.cbrt(np.linalg.det(matrix[:3, :3]))
    centres = poses[:, :, 3] @ matrix[:3, :3].T + matrix[:3, 3]
    return np.concatenate([rotation @ poses[:, :, :3], centres[:, :, None]], axis=2)


def _weighted_fit(source: FloatArray, target: FloatArray, weights: FloatArray) -> tuple[float, FloatArray]:
    source_mean, target_mean = weights @ source, weights @ target
    spread = float(weights @ ((source - source_mean) ** 2).sum(axis=1))
    product = float(weights @ ((source - source_mean) * (target - target_mean)).sum(axis=1))
    scale = max(product / spread, 0.0) if spread > 0 else 1.0
    return scale, target_mean - scale * source_mean


def _statistics(values: FloatArray) -> dict[str, float]:
    return {"mean": float(values.mean()), "median": float(np.median(values)), "max": float(values.max())}
