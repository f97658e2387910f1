"""Photographs a mesh that moves, or stands still, with a camera rig and writes a layout that our dataparsers read."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from nf_plugins.data.synthetic import monocular, photographs
from nf_plugins.data.synthetic.cameras import swap_opengl_opencv
from nf_plugins.data.synthetic.coloured_mesh import MovingMesh
from nf_plugins.data.synthetic.fine_texture import fine_texture
from nf_plugins.data.synthetic.mesh_sequence import MeshSequence, list_mesh_files
from nf_plugins.data.synthetic.standing_ellipsoid import StandingEllipsoid
from nf_plugins.data.synthetic.synth_options import OPTIONS_OF_LATER_RELEASES, SynthOptions, check_options
from nf_plugins.data.synthetic.travelling_ball import TravellingBall
from nf_plugins.data.writers.dnerf_writer import write_dnerf_scene
from nf_plugins.data.writers.idr_writer import write_idr_scene
from nf_plugins.data.writers.nsff_writer import write_nsff_scene
from nf_plugins.data.writers.owlii_writer import OwliiCamera, write_owlii_scene
from nf_plugins.data.writers.scene_folder import check_target, read_request, remove_abandoned
from nf_plugins.data.writers.zju_writer import ZjuCamera, write_zju_scene

GENERATOR_VERSION = 1
"""Raised whenever the same options give other bytes."""

DATAPARSER_OF_LAYOUT = {
    "owlii": "owlii-data",
    "dnerf": "dnerf-rgba-data",
    "zju": "zju-mocap-data",
    "dtu": "dtu-data",
    "nsff": "nsff-data",
}


def scene_request(options: SynthOptions, files: list[Path]) -> dict[str, Any]:
    """Everything that determines the written bytes, as plain JSON values."""
    request = {name: value for name, value in asdict(options).items() if name not in ("output_dir", "overwrite")}
    for name in OPTIONS_OF_LATER_RELEASES:
        if request[name] == getattr(SynthOptions, name):
            del request[name]
    request["mesh_sequence"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    request["generator_version"] = GENERATOR_VERSION
    return request


def _open_source(options: SynthOptions, files: list[Path], say: Any) -> MovingMesh:
    if not files and options.subject == "ellipsoid":
        return StandingEllipsoid()
    if not files and options.layout == "nsff":
        return TravellingBall(options.num_frames)
    if not files:
        from nf_plugins.data.synthetic.articulated_figure import ArticulatedFigure

        return ArticulatedFigure(options.num_frames)
    resampled = options.num_frames if options.resample_frames else None
    texture = fine_texture if options.texture == "fine" else None
    sequence = MeshSequence(files, options.up_axis, resampled, texture)
    if options.layout == "dtu":
        return sequence
    if sequence.num_frames < options.num_frames:
        say(
            f"{options.mesh_sequence}: {len(files)} frames with --frame-stride {options.frame_stride}; all are used "
            "(--resample-frames makes more)."
        )
    if not sequence.texture_sticks:
        say(f"{options.mesh_sequence}: faces differ between frames, so the texture is fixed in space, not on the body.")
    return sequence


def _world_in_metres(world_from_scene: np.ndarray, camera_distance: float, why: str, say: Any) -> np.ndarray:
    """World units that serve as metres: the data's own, else a power of ten of them.

    They are changed where the subject is smaller than about 0.1 of them, or something is 65 of them away, which is what
    16 bits of depth in thousandths hold.

    Args:
        camera_distance: How far away what is measured may be, scene units; 0 where no depth is written.
        why: What follows "so that" in the line that says so.
    """
    scale = world_from_scene[0, 0]
    farthest = scale * (camera_distance + 1.0)
    if scale >= 0.1 and farthest < 65.0:
        return world_from_scene
    factor = 10.0 ** np.floor(np.log10(60.0 / farthest))
    factor = min(factor, 10.0 ** -np.floor(np.log10(scale)))
    say(f"World units are {factor:g} times those of the mesh files, so that {why}.")
    rescaled = world_from_scene.copy()
    rescaled[:3] *= factor
    return rescaled


def _write_owlii(options: SynthOptions, source: MovingMesh, request: dict[str, Any], say: Any, track: Any) -> None:
    rng = np.random.default_rng(options.seed)
    world_from_scene = _world_in_metres(
        source.world_from_scene, options.camera_distance, "16-bit depth in thousandths fits", say
    )
    poses = photographs.owlii_cameras(options, source, rng)
    calibration = photographs.rig_intrinsics(options).matrix
    write_owlii_scene(
        options.output_dir,
        [OwliiCamera(name, calibration, swap_opengl_opencv(path)) for name, path in poses.items()],
        photographs.owlii_frames(
            options, source, poses, rng, metres_per_unit=float(world_from_scene[0, 0]), track=track
        ),
        world_from_scene=world_from_scene,
        request=request,
        overwrite=options.overwrite,
    )


def _write_dnerf(options: SynthOptions, source: MovingMesh, request: dict[str, Any], say: Any, track: Any) -> None:
    write_dnerf_scene(
        options.output_dir,
        photographs.dnerf_frames(options, source, np.random.default_rng(options.seed), track),
        camera_angle_x=float(np.deg2rad(options.field_of_view)),
        world_from_scene=source.world_from_scene,
        request=request,
        overwrite=options.overwrite,
    )


def _write_zju(options: SynthOptions, source: MovingMesh, request: dict[str, Any], say: Any, track: Any) -> None:
    why = "the subject has a size in metres, which the layout is in"
    world_from_scene = _world_in_metres(source.world_from_scene, 0.0, why, say)
    poses = photographs.zju_cameras(options, source, np.random.default_rng(options.seed))
    calibration = photographs.rig_intrinsics(options).matrix
    write_zju_scene(
        options.output_dir,
        [ZjuCamera(name, calibration, swap_opengl_opencv(pose)) for name, pose in poses.items()],
        photographs.zju_frames(options, source, poses, track),
        world_from_scene=world_from_scene,
        request=request,
        overwrite=options.overwrite,
    )


def _write_dtu(options: SynthOptions, source: MovingMesh, request: dict[str, Any], say: Any, track: Any) -> None:
    # Of a mesh sequence only the file of that frame was opened.
    mesh = photographs.lit_mesh(source, min(options.still_frame, source.num_frames - 1), options)
    write_idr_scene(
        options.output_dir,
        photographs.idr_views(options, source, mesh, np.random.default_rng(options.seed), track),
        world_from_scene=source.world_from_scene,
        request=request,
        mesh=mesh,
        overwrite=options.overwrite,
    )


def _write_nsff(options: SynthOptions, source: MovingMesh, request: dict[str, Any], say: Any, track: Any) -> None:
    write_nsff_scene(
        options.output_dir,
        monocular.nsff_frames(options, source, track),
        focal=monocular.nsff_intrinsics(options).fx,
        held_out_poses=monocular.held_out_cameras(options),
        request=request,
        overwrite=options.overwrite,
    )


WRITERS = {
    "owlii": _write_owlii,
    "dnerf": _write_dnerf,
    "zju": _write_zju,
    "dtu": _write_dtu,
    "nsff": _write_nsff,
}


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
        what = "views" if options.layout == "dtu" else "frames"
        return rich_track(frames, description=f"Photographing {len(frames)} {what}", console=CONSOLE)

    check_options(options)
    files = []
    if options.mesh_sequence is not None:
        still = options.layout == "dtu"
        most = None if options.resample_frames or still else options.num_frames
        files = list_mesh_files(
            options.mesh_sequence, options.frame_stride, most, options.still_frame if still else None
        )
    request = scene_request(options, files)
    remove_abandoned(options.output_dir)
    if not options.overwrite and read_request(options.output_dir) == request:
        say(f"{options.output_dir}: already holds exactly this scene; nothing to do.")
        return options.output_dir
    check_target(options.output_dir, options.overwrite)

    source = _open_source(options, files, say)
    WRITERS[options.layout](options, source, request, say, track)
    say(scene_summary(replace(options, num_frames=source.num_frames)))
    return options.output_dir


def scene_summary(options: SynthOptions) -> str:
    """What lies where, and the command that trains on it."""
    folder, cameras = options.output_dir, options.num_train_cameras
    model_flags, data_flags = "", ""
    if options.layout == "owlii":
        prefix, depth = ("cam_", "noisy depth/, depth_true/") if options.rgbd else ("cam_train_", "depth/")
        content = (
            f"{options.num_frames} frames, training cameras {prefix}0 ... {cameras - 1}, held-out cam_test (rgb/ mask/ "
            f"{depth} cameras_sphere.npz), true surface in mesh/ and cloud/"
        )
        if options.rgbd:
            model_flags = " --pipeline.model.loss-coefficients.depth 0.1"
        if options.depth_convention != "ray":
            data_flags = f" --depth-convention {options.depth_convention}"
    elif options.layout == "dnerf":
        content = (
            f"{options.num_frames} frames in train/, {options.num_eval_views} in each of val/ and test/, cameras in "
            "transforms_*.json, true surface in mesh/"
        )
    elif options.layout == "dtu":
        content = (
            f"{options.num_views} views of a subject that stands still (image/ mask/ cameras_sphere.npz), true surface "
            "in mesh/"
        )
    elif options.layout == "nsff":
        content = (
            f"{options.num_frames} frames of one moving camera, {options.num_held_out_cameras} held-out cameras in "
            "mv_images/, exact disp/, flow_i1/ and motion_masks/"
        )
    else:
        content = (
            f"{options.num_frames} frames, training cameras Camera_B1 ... Camera_B{cameras}, held-out "
            f"Camera_B{cameras + 1}, masks in mask_cihp/, calibration in annots.npy, true surface in mesh/ and "
            "vertices/ (metres)"
        )
    dataparser = DATAPARSER_OF_LAYOUT[options.layout]
    method = {"dtu": "idr", "nsff": "nsff"}.get(options.layout, "resfields-tnerf")
    return f"{folder}: {content}.\nTrain on it: ns-train {method} --data {folder}{model_flags} {dataparser}{data_flags}"
