"""Calibration and image lists of ZJU-MoCap's ``annots.npy`` and of EasyMocap's ``intri.yml`` and ``extri.yml``.

Both hold OpenCV's cameras: ``x_camera = R x_world + T`` with x right, y down, z forward, pixels counted from the centre
of the first one, and the distortion k1, k2, p1, p2, k3. Here pixels are counted from the corner of the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import require_finite_matrix, require_rigid_pose
from nf_plugins.data.easymocap import EXTRINSICS, INTRINSICS, read_easymocap_cameras
from nf_plugins.data.restricted_pickle import load_restricted
from nf_plugins.errors import InputError

FloatArray = NDArray[np.float64]

ANNOTATIONS = "annots.npy"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
NUM_DISTORTION = 5


class ZjuCapture(NamedTuple):
    """A calibrated multi-view video. C cameras, F frames."""

    camera_names: list[str]
    """C names: the folders of the images."""
    intrinsics: FloatArray
    """(C, 3, 3), pixels; the centre of the first pixel is (0.5, 0.5)."""
    distortions: FloatArray
    """(C, 5): k1, k2, p1, p2, k3."""
    world_to_cameras: FloatArray
    """(C, 3, 4), OpenCV axes, metres."""
    images: list[list[Path]]
    """F lists of C paths relative to the scene's folder."""
    keypoints: FloatArray | None
    """(F, J, C, 3): column, row (pixels as above) and confidence of J joints; None where there are none."""
    source: Path
    """The file that the calibration comes from."""


def read_capture(root: Path, translation_unit: float) -> ZjuCapture:
    """Calibration and image lists of a scene's folder: of ``annots.npy``, else of EasyMocap's files.

    Args:
        translation_unit: Metres per unit of T in ``annots.npy`` (EasyMocap's are metres).

    Raises:
        InputError: Neither is there, or what is there cannot be used.
    """
    if (root / ANNOTATIONS).is_file():
        return read_annotations(root, translation_unit)
    if (root / INTRINSICS).is_file() and (root / EXTRINSICS).is_file():
        return read_easymocap(root)
    raise InputError(
        f"The folder {root} holds neither {ANNOTATIONS} nor {INTRINSICS} and {EXTRINSICS}, expected a ZJU-MoCap or "
        "EasyMocap capture."
    )


def read_annotations(root: Path, translation_unit: float) -> ZjuCapture:
    """What ``annots.npy`` says; where it lists no images, the folders of the cameras are listed."""
    path = root / ANNOTATIONS
    contents = load_restricted(path)
    cams = contents.get("cams") if isinstance(contents, dict) else None
    if not isinstance(cams, dict) or not all(key in cams for key in ("K", "R", "T")):
        raise InputError(f"{path} has no cams with K, R and T, expected ZJU-MoCap's annotations.")
    count = _length(cams["K"])
    for key in ("K", "R", "T", *(["D"] if "D" in cams else [])):
        validation.require_equal_counts(
            f"cams['{key}'] of {path}", _length(cams[key]), "cams['K']", count, "every camera needs K, R, T and D."
        )
    if count == 0:
        raise InputError(f"{path} holds no camera, expected at least two.")
    listed = contents.get("ims")
    if listed is not None and _length(listed) > 0:
        images = _listed_images(listed, count, path)
        names = _camera_names(images[0])
    else:
        folders = _camera_folders(root)
        validation.require_equal_counts(
            f"{path} (cams)", count, f"{root} (folders of images)", len(folders), "it lists no images itself (ims)."
        )
        names, images = [folder.name for folder in folders], _images_of_folders(root, folders)
    cameras = [
        _camera(
            cams["K"][index],
            cams["R"][index],
            np.asarray(_numbers(cams["T"][index], f"T of camera {name} of {path}")) * translation_unit,
            cams["D"][index] if "D" in cams else np.zeros(NUM_DISTORTION),
            f"camera {name} of {path}",
        )
        for index, name in enumerate(names)
    ]
    return ZjuCapture(names, *_stacked(cameras), images, _listed_keypoints(listed, count, path), path)


def read_easymocap(root: Path) -> ZjuCapture:
    """What ``intri.yml`` and ``extri.yml`` say of the cameras that they name."""
    path = root / INTRINSICS
    known = read_easymocap_cameras(root)
    folders = {folder.name: folder for folder in _camera_folders(root)}
    for camera in known:
        if camera.name not in folders:
            raise InputError(
                f"{path} names the camera {camera.name}, but {root / 'images'} has no folder {camera.name} with images."
            )
    cameras = [
        _camera(
            camera.intrinsics, camera.rotation, camera.translation, camera.distortion, f"camera {camera.name} of {path}"
        )
        for camera in known
    ]
    names = [camera.name for camera in known]
    images = _images_of_folders(root, [folders[name] for name in names])
    return ZjuCapture(names, *_stacked(cameras), images, None, path)


class _Camera(NamedTuple):
    intrinsics: FloatArray
    distortion: FloatArray
    world_to_camera: FloatArray


def _camera(matrix: Any, rotation: Any, translation: Any, distortion: Any, name: str) -> _Camera:
    """Checked matrices of a camera, with the principal point moved to our way of counting pixels."""
    intrinsics = require_finite_matrix(_numbers(matrix, f"K of {name}"), (3, 3), f"K of {name}")
    if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise InputError(
            f"K of {name} has the focal lengths {intrinsics[0, 0]:g}, {intrinsics[1, 1]:g}, expected pixels."
        )
    if abs(intrinsics[0, 1]) > 1e-3 * intrinsics[0, 0]:
        raise InputError(f"K of {name} has a skew of {intrinsics[0, 1]:.4g} pixels, expected none: rectify the images.")
    intrinsics = intrinsics / intrinsics[2, 2]
    intrinsics[:2, 2] += 0.5
    rotation = require_finite_matrix(_numbers(rotation, f"R of {name}"), (3, 3), f"R of {name}")
    translation = _numbers(translation, f"T of {name}").reshape(-1, 1)
    pose = require_finite_matrix(translation, (3, 1), f"T of {name}")
    pose = require_rigid_pose(np.concatenate([rotation, pose], axis=1), f"R and T of {name}")
    coefficients = _numbers(distortion, f"D of {name}").reshape(-1)
    if not np.isfinite(coefficients).all() or np.any(coefficients[NUM_DISTORTION:] != 0):
        raise InputError(
            f"D of {name} is {coefficients.tolist()}, expected k1, k2, p1, p2 and k3: calibrate without the rational "
            "or thin-prism model, or undistort the images and set D to 0."
        )
    padded = np.zeros(NUM_DISTORTION)
    padded[: len(coefficients[:NUM_DISTORTION])] = coefficients[:NUM_DISTORTION]
    return _Camera(intrinsics, padded, pose)


def _stacked(cameras: Sequence[_Camera]) -> tuple[FloatArray, FloatArray, FloatArray]:
    return tuple(np.stack(matrices) for matrices in zip(*cameras, strict=True))  # type: ignore[return-value]


def _numbers(values: Any, name: str) -> FloatArray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} holds no numbers ({error}), expected a matrix: write it anew.") from error


def _length(values: Any) -> int:
    return len(values) if isinstance(values, (list, tuple, np.ndarray)) else 0


def _listed_images(listed: Any, count: int, path: Path) -> list[list[Path]]:
    """The images of every frame, as ``ims`` lists them."""
    images = []
    for frame, entry in enumerate(listed):
        files = entry.get("ims") if isinstance(entry, dict) else None
        validation.require_equal_counts(
            f"ims[{frame}] of {path}", _length(files), "cams['K']", count, "every camera needs an image of every frame."
        )
        images.append([Path(str(file)) for file in files])  # type: ignore[union-attr]
        for file in images[-1]:
            if file.is_absolute() or ".." in file.parts:
                raise InputError(f"ims[{frame}] of {path} lists {file}, expected a path below the scene's folder.")
    return images


def _listed_keypoints(listed: Any, count: int, path: Path) -> FloatArray | None:
    """``kpts2d`` of every frame, moved to our way of counting pixels; None unless all frames have them."""
    if not _length(listed) or not all(isinstance(entry, dict) and "kpts2d" in entry for entry in listed):
        return None
    arrays = [_numbers(entry["kpts2d"], f"kpts2d of {path}") for entry in listed]
    shape = arrays[0].shape
    if len(shape) != 3 or shape[0] != count or shape[2] != 3 or any(array.shape != shape for array in arrays):
        raise InputError(
            f"kpts2d of {path} has the shape {shape}, expected {count} cameras x joints x 3 in all frames."
        )
    keypoints = np.stack(arrays).transpose(0, 2, 1, 3).copy()
    keypoints[..., :2] += 0.5
    return keypoints


def _camera_names(images: Sequence[Path]) -> list[str]:
    """The folders of a frame's images; numbers where they do not tell the cameras apart."""
    names = [path.parent.name for path in images]
    return names if len(set(names)) == len(names) and all(names) else [f"{index:02d}" for index in range(len(names))]


def _camera_folders(root: Path) -> list[Path]:
    """Folders of images: those in ``images/``, or ``Camera*`` in the scene's folder."""
    inside = root / "images"
    found = [path for path in inside.iterdir() if path.is_dir()] if inside.is_dir() else list(root.glob("Camera*"))
    if not found:
        raise InputError(
            f"The folder {root} has no images/NAME and no Camera*, expected a folder of images per camera."
        )
    return sorted(found, key=lambda path: validation.natural_key(path.name))


def _images_of_folders(root: Path, folders: Sequence[Path]) -> list[list[Path]]:
    """Frame by frame the images of every folder, sorted by name."""
    columns = []
    for folder in folders:
        files = sorted(
            (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."),
            key=lambda path: validation.natural_key(path.name),
        )
        columns.append([path.relative_to(root) for path in files])
        validation.require_equal_counts(
            f"{folder}", len(files), f"{folders[0]}", len(columns[0]), "cameras are taken to be synchronised."
        )
    return [list(frame) for frame in zip(*columns, strict=True)]
