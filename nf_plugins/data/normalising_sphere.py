"""The sphere around a standing object that becomes the unit sphere of IDR's and NeuS' scene frame.

Its centre and radius come from the masks' visual hull. Surfaces are searched in the sphere alone, from its rim inwards:
it has to hold the object, and no camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.silhouette_hull import Silhouette, carve_hull, looked_at
from nf_plugins.errors import InputError

ENCLOSING_STEPS = 100
LEAST_AGREEMENT = 0.5
"""Down to this agreement a hull is searched for that tells which mask is at odds with the others."""
SHARE_OF_NEAREST_CAMERA = 0.8
"""Largest radius, without masks that say anything, in parts of the nearest camera's distance."""
WAY_OUT = "or give the sphere yourself: --sphere X Y Z RADIUS, in the units of the cameras"


@dataclass(frozen=True)
class NormalisingSphere:
    """A sphere in the world."""

    centre: NDArray[np.float64]
    """(3,), world units."""
    radius: float
    """World units, margin included."""
    source: Literal["masks", "cameras", "given"]
    disagreement: NDArray[np.float64] | None = None
    """(V,): what part of the hull that a view sees its mask leaves out; None without a hull."""

    def world_from_scene(self) -> NDArray[np.float64]:
        """``scale_mat`` (4, 4): the unit sphere to this one."""
        matrix = np.diag([self.radius, self.radius, self.radius, 1.0])
        matrix[:3, 3] = self.centre
        return matrix


def normalising_sphere(
    silhouettes: Sequence[Silhouette],
    points: NDArray[np.float64] | None = None,
    *,
    agreement: float = 0.9,
    margin: float = 0.1,
) -> NormalisingSphere:
    """The sphere around the visual hull.

    Views whose mask is foreground everywhere have no vote. Where none other is left, the sphere is what the cameras see
    whole around the point that they look at.

    Args:
        silhouettes: Of at least two views.
        points: (N, 3) of a reconstruction, world units; they only say where the search begins.
        agreement: What part of the views that see a place must have it inside their silhouette.
        margin: By which part of its radius the sphere around the hull is enlarged.

    Raises:
        InputError: The silhouettes leave nothing or bound nothing, or a camera stands inside the sphere.
    """
    telling = [silhouette for silhouette in silhouettes if not silhouette.says_nothing]
    if not telling:
        centre, radius = sphere_from_cameras(silhouettes)
        return NormalisingSphere(centre, radius, "cameras")
    if len(telling) < 2:
        raise InputError(
            f"Only the mask {telling[0].name} bounds the object, expected at least two, from different sides: mask "
            f"more photographs, {WAY_OUT}."
        )
    hull = carve_hull(telling, points, agreement)
    if hull is None:
        raise InputError(_why_nothing_is_left(telling, points, agreement))
    centre, radius = enclosing_sphere(hull.cells)
    disagreement = np.zeros(len(silhouettes))
    disagreement[[not silhouette.says_nothing for silhouette in silhouettes]] = hull.dissent
    radius = (1 + margin) * (radius + hull.cell_radius)
    sphere = NormalisingSphere(centre, radius, "masks", disagreement)
    require_cameras_outside(sphere, silhouettes)
    return sphere


def enclosing_sphere(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Centre and radius of a sphere around points (N, 3), at most some percent larger than the smallest.

    The centre moves towards the farthest point by ever smaller steps (Bădoiu and Clarkson, "Smaller core-sets for
    balls", SODA 2003), from the middle of the box around the points.
    """
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    best, smallest = centre, np.inf
    for step in range(2, ENCLOSING_STEPS + 2):
        squared = ((points - centre) ** 2).sum(axis=-1)
        farthest = int(squared.argmax())
        if squared[farthest] < smallest:
            best, smallest = centre, float(squared[farthest])
        centre = centre + (points[farthest] - centre) / step
    return best, float(np.sqrt(smallest))


def sphere_from_cameras(silhouettes: Sequence[Silhouette]) -> tuple[NDArray[np.float64], float]:
    """The sphere that a typical camera sees whole, around the point that all look at; it reaches to no camera.

    Raises:
        InputError: The cameras look past each other, or in one direction.
    """
    centre = looked_at(silhouettes)
    offsets = np.stack([centre - silhouette.centre for silhouette in silhouettes])
    forward = np.stack([silhouette.rotation[2] for silhouette in silhouettes])
    distances = np.linalg.norm(offsets, axis=-1)
    nearest = float(distances.min())
    if not (nearest > 0 and ((offsets * forward).sum(axis=-1) > 0.5 * distances).mean() > 0.5):
        raise InputError(
            "The masks are white everywhere and the cameras do not look at one place, so nothing says where the object "
            f"is, expected masks of the object: make some, {WAY_OUT}."
        )
    halves = [
        min(np.array(silhouette.clearance.shape[::-1]) / np.diag(silhouette.intrinsics)[:2]) / 2
        for silhouette in silhouettes
    ]
    radius = float(np.median(distances * np.sin(np.arctan(halves))))
    return centre, min(radius, SHARE_OF_NEAREST_CAMERA * nearest)


def require_cameras_outside(sphere: NormalisingSphere, silhouettes: Sequence[Silhouette]) -> None:
    """Rays are followed from the sphere's rim.

    Raises:
        InputError: A camera stands inside.
    """
    distances = np.array([np.linalg.norm(silhouette.centre - sphere.centre) for silhouette in silhouettes])
    inside = np.flatnonzero(distances <= sphere.radius)
    if len(inside) == 0:
        return
    nearest = int(distances.argmin())
    what = f"The camera of {silhouettes[nearest].name} stands {distances[nearest]:.4g} from the object's middle"
    found = f"inside the normalising sphere of radius {sphere.radius:.4g} ({len(inside)} of {len(distances)} do)"
    if sphere.source == "given":
        raise InputError(f"{what}, {found}, expected all cameras outside: give --sphere a smaller radius.")
    raise InputError(
        f"{what}, {found}, expected all cameras outside: check that the masks hold the object alone, lower "
        f"--sphere-margin, raise --mask-agreement, leave out photographs from that near, {WAY_OUT}."
    )


def _why_nothing_is_left(
    silhouettes: Sequence[Silhouette], points: NDArray[np.float64] | None, agreement: float
) -> str:
    """The message for silhouettes without a hull; names the view that is most at odds with the others."""
    for tenths in range(int(np.ceil(10 * agreement)) - 1, int(10 * LEAST_AGREEMENT) - 1, -1):
        hull = carve_hull(silhouettes, points, tenths / 10)
        if hull is not None:
            worst = int(hull.dissent.argmax())
            return (
                f"No place lies in {100 * agreement:.0f} % of the masks that see it (with {10 * tenths} % some do, and "
                f"the mask {silhouettes[worst].name} disagrees most: it leaves out {100 * hull.dissent[worst]:.0f} % "
                "of them), expected masks of one object, white on black, and cameras that belong to them: mend that "
                f"mask or leave its photograph out, lower --mask-agreement, {WAY_OUT}."
            )
    return (
        f"No place, or no end of places, lies in {100 * agreement:.0f} % of the masks that see it (the mask of "
        f"{silhouettes[0].name} and {len(silhouettes) - 1} others), expected white masks of one object, seen from "
        "several sides, and cameras that belong to them: check that masks are not inverted and belong to these "
        f"photographs, {WAY_OUT}."
    )
