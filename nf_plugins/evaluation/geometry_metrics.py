"""How far a mesh lies from the true one.

Chamfer distances go by many names and factors, so both definitions that matter here are computed and named in full.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

if TYPE_CHECKING:
    import trimesh

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two sampled surfaces, in the units of their points."""

    chamfer_l1_sum: float
    """ResFields' definition: mean L1 distance to the L1-nearest neighbour, predicted to true plus true to predicted."""
    chamfer_l2_mean: float
    """The usual definition: mean Euclidean distance to the nearest neighbour, average of the two directions."""
    accuracy: float
    """Mean Euclidean distance from the predicted to the true surface."""
    completeness: float
    """Mean Euclidean distance from the true to the predicted surface."""
    normal_distance: float
    """ResFields' definition: mean of 1 - |cos| between the normals of L1-nearest neighbours, summed over both
    directions, in [0, 2]; nan without normals."""

    def as_dict(self) -> dict[str, float]:
        """The numbers under their names."""
        return asdict(self)


def compare_meshes(
    predicted: trimesh.Trimesh,
    truth: trimesh.Trimesh | FloatArray,
    num_samples: int = 100_000,
    seed: int = 0,
    world_from_scene: FloatArray | None = None,
) -> SurfaceDistances:
    """Distances between a mesh and the true mesh or point cloud.

    Args:
        predicted: The extracted mesh.
        truth: The true mesh, or its points (N, 3); of more than ``num_samples`` points a random part is taken.
        num_samples: Area-weighted surface samples on each mesh (100 000 in ResFields).
        seed: Of the samples; the same seed gives the same numbers.
        world_from_scene: (4, 4), applied to both sides, when they are in scene units and the distances are wanted in
            the data's own.

    Returns:
        The distances; all inf, with a printed line, when either side is empty: never a perfect 0.
    """
    predicted_points, predicted_normals = sample_surface(predicted, num_samples, seed)
    if isinstance(truth, np.ndarray):
        true_points, true_normals = _subset(truth, num_samples, seed + 1), None
    else:
        true_points, true_normals = sample_surface(truth, num_samples, seed + 1)
    if world_from_scene is not None:
        matrix = np.asarray(world_from_scene, dtype=np.float64)
        predicted_points, true_points = _transform(predicted_points, matrix), _transform(true_points, matrix)
        predicted_normals = _transform_normals(predicted_normals, matrix)
        true_normals = None if true_normals is None else _transform_normals(true_normals, matrix)
    return compare_points(predicted_points, true_points, predicted_normals, true_normals)


def compare_points(
    predicted: FloatArray,
    truth: FloatArray,
    predicted_normals: FloatArray | None = None,
    true_normals: FloatArray | None = None,
) -> SurfaceDistances:
    """Distances between two point sets (N, 3) and (M, 3) with optional unit normals; inf when either is empty."""
    if len(predicted) == 0 or len(truth) == 0:
        which = "predicted" if len(predicted) == 0 else "true"
        CONSOLE.print(f"The {which} surface is empty: its distances are infinite.")
        return SurfaceDistances(*[float("inf")] * 4, normal_distance=float("nan"))
    to_truth, to_truth_index = _nearest(predicted, truth, norm=1)
    to_predicted, to_predicted_index = _nearest(truth, predicted, norm=1)
    accuracy = float(_nearest(predicted, truth, norm=2)[0].mean())
    completeness = float(_nearest(truth, predicted, norm=2)[0].mean())
    normal_distance = float("nan")
    if predicted_normals is not None and true_normals is not None:
        forward = _one_minus_cosine(predicted_normals, true_normals[to_truth_index])
        backward = _one_minus_cosine(true_normals, predicted_normals[to_predicted_index])
        normal_distance = forward + backward
    return SurfaceDistances(
        chamfer_l1_sum=float(to_truth.mean() + to_predicted.mean()),
        chamfer_l2_mean=0.5 * (accuracy + completeness),
        accuracy=accuracy,
        completeness=completeness,
        normal_distance=normal_distance,
    )


def sample_surface(mesh: trimesh.Trimesh, count: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Area-weighted random points (count, 3) on a mesh and the unit normals (count, 3) of their faces.

    An empty mesh, or one without area, gives no points.
    """
    if len(mesh.faces) == 0 or not mesh.area > 0.0:
        return np.zeros((0, 3)), np.zeros((0, 3))
    import trimesh

    points, face_indices = trimesh.sample.sample_surface(mesh, count, seed=seed)[:2]
    return np.asarray(points), np.asarray(mesh.face_normals)[np.asarray(face_indices)]


def _nearest(queries: FloatArray, points: FloatArray, norm: int) -> tuple[FloatArray, NDArray[np.intp]]:
    from scipy.spatial import KDTree

    distances, indices = KDTree(points).query(queries, p=norm, workers=-1)
    return np.asarray(distances), np.asarray(indices)


def _one_minus_cosine(first: FloatArray, second: FloatArray) -> float:
    return float(np.mean(1.0 - np.abs((first * second).sum(axis=-1))))


def _transform(points: FloatArray, matrix: FloatArray) -> FloatArray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _transform_normals(normals: FloatArray, matrix: FloatArray) -> FloatArray:
    moved = normals @ np.linalg.inv(matrix[:3, :3])
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True).clip(min=1e-12)


def _subset(points: FloatArray, count: int, seed: int) -> FloatArray:
    if len(points) <= count:
        return points
    return points[np.random.default_rng(seed).choice(len(points), count, replace=False)]
