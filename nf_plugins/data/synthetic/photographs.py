"""What the cameras of each layout see of a moving mesh, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nf_plugins.data.synthetic.cameras import (
    Intrinsics,
    circling_camera,
    hemisphere_cameras,
    ring_cameras,
    spiral_cameras,
    square_intrinsics,
    swap_opengl_opencv,
    swaying_camera,
)
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, MovingMesh, sample_surface, shade
from nf_plugins.data.synthetic.depth_sensor import DepthSensor, incidence_angles
from nf_plugins.data.synthetic.ray_caster import MeshRayCaster, RenderedView, pixel_rays
from nf_plugins.data.synthetic.synth_options import SynthOptions
from nf_plugins.data.writers.dnerf_writer import DnerfFrame, DnerfView
from nf_plugins.data.writers.idr_writer import IdrView
from nf_plugins.data.writers.owlii_writer import OwliiFrame, OwliiImage
from nf_plugins.data.writers.zju_writer import ZjuFrame, ZjuImage

SWAY_STREAM, NOISE_STREAM = 1, 2
"""Random streams of their own, so that options of later releases leave the others' draws alone."""


def rig_intrinsics(options: SynthOptions) -> Intrinsics:
    """The one calibration that all cameras share."""
    return square_intrinsics(options.resolution, np.deg2rad(options.field_of_view))


def owlii_cameras(options: SynthOptions, source: MovingMesh, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Poses (T, 4, 4), OpenGL, by camera name: training cameras on a ring, and cam_test, which circles the subject."""
    start = rng.uniform(0.0, 2.0 * np.pi)
    ring = ring_cameras(options.num_train_cameras, options.camera_distance, source.up, start)
    prefix = "cam_" if options.rgbd else "cam_train_"
    poses = {f"{prefix}{i}": np.repeat(pose[None], source.num_frames, axis=0) for i, pose in enumerate(ring)}
    if options.camera_sway > 0:
        sway_rng = np.random.default_rng([options.seed, SWAY_STREAM])
        sway = np.deg2rad(options.camera_sway)
        poses = {
            name: swaying_camera(path[0], source.num_frames, sway, source.up, sway_rng) for name, path in poses.items()
        }
    # Starts half-way between two training cameras.
    start += np.pi / options.num_train_cameras
    poses["cam_test"] = circling_camera(source.num_frames, options.camera_distance, source.up, start)
    return poses


def owlii_frames(
    options: SynthOptions,
    source: MovingMesh,
    poses: dict[str, np.ndarray],
    rng: np.random.Generator,
    *,
    metres_per_unit: float,
    track: Any,
) -> Iterator[OwliiFrame]:
    """Every camera's image, mask and depth of every frame; with ``--rgbd`` the training cameras' depth is measured.

    Args:
        rng: draws the cloud's points.
        metres_per_unit: world units (metres) of a scene unit; the noise of depth depends on it.
        track: wraps the range of frames, for a progress bar.
    """
    intrinsics = rig_intrinsics(options)
    sensor = None
    if options.rgbd:
        sensor = DepthSensor(options.depth_noise, options.edge_dropout, np.deg2rad(options.grazing_angle))
    for frame in track(range(source.num_frames)):
        mesh = lit_mesh(source, frame, options)
        caster = MeshRayCaster(mesh)
        images = []
        for index, (name, path) in enumerate(poses.items()):
            view = caster.render(intrinsics, path[frame], options.supersampling)
            norms = np.ones_like(view.depth) if options.depth_convention == "ray" else ray_norms(intrinsics)
            depth, true_depth = view.depth / norms, None
            if sensor is not None and name != "cam_test":
                noise_rng = np.random.default_rng([options.seed, NOISE_STREAM, index, frame])
                measured = _measured_depth(
                    sensor, view, intrinsics, path[frame], metres_per_unit=metres_per_unit, rng=noise_rng
                )
                depth, true_depth = measured / norms, depth
            images.append(OwliiImage(view.rgb, view.mask, depth, true_depth))
        yield OwliiFrame(mesh, sample_surface(mesh, options.num_cloud_points, rng), images)


def _measured_depth(
    sensor: DepthSensor,
    view: RenderedView,
    intrinsics: Intrinsics,
    camera_to_world: np.ndarray,
    *,
    metres_per_unit: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Ray distance (H, W) in scene units that the sensor gives."""
    _, directions = pixel_rays(intrinsics, camera_to_world, _pixel_centres(intrinsics))
    incidence = incidence_angles(view.normal, directions.reshape(*view.depth.shape, 3))
    metres = view.depth.astype(np.float64) * metres_per_unit
    return sensor.measure(metres, ray_norms(intrinsics), incidence, rng) / metres_per_unit


def ray_norms(intrinsics: Intrinsics) -> np.ndarray:
    """Ray distance per z (H, W) of every pixel's centre."""
    offsets = _pixel_centres(intrinsics) - [intrinsics.cx, intrinsics.cy]
    squared = ((offsets / [intrinsics.fx, intrinsics.fy]) ** 2).sum(-1)
    return np.sqrt(1.0 + squared).reshape(intrinsics.height, intrinsics.width)


def _pixel_centres(intrinsics: Intrinsics) -> np.ndarray:
    rows, columns = np.divmod(np.arange(intrinsics.height * intrinsics.width), intrinsics.width)
    return np.stack([columns, rows], axis=-1) + 0.5


def dnerf_frames(
    options: SynthOptions, source: MovingMesh, rng: np.random.Generator, track: Any
) -> Iterator[DnerfFrame]:
    """One random view per training time, and the views of the val and test splits."""
    intrinsics = rig_intrinsics(options)
    num_frames, num_eval = source.num_frames, options.num_eval_views
    shots = [("train", frame) for frame in range(num_frames)]
    for split in ("val", "test"):
        shots += [(split, int(frame)) for frame in np.round(np.linspace(0, num_frames - 1, num_eval))]
    poses = hemisphere_cameras(len(shots), options.camera_distance, source.up, rng)
    for frame in track(range(num_frames)):
        mesh = lit_mesh(source, frame, options)
        caster = MeshRayCaster(mesh)
        views = []
        for (split, shot_frame), pose in zip(shots, poses, strict=True):
            if shot_frame == frame:
                view = caster.render(intrinsics, pose, options.supersampling)
                alpha = np.round(255.0 * view.alpha).astype(np.uint8)
                views.append(DnerfView(split, np.concatenate([view.rgb, alpha[..., None]], axis=-1), pose))
        yield DnerfFrame(frame / (num_frames - 1), mesh, views)


def zju_cameras(options: SynthOptions, source: MovingMesh, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Poses (4, 4), OpenGL, by camera name: training cameras on a ring, and last the one that is held out."""
    start = rng.uniform(0.0, 2.0 * np.pi)
    ring = ring_cameras(options.num_train_cameras, options.camera_distance, source.up, start)
    between = start + np.pi / options.num_train_cameras
    held_out = ring_cameras(1, options.camera_distance, source.up, between, elevations=(0.35,))
    return {f"Camera_B{i + 1}": pose for i, pose in enumerate(np.concatenate([ring, held_out]))}


def zju_frames(
    options: SynthOptions, source: MovingMesh, poses: dict[str, np.ndarray], track: Any
) -> Iterator[ZjuFrame]:
    """Every camera's image and mask of every frame."""
    intrinsics = rig_intrinsics(options)
    for frame in track(range(source.num_frames)):
        mesh = lit_mesh(source, frame, options)
        caster = MeshRayCaster(mesh)
        views = [caster.render(intrinsics, pose, options.supersampling) for pose in poses.values()]
        yield ZjuFrame(mesh, [ZjuImage(view.rgb, view.mask) for view in views])


def idr_views(
    options: SynthOptions, source: MovingMesh, mesh: ColouredMesh, rng: np.random.Generator, track: Any
) -> Iterator[IdrView]:
    """Views of a mesh that stands still, from all sides but below."""
    intrinsics = rig_intrinsics(options)
    start = rng.uniform(0.0, 2.0 * np.pi)
    poses = spiral_cameras(options.num_views, options.camera_distance, source.up, start)
    caster = MeshRayCaster(mesh)
    for index in track(range(len(poses))):
        view = caster.render(intrinsics, poses[index], options.supersampling)
        rgb = view.rgb * view.mask[..., None]
        yield IdrView(rgb, view.mask, intrinsics.matrix, swap_opengl_opencv(poses[index]))


def lit_mesh(source: MovingMesh, frame: int, options: SynthOptions) -> ColouredMesh:
    """The mesh of a frame, shaded unless that is switched off."""
    mesh = source.mesh_at(frame)
    return shade(mesh, source.up) if options.shading else mesh
