"""Chamfer distance of a mesh by the protocol of the DTU data set, in millimetres.

Accuracy is the mean distance from the mesh to the scanned points, completeness the mean distance from the scanned
points to the mesh; distances of 20 mm and more are left out of both means. Only what the scanner could see counts
(Jensen et al. 2014; Aanæs et al. 2016). The arrays of any other surface may be given, in any unit, with the settings in
that unit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.atomic_files import atomic_path
from nf_plugins.errors import InputError
from nf_plugins.evaluation.dtu_reference import SurfaceReference
from nf_plugins.evaluation.point_thinning import points_on_mesh, thin_points

if TYPE_CHECKING:
    import trimesh

FloatArray = NDArray[np.floating]

COLOR_RANGE = 10.0
"""Distance at which the error clouds are fully red."""
EXCLUDED, FAR = (0, 0, 255), (0, 255, 0)
"""Colours of points that take no part, and of those too far away to count."""


@dataclass(frozen=True)
class DTUChamferSettings:
    """The published values, millimetres."""

    spacing: float = 0.2
    """Of the lattice on the triangles, and smallest distance between two points after thinning."""
    margin: float = 60.0
    """How far beyond the box of the observed volume mesh points still serve completeness."""
    max_distance: float = 20.0
    """Distances from here on are left out of the means."""
    seed: int = 0
    """Of the order of thinning; moves the result by about 0.01 %."""

    def __post_init__(self) -> None:
        if self.spacing <= 0 or self.max_distance <= 0 or self.margin < 0:
            raise InputError(
                f"The Chamfer settings need a positive spacing and largest distance and a margin of at least 0, found "
                f"{self.spacing:g}, {self.max_distance:g} and {self.margin:g}."
            )


@dataclass(frozen=True)
class DTUChamfer:
    """The three numbers, in the units of the points, and what they are means over."""

    accuracy: float
    """Mean distance mesh to reference ("d2s"); inf where nothing counts."""
    completeness: float
    """Mean distance reference to mesh ("s2d"); inf where nothing counts."""
    overall: float
    """Mean of the two."""
    num_mesh_points: int
    """Thinned points on the mesh."""
    num_mesh_points_observed: int
    """Of these, those in the observed volume."""
    num_mesh_points_counted: int
    """Of these, those near enough to count."""
    num_reference_points: int
    """Reference points above the plane."""
    num_reference_points_counted: int
    """Of these, those near enough to count."""

    def as_dict(self) -> dict[str, Any]:
        """The numbers under their names."""
        return asdict(self)


@dataclass(frozen=True)
class ErrorCloud:
    """Points and how far each is from the other surface."""

    points: FloatArray
    """(N, 3)."""
    distances: FloatArray
    """(N,): inf beyond the largest distance; nan for points that take no part."""

    def colors(self, color_range: float = COLOR_RANGE) -> NDArray[np.uint8]:
        """(N, 3): white to red with the distance, green beyond the largest, blue without part."""
        known = np.isfinite(self.distances)
        fading = 1.0 - np.clip(np.where(known, self.distances, 0.0) / color_range, 0.0, 1.0)
        colors = np.full((len(self.points), 3), 255, dtype=np.uint8)
        colors[:, 1] = colors[:, 2] = np.round(255.0 * fading)
        colors[np.isinf(self.distances)] = FAR
        colors[np.isnan(self.distances)] = EXCLUDED
        return colors


def mesh_chamfer(
    mesh: trimesh.Trimesh, reference: SurfaceReference, settings: DTUChamferSettings | None = None
) -> tuple[DTUChamfer, tuple[ErrorCloud, ErrorCloud]]:
    """Sample a mesh evenly and measure it with :func:`points_chamfer`.

    Args:
        mesh: In the units of the reference; an empty one gives infinite distances, with a printed line.
        reference: The truth.
        settings: The published values by default.

    Raises:
        InputError: if the mesh's area asks for more points than memory holds.
    """
    settings = settings or DTUChamferSettings()
    points = points_on_mesh(np.asarray(mesh.vertices), np.asarray(mesh.faces), settings.spacing)
    if len(mesh.faces) == 0:
        points = np.zeros((0, 3))
        CONSOLE.print("The mesh is empty: its distances are infinite.")
    return points_chamfer(points[thin_points(points, settings.spacing, settings.seed)], reference, settings)


def points_chamfer(
    points: FloatArray, reference: SurfaceReference, settings: DTUChamferSettings | None = None
) -> tuple[DTUChamfer, tuple[ErrorCloud, ErrorCloud]]:
    """Measure evenly spread points.

    1. Of the points, those within the extended box of the observed volume are kept.
    2. Accuracy: from those of them in an observed voxel to the nearest reference point.
    3. Completeness: from the reference points above the plane to the nearest of all points kept in 1.

    Args:
        points: (N, 3), evenly spread over the surface.
        reference: The truth.
        settings: The published values by default; ``spacing`` and ``seed`` are not used here.

    Returns:
        The distances, and the two clouds (points, reference) with the distance of each of their points.
    """
    settings = settings or DTUChamferSettings()
    volume, every = reference.observed, np.ones(len(points), dtype=bool)
    within = every if volume is None else volume.within_margins(points, settings.margin)
    observed = every if volume is None else within & volume.observed(points)
    above = reference.above_plane()
    to_reference = np.full(len(points), np.nan)
    to_reference[observed] = _nearest(points[observed], reference.points, settings.max_distance)
    to_points = np.full(len(reference.points), np.nan)
    to_points[above] = _nearest(reference.points[above], points[within], settings.max_distance)
    accuracy, completeness = _mean(to_reference), _mean(to_points)
    result = DTUChamfer(
        accuracy=accuracy,
        completeness=completeness,
        overall=0.5 * (accuracy + completeness),
        num_mesh_points=len(points),
        num_mesh_points_observed=int(observed.sum()),
        num_mesh_points_counted=int(np.isfinite(to_reference).sum()),
        num_reference_points=int(above.sum()),
        num_reference_points_counted=int(np.isfinite(to_points).sum()),
    )
    return result, (ErrorCloud(points, to_reference), ErrorCloud(reference.points, to_points))


def write_error_cloud(path: Path, cloud: ErrorCloud) -> None:
    """Write a coloured cloud as PLY, atomically.

    Raises:
        InputError: if the folder cannot be written to.
    """
    import trimesh

    with atomic_path(path) as temporary:
        trimesh.PointCloud(cloud.points, colors=cloud.colors()).export(temporary, file_type="ply")


def _nearest(queries: FloatArray, points: FloatArray, max_distance: float) -> FloatArray:
    """Distances (N,) to the nearest of the points (M, 3); inf from ``max_distance`` on."""
    from scipy.spatial import KDTree

    if len(queries) == 0 or len(points) == 0:
        return np.full(len(queries), np.inf)
    distances, _ = KDTree(points).query(queries, distance_upper_bound=max_distance, workers=-1)
    return np.asarray(distances)


def _mean(distances: FloatArray) -> float:
    counted = distances[np.isfinite(distances)]
    return float(counted.mean()) if len(counted) else float("inf")
