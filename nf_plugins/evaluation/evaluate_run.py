"""Everything that is measured of a trained run: images of one or more splits, and meshes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.engine.training_record import read_training_record
from nf_plugins.errors import InputError
from nf_plugins.evaluation.dataset_images import Split
from nf_plugins.evaluation.evaluate import MaskChoice, evaluate_pipeline
from nf_plugins.evaluation.evaluate_geometry import evaluate_geometry, true_surfaces
from nf_plugins.evaluation.result_files import write_results
from nf_plugins.evaluation.split_folder import FolderOptions
from nf_plugins.exporters.mesh import extract_mesh, vertex_colors
from nf_plugins.exporters.mesh_folder import MeshFolderWriter
from nf_plugins.exporters.signed_distance_grid import GridSettings
from nf_plugins.progress import progress_bar

if TYPE_CHECKING:
    import trimesh

TRAINING_KEYS = ("steps", "seconds", "timed_steps", "machine", "peak_gpu_bytes")


@dataclass(frozen=True)
class RunEvaluationOptions:
    """What to measure and what to write."""

    splits: tuple[Split, ...] = ("test",)
    """Which images."""
    mask: MaskChoice = "both"
    """Metrics over whole images, over the foreground, or both."""
    use_lpips: bool = True
    """Measure LPIPS too, where its weights can be had."""
    image_stride: int = 1
    """Evaluate only every n-th image."""
    save_images: bool = False
    """Write pairs of images into ``evaluation/SPLIT_images`` of the run's folder."""
    folders: FolderOptions | None = None
    """Write a folder per split, and the meshes into ``meshes``; None writes none."""
    mesh_frames: tuple[int, ...] = ()
    """Frames whose mesh is extracted."""
    all_mesh_frames: bool = False
    """Extract the mesh of every frame."""
    mesh_resolution: int = 128
    """Grid cells along the longest side of the scene box."""
    mesh_samples: int = 100_000
    """Random points on each mesh."""


def evaluate_run(load_config: Path, options: RunEvaluationOptions | None = None) -> dict[Split, dict[str, Any]]:
    """Load a run from its ``config.yml`` and evaluate its newest checkpoint.

    Args:
        load_config: The file, or the folder that holds it.
        options: What to measure.

    Returns:
        For each split the result of :func:`evaluate_pipeline`, with ``"training"`` (steps and seconds, None where the
        run kept no record) and, where meshes were asked for and the data has true surfaces, ``"geometry"``.

    Raises:
        InputError: as :func:`evaluate_pipeline`; if meshes are asked of a method without a surface, a frame does not
            exist, or there is neither a true surface nor a folder to write meshes to.
    """
    from nf_plugins.engine.load_run import load_run

    options = options or RunEvaluationOptions()
    # Not "inference": nerfstudio's own dataparsers then ignore the downscaling that the run was trained with.
    mode = "val" if options.splits == ("val",) else "test"
    config, pipeline, checkpoint, step = load_run(load_config, test_mode=mode)
    run_dir = Path(load_config) if Path(load_config).is_dir() else Path(load_config).parent
    frames = requested_frames(pipeline, str(config.method_name), options)
    training = training_block(run_dir)
    results: dict[Split, dict[str, Any]] = {}
    for split in options.splits:
        results[split] = evaluate_pipeline(
            pipeline,
            config,
            step,
            split,
            save_images_dir=run_dir / "evaluation" / f"{split}_images" if options.save_images else None,
            folders=options.folders,
            mask=options.mask,
            use_lpips=options.use_lpips,
            image_stride=options.image_stride,
            checkpoint=checkpoint,
        )
    geometry = stored_geometry(list(results.values()), frames, options) if frames else None
    if frames and geometry is None:
        header = {"method": config.method_name, "step": step, "checkpoint": str(checkpoint)}
        geometry = measure_meshes(pipeline, frames, options, header)
    for split, result in results.items():
        result["training"] = training
        if geometry is not None:
            result["geometry"] = geometry
        if options.folders is not None:
            write_results(options.folders.output_dir / split, result)
    return results


def training_block(run_dir: Path) -> dict[str, Any] | None:
    """What results say of the training of the run in a folder; None where it kept no record."""
    record = read_training_record(run_dir)
    return None if record is None else {key: record.get(key) for key in TRAINING_KEYS}


def requested_frames(pipeline: Any, method_name: str, options: RunEvaluationOptions) -> tuple[int, ...]:
    """The frames whose meshes are asked for.

    Raises:
        InputError: before anything is rendered, for a method without a surface, a frame that does not exist, or a
            comparison with surfaces that the data does not have.
    """
    if not options.mesh_frames and not options.all_mesh_frames:
        return ()
    if options.mesh_frames and options.all_mesh_frames:
        raise InputError("Give either --mesh-frames or --all-mesh-frames, not both.")
    if not hasattr(pipeline.model, "surface_at"):
        raise InputError(f"--mesh-frames: the method {method_name} has no surface to extract meshes from.")
    metadata = pipeline.datamanager.train_dataset.metadata
    if options.folders is None and true_surfaces(metadata) is None:
        raise InputError(
            "--mesh-frames: this data has no true meshes or point clouds to compare with; add --output-dir to extract "
            "the meshes alone."
        )
    count = len(mesh_times(metadata))
    for frame in options.mesh_frames:
        if not 0 <= frame < count:
            raise InputError(f"--mesh-frames: frame {frame} is outside the sequence, expected 0 to {count - 1}.")
    return tuple(range(count)) if options.all_mesh_frames else options.mesh_frames


def mesh_times(metadata: dict[str, Any]) -> Sequence[float]:
    """Times of the frames that have a true surface, or else of the training frames; 0 for a scene that stands still."""
    truth = true_surfaces(metadata)
    return [float(time) for time in (metadata.get("frame_times", (0.0,)) if truth is None else truth.times)]


def stored_geometry(
    results: Sequence[dict[str, Any]], frames: Sequence[int], options: RunEvaluationOptions
) -> dict[str, Any] | None:
    """Surface distances that came with complete results and are those that are asked for now."""
    for result in results:
        geometry = result.get("geometry")
        if (
            geometry is not None
            and [entry["frame_id"] for entry in geometry["per_frame"]] == list(frames)
            and (geometry["resolution"], geometry["num_samples"]) == (options.mesh_resolution, options.mesh_samples)
        ):
            return geometry
    return None


def measure_meshes(
    pipeline: Any, frames: Sequence[int], options: RunEvaluationOptions, header: dict[str, Any]
) -> dict[str, Any] | None:
    """Extract the meshes of frames, write them where a folder is asked for, compare them with the truth.

    Args:
        pipeline: Its model has a surface.
        frames: Their numbers.
        options: What to write and how finely to sample.
        header: What ``meshes.json`` says of the run.

    Returns:
        The distances; None where the data has no true surface.
    """
    settings = GridSettings(resolution=options.mesh_resolution)
    metadata = pipeline.datamanager.train_dataset.metadata
    times, writer, on_mesh = mesh_times(metadata), None, None
    if options.folders is not None:
        header = {
            **header,
            "units": "scene",
            "resolution": options.mesh_resolution,
            "world_from_scene": _as_list(metadata.get("world_from_scene")),
        }
        writer = MeshFolderWriter(options.folders.output_dir / "meshes", header)
        on_mesh = mesh_saver(pipeline.model, times, writer, settings)
    geometry = None
    if true_surfaces(metadata) is not None:
        geometry = evaluate_geometry(pipeline, frames, settings, num_samples=options.mesh_samples, on_mesh=on_mesh)
    elif on_mesh is not None:
        CONSOLE.print("This data has no true surfaces: the meshes are extracted, not compared.")
        with progress_bar() as progress:
            for frame in progress.track(frames, description="Extracting meshes"):
                on_mesh(frame, extract_mesh(pipeline.model.surface_at(times[frame]), settings, with_colors=False))
    if writer is not None:
        writer.finish()
    return geometry


def mesh_saver(
    model: Any, times: Sequence[float], writer: MeshFolderWriter, settings: GridSettings
) -> Callable[[int, trimesh.Trimesh], None]:
    """A function that colours the mesh (scene units) of a frame and writes it as ``FFFFFF.ply``."""

    def save(frame: int, mesh: trimesh.Trimesh) -> None:
        if len(mesh.faces):
            surface = model.surface_at(times[frame])
            mesh.visual.vertex_colors = vertex_colors(surface, mesh.vertices, settings.chunk_size)  # type: ignore
        writer.add(f"{frame:06d}.ply", times[frame], mesh, frame)

    return save


def _as_list(matrix: Any) -> list[list[float]] | None:
    return None if matrix is None else [[float(value) for value in row] for row in matrix]
