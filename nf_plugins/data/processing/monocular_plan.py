"""What a run on a monocular video will do: everything that is checked and chosen before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nf_plugins.data.monocular_files import FlowFiles
from nf_plugins.data.parallel import threaded_map
from nf_plugins.data.processing.centred_pinhole import common_pinhole
from nf_plugins.data.processing.frame_depth import (
    DEPTH_SUFFIXES,
    EXPECTED,
    read_disparity_file,
)
from nf_plugins.data.processing.frame_files import find_flow_files, find_frame_files
from nf_plugins.data.processing.frame_flow import check_flow_files
from nf_plugins.data.processing.frame_sources import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    FrameSource,
    open_source,
    read_frames,
)
from nf_plugins.data.processing.monocular_cameras import FrameCameras
from nf_plugins.data.processing.monocular_scene import positions_differ
from nf_plugins.data.processing.optical_flow import FlowEstimator
from nf_plugins.data.processing.options import MonocularVideoOptions
from nf_plugins.data.processing.stage_log import Stage, StageLog, fingerprint_array, fingerprint_files
from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.validation import read_image_headers
from nf_plugins.data.video_clip import ClipSelection
from nf_plugins.errors import InputError

LEAST_FRAMES = 3
SHAPE_TOLERANCE = 0.03
"""By which the proportions of a mask or depth map may differ; a network's own size is often rounded."""
IMAGE_FPS = 30.0
"""Of no consequence, since frames go by their number."""
COLMAP_FOLDER = "colmap"
UNKNOWN_YET = "those COLMAP will find"
TURNING_CAMERA = (
    "The camera is at one place in all frames: it only turns, or stands. Depth cannot be triangulated then, and views "
    "from other places cannot be learnt from its video."
)
DepthBackend = Literal["transformers", "folder", "triangulated", "none"]


@dataclass(frozen=True)
class Recording:
    """The frames, and the files that go with them."""

    source: FrameSource
    indices: list[int]
    """Chosen frames."""
    size: tuple[int, int]
    """Height and width of the frames."""
    mask_files: list[Path] | None
    depth_files: list[Path] | None
    flow_files: FlowFiles | None

    @property
    def made_with(self) -> dict[str, Any]:
        """What determines the chosen frames."""
        return {
            "data": str(self.source.path),
            "files": fingerprint_files(self.source.files or (self.source.path,)),
            "frames": [self.indices[0], self.indices[-1], len(self.indices)],
        }


def check_options(options: MonocularVideoOptions) -> None:
    """Raises InputError for options that contradict each other or make no sense."""
    if options.resize_height < 16:
        raise InputError(f"--resize-height is {options.resize_height}, expected at least 16 pixels.")
    if options.flow_long_side < 64:
        raise InputError(f"--flow-long-side is {options.flow_long_side}, expected at least 64 pixels.")
    if options.triangulation_span < 1:
        raise InputError(f"--triangulation-span is {options.triangulation_span}, expected at least 1 frame.")
    if options.epipolar_threshold is None and options.motion_masks is None:
        raise InputError(
            "--epipolar-threshold None leaves motion to --motion-masks, which is not given, expected one of them."
        )
    if options.epipolar_threshold is not None and not options.epipolar_threshold > 0:
        raise InputError(f"--epipolar-threshold is {options.epipolar_threshold:g}, expected more than 0 pixels.")
    if options.bounds is not None and not 0 < options.bounds[0] < options.bounds[1] < np.inf:
        raise InputError(f"--bounds is {options.bounds}, expected 0 < near < far.")
    _check_flow_options(options)
    _check_depth_options(options)
    if options.poses is None:
        _require_default(options, "pixel_convention", "applies to --poses with a poses_bounds.npy.")
    else:
        _require_default(options, "colmap_matching", "does nothing with --poses, which COLMAP would find.")
    for option in ("flow_folder", "depth_folder", "motion_masks"):
        given = getattr(options, option)
        if given is not None and given.resolve().is_relative_to(options.output_dir.resolve()):
            raise InputError(
                f"--{option.replace('_', '-')} {given} lies in --output-dir {options.output_dir}, whose files are "
                "deleted when they are made anew, expected a folder of your own: copy it elsewhere."
            )


def _check_depth_options(options: MonocularVideoOptions) -> None:
    if options.depth_backend == "folder" and options.depth_folder is None:
        raise InputError("--depth-backend folder reads --depth-folder, which is not given.")
    if options.depth_folder is not None and options.depth_backend not in ("auto", "folder"):
        raise InputError(
            f"--depth-folder is given with --depth-backend {options.depth_backend}, expected folder: leave one out."
        )
    if options.depth_folder is None:
        _require_default(options, "depth_kind", "applies to the files of --depth-folder; give it.")
    elif options.depth_backend in ("auto", "folder"):
        _require_default(options, "depth_model", "does nothing with --depth-folder; leave one of them out.")
    if options.depth_backend in ("triangulated", "none"):
        _require_default(options, "depth_model", f"does nothing with --depth-backend {options.depth_backend}.")


def _require_default(options: MonocularVideoOptions, name: str, why: str) -> None:
    value = getattr(options, name)
    if value != getattr(MonocularVideoOptions, name):
        raise InputError(f"--{name.replace('_', '-')} {value}: {why}")


def _check_flow_options(options: MonocularVideoOptions) -> None:
    if options.flow_backend == "folder" and options.flow_folder is None:
        raise InputError("--flow-backend folder reads --flow-folder, which is not given.")
    if options.flow_folder is None:
        return
    if options.flow_backend not in ("auto", "folder"):
        raise InputError(
            f"--flow-folder is given with --flow-backend {options.flow_backend}, expected folder: leave one out."
        )
    if options.flow_weights is not None:
        raise InputError(f"--flow-weights {options.flow_weights} is given with --flow-folder: leave one out.")
    if options.frame_stride != 1:
        raise InputError(
            f"--frame-stride is {options.frame_stride} with --flow-folder, expected 1, because files of flow lead from "
            "a frame to the next one: give the folder of every such frame as --data, with flow between these, or leave "
            "--flow-folder out."
        )


def look_at(options: MonocularVideoOptions) -> Recording:
    """The recording with its masks, depth maps and flow, checked.

    Raises:
        InputError: Something is missing or damaged, or there are fewer than three frames.
    """
    path = options.data
    if not path.exists():
        raise InputError(f"--data {path} does not exist, expected a video ({', '.join(VIDEO_SUFFIXES)}) or a folder.")
    source = open_source(path, IMAGE_FPS)
    selection = ClipSelection(options.start_frame, options.num_frames, options.frame_stride)
    selection.check()
    indices = list(selection.indices(len(source), path)) if len(source) >= LEAST_FRAMES else []
    if len(indices) < LEAST_FRAMES:
        raise InputError(
            f"{path} holds {len(source)} frames, {len(indices) or len(source)} of them chosen, expected at least "
            f"{LEAST_FRAMES}: scene flow joins a frame with the one before and the one after. Record or choose more; "
            "around 30 work best."
        )
    first = next(read_frames(source, indices[:1]))
    size = (first.shape[0], first.shape[1])
    _check_images([source.files[index] for index in indices] if source.files else [], size)
    names = [file.name for file in source.files] or [""] * len(source)
    chosen_names = [names[index] for index in indices]
    find = partial(find_frame_files, names=chosen_names, total=len(source), places=indices)
    masks = depths = flows = None
    if options.motion_masks is not None:
        masks = find(options.motion_masks, suffixes=IMAGE_SUFFIXES, expected="a mask per frame")
    if options.depth_folder is not None:
        depths = find(options.depth_folder, suffixes=DEPTH_SUFFIXES, expected=EXPECTED)
    if options.flow_folder is not None:
        flows = find_flow_files(options.flow_folder, names=names, places=indices)
    for file, header in zip(masks or (), read_image_headers(masks or (), "Checking masks"), strict=True):
        _require_shape(file, (header.height, header.width), size)
    read_depth = partial(read_disparity_file, kind=options.depth_kind)
    for file, values in zip(depths or (), threaded_map(read_depth, depths or (), "Checking depth"), strict=True):
        _require_shape(file, (values.shape[0], values.shape[1]), size)
    if flows is not None:
        check_flow_files(flows, size)
    return Recording(source, indices, size, masks, depths, flows)


def _check_images(files: list[Path], size: tuple[int, int]) -> None:
    """Raises InputError where a frame of a folder is damaged or of another size than the first."""
    for file, header in zip(files, read_image_headers(files, "Checking frames"), strict=True):
        if (header.height, header.width) != size:
            raise InputError(
                f"The frame {file} is {header.width}x{header.height} pixels, but the first one {size[1]}x{size[0]}, "
                "expected one size: scale the frames to it, or take those before with --num-frames."
            )


def _require_shape(file: Path, size: tuple[int, int], frame_size: tuple[int, int]) -> None:
    """Raises InputError where a file that belongs to a frame is of another shape."""
    if abs((size[1] / size[0]) / (frame_size[1] / frame_size[0]) - 1) > SHAPE_TOLERANCE:
        raise InputError(
            f"{file} is {size[1]}x{size[0]} pixels, but the frames are {frame_size[1]}x{frame_size[0]}, expected the "
            "same shape (any size): make it of the frames as they are."
        )


def check_cameras(options: MonocularVideoOptions, cameras: FrameCameras) -> Lens:
    """The pinhole that all frames are brought to.

    Raises:
        InputError: There is none, or the camera stays at one place and what was asked for needs another.
    """
    target = common_pinhole(cameras.lenses, str(options.poses or options.output_dir / COLMAP_FOLDER))
    if positions_differ(cameras.camera_to_worlds):
        return target
    if options.depth_backend == "triangulated":
        raise InputError(
            f"{TURNING_CAMERA} Expected a camera that moves: give depth with --depth-folder, or --depth-backend none."
        )
    if options.bounds is None and cameras.bounds is None and cameras.points is None:
        raise InputError(
            f"{TURNING_CAMERA} Nor can it be told how near and far things are, expected --bounds NEAR FAR."
        )
    return target


def plan_stages(
    options: MonocularVideoOptions,
    recording: Recording,
    cameras: FrameCameras | None,
    estimator: FlowEstimator | None,
    backend: DepthBackend,
    *,
    log: StageLog,
) -> dict[str, Stage]:
    """What determines the files of each stage.

    Args:
        options: Of the run.
        recording: The frames.
        cameras: None before COLMAP's are read: they are taken to be those that it found in an earlier run.
        estimator: Of flow; None where it is read from files.
        backend: Of depth.
        log: Of earlier runs.
    """
    planned: dict[str, Stage] = {}
    if options.poses is None:
        made_with = {**recording.made_with, "colmap_matching": options.colmap_matching}
        planned["colmap"] = Stage(made_with, (COLMAP_FOLDER,))
    if cameras is None:
        of_colmap = log.made_with("colmap") is not None
        lenses, poses = (
            (log.made_with(stage) or {}).get(key, UNKNOWN_YET) if of_colmap else UNKNOWN_YET
            for stage, key in (("frames", "lenses"), ("motion_masks", "poses"))
        )
        convention = "half"
    else:
        numbers = [[lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion, lens.fisheye] for lens in cameras.lenses]
        lenses = fingerprint_array(np.array(numbers, dtype=np.float64))
        poses, convention = fingerprint_array(cameras.camera_to_worlds), cameras.pixel_convention
    frames = {**recording.made_with, "resize_height": options.resize_height, "lenses": lenses}
    planned["frames"] = Stage(frames, ("images", "images_*"), tuple(planned))
    flow: dict[str, Any] = {"backend": "folder", "files": fingerprint_files(_all_files(recording.flow_files))}
    if estimator is not None:
        flow = {"backend": estimator.name, "weights": estimator.weights, "flow_long_side": options.flow_long_side}
    planned["flow"] = Stage(flow, ("flow_i1",), ("frames",))
    given = None if recording.mask_files is None else fingerprint_files(recording.mask_files)
    masks = {
        "epipolar_threshold": options.epipolar_threshold,
        "motion_masks": given,
        "poses": poses,
        "pixel_convention": convention,
    }
    planned["motion_masks"] = Stage(masks, ("motion_masks",), ("flow",))
    depth: dict[str, Any] = {"backend": backend}
    if backend == "transformers":
        depth["depth_model"] = options.depth_model
    elif backend == "folder":
        depth |= {"files": fingerprint_files(recording.depth_files or ()), "depth_kind": options.depth_kind}
    elif backend == "triangulated":
        depth["triangulation_span"] = options.triangulation_span
    before = "motion_masks" if backend == "triangulated" else "frames"
    planned["depth"] = Stage(depth, ("disp",), (before,))
    return planned


def _all_files(flows: FlowFiles | None) -> list[Path]:
    return [path for path in (*flows.forward, *flows.backward) if path is not None] if flows is not None else []
