"""Everything that is measured of a static surface: views, mesh and cameras, each against its truth.

Of two kinds of views the first are those that were trained on, which is what publications on DTU report; the second
those that were not, where a run held any out. They never share a key.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.atomic_files import check_writable
from nf_plugins.errors import InputError
from nf_plugins.evaluation.camera_accuracy import CameraErrors
from nf_plugins.evaluation.dataset_images import dataset_for_split, refined_cameras, with_cameras
from nf_plugins.evaluation.dtu_chamfer import DTUChamferSettings, mesh_chamfer, write_error_cloud
from nf_plugins.evaluation.dtu_reference import SurfaceReference
from nf_plugins.evaluation.evaluate_geometry import true_surfaces
from nf_plugins.evaluation.evaluate_views import held_out_dataset, measure_views
from nf_plugins.evaluation.geometry_metrics import compare_meshes
from nf_plugins.evaluation.lpips import LazyLPIPS
from nf_plugins.evaluation.mask_culling import DILATION_PIXELS, cull_by_masks, masks_of_dataset
from nf_plugins.evaluation.protocol import protocol_block
from nf_plugins.evaluation.world_frame import (
    compare_cameras,
    differ,
    held_out_cameras,
    world_from_learnt_scene,
    world_from_scene,
)
from nf_plugins.exporters.mesh import extract_mesh, write_mesh
from nf_plugins.exporters.principal_axes_mesh import (
    PrincipalAxesSettings,
    extract_principal_axes_mesh,
    largest_component_by_area,
)
from nf_plugins.exporters.signed_distance_grid import GridSettings
from nf_plugins.progress import progress_bar
from nf_plugins.run_facts import count_parameters

if TYPE_CHECKING:
    import trimesh

SURFACE_NOTE = (
    "psnr_fg is the masked PSNR of IDR: the squared error over the pixels whose mask is above one half alone. "
    "ssim_whole_masked_image is the SSIM of whole images that are black outside the mask, as some publications report "
    "it; the black agreement lifts it. ssim_fg sees windows on the mask only. train_views are views that were trained "
    "on, with the refined poses where poses were trained; held_out_views are then aligned by the training cameras."
)


@dataclass(frozen=True)
class SurfaceEvaluationOptions:
    """What to measure, and with what."""

    reference: SurfaceReference | None = None
    """Scanned points of DTU; None where there are none."""
    chamfer: DTUChamferSettings = DTUChamferSettings()
    """Of the DTU protocol."""
    mesh_resolution: int = 400
    """Grid points along the shortest side of the object's box (principal axes), or cells along the scene's."""
    principal_axes: bool = True
    """Extract the mesh along its principal axes, as published."""
    cull_masks: bool = False
    """Remove what lies outside the widened masks, for methods that are trained without."""
    cull_dilation: float = DILATION_PIXELS
    """Radius of the widening in pixels of an image 1600 pixels wide."""
    mesh_samples: int = 100_000
    """Random points on each mesh where the true mesh is known."""
    use_lpips: bool = True
    """Measure LPIPS too, where its weights can be had."""
    image_stride: int = 1
    """Evaluate only every n-th view."""
    error_clouds: bool = False
    """Write the clouds of the Chamfer distance, coloured by distance."""


def evaluate_surfaces(
    pipeline: Any,
    config: Any,
    step: int,
    output_dir: Path,
    *,
    options: SurfaceEvaluationOptions | None = None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Measure a trained surface of a static scene.

    Args:
        pipeline: Any nerfstudio pipeline; without ``surface_at`` its model gets no mesh, without ``refined_cameras``
            the training views keep their poses.
        config: Its TrainerConfig, for the protocol block.
        step: Training step of the weights.
        output_dir: Gets ``mesh_world.ply``, and ``accuracy.ply`` and ``completeness.ply`` where asked for.
        options: What to measure.
        checkpoint: The file the weights came from, for the protocol block.

    Returns:
        Plain values: ``protocol``, ``num_parameters``, ``train_views``, ``held_out_views`` (None where every view was
        trained on), ``mesh`` (None without a surface), ``dtu_chamfer`` (None without a reference),
        ``surface_distances`` (to the true mesh in world units, None without one), ``mesh_error`` (why the mesh could
        not be made or measured, which is also printed; None if it could), ``camera_accuracy`` (None where the poses
        were the true ones, or cannot be aligned), ``seconds``.

    Raises:
        InputError: if the model renders no colours, culling is asked of data without masks or with an empty one, or
            the folder cannot be written to.
    """
    options = options or SurfaceEvaluationOptions()
    started = time.perf_counter()
    dataset = dataset_for_split(pipeline.datamanager, "train")
    # What can be refused is, before anything is rendered; a mask takes a byte for each of its pixels.
    masks = [mask > 0.5 for mask in masks_of_dataset(dataset)] if options.cull_masks else None
    check_writable(output_dir / "mesh_world.ply")
    was_training = pipeline.training
    pipeline.eval()
    try:
        cameras = refined_cameras(pipeline.model, dataset.cameras)
        accuracy = compare_cameras(dataset, cameras)
        lpips = LazyLPIPS() if options.use_lpips else None
        chosen = range(0, len(dataset), options.image_stride)
        views = measure_views(pipeline, with_cameras(dataset, cameras), chosen, lpips, "training views")
        held_out, held_out_indices = held_out_dataset(pipeline.datamanager, dataset)
        held_out_views = None
        if held_out is not None:
            held_out = with_cameras(held_out, held_out_cameras(held_out, accuracy))
            chosen = held_out_indices[:: options.image_stride]
            held_out_views = measure_views(pipeline, held_out, chosen, lpips, "held-out views")
        mesh = make_and_measure_mesh(
            pipeline.model, dataset, cameras, accuracy=accuracy, masks=masks, output_dir=output_dir, options=options
        )
    finally:
        pipeline.train(was_training)
    protocol = protocol_block(config, dataset, "train", step, device=pipeline.device, checkpoint=checkpoint)
    protocol["metrics_note"] += f" {SURFACE_NOTE}"
    protocol |= {"image_stride": options.image_stride} if options.image_stride > 1 else {}
    return {
        "protocol": protocol,
        "num_parameters": count_parameters(pipeline.model),
        "train_views": {"refined_poses": differ(cameras, dataset.cameras), **views},
        "held_out_views": held_out_views,
        **mesh,
        "camera_accuracy": None if accuracy is None else {name: item.as_dict() for name, item in accuracy.items()},
        "seconds": round(time.perf_counter() - started, 3),
    }


def make_and_measure_mesh(
    model: Any,
    dataset: Any,
    cameras: Cameras,
    *,
    accuracy: dict[str, CameraErrors] | None,
    masks: Any,
    output_dir: Path,
    options: SurfaceEvaluationOptions,
) -> dict[str, Any]:
    """``mesh``, ``dtu_chamfer``, ``surface_distances``, as far as they came, and ``mesh_error``."""
    result: dict[str, Any] = {"mesh": None, "dtu_chamfer": None, "surface_distances": None, "mesh_error": None}
    try:
        mesh = world_mesh(model, dataset, cameras, accuracy=accuracy, masks=masks, options=options)
        if mesh is not None:
            measure_mesh(mesh, dataset.metadata, accuracy, output_dir, options=options, result=result)
    except Exception as error:  # memory, a full disk, a mesh that cannot be sampled: the views are worth having
        text = str(error).strip().splitlines()[:1] or [""]
        named = text[0] if isinstance(error, InputError) else f"{type(error).__name__}: {text[0]}".rstrip(": ")
        result["mesh_error"] = named
        CONSOLE.print(f"The mesh could not be made or measured ({named}).", soft_wrap=True)
    return result


def world_mesh(
    model: Any,
    dataset: Any,
    cameras: Cameras,
    *,
    accuracy: dict[str, CameraErrors] | None,
    masks: Any,
    options: SurfaceEvaluationOptions,
) -> trimesh.Trimesh | None:
    """The largest component of a model's surface in world units, culled where asked for.

    With trained poses the scene may have drifted as a whole; the similarity that aligns the cameras brings the mesh
    back. None where the model has no surface; an empty mesh where the signed distance has one sign.
    """
    if not hasattr(model, "surface_at"):
        CONSOLE.print("The method has no surface: there is no mesh to measure.")
        return None
    mesh = scene_mesh(model.surface_at(0.0), options)
    if masks is not None and len(mesh.faces):
        culled = cull_by_masks(mesh, cameras, masks, options.cull_dilation)
        mesh = largest_component_by_area(culled) if len(culled.faces) else culled
    if len(mesh.faces):
        mesh.apply_transform(world_from_learnt_scene(dataset.metadata, accuracy))
    return mesh


def scene_mesh(surface: Any, options: SurfaceEvaluationOptions) -> trimesh.Trimesh:
    """The largest component of a surface in scene units; empty where there is none."""
    with progress_bar() as progress:
        task = progress.add_task("Extracting the mesh", total=1.0)

        def on_progress(done: float) -> None:
            progress.update(task, completed=done)

        if options.principal_axes:
            settings = PrincipalAxesSettings(options.mesh_resolution)
            return extract_principal_axes_mesh(surface, settings, on_progress=on_progress)
        mesh = extract_mesh(surface, GridSettings(options.mesh_resolution), on_progress=on_progress)
        return largest_component_by_area(mesh) if len(mesh.faces) else mesh


def measure_mesh(
    mesh: trimesh.Trimesh,
    metadata: dict[str, Any],
    accuracy: dict[str, CameraErrors] | None,
    output_dir: Path,
    *,
    options: SurfaceEvaluationOptions,
    result: dict[str, Any],
) -> None:
    """Write a mesh in world units and measure it against what is known; fills ``mesh``, ``dtu_chamfer`` and
    ``surface_distances`` of the result."""
    result["mesh"] = {
        "file": None,
        "num_vertices": len(mesh.vertices),
        "num_faces": len(mesh.faces),
        "resolution": options.mesh_resolution,
        "principal_axes": options.principal_axes,
        "culled_by_masks": options.cull_masks,
        "aligned_to_true_cameras": accuracy is not None,
        "units": "world",
    }
    if len(mesh.faces):
        write_mesh(output_dir / "mesh_world.ply", mesh)
        result["mesh"]["file"] = "mesh_world.ply"
    if options.reference is not None:
        chamfer, clouds = mesh_chamfer(mesh, options.reference, options.chamfer)
        result["dtu_chamfer"] = {"units": "mm", **chamfer.as_dict(), "settings": asdict(options.chamfer)}
        if options.error_clouds:
            for name, cloud in zip(("accuracy", "completeness"), clouds, strict=True):
                write_error_cloud(output_dir / f"{name}.ply", cloud)
    truth = true_surfaces(metadata)
    if truth is not None:
        surface = truth.load(0)
        matrix = world_from_scene(metadata)
        if isinstance(surface, np.ndarray):
            surface = surface @ matrix[:3, :3].T + matrix[:3, 3]
        else:
            surface.apply_transform(matrix)
        distances = compare_meshes(mesh, surface, options.mesh_samples)
        result["surface_distances"] = {
            "units": "world", "truth": truth.kind, "num_samples": options.mesh_samples, **distances.as_dict()
        }  # fmt: skip
