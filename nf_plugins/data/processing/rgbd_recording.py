"""A recording of RGB-D cameras on disk.

::

    RECORDING/
      cameras.json, or cameras.npz
      CAMERA/
        color/*.png (or .jpg), or color.mp4      the frames, sorted by name
        depth/*.png                              16 bit, one per frame, aligned to colour, 0 = unknown

``cameras.json`` has an entry per camera: ``K`` (3x3) or ``fx``, ``fy``, ``cx``, ``cy``; ``camera_to_world`` or
``world_to_camera``, 4x4 or one 4x4 per frame; optionally ``distortion`` (OpenCV's k1, k2, p1, p2, k3, ...). In
``cameras.npz`` the same are called ``CAMERA_K``, ``CAMERA_camera_to_world`` and so on. Axes are OpenCV's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import require_finite_matrix, require_rigid_pose
from nf_plugins.data.processing.frame_sources import VIDEO_SUFFIXES, FrameSource, open_source, read_frames
from nf_plugins.errors import InputError

POSE_KEYS = ("camera_to_world", "world_to_camera")
NPZ_KEYS = ("K", *POSE_KEYS, "distortion")


@dataclass(frozen=True)
class RgbdCamera:
    """One camera of a recording."""

    name: str
    intrinsics: NDArray[np.float64]
    """(3, 3) as the calibration has it."""
    camera_to_worlds: NDArray[np.float64]
    """(1, 4, 4) of a standing camera, or one per frame; OpenCV axes."""
    distortion: NDArray[np.float64]
    """OpenCV's parameters; empty without."""
    color: FrameSource
    depths: tuple[Path, ...]

    @property
    def num_frames(self) -> int:
        """Frames that colour, depth and a moving camera's poses all have."""
        counts = [len(self.color), len(self.depths)]
        return min(counts + ([len(self.camera_to_worlds)] if len(self.camera_to_worlds) > 1 else []))

    def pose(self, frame: int) -> NDArray[np.float64]:
        """(4, 4) at a frame."""
        return self.camera_to_worlds[frame if len(self.camera_to_worlds) > 1 else 0]

    def frames(self, numbers: list[int]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint16]]]:
        """Colour (H, W, 3) and raw depth (H, W) of chosen frames, as recorded.

        Raises:
            InputError: One cannot be read, or their sizes differ.
        """
        for number, color in zip(numbers, read_frames(self.color, numbers), strict=True):
            depth = read_depth(self.depths[number])
            if depth.shape != color.shape[:2]:
                raise InputError(
                    f"{self.depths[number]} is {depth.shape[1]}x{depth.shape[0]} pixels, but its colour image is "
                    f"{color.shape[1]}x{color.shape[0]}, expected depth aligned to colour: align it with the sensor's "
                    "tools first."
                )
            yield color, depth

    def undistorter(self, first_pixel: float = 0.0) -> Callable[[NDArray, bool], NDArray]:
        """A function that makes an image (H, W) or (H, W, C) one of a camera with the same K and no distortion.

        Its second argument says whether to interpolate between pixels and repeat the border; else the nearest pixel is
        taken, and 0 beyond the border. All images must have one size.

        Args:
            first_pixel: Where K has the centre of the first pixel along both axes: 0, or 0.5.
        """
        maps: Any = None

        def undistort(image: NDArray, interpolate: bool) -> NDArray:
            nonlocal maps
            if not np.any(self.distortion != 0):
                return image
            import cv2

            if maps is None:
                size = (image.shape[1], image.shape[0])
                matrix = self.intrinsics.copy()
                matrix[:2, 2] -= first_pixel  # OpenCV has it at 0
                maps = cv2.initUndistortRectifyMap(matrix, self.distortion, np.eye(3), matrix, size, cv2.CV_32FC1)
            way, border = (
                (cv2.INTER_LINEAR, cv2.BORDER_REPLICATE) if interpolate else (cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
            )
            return np.asarray(cv2.remap(image, maps[0], maps[1], way, borderMode=border))

        return undistort


def read_recording(folder: Path, only: tuple[str, ...], image_fps: float) -> list[RgbdCamera]:
    """Reads the cameras and lists their files; decodes nothing.

    Args:
        only: Take these cameras alone; empty takes all.
        image_fps: Rate of colour videos without time stamps; of no consequence, since frames go by their number.

    Raises:
        InputError: Something is missing, damaged or impossible.
    """
    validation.require_folder(folder, "cameras.json and a folder per camera with color and depth")
    entries, path = _read_entries(folder)
    unknown = [name for name in only if name not in entries]
    if unknown:
        raise InputError(
            f"--only names {unknown[0]}, which {path} does not have, expected some of {', '.join(entries)}."
        )
    names = sorted(only or entries, key=validation.natural_key)
    return [_read_camera(folder / name, name, entries[name], path, image_fps) for name in names]


def read_depth(path: Path) -> NDArray[np.uint16]:
    """Raw values (H, W) of a depth image.

    Raises:
        InputError: It cannot be read, or has several channels or only 8 bits.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The depth image {path} cannot be read ({error}), expected a PNG of 16 bit.") from error
    if values.ndim != 2 or values.dtype == np.uint8 or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise InputError(
            f"The depth image {path} has {values.dtype} values of the shape {values.shape}, expected one channel of 16 "
            "bit."
        )
    return values.astype(np.uint16)


def _read_entries(folder: Path) -> tuple[dict[str, dict[str, Any]], Path]:
    """What is said of every camera, by its name, and by which file."""
    if (folder / "cameras.json").is_file():
        path = folder / "cameras.json"
        entries = validation.read_json(path, "intrinsics and poses per camera")
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise InputError(f"{path} is no object with an entry per camera, expected CAMERA: {{K, camera_to_world}}.")
    elif (folder / "cameras.npz").is_file():
        path = folder / "cameras.npz"
        arrays = validation.read_npz(path, "K and camera_to_world per camera")
        entries = {}
        for key, value in arrays.items():
            for known in NPZ_KEYS:
                if key.endswith(f"_{known}"):
                    entries.setdefault(key.removesuffix(f"_{known}"), {})[known] = value
    else:
        raise InputError(f"The folder {folder} holds no cameras.json and no cameras.npz, expected one of them.")
    if not entries:
        raise InputError(f"{path} names no camera, expected at least one.")
    return entries, path


def _read_camera(folder: Path, name: str, entry: dict[str, Any], path: Path, image_fps: float) -> RgbdCamera:
    if "K" in entry:
        intrinsics = require_finite_matrix(_array(entry["K"]), (3, 3), f"K of {name} in {path}")
    else:
        missing = [key for key in ("fx", "fy", "cx", "cy") if key not in entry]
        if missing:
            raise InputError(f"The camera {name} of {path} has no {missing[0]}, expected K, or fx, fy, cx and cy.")
        values = require_finite_matrix(
            _array([entry[key] for key in ("fx", "fy", "cx", "cy")]), (4,), f"fx, fy, cx, cy of {name} in {path}"
        )
        intrinsics = np.array([[values[0], 0, values[2]], [0, values[1], values[3]], [0, 0, 1.0]])
    if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0 or abs(intrinsics[0, 1]) > 1e-3 * intrinsics[0, 0]:
        raise InputError(f"K of {name} in {path} has a skew or no positive focal length, expected a pinhole camera.")
    present = [key for key in POSE_KEYS if key in entry]
    if len(present) != 1:
        raise InputError(f"The camera {name} of {path} has {len(present)} poses, expected camera_to_world (4x4).")
    stack = _array(entry[present[0]])
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.ndim != 3 or len(stack) == 0:
        raise InputError(
            f"{present[0]} of {name} in {path} has the shape {stack.shape}, expected 4x4, or one per frame."
        )
    poses = []
    for number, matrix in enumerate(stack):
        pose = np.eye(4)
        pose[:3] = require_rigid_pose(matrix, f"{present[0]} {number} of {name} in {path}")
        poses.append(pose if present[0] == "camera_to_world" else np.linalg.inv(pose))
    distortion = _array(entry.get("distortion", [])).reshape(-1)
    if len(distortion) not in (0, 4, 5, 8, 12, 14) or not np.isfinite(distortion).all():
        raise InputError(
            f"The distortion of {name} in {path} has {len(distortion)} numbers, expected OpenCV's 4, 5, 8, 12 or 14."
        )
    validation.require_folder(folder, "color and depth of a camera")
    videos = [folder / f"color{suffix}" for suffix in VIDEO_SUFFIXES if (folder / f"color{suffix}").is_file()]
    source = folder / "color" if (folder / "color").is_dir() else next(iter(videos), None)
    if source is None:
        raise InputError(f"The folder {folder} holds no color folder and no color video, expected one of them.")
    depths = validation.require_files(folder / "depth", "*.png", "one 16-bit depth image per frame")
    return RgbdCamera(name, intrinsics, np.stack(poses), distortion, open_source(source, image_fps), tuple(depths))


def _array(value: Any) -> NDArray[np.float64]:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty((0, 0))  # reported by its shape
