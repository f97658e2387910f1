"""Images of a rig that are no files of their own, by the names that stand for them.

An image is called FILE/CAMERA/000012.png, as if FILE were a folder; the number is that of its frame. Both classes are
the ``picture_source`` of a :class:`nf_plugins.data.rig_capture.RigCapture`; they may be used by several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nf_plugins.data.colour_correction import Saturation, correct_colours
from nf_plugins.data.dynamic_dataset import area_average
from nf_plugins.data.foreground_masks import LARGEST_LABEL
from nf_plugins.data.processing.frame_sources import FrameSource, read_frames
from nf_plugins.data.smc_archive import SmcArchive
from nf_plugins.errors import InputError

LEAST_CAMERAS = 2
"""Threads that read one camera after the other are at two of them for a while."""


def picture_name(file: Path, camera: str, frame: int) -> Path:
    """What an image is called."""
    return file / camera / f"{frame:06d}.png"


def camera_and_frame(path: Path) -> tuple[str, int]:
    """The camera and the number of the frame of an image's name."""
    return path.parent.name, int(path.stem)


class SmcPictures:
    """Images and masks of DNA-Rendering's files.

    Args:
        pictures: Holds the images.
        annotations: Holds the masks.
        corrections: (3, 3) colour correction of each camera; empty leaves colours as they are.
        saturate: See ``correct_colours``.
    """

    def __init__(
        self,
        pictures: SmcArchive,
        annotations: SmcArchive,
        corrections: Mapping[str, NDArray[np.float64]],
        saturate: Saturation = "clip",
    ) -> None:
        self.pictures, self.annotations = pictures, annotations
        self.corrections = corrections
        self.saturate: Saturation = saturate

    def __deepcopy__(self, memo: dict[int, Any]) -> SmcPictures:
        return self

    def image(self, path: Path) -> NDArray[np.uint8]:
        """The corrected image (H, W, 3)."""
        camera, frame = camera_and_frame(path)
        image = self.pictures.image(camera, frame)
        if camera not in self.corrections:
            return image
        return correct_colours(image, self.corrections[camera], self.saturate)

    def mask(self, path: Path) -> NDArray[np.float32]:
        """The foreground's share of every pixel (H, W); where the mask holds labels, 1 where one is above 0."""
        camera, frame = camera_and_frame(path)
        values = self.annotations.mask(camera, frame)
        if values.max() <= LARGEST_LABEL:
            return (values > 0).astype(np.float32)
        return (values / 255).astype(np.float32)


class VideoPictures:
    """Frames of a rig's videos, reduced when they are decoded.

    Asked for one frame of a camera, all chosen ones of it are decoded; those of the cameras that were asked for longest
    ago are dropped.

    Args:
        sources: A video by camera.
        frames: Numbers of the frames that may be asked for, rising.
        size: Height and width of the reduced images.
        ratio: New pixels per old pixel along an axis; see ``area_average``.
        most_bytes: Memory that decoded frames may take; two cameras always fit.
    """

    def __init__(
        self,
        sources: Mapping[str, FrameSource],
        frames: Sequence[int],
        size: tuple[int, int],
        ratio: float = 1.0,
        most_bytes: float = 4e9,
    ) -> None:
        self.sources, self.frames = dict(sources), list(frames)
        self.size, self.ratio, self.most_bytes = size, ratio, most_bytes
        self._rows = {frame: row for row, frame in enumerate(self.frames)}
        self._decoded: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()
        self._locks = {name: threading.Lock() for name in self.sources}
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> VideoPictures:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return VideoPictures, (self.sources, self.frames, self.size, self.ratio, self.most_bytes)

    @property
    def num_bytes(self) -> int:
        """Of all decoded frames of all cameras."""
        return len(self.sources) * len(self.frames) * self.size[0] * self.size[1] * 3

    def image(self, path: Path) -> NDArray[np.uint8]:
        """The reduced image (H, W, 3).

        Raises:
            InputError: The video cannot be decoded.
        """
        camera, frame = camera_and_frame(path)
        if frame not in self._rows:
            raise ValueError(f"frame {frame} of {camera} was not chosen, expected one of {self.frames}")
        with self._locks[camera]:  # another thread may be decoding this very video
            frames = self._known(camera)
            if frames is None:
                frames = self._decode(camera)
                self._keep(camera, frames)
        return frames[self._rows[frame]]

    def mask(self, path: Path) -> NDArray[np.float32]:
        """There are none."""
        raise InputError(f"The video {path.parent} has no masks, expected none to be asked for.")

    def _known(self, camera: str) -> NDArray[np.uint8] | None:
        with self._lock:
            if camera in self._decoded:
                self._decoded.move_to_end(camera)
            return self._decoded.get(camera)

    def _keep(self, camera: str, frames: NDArray[np.uint8]) -> None:
        with self._lock:
            self._decoded[camera] = frames
            while len(self._decoded) > LEAST_CAMERAS and len(self._decoded) * frames.nbytes > self.most_bytes:
                self._decoded.popitem(last=False)

    def _decode(self, camera: str) -> NDArray[np.uint8]:
        frames = np.empty((len(self.frames), *self.size, 3), dtype=np.uint8)
        for row, image in enumerate(read_frames(self.sources[camera], self.frames)):
            frames[row] = reduced(image, self.size, self.ratio)
        return frames


def reduced(image: NDArray[np.uint8], size: tuple[int, int], ratio: float) -> NDArray[np.uint8]:
    """The image (H, W, 3) with every new pixel the mean over the area that it covers."""
    if ratio == 1:
        return image
    averaged = area_average(torch.from_numpy(np.ascontiguousarray(image)).float(), ratio, size)
    return averaged.round().to(torch.uint8).numpy()
