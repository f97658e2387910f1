"""nerfstudio's transforms.json, for conversion: one image per camera, or per camera and time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.atomic_files import write_json
from nf_plugins.data import transforms_json as tj
from nf_plugins.data import validation
from nf_plugins.data.processing.convert_capture import (
    ConvertedCapture,
    camera_names,
    moved_points,
    place_cutout,
    place_image,
    place_mask,
    read_coloured_points,
    write_coloured_points,
)
from nf_plugins.data.processing.convert_options import ConvertOptions
from nf_plugins.data.processing.known_cameras import Calibration, KnownCamera
from nf_plugins.errors import InputError

POINTS_FILE = "sparse_pc.ply"
STANDING = 1e-4
"""By how much the numbers of a standing camera's poses may differ."""
NERFSTUDIO_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""What ns-process-data moves COLMAP's world by."""


def read_nerfstudio_capture(options: ConvertOptions) -> ConvertedCapture:
    """The capture of a transforms.json, in the coordinates before ``applied_transform`` and ``applied_scale``.

    Raises:
        InputError: The file is damaged, an image is missing, a camera moves, or one has no image at some time.
    """
    transforms = tj.read_transforms(tj.find_transforms(options.data))
    names, moments, times = _moments(transforms)
    poses = tj.camera_poses(transforms)
    applied, scale = (
        tj.matrix_of_file(transforms, "applied_transform"),
        tj.number_of_file(transforms, "applied_scale", 1.0),
    )
    undo = np.linalg.inv(applied).astype(np.float64)
    files = [path.absolute() for path in tj.image_files(transforms)]
    headers = validation.read_image_headers([files[index] for index in moments[0]], "Reading images")
    cameras = []
    for column, (name, header) in enumerate(zip(names, headers, strict=True)):
        own = [moment[column] for moment in moments]
        if np.abs(poses[own] - poses[own[0]]).max() > STANDING:
            raise InputError(
                f"The camera {name} of {transforms.path} moves, expected cameras that stand still: convert one "
                "moment's images, or give each image its own camera."
            )
        pose = poses[own[0]].copy()
        pose[:, 3] /= scale
        lens = tj.lens_of_frame(transforms, own[0], (header.height, header.width))
        cameras.append(KnownCamera(name, lens, undo[:3, :3] @ pose + np.pad(undo[:3, 3:], ((0, 0), (3, 0)))))
    points, colors = _points(transforms)
    if points is not None:
        points = moved_points(points / scale, undo)
    masks = tj.files_of_key(transforms, "fg_mask_path")
    lossy = masks is not None and masks[0].suffix.lower() != ".png"
    return ConvertedCapture(
        Calibration(cameras, "transforms", points, colors),
        [[files[index] for index in moment] for moment in moments],
        None if masks is None else [[masks[index] for index in moment] for moment in moments],
        "" if masks is None else "any_channel_above_half" if lossy else "first_channel_positive",
        times,
    )


def write_nerfstudio_capture(folder: Path, capture: ConvertedCapture, options: ConvertOptions) -> None:
    """Writes the capture into a folder that is there; with times where there are several moments."""
    applied = NERFSTUDIO_WORLD if options.world == "nerfstudio" else np.eye(4)
    lenses = [camera.lens.to_json() for camera in capture.calibration.cameras]
    shared = {key: value for key, value in lenses[0].items() if all(lens[key] == value for lens in lenses)}
    if len(shared) < len(lenses[0]):
        # nerfstudio itself reads camera_model of the file alone.
        shared = {key: value for key, value in shared.items() if key == "camera_model"}
    several = len(capture.images) > 1
    frames = []
    for index, images in enumerate(capture.images):
        for column, (camera, image) in enumerate(zip(capture.calibration.cameras, images, strict=True)):
            place = Path(camera.name) / f"{index:06d}" if several else Path(camera.name)
            pose = np.eye(4)
            pose[:3] = camera.camera_to_world
            entry: dict[str, Any] = {"camera": camera.name, "transform_matrix": (applied @ pose).tolist()}
            entry |= {key: value for key, value in lenses[column].items() if key not in shared}
            if several:
                entry["time"] = index / (len(capture.images) - 1) if capture.times is None else capture.times[index]
            mask = None if capture.masks is None else capture.masks[index][column]
            if mask is not None and options.masks == "alpha":
                written = place_cutout(image, mask, capture.mask_rule, folder / "images" / place)
            else:
                written = place_image(image, folder / "images" / place, options)
                if mask is not None:
                    mask = place_mask(mask, capture.mask_rule, folder / "masks" / place)
                    entry["fg_mask_path"] = mask.relative_to(folder).as_posix()
            frames.append({"file_path": written.relative_to(folder).as_posix(), **entry})
    keys: dict[str, Any] = {"applied_transform": applied[:3].tolist()}
    if write_coloured_points(folder / POINTS_FILE, capture.calibration, applied):
        keys["ply_file_path"] = POINTS_FILE
    write_json(folder / "transforms.json", {**shared, **keys, "frames": frames})


def _moments(transforms: tj.TransformsFile) -> tuple[list[str], list[list[int]], list[float] | None]:
    """Names of the cameras, positions in the file by moment and camera, and the moments' times."""
    declared = [frame.get("camera", frame.get("camera_id")) for frame in transforms.frames]
    if not any("time" in frame for frame in transforms.frames):
        files = [str(frame["file_path"]) for frame in transforms.frames]
        distinct = all(name is not None for name in declared) and len(set(map(str, declared))) == len(declared)
        names = camera_names([f"{name}.png" for name in declared] if distinct else files)
        order = sorted(range(len(names)), key=lambda index: validation.natural_key(names[index]))
        return [names[index] for index in order], [order], None
    times: NDArray[np.float64] = tj.times_of_frames(transforms)
    folders = [Path(str(frame["file_path"])).parent.name for frame in transforms.frames]
    of_frame = [folder if name is None else str(name) for name, folder in zip(declared, folders, strict=True)]
    found = sorted(set(of_frame), key=validation.natural_key)
    at = {(name, time): index for index, (name, time) in enumerate(zip(of_frame, times.tolist(), strict=True))}
    moments = sorted(set(times.tolist()))
    for time in moments:
        for name in found:
            if (name, time) not in at:
                raise InputError(
                    f"{transforms.path} has no image of camera {name} at time {time:g}, expected one of every camera "
                    f"at every time ({len(found)} cameras, {len(moments)} times): give each frame its camera, or "
                    "remove the moments that are not whole."
                )
    names = camera_names([f"{name}.png" for name in found])
    return names, [[at[name, time] for name in found] for time in moments], moments


def _points(transforms: tj.TransformsFile) -> tuple[NDArray[np.float64] | None, NDArray[np.uint8] | None]:
    name = transforms.contents.get("ply_file_path")
    if name is None:
        return None, None
    return read_coloured_points(transforms.path.parent / str(name))
