"""Chamfer and normal distances of a run's meshes to the true meshes or point clouds of its frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class TrueSurfaces:
    """Where the surface truly is, frame by frame, in scene units."""

    kind: str
    """"mesh" or "point_cloud"."""
    times: FloatArray
    """(T,): times of the frames in [0, 1]."""
    load: Callable[[int], trimesh.Trimesh | FloatArray]
    """Mesh or points (N, 3) of a frame."""
    held_out: tuple[bool, ...]
    """(T,): which frames took no part in training."""

    def __len__(self) -> int:
        return len(self.times)


def true_surfaces(metadata: dict[str, Any]) -> TrueSurfaces | None:
    """What a dataparser's metadata says of the truth; None where it says nothing.

    ``mesh_sequence`` (:class:`~nf_plugins.data.mesh_frames.MeshFrames`) holds the meshes of all frames, those held out
    of training included; ``mesh_filenames`` and ``point_cloud_filenames`` name a file in scene units for every
    training frame, or one file for a scene that stands still.
    """
    sequence = metadata.get("mesh_sequence")
    if sequence is not None:

        def mesh_of(frame: int) -> trimesh.Trimesh:
            import trimesh

            return trimesh.Trimesh(sequence.meshes[frame].vertices, sequence.meshes[frame].faces, process=False)

        return TrueSurfaces("mesh", np.asarray(sequence.times), mesh_of, tuple(sequence.held_out))
    for kind in ("mesh", "point_cloud"):
        files = metadata.get(f"{kind}_filenames")
        if files:
            frame_times = metadata.get("frame_times")
            times = np.zeros(1) if frame_times is None else np.asarray(frame_times, dtype=np.float64)[: len(files)]
            return TrueSurfaces(kind, times, lambda frame, files=files: load_truth(files[frame]), (False,) * len(times))
    return None


def evaluate_geometry(
    pipeline: Any,
    frames: Sequence[int],
    settings: GridSettings | None = None,
    *,
    num_samples: int = 100_000,
    seed: int = 0,
    in_world_units: bool = False,
    on_mesh: Callable[[int, trimesh.Trimesh], None] | None = None,
) -> dict[str, Any]:
    """Extract the mesh of each frame and measure its distance to the truth.

    Args:
        pipeline: Its model has ``surface_at`` and its dataparser gave true surfaces, see :func:`true_surfaces`.
        frames: Frame ids: of training, and of a mesh sequence all its frames, held-out ones included.
        settings: Of the extraction.
        num_samples: Samples on each surface.
        seed: Of the samples.
        in_world_units: Distances in the data's own units instead of scene units.
        on_mesh: Called with every frame and its mesh, scene units.

    Returns:
        ``{"units", "truth", "resolution", "num_samples", "seed", "mean", "per_frame"}``; distances as in
        ``SurfaceDistances``. Where some of the data's frames are held out, every row has ``"held_out"``, and there are
        ``"mean_training"`` and ``"mean_held_out"``, None where no such frame was asked for.

    Raises:
        InputError: without a surface or truth, or for a frame that does not exist.
    """
    settings = settings or GridSettings()
    metadata = pipeline.datamanager.train_dataset.metadata
    truth = true_surfaces(metadata)
    if truth is None or not hasattr(pipeline.model, "surface_at"):
        missing = "true meshes or point clouds" if truth is None else "a surface (surface_at)"
        raise InputError(f"Distances between surfaces need {missing}, which this run does not have.")
    for frame in frames:
        if not 0 <= frame < len(truth):
            raise InputError(f"Frame {frame} is outside the sequence, expected 0 to {len(truth) - 1}.")
    world_from_scene = np.asarray(metadata["world_from_scene"], dtype=np.float64) if in_world_units else None
    rows: list[dict[str, Any]] = []
    with progress_bar() as progress:
        for frame in progress.track(frames, description="Comparing meshes"):
            time = float(truth.times[frame])
            mesh = extract_mesh(pipeline.model.surface_at(time), settings, with_colors=False)
            if on_mesh is not None:
                on_mesh(int(frame), mesh)
            distances = compare_meshes(mesh, truth.load(frame), num_samples, seed, world_from_scene)
            held_out = {"held_out": truth.held_out[frame]} if any(truth.held_out) else {}
            rows.append({"frame_id": int(frame), "time": time, **held_out, **distances.as_dict()})
    means: dict[str, Any] = {"mean": mean_distances(rows)}
    if any(truth.held_out):
        for name, out in (("mean_training", False), ("mean_held_out", True)):
            means[name] = mean_distances([row for row in rows if row["held_out"] == out]) or None
    return {
        "units": "world" if in_world_units else "scene",
        "truth": truth.kind,
        "resolution": settings.resolution,
        "num_samples": num_samples,
        "seed": seed,
        **means,
        "per_frame": rows,
    }


def mean_distances(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean of every distance over the rows of frames; empty without rows."""
    names = [key for key in rows[0] if key not in ("frame_id", "time", "held_out")] if rows else []
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


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
