"""Depth images to points in the world, cleaned, and the sphere and box around them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.errors import InputError

NEIGHBOURS = 20
MOST_POINTS = 60_000
BOX_FACTOR = 1.1
"""The scene box is the points' box, this much larger, as in ResFields' RGB-D captures."""


class Normalisation(NamedTuple):
    """The unit sphere around the subject."""

    world_from_scene: NDArray[np.float64]
    """(4, 4): one scale and a translation."""
    scene_aabb: NDArray[np.float64]
    """(2, 3), scene units."""


def unproject(
    depth: NDArray[np.float64], intrinsics: NDArray[np.float64], camera_to_world: NDArray[np.float64], is_ray: bool
) -> NDArray[np.float64]:
    """World points (H, W, 3) of a depth image; nonsense where the depth is 0.

    Args:
        depth: (H, W), world units.
        intrinsics: (3, 3), pixels, the centre of the first pixel at (0.5, 0.5).
        camera_to_world: (4, 4), OpenCV axes.
        is_ray: Whether the depth is the distance along the ray, not the camera's z coordinate.
    """
    rows, columns = np.meshgrid(np.arange(depth.shape[0]) + 0.5, np.arange(depth.shape[1]) + 0.5, indexing="ij")
    directions = np.stack(
        [
            (columns - intrinsics[0, 2]) / intrinsics[0, 0],
            (rows - intrinsics[1, 2]) / intrinsics[1, 1],
            np.ones_like(rows),
        ],
        axis=-1,
    )
    if is_ray:
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    points = depth[..., None] * directions
    return points @ camera_to_world[:3, :3].T + camera_to_world[:3, 3]


def thin_out(points: NDArray[np.float64], most: int = MOST_POINTS) -> NDArray[np.float64]:
    """At most ``most`` of the points (N, 3), evenly over the list."""
    return points[:: max(1, -(-len(points) // most))]


def without_outliers(
    points: NDArray[np.float64], neighbours: int = NEIGHBOURS, deviations: float = 2.0
) -> NDArray[np.float64]:
    """Statistical outlier removal: points (N, 3) whose mean distance to their neighbours is not unusually large.

    Args:
        neighbours: How many nearest points are looked at.
        deviations: A mean distance above the average by more than so many standard deviations is unusual.
    """
    from scipy.spatial import KDTree

    if len(points) <= neighbours:
        return points
    distances = KDTree(points).query(points, k=neighbours + 1)[0][:, 1:].mean(axis=1)
    return points[distances <= distances.mean() + deviations * distances.std()]


def normalisation_of(points: NDArray[np.float64], margin: float = BOX_FACTOR) -> Normalisation:
    """The sphere around the box of points (N, 3), which becomes the unit sphere, and that box with a margin.

    Raises:
        InputError: There are hardly any points, or all are in one place.
    """
    if len(points) < NEIGHBOURS:
        raise InputError(
            f"Only {len(points)} points are foreground with a depth, expected a subject: check --depth-range, "
            "--crop-box and the masks, and that depth is aligned to colour."
        )
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    if radius <= 0:
        raise InputError("All foreground points are in one place, expected a subject with an extent.")
    world_from_scene = np.diag([radius, radius, radius, 1.0])
    world_from_scene[:3, 3] = centre
    half = margin * (high - low) / (2 * radius)
    # A flat subject still needs a box with an inside.
    half = np.maximum(half, 0.02)
    return Normalisation(world_from_scene, np.stack([-half, half]))
