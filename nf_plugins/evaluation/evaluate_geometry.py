"""Chamfer and normal distances of a run's meshes to the true meshes or point clouds of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nf_plugins.errors import InputError
from nf_plugins.evaluation.geometry_metrics import FloatArray, SurfaceDistances, compare_meshes
from nf_plugins.exporters.mesh import extract_mesh
from nf_plugins.exporters.signed_distance_grid import GridSettings
from nf_plugins.progress import progress_bar

if TYPE_CHECKING:
    import trimesh


def evaluate_geometry(
    pipeline: Any,
    frames: Sequence[int],
    settings: GridSettings | None = None,
    *,
    num_samples: int = 100_000,
    seed: int = 0,
    in_world_units: bool = False,
) -> dict[str, Any]:
    """Extract the mesh of each frame and measure its distance to the truth.

    Args:
        pipeline: Its model has ``surface_at`` and its dataparser gave ``mesh_filenames`` or ``point_cloud_filenames``.
        frames: Training frame ids.
        settings: Of the extraction.
        num_samples: Samples on each surface.
        seed: Of the samples.
        in_world_units: Distances in the data's own units instead of scene units.

    Returns:
        ``{"units", "truth", "resolution", "num_samples", "seed", "mean", "per_frame"}``; distances as in
        ``SurfaceDistances``.

    Raises:
        InputError: without a surface or truth, or for a frame that does not exist.
    """
    settings = settings or GridSettings()
    metadata = pipeline.datamanager.train_dataset.metadata
    key = "mesh_filenames" if metadata.get("mesh_filenames") else "point_cloud_filenames"
    truth_files = metadata.get(key)
    if not truth_files or not hasattr(pipeline.model, "surface_at"):
        missing = "true meshes or point clouds" if not truth_files else "a surface (surface_at)"
        raise InputError(f"Distances between surfaces need {missing}, which this run does not have.")
    frame_times = metadata["frame_times"]
    for frame in frames:
        if not 0 <= frame < min(len(truth_files), len(frame_times)):
            raise InputError(f"Frame {frame} is outside the sequence, expected 0 to {len(truth_files) - 1}.")
    world_from_scene = np.asarray(metadata["world_from_scene"], dtype=np.float64) if in_world_units else None
    rows: list[dict[str, Any]] = []
    with progress_bar() as progress:
        for frame in progress.track(frames, description="Comparing meshes"):
            time = float(frame_times[frame])
            mesh = extract_mesh(pipeline.model.surface_at(time), settings, with_colors=False)
            distances = compare_meshes(mesh, load_truth(truth_files[frame]), num_samples, seed, world_from_scene)
            rows.append({"frame_id": int(frame), "time": time, **distances.as_dict()})
    names = [key for key in rows[0] if key not in ("frame_id", "time")] if rows else []
    return {
        "units": "world" if in_world_units else "scene",
        "truth": key.removesuffix("_filenames"),
        "resolution": settings.resolution,
        "num_samples": num_samples,
        "seed": seed,
        "mean": {name: float(np.mean([row[name] for row in rows])) for name in names},
        "per_frame": rows,
    }


def distance_matrix(
    predicted: Sequence[trimesh.Trimesh],
    truths: Sequence[trimesh.Trimesh | FloatArray],
    num_samples: int = 100_000,
    seed: int = 0,
) -> list[list[SurfaceDistances]]:
    """Distances of every predicted to every true surface: row i is mesh i. The diagonal of moving truth is smallest."""
    return [[compare_meshes(mesh, truth, num_samples, seed) for truth in truths] for mesh in predicted]


def load_truth(path: Path) -> trimesh.Trimesh | FloatArray:
    """A mesh, or the points (N, 3) of a file without faces.

    Raises:
        InputError: if the file is missing or is neither.
    """
    import trimesh

    path = Path(path)
    if not path.is_file():
        raise InputError(f"The true surface {path} is missing, expected a mesh or a point cloud (.ply, .obj).")
    try:
        loaded = trimesh.load(path, process=False)
    except Exception as error:
        raise InputError(f"The true surface {path} cannot be read ({error}).") from error
    if isinstance(loaded, trimesh.Trimesh) and len(loaded.faces):
        return loaded
    vertices = getattr(loaded, "vertices", None)
    if vertices is None:
        raise InputError(f"The true surface {path} holds neither faces nor points.")
    return np.asarray(vertices, dtype=np.float64)
