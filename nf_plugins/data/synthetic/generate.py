"""Photographs a moving mesh with a camera rig and writes the scene in a layout that our dataparsers read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nf_plugins.data.synthetic.cameras import (
    circling_camera,
    hemisphere_cameras,
    ring_cameras,
    square_intrinsics,
    swap_opengl_opencv,
)
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, MovingMesh, sample_surface, shade
from nf_plugins.data.synthetic.mesh_sequence import MeshSequence, list_mesh_files
from nf_plugins.data.synthetic.ray_caster import MeshRayCaster
from nf_plugins.data.writers.dnerf_writer import DnerfFrame, DnerfView, write_dnerf_scene
from nf_plugins.data.writers.owlii_writer import OwliiCamera, OwliiFrame, OwliiImage, write_owlii_scene
from nf_plugins.data.writers.scene_folder import check_target, read_request
from nf_plugins.errors import InputError

GENERATOR_VERSION = 1
"""Raised whenever the same options give other bytes."""

DATAPARSER_OF_LAYOUT = {"owlii": "owlii-data", "dnerf": "dnerf-rgba-data"}


@dataclass(frozen=True)
class SynthOptions:
    """Write a dynamic scene with known truth: images, masks, depth, cameras and the true mesh of every frame."""

    output_dir: Path = Path("data/demo")
    """Folder of the scene; must be new or empty, or hold the very same scene (then nothing is done)."""
    layout: Literal["owlii", "dnerf"] = "owlii"
    """On-disk layout: owlii = several synchronised cameras, dnerf = one jumping camera with RGBA images."""
    mesh_sequence: Path | None = None
    """Folder with one .obj, .ply or .off file per frame, taken in order of name; without it the built-in dancer."""
    up_axis: Literal["x", "y", "z"] = "y"
    """Axis of the mesh sequence that points up; the built-in dancer stands along z."""
    num_frames: int = 20
    """Number of time steps (fewer when the mesh sequence is shorter)."""
    frame_stride: int = 1
    """Take every n-th file of the mesh sequence."""
    num_train_cameras: int = 6
    """Owlii layout: number of fixed training cameras on a ring around the subject."""
    num_eval_views: int = 12
    """D-NeRF layout: number of images in each of the val and test splits."""
    resolution: int = 128
    """Width and height of the images, pixels."""
    supersampling: int = 2
    """Colours (and the alpha of the dnerf layout) are the mean of n x n rays per pixel."""
    field_of_view: float = 35.0
    """Opening angle of the cameras, degrees."""
    camera_distance: float = 3.4
    """Distance of the cameras from the centre; the subject fits the unit sphere."""
    shading: bool = True
    """Light the surface by one lamp that is fixed in the scene; off = the bare texture."""
    num_cloud_points: int = 10000
    """Owlii layout: number of points per frame on the true surface in cloud/."""
    seed: int = 0
    """Turns the camera rig, and draws the jumping cameras and the cloud points."""
    overwrite: bool = False
    """Replace a scene that was written to the output folder with other options."""


def _check_options(options: SynthOptions) -> None:
    limits = {
        "num_frames": (2, 10_000, "a moving scene needs at least two"),
        "frame_stride": (1, 10_000, "1 takes every file"),
        "num_train_cameras": (1, 1000, "4 to 10 are usual"),
        "num_eval_views": (1, 10_000, "10 to 20 are usual"),
        "resolution": (8, 8192, "100 to 800 are usual"),
        "supersampling": (1, 16, "2 is usual"),
        "field_of_view": (1.0, 150.0, "30 to 60 degrees are usual"),
        "camera_distance": (1.05, 1000.0, "the cameras must stay outside the unit sphere of the subject"),
        "num_cloud_points": (1, 10_000_000, "10000 to 100000 are usual"),
        "seed": (0, 2**32 - 1, "any whole number"),
    }
    for name, (low, high, hint) in limits.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise InputError(f"--{name.replace('_', '-')} {value}: expected a value from {low} to {high} ({hint}).")
    if options.mesh_sequence is None and options.frame_stride != 1:
        raise InputError(
            f"--frame-stride {options.frame_stride}: applies to files of a --mesh-sequence, and none is given; "
            "use --num-frames for the built-in scene."
        )


def scene_request(options: SynthOptions, files: list[Path]) -> dict[str, Any]:
    """Everything that determines the written bytes, as plain JSON values."""
    request = {name: value for name, value in asdict(options).items() if name not in ("output_dir", "overwrite")}
    request["mesh_sequence"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    request["generator_version"] = GENERATOR_VERSION
    return request


def _open_source(options: SynthOptions, files: list[Path], say: Any) -> MovingMesh:
    if not files:
        from nf_plugins.data.synthetic.articulated_figure import ArticulatedFigure

        return ArticulatedFigure(options.num_frames)
    sequence = MeshSequence(files, options.up_axis)
    if len(files) < options.num_frames:
        say(f"{options.mesh_sequence}: {len(files)} frames with --frame-stride {options.frame_stride}; all are used.")
    if not sequence.texture_sticks:
        say(f"{options.mesh_sequence}: faces differ between frames, so the texture is fixed in space, not on the body.")
    return sequence


def _world_in_metres(world_from_scene: np.ndarray, camera_distance: float, say: Any) -> np.ndarray:
    """World units for which depth in thousandths fits 16 bits well: the data's own, else a power of ten of them."""
    scale = world_from_scene[0, 0]
    farthest = scale * (camera_distance + 1.0)
    if scale >= 0.1 and farthest < 65.0:
        return world_from_scene
    factor = 10.0 ** np.floor(np.log10(60.0 / farthest))
    factor = min(factor, 10.0 ** -np.floor(np.log10(scale)))
    say(f"World units are {factor:g} times those of the mesh files, so that 16-bit depth in thousandths fits.")
    rescaled = world_from_scene.copy()
    rescaled[:3] *= factor
    return rescaled


def _frame_times(num_frames: int) -> list[float]:
    return [frame / (num_frames - 1) for frame in range(num_frames)]


def _lit(mesh: ColouredMesh, source: MovingMesh, options: SynthOptions) -> ColouredMesh:
    return shade(mesh, source.up) if options.shading else mesh


def _owlii_cameras(options: SynthOptions, source: MovingMesh, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Poses (T, 4, 4), OpenGL, by camera name."""
    start = rng.uniform(0.0, 2.0 * np.pi)
    ring = ring_cameras(options.num_train_cameras, options.camera_distance, source.up, start)
    poses = {f"cam_train_{i}": np.repeat(pose[None], source.num_frames, axis=0) for i, pose in enumerate(ring)}
    # Starts half-way between two training cameras.
    start += np.pi / options.num_train_cameras
    poses["cam_test"] = circling_camera(source.num_frames, options.camera_distance, source.up, start)
    return poses


def _owlii_frames(
    options: SynthOptions, source: MovingMesh, poses: dict[str, np.ndarray], rng: np.random.Generator, track: Any
) -> Iterator[OwliiFrame]:
    intrinsics = square_intrinsics(options.resolution, np.deg2rad(options.field_of_view))
    for frame in track(range(source.num_frames)):
        mesh = _lit(source.mesh_at(frame), source, options)
        caster = MeshRayCaster(mesh)
        images = []
        for path in poses.values():
            view = caster.render(intrinsics, path[frame], options.supersampling)
            images.append(OwliiImage(view.rgb, view.mask, view.depth))
        yield OwliiFrame(mesh, sample_surface(mesh, options.num_cloud_points, rng), images)


def _dnerf_frames(
    options: SynthOptions, source: MovingMesh, rng: np.random.Generator, track: Any
) -> Iterator[DnerfFrame]:
    intrinsics = square_intrinsics(options.resolution, np.deg2rad(options.field_of_view))
    num_frames, num_eval = source.num_frames, options.num_eval_views
    shots = [("train", frame) for frame in range(num_frames)]
    for split in ("val", "test"):
        shots += [(split, int(frame)) for frame in np.round(np.linspace(0, num_frames - 1, num_eval))]
    poses = hemisphere_cameras(len(shots), options.camera_distance, source.up, rng)
    times = _frame_times(num_frames)
    for frame in track(range(num_frames)):
        mesh = _lit(source.mesh_at(frame), source, options)
        caster = MeshRayCaster(mesh)
        views = []
        for (split, shot_frame), pose in zip(shots, poses, strict=True):
            if shot_frame == frame:
                view = caster.render(intrinsics, pose, options.supersampling)
                alpha = np.round(255.0 * view.alpha).astype(np.uint8)
                views.append(DnerfView(split, np.concatenate([view.rgb, alpha[..., None]], axis=-1), pose))
        yield DnerfFrame(times[frame], mesh, views)


def generate_scene(options: SynthOptions) -> Path:
    """Write the scene that the options describe, unless the folder already holds exactly it.

    Returns:
        The scene's folder.

    Raises:
        InputError: an option is out of range, the mesh sequence cannot be read, or the output folder holds something
            else. Nothing has been written then.
    """
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.progress import track as rich_track

    def say(line: str) -> None:
        CONSOLE.print(line, highlight=False, soft_wrap=True)

    def track(frames: range) -> Any:
        return rich_track(frames, description=f"Photographing {len(frames)} frames", console=CONSOLE)

    _check_options(options)
    files = []
    if options.mesh_sequence is not None:
        files = list_mesh_files(options.mesh_sequence, options.frame_stride, options.num_frames)
    request = scene_request(options, files)
    if not options.overwrite and read_request(options.output_dir) == request:
        say(f"{options.output_dir}: already holds exactly this scene; nothing to do.")
        return options.output_dir
    check_target(options.output_dir, options.overwrite)

    source = _open_source(options, files, say)
    rng = np.random.default_rng(options.seed)
    if options.layout == "owlii":
        world_from_scene = _world_in_metres(source.world_from_scene, options.camera_distance, say)
        poses = _owlii_cameras(options, source, rng)
        calibration = square_intrinsics(options.resolution, np.deg2rad(options.field_of_view)).matrix
        cameras = [OwliiCamera(name, calibration, swap_opengl_opencv(path)) for name, path in poses.items()]
        frames = _owlii_frames(options, source, poses, rng, track)
        write_owlii_scene(
            options.output_dir,
            cameras,
            frames,
            world_from_scene=world_from_scene,
            request=request,
            overwrite=options.overwrite,
        )
    else:
        frames = _dnerf_frames(options, source, rng, track)
        write_dnerf_scene(
            options.output_dir,
            frames,
            camera_angle_x=float(np.deg2rad(options.field_of_view)),
            world_from_scene=source.world_from_scene,
            request=request,
            overwrite=options.overwrite,
        )
    say(scene_summary(replace(options, num_frames=source.num_frames)))
    return options.output_dir


def scene_summary(options: SynthOptions) -> str:
    """What lies where, and the command that trains on it."""
    folder = options.output_dir
    if options.layout == "owlii":
        content = (
            f"{options.num_frames} frames, training cameras cam_train_0 ... {options.num_train_cameras - 1}, held-out "
            "cam_test (rgb/ mask/ depth/ cameras_sphere.npz), true surface in mesh/ and cloud/"
        )
    else:
        content = (
            f"{options.num_frames} frames in train/, {options.num_eval_views} in each of val/ and test/, cameras in "
            "transforms_*.json, true surface in mesh/"
        )
    return (
        f"{folder}: {content}.\n"
        f"Train on it: ns-train resfields-tnerf --data {folder} {DATAPARSER_OF_LAYOUT[options.layout]}"
    )
