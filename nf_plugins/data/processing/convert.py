"""Captures from one layout to another."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data.processing.convert_capture import ConvertedCapture
from nf_plugins.data.processing.convert_colmap import colmap_lens, read_colmap_capture, write_colmap_capture
from nf_plugins.data.processing.convert_easyvolcap import (
    read_easyvolcap_capture,
    require_opencv_lenses,
    write_easyvolcap_capture,
)
from nf_plugins.data.processing.convert_nerfstudio import read_nerfstudio_capture, write_nerfstudio_capture
from nf_plugins.data.processing.convert_options import CaptureFormat, ConvertOptions
from nf_plugins.data.processing.output_folder import check_output_folder, new_capture_folder
from nf_plugins.data.processing.train_command import train_command
from nf_plugins.errors import InputError

READERS: dict[CaptureFormat, Callable[[ConvertOptions], ConvertedCapture]] = {
    "easyvolcap": read_easyvolcap_capture,
    "colmap": read_colmap_capture,
    "nerfstudio": read_nerfstudio_capture,
}
WRITERS: dict[CaptureFormat, Callable[[Path, ConvertedCapture, ConvertOptions], None]] = {
    "easyvolcap": write_easyvolcap_capture,
    "colmap": write_colmap_capture,
    "nerfstudio": write_nerfstudio_capture,
}


def process_convert(options: ConvertOptions) -> str:
    """Writes the capture in its other layout; returns the ns-train command for it, "" where nothing trains on it.

    Raises:
        InputError: Something is missing, damaged, or cannot be said in the other layout. Nothing has been written then.
    """
    _check(options)
    check_output_folder(options.output_dir, options.overwrite)
    capture = READERS[options.source](options)
    frames = range(len(capture.images)) if options.all_frames else [options.frame]
    if not 0 <= frames[0] < len(capture.images):
        raise InputError(
            f"--frame is {options.frame}, but {options.data} has {len(capture.images)} moments, expected one from 0 to "
            f"{len(capture.images) - 1}."
        )
    capture = capture.moments(frames)
    if options.masks == "none":
        capture = replace(capture, masks=None)
    _check_masks(capture, options)
    _check_lenses(capture, options.target)
    record: dict[str, Any] = {"command": "convert", "options": asdict(options), "cameras": capture.names}
    with new_capture_folder(options.output_dir, options.overwrite, record) as staging:
        WRITERS[options.target](staging, capture, options)
    points, masks = capture.calibration.points, "no" if capture.masks is None else "yes"
    CONSOLE.print(
        f"{len(capture.names)} cameras, {len(capture.images)} moments, masks: {masks}, points: "
        f"{0 if points is None else len(points)}.",
        soft_wrap=True,
    )
    return _train_command(capture, options)


def _check(options: ConvertOptions) -> None:
    if options.source == options.target:
        raise InputError(f"--from and --to are both {options.source}, expected two different layouts.")
    if options.all_frames and options.target == "colmap":
        raise InputError("--all-frames --to colmap: COLMAP's models hold one moment, expected --frame N instead.")
    if options.masks == "alpha" and (options.target != "nerfstudio" or options.link_images):
        raise InputError(
            "--masks alpha writes images anew, with --to nerfstudio alone, expected neither --link-images nor another "
            "--to."
        )


def _check_masks(capture: ConvertedCapture, options: ConvertOptions) -> None:
    if capture.masks is None:
        return
    pairs = [pair for row in zip(capture.images, capture.masks, strict=True) for pair in zip(*row, strict=True)]
    missing = [image for image, mask in pairs if mask is None]
    if missing:
        raise InputError(
            f"{missing[0]} has no mask ({len(missing)} of {len(pairs)} images have none), expected one for every image "
            "or for none: add them, or leave masks out with --masks none."
        )
    for path in (path for _, path in pairs if path is not None):
        if not path.is_file():
            raise InputError(
                f"The mask {path} does not exist, expected the file that {options.data} names: restore it."
            )


def _check_lenses(capture: ConvertedCapture, target: CaptureFormat) -> None:
    """The other layout knows the cameras' lenses."""
    if target == "easyvolcap":
        require_opencv_lenses(capture.calibration.cameras)
    elif target == "colmap":
        for camera in capture.calibration.cameras:
            colmap_lens(camera.lens)


def _train_command(capture: ConvertedCapture, options: ConvertOptions) -> str:
    """Empty where nothing trains on a single moment of the layout."""
    folder, several = str(options.output_dir), len(capture.images) > 1
    if options.target == "easyvolcap":
        return shlex.join(["ns-train", "im4d", "--data", folder, "easyvolcap-data"]) if several else ""
    if several:
        return train_command(options.output_dir, "nerfstudio-time-data", [], with_masks=capture.masks is not None)
    parser = "nerfstudio-data" if options.target == "nerfstudio" else "colmap"
    return shlex.join(["ns-train", "nerfacto", "--data", folder, parser])
