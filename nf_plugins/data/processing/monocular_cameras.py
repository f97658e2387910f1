"""Poses of a moving camera's frames: given ones, or COLMAP's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import transforms_json as tj
from nf_plugins.data import validation
from nf_plugins.data.monocular_video import PixelConvention, lens_of_images, pixel_convention_of
from nf_plugins.data.poses_bounds import read_poses_bounds
from nf_plugins.data.processing.frame_sources import FrameSource
from nf_plugins.data.processing.known_cameras import ASPECT_TOLERANCE, Calibration, KnownCamera, find_colmap
from nf_plugins.data.processing.photograph_cameras import read_photograph_cameras
from nf_plugins.data.processing.photographs import ImageFolder
from nf_plugins.data.scene_extent import read_points
from nf_plugins.data.writers.nsff_files import POSES_FILE
from nf_plugins.errors import InputError

HOW_TO_GIVE_POSES = (
    "give them with --poses: LLFF's poses_bounds.npy, nerfstudio's transforms.json (of ns-process-data, Polycam "
    "and others) or the folder of a COLMAP model with cameras and images"
)


@dataclass(frozen=True)
class FrameCameras:
    """One camera per chosen frame."""

    lenses: list[tj.Lens]
    """Of the frames as they are in the recording."""
    camera_to_worlds: NDArray[np.float64]
    """(N, 3, 4), OpenGL axes."""
    bounds: NDArray[np.float64] | None
    """(N, 2) nearest and farthest depth, where the file says it."""
    points: NDArray[np.float64] | None
    """(M, 3) of the scene, where the file has some."""
    source: str
    """poses_bounds, transforms or colmap."""
    pixel_convention: Literal["integer", "half"] = "half"
    """Which rays pixels have. Lenses have the rays of half; integer moves them by half a pixel of the images to train
    on, whatever their size, so nothing is resampled for it."""

    def training_lens(self, target: tj.Lens, height: int, width: int) -> tj.Lens:
        """The lens that ``nsff-data`` sees the frames with, once they are those of ``target`` at another size."""
        lens = target.resized(width, height)
        shift = 0.5 if self.pixel_convention == "integer" else 0.0
        return replace(lens, cx=lens.cx + shift, cy=lens.cy + shift)


def read_frame_cameras(
    path: Path,
    source: FrameSource,
    indices: list[int],
    size: tuple[int, int],
    *,
    convention: PixelConvention = "auto",
    numbers: list[int] | None = None,
) -> FrameCameras:
    """The cameras of the chosen frames.

    Args:
        path: poses_bounds.npy, transforms.json, a COLMAP model, or a folder with one of them.
        source: The recording.
        indices: Its chosen frames.
        size: Height and width of the frames.
        convention: Which rays the pixels of a poses_bounds.npy have, as ``nsff-data`` has it.
        numbers: What messages call the chosen frames, where ``source`` holds them alone: their numbers in the user's
            recording. None for ``indices``.

    Raises:
        InputError: There are none, not as many as frames, or they are of images of another shape; or a convention is
            given with other cameras.
    """
    file = path / POSES_FILE if path.is_dir() else path
    if file.suffix.lower() == ".npy" and file.is_file():
        return _read_poses_bounds(file, source, indices, size, convention)
    if not path.exists():
        raise InputError(f"--poses {path} does not exist: {HOW_TO_GIVE_POSES}.")
    if convention != "auto":
        raise InputError(
            f"--pixel-convention {convention}: applies to a {POSES_FILE}, not to {path}, whose principal point says "
            "it; leave it out."
        )
    calibration = read_photograph_cameras(path)
    cameras = _cameras_of_frames(calibration.cameras, source, indices, path, numbers or indices)
    return FrameCameras(
        [_lens_at(camera.lens, size, str(path)) for camera in cameras],
        np.stack([camera.camera_to_world for camera in cameras]),
        None,
        _points(path, calibration),
        calibration.source,
    )


def require_colmap() -> None:
    """Raises InputError where COLMAP is not installed."""
    if shutil.which("colmap") is None:
        raise InputError(f"--poses is not given and COLMAP is not installed (no program colmap): {HOW_TO_GIVE_POSES}.")


def run_colmap_on(images: Path, folder: Path, matching: str) -> None:
    """COLMAP's model of the images of one camera in ``folder/sparse/0``, by nerfstudio's own processing.

    Raises:
        InputError: It fails, or registers no image.
    """
    from nerfstudio.process_data.colmap_utils import run_colmap
    from nerfstudio.process_data.process_data_utils import CameraModel

    if any(character.isspace() for character in str(folder)):
        raise InputError(
            f"{folder} has a space, which nerfstudio's call of COLMAP cannot pass on: choose another --output-dir."
        )
    kind: Any = matching
    try:
        run_colmap(images, folder, CameraModel.OPENCV, gpu=_has_gpu(), matching_method=kind)
    except SystemExit as error:
        raise InputError(
            f"COLMAP failed on {images} (its messages are above), expected a camera that moves through a scene with "
            f"texture: take other frames, or {HOW_TO_GIVE_POSES}."
        ) from error
    if find_colmap(folder) is None:
        raise InputError(
            f"COLMAP registered none of the frames in {images}, expected all: the camera has to move (turning is not "
            f"enough), and more must stand still than moves. Take other frames, or {HOW_TO_GIVE_POSES}."
        )


def _read_poses_bounds(
    file: Path, source: FrameSource, indices: list[int], size: tuple[int, int], convention: PixelConvention
) -> FrameCameras:
    cameras = read_poses_bounds(file)
    rows = _rows_of_frames(len(cameras.camera_to_worlds), str(file), source, indices)
    lens = lens_of_images(cameras, validation.ImageHeader(*size, has_alpha=False), "half", file)
    return FrameCameras(
        [lens] * len(rows),
        cameras.camera_to_worlds[rows],
        cameras.bounds[rows],
        None,
        "poses_bounds",
        pixel_convention_of(file.parent) if convention == "auto" else convention,
    )


def _rows_of_frames(count: int, where: str, source: FrameSource, indices: list[int]) -> list[int]:
    """The number of every chosen frame's camera, in a file that has them in order."""
    if count == len(source):
        return indices
    if count == len(indices):
        return list(range(count))
    raise InputError(
        f"{where} has {count} cameras, but {source.path} has {len(source)} frames, of which {len(indices)} are chosen, "
        "expected one camera for each: choose the frames that the poses are of with --start-frame, --num-frames and "
        "--frame-stride, or give those frames as a folder."
    )


def _cameras_of_frames(
    cameras: list[KnownCamera], source: FrameSource, indices: list[int], path: Path, numbers: list[int]
) -> list[KnownCamera]:
    """By the frames' names where they have some; else, and where no name fits, by their order. Messages count frames
    by ``numbers``."""
    cameras = sorted(cameras, key=lambda camera: validation.natural_key(camera.name))
    if source.files:
        folder = ImageFolder(source.path, {file.name: file for file in source.files})
        found = {folder.find(camera.name): camera for camera in cameras}
        found.pop(None, None)
        missing = [place for place, index in enumerate(indices) if source.files[index] not in found]
        if not missing:
            return [found[source.files[index]] for index in indices]
        if len(missing) < len(indices):
            run = _longest_run(len(indices), set(missing))
            stride = f" --frame-stride {numbers[1] - numbers[0]}" if numbers[1] - numbers[0] > 1 else ""
            raise InputError(
                f"{path} has cameras of {len(indices) - len(missing)} of {len(indices)} frames, none of "
                f"frame {numbers[missing[0]]} ({source.files[indices[missing[0]]].name}), expected one for each. The "
                f"longest stretch with cameras has {len(run)} frames: --start-frame {numbers[run[0]]} --num-frames "
                f"{len(run)}{stride}."
            )
    return [cameras[row] for row in _rows_of_frames(len(cameras), str(path), source, indices)]


def _longest_run(count: int, missing: set[int]) -> list[int]:
    best: list[int] = []
    current: list[int] = []
    for place in range(count):
        current = [] if place in missing else [*current, place]
        best = max(best, current, key=len)
    return best


def _lens_at(lens: tj.Lens, size: tuple[int, int], where: str) -> tj.Lens:
    height, width = size
    if abs((width / lens.width) / (height / lens.height) - 1) > ASPECT_TOLERANCE:
        raise InputError(
            f"The frames are {width}x{height} pixels, but the cameras of {where} are of {lens.width}x{lens.height}, "
            "expected the same shape: give the frames that the poses were found with."
        )
    return lens if (lens.width, lens.height) == (width, height) else lens.resized(width, height)


def _points(path: Path, calibration: Calibration) -> NDArray[np.float64] | None:
    if calibration.points is not None or calibration.source != "transforms":
        return calibration.points
    file = path if path.is_file() else path / "transforms.json"
    name = tj.read_transforms(file).contents.get("ply_file_path")
    if not name:
        return None
    return read_points(file.parent / name)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
