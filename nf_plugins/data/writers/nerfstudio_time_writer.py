"""Writer of nerfstudio's layout with a time per frame, which ``nerfstudio-time-data`` reads.

transforms.json                    intrinsics for the file where all cameras share them, else per frame
images/<camera>/000000.png         8 bit, RGB or RGBA (or .jpg)
masks/<camera>/000000.png          255 = foreground, binary; named by fg_mask_path
depths/<camera>/000000.png         16 bit
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nf_plugins.atomic_files import write_json
from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.writers.truth_files import write_png

ImageFormat = Literal["png", "jpg"]
JPEG_QUALITY = 95


@dataclass(frozen=True)
class TimedView:
    """One image of one camera."""

    camera: str
    """Name, which becomes a folder."""
    time: float
    """In any unit, the same for all views."""
    image: np.ndarray
    """(H, W, 3) or (H, W, 4) uint8."""
    camera_to_world: np.ndarray
    """(4, 4), OpenGL axes."""
    mask: np.ndarray | None = None
    """(H, W) bool, the foreground."""
    depth: np.ndarray | None = None
    """(H, W) uint16, raw values; 0 = unknown."""


class NerfstudioTimeWriter:
    """Writes images as they come, and the JSON file last.

    Args:
        folder: An existing folder, usually a temporary one that is renamed when it is whole.
        lenses: Of every camera.
        image_format: png keeps every pixel, jpg is a tenth of the size.
    """

    def __init__(self, folder: Path, lenses: dict[str, Lens], image_format: ImageFormat = "png") -> None:
        self.folder = folder
        self.lenses = lenses
        self.image_format = image_format
        self.frames: list[dict[str, Any]] = []
        self._counts: dict[str, int] = {}

    def add(self, view: TimedView) -> None:
        """Writes the files of one image."""
        number = self._counts.get(view.camera, 0)
        self._counts[view.camera] = number + 1

        def target(kind: str, suffix: str = "png") -> Path:
            path = self.folder / kind / view.camera / f"{number:06d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            return path

        image = target("images", self.image_format)
        _write_image(image, view.image)
        frame: dict[str, Any] = {
            "file_path": image.relative_to(self.folder).as_posix(),
            "time": view.time,
            "camera": view.camera,
            "transform_matrix": view.camera_to_world.tolist(),
        }
        if view.mask is not None:
            mask = target("masks")
            write_png(mask, 255 * view.mask.astype(np.uint8))
            frame["fg_mask_path"] = mask.relative_to(self.folder).as_posix()
        if view.depth is not None:
            depth = target("depths")
            write_png(depth, view.depth)
            frame["depth_file_path"] = depth.relative_to(self.folder).as_posix()
        self.frames.append(frame)

    def finish(self, **keys: Any) -> Path:
        """Writes transforms.json with further keys of the file, such as ``scene_aabb``; may be called again."""
        used = {frame["camera"] for frame in self.frames}
        lenses = {name: lens.to_json() for name, lens in self.lenses.items() if name in used}
        first = next(iter(lenses.values()))
        # nerfstudio itself reads camera_model of the file alone, so it stands there whenever all have the same.
        shared = {key: value for key, value in first.items() if all(lens[key] == value for lens in lenses.values())}
        if len(shared) < len(first):
            shared = {key: value for key, value in shared.items() if key == "camera_model"}
        frames = []
        for frame in self.frames:
            own = {key: value for key, value in lenses[frame["camera"]].items() if key not in shared}
            frames.append(frame | own)
        path = self.folder / "transforms.json"
        write_json(path, {**shared, **keys, "frames": frames})
        return path


def write_nerfstudio_time_scene(
    folder: Path,
    lenses: dict[str, Lens],
    views: Iterable[TimedView],
    *,
    image_format: ImageFormat = "png",
    **keys: Any,
) -> Path:
    """Writes a whole scene into a folder, which is made; returns the path of transforms.json.

    Args:
        lenses: Of every camera.
        views: May be a generator; all have masks or none has, likewise depth.
        keys: Further keys of the file.
    """
    writer = NerfstudioTimeWriter(folder, lenses, image_format)
    for view in views:
        writer.add(view)
    return writer.finish(**keys)


def _write_image(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    if path.suffix == ".jpg":
        Image.fromarray(image[..., :3]).save(path, quality=JPEG_QUALITY, subsampling=0)
    else:
        write_png(path, image)
