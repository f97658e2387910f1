"""EasyMocap's calibration: ``intri.yml`` and ``extri.yml``, which OpenCV's FileStorage writes.

::

    intri.yml   names    list of the cameras; without it every K_NAME is one
                K_NAME   (3, 3), pixels counted from the centre of the first one
                D_NAME or dist_NAME    OpenCV's k1, k2, p1, p2, k3; optional
                W_NAME, H_NAME         numbers: size of the images in pixels; optional
    extri.yml   Rot_NAME (3, 3) rotation, or R_NAME rotation vector (3, 1)
                T_NAME   (3, 1)

A camera is OpenCV's: ``x_camera = R x_world + T`` with x right, y down, z forward.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import require_finite_matrix
from nf_plugins.errors import InputError

INTRINSICS, EXTRINSICS = "intri.yml", "extri.yml"


class EasymocapCamera(NamedTuple):
    """A camera as the files have it."""

    name: str
    intrinsics: NDArray[np.float64]
    """(3, 3), pixels; the centre of the first pixel is (0, 0)."""
    distortion: NDArray[np.float64]
    """(D,): as many of k1, k2, p1, p2, k3, ... as the file lists; empty without any."""
    rotation: NDArray[np.float64]
    """(3, 3), world to camera, OpenCV axes."""
    translation: NDArray[np.float64]
    """(3,), in the unit of the world."""
    width: int = 0
    """Pixels; 0 where the file does not say width and height."""
    height: int = 0


class _Storage(NamedTuple):
    path: Path
    matrices: dict[str, NDArray[np.float64]]
    numbers: dict[str, float]
    names: list[str]


def read_easymocap_cameras(folder: Path) -> list[EasymocapCamera]:
    """The cameras of a folder's ``intri.yml`` and ``extri.yml``, in natural order of their names.

    Raises:
        InputError: A file is missing or damaged, names no camera, or lacks a camera's matrix; or a matrix has another
            shape or is not finite. Whether a pose is a rotation and a focal length positive is not looked at.
    """
    intrinsics, extrinsics = _read_storage(folder / INTRINSICS), _read_storage(folder / EXTRINSICS)
    names = intrinsics.names or [key[2:] for key in intrinsics.matrices if key.startswith("K_")]
    if not names:
        raise InputError(f"{intrinsics.path} names no camera (K_NAME), expected EasyMocap's intrinsics.")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{intrinsics.path} names the camera {name} twice, expected each once: remove one.")
    return [_read_camera(name, intrinsics, extrinsics) for name in sorted(names, key=validation.natural_key)]


def _read_camera(name: str, intrinsics: _Storage, extrinsics: _Storage) -> EasymocapCamera:
    matrix = require_finite_matrix(_matrix(intrinsics, f"K_{name}"), (3, 3), f"K_{name} of {intrinsics.path}")
    distortion = intrinsics.matrices.get(f"D_{name}", intrinsics.matrices.get(f"dist_{name}", np.zeros(0)))
    distortion = distortion.reshape(-1)
    width, height = (_size(intrinsics, f"{key}_{name}") for key in ("W", "H"))
    rotation = _rotation(name, extrinsics)
    translation = _matrix(extrinsics, f"T_{name}").reshape(-1)
    return EasymocapCamera(
        name=name,
        intrinsics=matrix,
        distortion=require_finite_matrix(distortion, distortion.shape, f"D_{name} of {intrinsics.path}"),
        rotation=rotation,
        translation=require_finite_matrix(translation, (3,), f"T_{name} of {extrinsics.path}"),
        width=width if height else 0,
        height=height if width else 0,
    )


def _matrix(storage: _Storage, key: str) -> NDArray[np.float64]:
    if key not in storage.matrices:
        raise InputError(f"{storage.path} has no {key}, expected this matrix for every camera.")
    return storage.matrices[key]


def _rotation(name: str, extrinsics: _Storage) -> NDArray[np.float64]:
    import cv2

    key = f"Rot_{name}" if f"Rot_{name}" in extrinsics.matrices else f"R_{name}"
    if key not in extrinsics.matrices:
        raise InputError(f"{extrinsics.path} has no R_{name} and no Rot_{name}, expected the rotation of every camera.")
    matrix, what = extrinsics.matrices[key], f"{key} of {extrinsics.path}"
    if matrix.shape == (3, 3) or key.startswith("Rot_"):
        return require_finite_matrix(matrix, (3, 3), what)
    return np.asarray(cv2.Rodrigues(require_finite_matrix(matrix.reshape(-1), (3,), what))[0], dtype=np.float64)


def _size(intrinsics: _Storage, key: str) -> int:
    number = intrinsics.numbers.get(key, 0.0)
    if key in intrinsics.numbers and not 1 <= number < 2**31:
        raise InputError(f"{key} of {intrinsics.path} is {number:g}, expected a size in pixels.")
    return int(number)


def _read_storage(path: Path) -> _Storage:
    """The matrices and numbers of a file that OpenCV's FileStorage wrote, by key, and the texts of its ``names``."""
    import cv2

    matrices, numbers = {}, {}
    try:
        file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        if not file.isOpened():
            raise InputError(f"{path} cannot be read, expected OpenCV's YAML: write it anew.")
        for key in file.root().keys():
            node = file.getNode(key)
            if node.isInt() or node.isReal():
                numbers[key] = float(node.real())
            elif node.isMap() and not node.getNode("rows").empty():  # mat() of anything else raises
                matrices[key] = np.asarray(node.mat(), dtype=np.float64)
        node = file.getNode("names")
        listed = [node.at(index) for index in range(node.size())] if node.isSeq() else []
        # Names without quotes are numbers to YAML, and 01 is 1: then the keys say better what they are.
        names = [item.string() for item in listed] if all(item.isString() for item in listed) else []
        file.release()
    except (cv2.error, SystemError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}), expected OpenCV's YAML: write it anew.") from error
    return _Storage(path, matrices, numbers, names)
