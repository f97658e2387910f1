"""A capture between two layouts: standing cameras in the coordinates of their calibration, and images by moment."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.data.processing.convert_options import ConvertOptions
from nf_plugins.data.processing.known_cameras import Calibration
from nf_plugins.errors import InputError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ConvertedCapture:
    """C standing cameras at F moments."""

    calibration: Calibration
    """Cameras, whose lenses are those of the images, and points; what moved them has been undone."""
    images: list[list[Path]]
    """By moment, then camera."""
    masks: list[list[Path | None]] | None = None
    """Likewise."""
    mask_rule: str = ""
    """What of a mask is foreground: a rule of :mod:`nf_plugins.data.foreground_masks`."""
    times: list[float] | None = None
    """Of the moments, where the capture says them."""

    @property
    def names(self) -> list[str]:
        """Of the cameras."""
        return [camera.name for camera in self.calibration.cameras]

    def moments(self, frames: Sequence[int]) -> ConvertedCapture:
        """The capture with some of its moments."""
        return replace(
            self,
            images=[self.images[frame] for frame in frames],
            masks=None if self.masks is None else [self.masks[frame] for frame in frames],
            times=None if self.times is None else [self.times[frame] for frame in frames],
        )


def camera_names(files: Sequence[str]) -> list[str]:
    """A name for the camera of every image that can be a folder's and a key of OpenCV's files.

    The images' folders where each has its own, else their stems where these differ, else both.

    Raises:
        InputError: Two images would have the same name.
    """
    paths = [PurePosixPath(file) for file in files]
    parents, stems = [path.parent.name for path in paths], [path.stem for path in paths]
    if all(parents) and len(paths) > 1 and len(set(parents)) == len(paths):
        names = parents
    elif len(set(stems)) == len(paths):
        names = stems
    else:
        names = ["_".join(path.with_suffix("").parts) for path in paths]
    names = [re.sub(r"[^0-9A-Za-z_-]", "_", name) for name in names]
    for name, file in zip(names, files, strict=True):
        if names.count(name) > 1:
            raise InputError(
                f"{names.count(name)} images such as {file} would have the camera's name {name}, expected different "
                "ones: rename them."
            )
    return names


def moved_points(points: FloatArray | None, matrix: FloatArray) -> FloatArray | None:
    """Points (N, 3) moved by a matrix (4, 4)."""
    return None if points is None else points @ matrix[:3, :3].T + matrix[:3, 3]


def place_image(source: Path, target: Path, options: ConvertOptions) -> Path:
    """Copies or links an image; ``target`` is without suffix. Returns the file."""
    target = target.with_name(f"{target.name}{source.suffix.lower()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if options.link_images:
        os.symlink(source.absolute(), target)
    else:
        shutil.copyfile(source, target)
    return target


def place_cutout(source: Path, mask: Path, rule: str, target: Path) -> Path:
    """Writes an image with its mask as alpha channel; ``target`` is without suffix. Returns the file."""
    from PIL import Image

    target = target.with_name(f"{target.name}.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    alpha = (255 * read_mask(mask, rule)[..., 0]).round().numpy().astype(np.uint8)
    with Image.open(source) as image:
        cutout = image.convert("RGB")
        cutout.putalpha(Image.fromarray(alpha))
        cutout.save(target)
    return target


def place_mask(source: Path, rule: str, target: Path) -> Path:
    """Writes a mask as PNG of 0 and 255, whatever it was before; ``target`` is without suffix. Returns the file."""
    from nf_plugins.data.writers.truth_files import write_png

    target = target.with_name(f"{target.name}.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_png(target, 255 * (read_mask(source, rule)[..., 0].numpy() > 0.5).astype(np.uint8))
    return target


def read_coloured_points(path: Path) -> tuple[FloatArray, NDArray[np.uint8] | None]:
    """The points (N, 3) of a .ply file, and their colours (N, 3) where it has some.

    Raises:
        InputError: It cannot be read.
    """
    import trimesh

    try:
        cloud = trimesh.load(path, process=False)
        points = np.asarray(cloud.vertices, dtype=np.float64)  # type: ignore[union-attr]
    except Exception as error:  # a damaged file may fail in any way
        raise InputError(f"{path} cannot be read ({error}), expected a point cloud: write it anew.") from error
    colors = np.asarray(getattr(getattr(cloud, "visual", None), "vertex_colors", None))
    return points, colors[:, :3].astype(np.uint8) if colors.shape == (len(points), 4) else None


def write_coloured_points(path: Path, calibration: Calibration, matrix: FloatArray | None = None) -> bool:
    """Writes a calibration's points, moved by a matrix; returns whether there are any."""
    import trimesh

    if calibration.points is None:
        return False
    points = calibration.points if matrix is None else moved_points(calibration.points, matrix)
    trimesh.PointCloud(points, colors=calibration.colors).export(path, file_type="ply")
    return True
