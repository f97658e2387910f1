"""nerfstudio's transforms.json: frames, files, poses and lenses, checked entry by entry.

Only what a frame says of itself is read here. What a time means, which camera is which and how frames are split is
decided in ``frame_timeline`` and ``capture_splits``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import focal_from_field_of_view, require_rigid_pose
from nf_plugins.data.dataparser_outputs import downscaled_size
from nf_plugins.errors import InputError

PERSPECTIVE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
FISHEYE_MODELS = ("OPENCV_FISHEYE",)
DISTORTION_KEYS = ("k1", "k2", "k3", "k4", "p1", "p2")
"""In the order of nerfstudio's ``distortion_params``."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics of one image, pixels; the centre of the first pixel is (0.5, 0.5)."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = (0.0,) * 6
    """k1, k2, k3, k4, p1, p2."""
    fisheye: bool = False
    """Equidistant (OpenCV's fisheye model) instead of perspective."""

    def resized(self, width: int, height: int) -> Lens:
        """The same lens on an image of another size."""
        x, y = width / self.width, height / self.height
        return replace(self, width=width, height=height, fx=x * self.fx, fy=y * self.fy, cx=x * self.cx, cy=y * self.cy)

    def reduced(self, factor: int) -> Lens:
        """The same lens on an image reduced by a whole factor, rows and columns that do not fill a pixel cut off."""
        return replace(
            self,
            width=self.width // factor,
            height=self.height // factor,
            fx=self.fx / factor,
            fy=self.fy / factor,
            cx=self.cx / factor,
            cy=self.cy / factor,
        )

    def to_json(self) -> dict[str, Any]:
        """The keys of transforms.json that say all of this."""
        keys: dict[str, Any] = {"w": self.width, "h": self.height, "fl_x": self.fx, "fl_y": self.fy}
        keys |= {"cx": self.cx, "cy": self.cy, "camera_model": "OPENCV_FISHEYE" if self.fisheye else "OPENCV"}
        return keys | dict(zip(DISTORTION_KEYS, self.distortion, strict=True))


@dataclass(frozen=True)
class TransformsFile:
    """A file that was read; frames are in the file's order."""

    path: Path
    contents: dict[str, Any]
    frames: list[dict[str, Any]]

    def name(self, index: int) -> str:
        """How error messages call a frame."""
        return f"frame {index} of {self.path}"

    def value(self, index: int, key: str) -> Any:
        """What the file says for all frames, else what the frame says; None without either."""
        return self.contents[key] if key in self.contents else self.frames[index].get(key)


def find_transforms(data: Path, hint: str = "") -> Path:
    """The JSON file of a ``--data`` that is that file or its folder.

    Raises:
        InputError: There is none; the message ends with ``hint``.
    """
    if data.suffix.lower() == ".json":
        if not data.is_file():
            raise InputError(f"The file {data} does not exist, expected nerfstudio's transforms.json: check the path.")
        return data
    validation.require_folder(data, "transforms.json (nerfstudio layout)", hint)
    path = data / "transforms.json"
    if not path.is_file():
        raise InputError(f"The folder {data} holds no transforms.json, expected the nerfstudio layout. {hint}".rstrip())
    return path


def read_transforms(path: Path) -> TransformsFile:
    """Reads the file; every frame has ``file_path`` and ``transform_matrix``, and no file comes twice.

    Raises:
        InputError: The file is missing, no JSON, or lacks one of these.
    """
    contents = validation.read_json(path, "nerfstudio's transforms.json")
    frames = contents.get("frames") if isinstance(contents, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path} has no frames, expected a list with one entry per image.")
    transforms = TransformsFile(path, contents, frames)
    first_with: dict[str, int] = {}
    for index, frame in enumerate(frames):
        for key in ("file_path", "transform_matrix"):
            if not isinstance(frame, dict) or key not in frame:
                raise InputError(f"The {transforms.name(index)} has no {key}, expected file_path, transform_matrix.")
        earlier = first_with.setdefault(str(frame["file_path"]), index)
        if earlier != index:
            raise InputError(
                f"The frames {earlier} and {index} of {path} both name {frame['file_path']}, expected one entry per "
                "image: remove one of them."
            )
    return transforms


def image_files(transforms: TransformsFile) -> list[Path]:
    """The image of every frame; a name without suffix means .png, as some writers have it."""
    return [_image_file(transforms, frame["file_path"]) for frame in transforms.frames]


def kept_files(files: list[Path], kept: NDArray[np.int64]) -> list[Path]:
    """The files at the given positions."""
    return [files[index] for index in kept]


def split_lists(transforms: TransformsFile, images: list[Path]) -> dict[str, list[Path]]:
    """The images that ``train_filenames``, ``val_filenames`` and ``test_filenames`` name, by split; those it has.

    Args:
        images: The images that are used; others of the file's are left out.

    Raises:
        InputError: A list is none, or a name is no frame's.
    """
    everything, used = set(image_files(transforms)), set(images)
    lists = {}
    for split in ("train", "val", "test"):
        names = transforms.contents.get(f"{split}_filenames")
        if names is None:
            continue
        if not isinstance(names, list):
            raise InputError(
                f"{split}_filenames of {transforms.path} is {names!r}, expected a list of file_paths as they stand in "
                "frames."
            )
        files = [_image_file(transforms, name) for name in names]
        for name, file in zip(names, files, strict=True):
            if file not in everything:
                raise InputError(
                    f"{split}_filenames of {transforms.path} names {name}, which is no frame's file_path, expected the "
                    "names of images as they stand in frames."
                )
        lists[split] = [file for file in files if file in used]
    return lists


def files_of_key(transforms: TransformsFile, key: str) -> list[Path] | None:
    """The file that every frame names under ``key``; None when no frame does.

    Raises:
        InputError: Some frames do and some do not.
    """
    named = [bool(frame.get(key)) for frame in transforms.frames]
    if not any(named):
        return None
    if not all(named):
        raise InputError(
            f"The {transforms.name(named.index(False))} has no {key}, but the {transforms.name(named.index(True))} has "
            "one, expected it in all frames or in none."
        )
    return [transforms.path.parent / str(frame[key]) for frame in transforms.frames]


def camera_poses(transforms: TransformsFile) -> NDArray[np.float64]:
    """Camera-to-world matrices (N, 3, 4), OpenGL axes, with exact rotations."""
    return np.stack(
        [
            require_rigid_pose(_matrix(frame["transform_matrix"]), f"transform_matrix of {transforms.name(index)}")
            for index, frame in enumerate(transforms.frames)
        ]
    )


def times_of_frames(transforms: TransformsFile) -> NDArray[np.float64]:
    """The ``time`` of every frame (N,), in the file's unit.

    Raises:
        InputError: A frame has none, or one that is no finite number.
    """
    if not any("time" in frame for frame in transforms.frames):
        raise InputError(
            f"No frame of {transforms.path} has a time, expected one per frame. Without times it is a static capture; "
            "use nerfstudio-data, or write the second at which each image was taken."
        )
    times = []
    for index, frame in enumerate(transforms.frames):
        if "time" not in frame:
            raise InputError(f"The {transforms.name(index)} has no time, but others have one, expected it in all.")
        times.append(_number(frame["time"], f"time of {transforms.name(index)}"))
    return np.array(times)


def lens_of_frame(transforms: TransformsFile, index: int, size: tuple[int, int] | None = None) -> Lens:
    """The lens of a frame, from keys of the file or of the frame.

    Keys: ``fl_x``, ``fl_y`` (or ``camera_angle_x``, ``camera_angle_y`` in radians), ``cx``, ``cy`` (default: the
    middle), ``w``, ``h`` (default: the image's), ``k1``...``k4``, ``p1``, ``p2`` or ``distortion_params``,
    ``camera_model``.

    Args:
        size: Height and width of the image; without it ``w`` and ``h`` must be there.

    Raises:
        InputError: A number is missing or makes no sense, or the image has another size than ``w`` and ``h`` say.
    """
    name = transforms.name(index)

    def number(key: str) -> float | None:
        value = transforms.value(index, key)
        return None if value is None else _number(value, f"{key} of {name}")

    width, height = number("w"), number("h")
    if size is not None:
        if (width or size[1], height or size[0]) != (size[1], size[0]):
            raise InputError(
                f"The image of {name} is {size[1]}x{size[0]} pixels, but its w and h are {width or size[1]:g}x"
                f"{height or size[0]:g}, expected the same: write w, h, fl_x, fl_y, cx and cy for the image's size."
            )
        height, width = size
    if width is None or height is None:
        raise InputError(f"The {name} has no w and h, expected the size of its image in pixels.")
    fx = _focal(number("fl_x"), number("camera_angle_x"), width)
    fy = _focal(number("fl_y"), number("camera_angle_y"), height)
    fx, fy = (fy if fx is None else fx), (fx if fy is None else fy)
    if fx is None or fy is None:
        raise InputError(f"The {name} has no fl_x, expected the focal length in pixels, for the file or the frame.")
    if fx <= 0 or fy <= 0:
        raise InputError(f"The focal length of {name} is {min(fx, fy):g} pixels, expected a positive number.")
    cx, cy = number("cx"), number("cy")
    model = str(transforms.value(index, "camera_model") or "OPENCV").upper()
    if model not in PERSPECTIVE_MODELS + FISHEYE_MODELS:
        raise InputError(
            f"The camera_model of {name} is {model}, expected one of {', '.join(PERSPECTIVE_MODELS + FISHEYE_MODELS)}: "
            "undistort the images to one of these."
        )
    values = transforms.value(index, "distortion_params")
    if values is None:
        values = [transforms.value(index, key) or 0.0 for key in DISTORTION_KEYS]
    if not isinstance(values, list):
        raise InputError(f"distortion_params of {name} is {values!r}, expected a list of k1, k2, k3, k4, p1, p2.")
    if len(values) != 6:
        raise InputError(f"distortion_params of {name} holds {len(values)} numbers, expected k1, k2, k3, k4, p1, p2.")
    return Lens(
        width=int(width),
        height=int(height),
        fx=fx,
        fy=fy,
        cx=width / 2 if cx is None else cx,
        cy=height / 2 if cy is None else cy,
        distortion=tuple(_number(value, f"distortion of {name}") for value in values),
        fisheye=model in FISHEYE_MODELS,
    )


def nerfstudio_cameras(poses: NDArray[np.float64], lenses: Sequence[Lens], downscale_factor: int = 1) -> Cameras:
    """Cameras (N,) of OpenGL camera-to-world matrices (N, 3, 4) and lenses, reduced by a whole factor."""
    numbers = torch.tensor([[lens.fx, lens.fy, lens.cx, lens.cy] for lens in lenses]).float() / downscale_factor
    sizes = torch.tensor([downscaled_size(lens.height, lens.width, downscale_factor) for lens in lenses])
    distortion = torch.tensor([lens.distortion for lens in lenses]).float()
    types = [(CameraType.FISHEYE if lens.fisheye else CameraType.PERSPECTIVE).value for lens in lenses]
    return Cameras(
        camera_to_worlds=torch.from_numpy(poses).float(),
        fx=numbers[:, 0:1],
        fy=numbers[:, 1:2],
        cx=numbers[:, 2:3],
        cy=numbers[:, 3:4],
        height=sizes[:, 0:1],
        width=sizes[:, 1:2],
        distortion_params=distortion if bool((distortion != 0).any()) else None,
        camera_type=torch.tensor(types)[:, None],
    )


def scene_aabb_of_file(transforms: TransformsFile) -> NDArray[np.float64] | None:
    """The key ``scene_aabb`` as (2, 3) in the coordinates of ``transform_matrix``; None without it."""
    value = transforms.contents.get("scene_aabb")
    return None if value is None else require_aabb(value, f"scene_aabb of {transforms.path}")


def require_aabb(corners: Sequence[Any], name: str) -> NDArray[np.float64]:
    """Six numbers as a box (2, 3).

    Raises:
        InputError: They are not six finite numbers, or a minimum is not below its maximum.
    """
    try:
        box = np.array(corners, dtype=np.float64).reshape(2, 3)
    except (TypeError, ValueError):
        box = np.full((2, 3), np.nan)
    if not (np.isfinite(box).all() and (box[0] < box[1]).all()):
        raise InputError(
            f"{name} is {corners}, expected xmin ymin zmin xmax ymax zmax, each minimum below its maximum."
        )
    return box


def matrix_of_file(transforms: TransformsFile, key: str) -> NDArray[np.float64]:
    """A rigid (4, 4) matrix of the file, such as ``applied_transform``; the identity without it."""
    matrix = np.eye(4)
    if key in transforms.contents:
        matrix[:3] = require_rigid_pose(_matrix(transforms.contents[key]), f"{key} of {transforms.path}")
    return matrix


def number_of_file(transforms: TransformsFile, key: str, default: float) -> float:
    """A positive number of the file.

    Raises:
        InputError: It is none.
    """
    value = _number(transforms.contents.get(key, default), f"{key} of {transforms.path}")
    if value <= 0:
        raise InputError(f"The {key} of {transforms.path} is {value:g}, expected a positive number.")
    return value


def _image_file(transforms: TransformsFile, name: Any) -> Path:
    path = transforms.path.parent / str(name)
    return path if path.suffix else path.with_name(f"{path.name}.png")


def _focal(focal: float | None, angle: float | None, size: float) -> float | None:
    if focal is None and angle is not None and 0 < angle < math.pi:
        return focal_from_field_of_view(angle, size)
    return focal


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"The {name} is {value!r}, expected a finite number.")
    return number


def _matrix(rows: Any) -> NDArray:
    try:
        return np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty((0, 0))  # reported by its shape
