"""Frames of one camera, from a video or from a folder of images, with the time of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class FrameSource:
    """A video or a folder of images, looked at but not decoded."""

    path: Path
    times: NDArray[np.float64]
    """(T,) seconds since the first frame, rising."""
    files: tuple[Path, ...] = ()
    """The images of a folder; empty for a video."""
    stamps: tuple[int, ...] = ()
    """Presentation time stamps of a video's frames, in its own unit; empty where it has none."""

    def __len__(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        """Frames per second, from the median distance between frames."""
        return float(1 / np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0


def find_sources(folder: Path, what: str) -> dict[str, Path]:
    """Videos and folders of images in a folder, by their names without suffix, in natural order.

    Raises:
        InputError: There is none, or two of the same name.
    """
    validation.require_folder(folder, what)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: validation.natural_key(path.name)):
        is_video = path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
        if path.name.startswith(".") or not (is_video or (path.is_dir() and _images_of(path))):
            continue
        name = path.stem if is_video else path.name
        if name in found:
            raise InputError(f"{found[name]} and {path} are both of camera {name}, expected one: move one away.")
        found[name] = path
    if not found:
        raise InputError(
            f"The folder {folder} holds no video ({', '.join(VIDEO_SUFFIXES)}) and no folder of images, expected "
            f"{what}."
        )
    return found


def open_source(path: Path, image_fps: float) -> FrameSource:
    """Looks at a video's packets or lists a folder's images; decodes nothing.

    Args:
        image_fps: Frames per second of a folder of images, and of a video that has no time stamps.

    Raises:
        InputError: It cannot be read, or has no frames.
    """
    if path.is_dir():
        files = tuple(_images_of(path))
        if not files:
            raise InputError(f"The folder {path} holds no images, expected the frames of a camera.")
        return FrameSource(path, np.arange(len(files)) / image_fps, files=files)
    import av

    stamps: list[int] = []
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"The file {path} has no video stream, expected a video.")
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    count += 1
                    if packet.pts is not None:
                        stamps.append(packet.pts)
            unit = float(stream.time_base or 0)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"The video {path} cannot be read ({error}), expected a whole video file.") from error
    if count == 0:
        raise InputError(f"The video {path} has no frames, expected at least one: record or export it anew.")
    if len(stamps) < count or unit == 0 or len(set(stamps)) < count:
        return FrameSource(path, np.arange(count) / image_fps)
    stamps.sort()
    return FrameSource(path, unit * (np.array(stamps) - stamps[0]), stamps=tuple(stamps))


def read_frames(source: FrameSource, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Decodes chosen frames, (H, W, 3) uint8, upright, one after the other.

    Args:
        indices: Never falling; a number that comes twice gives its frame twice.

    Raises:
        InputError: A frame cannot be decoded, or has another size than the first.
    """
    frames = _read_images(source, indices) if source.files else _decode(source, indices)
    size: tuple[int, ...] | None = None
    for index, frame in zip(indices, frames, strict=True):
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            raise InputError(
                f"Frame {index} of {source.path} is {frame.shape[1]}x{frame.shape[0]} pixels, but earlier ones are "
                f"{size[1]}x{size[0]}, expected one size: cut the video where it changes, or scale it to one size."
            )
        yield frame


def upright(frame: NDArray[np.uint8], rotation: float) -> NDArray[np.uint8]:
    """Turns a frame by what its video says (degrees counter-clockwise), as players and OpenCV do."""
    return np.ascontiguousarray(np.rot90(frame, round(rotation / 90) % 4))


def reduce_image(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The image (H, W, C) reduced by a whole factor, averaging over areas; what does not fill a pixel is cut off."""
    if factor == 1:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)


def _images_of(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")),
        key=lambda path: validation.natural_key(path.name),
    )


def _read_images(source: FrameSource, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    from PIL import Image

    for index in indices:
        path = source.files[index]
        try:
            with Image.open(path) as image:
                yield np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"The image {path} cannot be read ({error}), expected a whole image file.") from error


def _decode(source: FrameSource, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    import av

    number_of = {stamp: number for number, stamp in enumerate(source.stamps)}
    wanted = iter(indices)
    next_wanted = next(wanted, None)
    try:
        with av.open(str(source.path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for position, frame in enumerate(container.decode(video=0)):
                number = number_of.get(_stamp(frame), -1) if number_of else position
                if next_wanted is None:
                    return
                if number != next_wanted:
                    continue
                pixels = upright(frame.to_ndarray(format="rgb24"), getattr(frame, "rotation", 0))
                while next_wanted == number:
                    yield pixels
                    next_wanted = next(wanted, None)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"The video {source.path} cannot be decoded ({error}), expected a whole video.") from error
    if next_wanted is not None:
        raise InputError(
            f"The video {source.path} ends before its frame {next_wanted} of {len(source)} could be decoded, expected "
            "a whole video: copy or export it anew, or take fewer frames with --num-frames."
        )


def _stamp(frame: Any) -> int:
    return -1 if frame.pts is None else int(frame.pts)
