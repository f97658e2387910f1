"""EasyVolcap's layout, for conversion: intri.yml, extri.yml, images/CAMERA, masks/CAMERA, sparse.ply."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nf_plugins.data.easymocap import INTRINSICS
from nf_plugins.data.easymocap_rig import read_easymocap_rig
from nf_plugins.data.processing.convert_capture import (
    ConvertedCapture,
    place_image,
    place_mask,
    read_coloured_points,
    write_coloured_points,
)
from nf_plugins.data.processing.convert_options import ConvertOptions
from nf_plugins.data.processing.known_cameras import Calibration, KnownCamera
from nf_plugins.data.writers.easymocap_writer import write_calibration
from nf_plugins.data.writers.zju_writer import ZjuCamera
from nf_plugins.errors import InputError

POINTS_FILE = "sparse.ply"
MASK_FOLDER = "masks"
OPENCV_AXES = np.diag([1.0, -1.0, -1.0, 1.0])


def read_easyvolcap_capture(options: ConvertOptions) -> ConvertedCapture:
    """The capture in EasyVolcap's or EasyMocap's layout.

    Raises:
        InputError: A file is missing or damaged.
    """
    rig = read_easymocap_rig(
        options.data.absolute(), mask_folder=options.mask_folder, points="none", background_plates="none"
    )
    cameras = [
        KnownCamera(name, lens, pose)
        for name, lens, pose in zip(rig.camera_names, rig.lenses, rig.camera_to_worlds, strict=True)
    ]
    cloud = options.data / POINTS_FILE
    points, colors = read_coloured_points(cloud) if cloud.is_file() else (None, None)
    return ConvertedCapture(Calibration(cameras, "easymocap", points, colors), rig.images, rig.masks, rig.mask_rule)


def require_opencv_lenses(cameras: list[KnownCamera]) -> None:
    """Raise InputError where a lens is none that five coefficients say."""
    for camera in cameras:
        if camera.lens.fisheye or camera.lens.distortion[3]:
            kind = "a fisheye" if camera.lens.fisheye else f"one with k4 = {camera.lens.distortion[3]:g}"
            raise InputError(
                f"The lens of camera {camera.name} is {kind}, expected k1, k2, p1, p2 and k3 alone, which {INTRINSICS} "
                "has: undistort the images first."
            )


def write_easyvolcap_capture(folder: Path, capture: ConvertedCapture, options: ConvertOptions) -> None:
    """Writes the capture into a folder that is there; camera names with leading zeros sort alike everywhere."""
    cameras, sizes = [], []
    for camera in capture.calibration.cameras:
        lens = camera.lens
        k1, k2, k3, _, p1, p2 = lens.distortion
        pose = np.eye(4)
        pose[:3] = camera.camera_to_world
        matrix = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
        cameras.append(ZjuCamera(camera.name, matrix, pose @ OPENCV_AXES, np.array([k1, k2, p1, p2, k3])))
        sizes.append((lens.height, lens.width))
    write_calibration(folder, cameras, sizes, np.eye(4))
    for frame, images in enumerate(capture.images):
        for column, (name, image) in enumerate(zip(capture.names, images, strict=True)):
            place_image(image, folder / "images" / name / f"{frame:06d}", options)
            mask = None if capture.masks is None else capture.masks[frame][column]
            if mask is not None:
                place_mask(mask, capture.mask_rule, folder / MASK_FOLDER / name / f"{frame:06d}")
    write_coloured_points(folder / POINTS_FILE, capture.calibration)
