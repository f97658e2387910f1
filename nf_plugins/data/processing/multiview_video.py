"""Synchronised videos and known cameras become nerfstudio's layout with times."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data import transforms_json as tj
from nf_plugins.data.capture_files import read_foreground
from nf_plugins.data.frame_timeline import make_timeline
from nf_plugins.data.processing.foreground import MaskMaker, reduce_mask
from nf_plugins.data.processing.frame_sources import find_sources, open_source, read_frames, reduce_image
from nf_plugins.data.processing.known_cameras import Calibration, KnownCamera, match_cameras, read_calibration
from nf_plugins.data.processing.options import MultiviewVideoOptions
from nf_plugins.data.processing.output_folder import check_output_folder, new_capture_folder
from nf_plugins.data.processing.synchronise import FrameSelection, plan_frames
from nf_plugins.data.processing.train_command import train_command
from nf_plugins.data.scene_extent import BoxRule, choose_box
from nf_plugins.data.writers.nerfstudio_time_writer import NerfstudioTimeWriter, TimedView
from nf_plugins.errors import InputError
from nf_plugins.progress import progress_bar

POINTS_FILE = "sparse_points.ply"


def process_multiview_video(options: MultiviewVideoOptions) -> str:
    """Writes the capture; returns the ns-train command for it.

    Raises:
        InputError: Something is missing, damaged or does not fit. Nothing has been written then.
    """
    check_output_folder(options.output_dir, options.overwrite)
    if options.downscale < 1 or not options.image_fps > 0:
        raise InputError(
            f"--downscale {options.downscale} --image-fps {options.image_fps:g}: expected at least 1, and more than 0."
        )
    if options.scene_aabb is not None:
        tj.require_aabb(options.scene_aabb, "--scene-aabb")
    calibration = read_calibration(options.cameras)
    paths = find_sources(options.videos, "one video per camera")
    cameras = match_cameras(calibration.cameras, list(paths), options.only, str(options.videos))
    sources = {camera.name: open_source(paths[camera.name], options.image_fps) for camera in cameras}
    selection = FrameSelection(
        options.fps, options.start_frame, options.frame_stride, options.num_frames, options.count_tolerance
    )
    plan = plan_frames(sources, options.offsets, selection)
    maker = MaskMaker(options, sources, plan.indices, options.image_fps)
    record: dict[str, Any] = {
        "command": "multiview-video",
        "options": asdict(options),
        "calibration": calibration.source,
    }
    names = [camera.name for camera in cameras]
    held_out = names[-1] if len(names) > 2 else None
    with new_capture_folder(options.output_dir, options.overwrite, record) as staging, progress_bar() as progress:
        task = progress.add_task("Writing images", total=len(cameras) * len(plan.times))
        writer = NerfstudioTimeWriter(staging, {}, options.image_format)
        for camera in cameras:
            indices = plan.indices[camera.name].tolist()
            mask_of = maker.masks_of(camera.name, indices)
            for time, image in zip(plan.times, read_frames(sources[camera.name], indices), strict=True):
                _write_view(
                    writer, camera, time=float(time), image=image, mask=mask_of(image), factor=options.downscale
                )
                progress.advance(task)
        keys = _keys(calibration, staging)
        path = writer.finish(**keys)
        box = _scene_box(path, options, bool(maker), held_out)
        if box is not None:
            writer.finish(**keys, scene_aabb=box.tolist())
        record["scene_aabb"] = None if box is None else box.tolist()
    arguments = [] if held_out is None else ["--eval-cameras", held_out]
    return train_command(options.output_dir, "nerfstudio-time-data", arguments, with_masks=bool(maker))


def _write_view(
    writer: NerfstudioTimeWriter,
    camera: KnownCamera,
    *,
    time: float,
    image: np.ndarray,
    mask: np.ndarray | None,
    factor: int,
) -> None:
    """Writes an image of a camera, reduced; its lens goes to the writer with the first."""
    pose = np.eye(4)
    pose[:3] = camera.camera_to_world
    if camera.name not in writer.lenses:
        height, width = image.shape[:2]
        if min(height, width) < factor:
            raise InputError(f"--downscale {factor} leaves nothing of {width}x{height} pixels, expected less.")
        writer.lenses[camera.name] = camera.lens_at(width, height).reduced(factor)
    writer.add(
        TimedView(
            camera=camera.name,
            time=round(time, 6),
            image=reduce_image(image, factor),
            camera_to_world=pose,
            mask=None if mask is None else reduce_mask(mask, factor),
        )
    )


def _keys(calibration: Calibration, folder: Path) -> dict[str, Any]:
    """Further keys of transforms.json; writes the points that one of them names."""
    # The box is along these axes, so they stay.
    keys: dict[str, Any] = {"time_unit": "seconds", "orientation_override": "none"}
    if not np.array_equal(calibration.applied_transform, np.eye(4)):
        keys["applied_transform"] = calibration.applied_transform[:3].tolist()
    if calibration.points is not None:
        import trimesh

        trimesh.PointCloud(calibration.points, colors=calibration.colors).export(folder / POINTS_FILE)
        keys["ply_file_path"] = POINTS_FILE
    return keys


def _scene_box(path: Path, options: MultiviewVideoOptions, has_masks: bool, held_out: str | None) -> np.ndarray | None:
    """The box that goes into the file, so that it does not depend on how it is estimated; None where none follows.

    Masks of the camera that evaluates are left out: the box would tell training what it has seen.
    """
    transforms = tj.read_transforms(path)
    lenses = [tj.lens_of_frame(transforms, index) for index in range(len(transforms.frames))]
    masks = tj.files_of_key(transforms, "fg_mask_path") if has_masks else None
    try:
        box, source = choose_box(
            BoxRule(aabb=options.scene_aabb),
            transforms,
            rotation=np.eye(3),
            cameras=tj.nerfstudio_cameras(tj.camera_poses(transforms), lenses),
            frame_ids=make_timeline(tj.times_of_frames(transforms), "auto", 0.0, str(path)).frame_ids,
            train=[index for index, frame in enumerate(transforms.frames) if frame["camera"] != held_out],
            read_mask=None if masks is None else lambda index: read_foreground(masks[index], "first_channel_positive"),
        )
    except InputError as error:
        if options.scene_aabb is not None:
            raise
        CONSOLE.print(f"[yellow]No scene box: {error}", soft_wrap=True)
        return None
    sides = " x ".join(f"{side:.3g}" for side in box[1] - box[0])
    CONSOLE.print(f"Scene box from {source}: {sides} in the calibration's units.", soft_wrap=True)
    return box
