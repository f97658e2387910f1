"""The cameras of photographs of a standing object: every image has its own."""

from __future__ import annotations

from pathlib import Path

from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data import transforms_json as tj
from nf_plugins.data.processing.known_cameras import (
    ASPECT_TOLERANCE,
    Calibration,
    KnownCamera,
    find_colmap,
    read_colmap_views,
)
from nf_plugins.data.validation import ImageHeader
from nf_plugins.errors import InputError

EXPECTED = "transforms.json, or a COLMAP model (sparse/0 with cameras and images, .bin or .txt)"


def read_photograph_cameras(path: Path) -> Calibration:
    """Cameras called by their image's path as the file has it, in the file's own coordinates.

    Args:
        path: nerfstudio's transforms.json, a COLMAP model, or a folder with one of them.

    Raises:
        InputError: It holds none, or a file that is damaged or says something impossible.
    """
    if not path.exists():
        raise InputError(f"--cameras {path} does not exist, expected {EXPECTED}.")
    file = path if path.suffix.lower() == ".json" else path / "transforms.json"
    if file.is_file():
        return _read_transforms(file)
    model = find_colmap(path.parent if path.is_file() else path)
    if model is None:
        raise InputError(f"--cameras {path} holds no cameras, expected {EXPECTED}.")
    return read_colmap_views(*model)


def lenses_at(cameras: list[KnownCamera], paths: list[Path], headers: list[ImageHeader]) -> list[tj.Lens]:
    """The lenses for images of these sizes; scaled, and a line says so, where they are not those of the cameras.

    Raises:
        InputError: An image has another shape.
    """
    lenses, scaled = [], []
    for camera, path, header in zip(cameras, paths, headers, strict=True):
        lens = camera.lens
        if (header.width, header.height) != (lens.width, lens.height):
            ratio = (header.width / lens.width) / (header.height / lens.height)
            if abs(ratio - 1) > ASPECT_TOLERANCE:
                raise InputError(
                    f"The image {path} is {header.width}x{header.height} pixels, but its camera {camera.name} has "
                    f"{lens.width}x{lens.height}, expected the same shape: give the images that the cameras were "
                    "reconstructed from, as they lay on disk then (not turned upright)."
                )
            scaled.append(f"{path.name}: {lens.width}x{lens.height} to {header.width}x{header.height}")
            lens = lens.resized(header.width, header.height)
        lenses.append(lens)
    if scaled:
        CONSOLE.print(
            f"{len(scaled)} of {len(lenses)} cameras belong to images of another size; their intrinsics are scaled "
            f"({scaled[0]}).",
            soft_wrap=True,
            highlight=False,
        )
    return lenses


def _read_transforms(path: Path) -> Calibration:
    transforms = tj.read_transforms(path)
    poses = tj.camera_poses(transforms)
    cameras = [
        KnownCamera(Path(str(frame["file_path"])).as_posix(), tj.lens_of_frame(transforms, index), poses[index])
        for index, frame in enumerate(transforms.frames)
    ]
    return Calibration(cameras, "transforms")
