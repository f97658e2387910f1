"""COLMAP's models, for conversion: one image per camera."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import flip_camera_axes
from nf_plugins.data.processing.convert_capture import ConvertedCapture, camera_names, place_image, place_mask
from nf_plugins.data.processing.convert_options import ConvertOptions
from nf_plugins.data.processing.known_cameras import Calibration, find_colmap, read_colmap_views
from nf_plugins.data.processing.photographs import list_images
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

MODEL_FOLDER = Path("sparse/0")
EXPECTED = "a COLMAP model (sparse/0 with cameras and images, .bin or .txt) and the folder images"


def read_colmap_capture(options: ConvertOptions) -> ConvertedCapture:
    """The images of a model with their cameras, in the model's coordinates.

    Raises:
        InputError: The model is missing or damaged, has a camera model that is not known, or an image is missing.
    """
    validation.require_folder(options.data, EXPECTED)
    model = find_colmap(options.data)
    if model is None:
        raise InputError(f"The folder {options.data} holds no COLMAP model, expected {EXPECTED}.")
    views = read_colmap_views(*model)
    root = options.images or (options.data / "images" if (options.data / "images").is_dir() else options.data)
    files = [(root / camera.name).absolute() for camera in views.cameras]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise InputError(
            f"The image {missing[0]} of {model[0]} is missing ({len(missing)} of {len(files)} are), expected all below "
            f"{root}: name their folder with --images."
        )
    headers = validation.read_image_headers(files, "Reading images")
    names = camera_names([camera.name for camera in views.cameras])
    cameras = [
        replace(camera, name=name, lens=camera.lens_at(header.width, header.height))
        for camera, name, header in zip(views.cameras, names, headers, strict=True)
    ]
    points, colors = _well_seen_points(*model, options.min_track_length)
    masks = _masks(options.data / "masks", [camera.name for camera in views.cameras])
    return ConvertedCapture(
        Calibration(cameras, "colmap", points, colors), [files], masks, "any_channel_above_half" if masks else ""
    )


def write_colmap_capture(folder: Path, capture: ConvertedCapture, options: ConvertOptions) -> None:
    """Writes a model and its images into a folder that is there."""
    from nerfstudio.data.utils import colmap_parsing_utils as colmap

    cameras, images = {}, {}
    for number, camera in enumerate(capture.calibration.cameras, start=1):
        file = place_image(capture.images[0][number - 1], folder / "images" / camera.name, options)
        mask = None if capture.masks is None else capture.masks[0][number - 1]
        if mask is not None:
            # COLMAP looks for the mask of an image under the image's name with one more suffix.
            place_mask(mask, capture.mask_rule, folder / "masks" / file.name)
        model, parameters = colmap_lens(camera.lens)
        cameras[number] = colmap.Camera(number, model, camera.lens.width, camera.lens.height, parameters)
        opencv = flip_camera_axes(camera.camera_to_world)
        rotation = opencv[:, :3].T
        images[number] = colmap.Image(
            number, colmap.rotmat2qvec(rotation), -rotation @ opencv[:, 3], number, file.name,
            np.zeros((0, 2)), np.zeros(0, dtype=np.int64),
        )  # fmt: skip
    write_model(folder / MODEL_FOLDER, cameras, images, _points(capture.calibration), options.colmap_format)


def colmap_lens(lens: Lens) -> tuple[str, NDArray[np.float64]]:
    """The simplest of COLMAP's camera models for a lens, and its parameters; pixel centres at half-integers."""
    k1, k2, k3, k4, p1, p2 = lens.distortion
    pinhole = [lens.fx, lens.fy, lens.cx, lens.cy]
    if lens.fisheye:
        return "OPENCV_FISHEYE", np.array([*pinhole, k1, k2, k3, k4])
    if k4:
        raise InputError(f"The lens has k4 = {k4:g}, expected k1, k2, k3, p1 and p2 alone: undistort the images first.")
    if k3:
        return "FULL_OPENCV", np.array([*pinhole, k1, k2, p1, p2, k3, 0, 0, 0])
    if any(lens.distortion):
        return "OPENCV", np.array([*pinhole, k1, k2, p1, p2])
    return "PINHOLE", np.array(pinhole)


def write_model(
    folder: Path, cameras: dict[int, Any], images: dict[int, Any], points: dict[int, Any], suffix: str
) -> None:
    """Writes a model's three files, "bin" or "txt"."""
    from nerfstudio.data.utils import colmap_parsing_utils as colmap

    folder.mkdir(parents=True)
    kind = "binary" if suffix == "bin" else "text"
    for name, what in (("cameras", cameras), ("images", images), ("points3D", points)):
        getattr(colmap, f"write_{name}_{kind}")(what, str(folder / f"{name}.{suffix}"))


def _points(calibration: Calibration) -> dict[int, Any]:
    from nerfstudio.data.utils import colmap_parsing_utils as colmap

    if calibration.points is None:
        return {}
    grey = np.full((len(calibration.points), 3), 128, dtype=np.uint8)
    colors = grey if calibration.colors is None else calibration.colors
    nothing = np.zeros(0, dtype=np.int64)
    return {
        number: colmap.Point3D(number, xyz, rgb, 0.0, nothing, nothing)
        for number, (xyz, rgb) in enumerate(zip(calibration.points, colors, strict=True), start=1)
    }


def _well_seen_points(
    folder: Path, suffix: str, min_track_length: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.uint8] | None]:
    """Points and colours that enough images see; a model without tracks gives all."""
    from nerfstudio.data.utils import colmap_parsing_utils as colmap

    path = folder / f"points3D{suffix}"
    if not path.is_file():
        return None, None
    read = colmap.read_points3D_binary if suffix == ".bin" else colmap.read_points3D_text
    points = list(read(str(path)).values())  # that it can be read is known from read_colmap_views
    if any(len(point.image_ids) for point in points):
        points = [point for point in points if len(set(point.image_ids.tolist())) >= min_track_length]
    if not points:
        return None, None
    return np.stack([point.xyz for point in points]), np.stack([point.rgb for point in points]).astype(np.uint8)


def _masks(folder: Path, names: list[str]) -> list[list[Path | None]] | None:
    if not folder.is_dir():
        return None
    found = list_images(folder, "a mask per image, called like it")
    return [[found.find(name) for name in names]]
