"""A video in memory, decoded once: frames of a video file, a NumPy array or a folder of images, as 8 bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.data import validation
from nf_plugins.data.dataparser_outputs import downscaled_size, require_downscale_factor
from nf_plugins.data.image_store import available_bytes
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.parallel import late_progress
from nf_plugins.data.processing.frame_sources import upright
from nf_plugins.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
WAY_OUT = "choose another --start-frame, --num-frames or --frame-stride"


@dataclass(frozen=True)
class ClipSelection:
    """Which frames of a video are read, and at what size."""

    start_frame: int = 0
    """First frame."""
    num_frames: int | None = None
    """Number of frames; None for all from the first on."""
    frame_stride: int = 1
    """Step between them."""
    downscale_factor: int = 1
    """Whole factor by which they are reduced, averaging over areas; what does not fill a pixel is cut off."""

    def check(self) -> None:
        """Raises InputError for numbers that select nothing."""
        require_downscale_factor(self.downscale_factor)
        if self.start_frame < 0:
            raise InputError(f"--start-frame is {self.start_frame}, expected 0 or more.")
        if self.frame_stride < 1:
            raise InputError(f"--frame-stride is {self.frame_stride}, expected 1 or more.")
        if self.num_frames is not None and self.num_frames < 2:
            raise InputError(f"--num-frames is {self.num_frames}, expected at least 2: a video has several times.")

    def indices(self, total: int, path: Path) -> range:
        """The wanted frames of a video of ``total``.

        Raises:
            InputError: It does not hold as many, or they are fewer than two.
        """
        available = len(range(self.start_frame, total, self.frame_stride))
        holds = (
            f"{path} holds {total} frame{'' if total == 1 else 's'}, {available} of them from frame {self.start_frame} "
            f"on in steps of {self.frame_stride}"
        )
        if self.num_frames is not None and self.num_frames > available:
            raise InputError(f"{holds}, but --num-frames asks for {self.num_frames}: {WAY_OUT}.")
        count = available if self.num_frames is None else self.num_frames
        if count < 2:
            raise InputError(f"{holds}, expected at least two: {WAY_OUT}, or give another video.")
        return range(self.start_frame, self.start_frame + count * self.frame_stride, self.frame_stride)


@dataclass(frozen=True, eq=False)
class VideoClip:
    """The frames of a video; shared by all datasets and the model, never copied (a deep copy is the object itself)."""

    frames: Tensor
    """uint8 ``(T, H, W, 3)`` on the CPU."""
    names: tuple[Path, ...]
    """A path for every frame: its file in a folder, otherwise ``VIDEO/FRAME.png``, which is a name and no file."""
    fps: float | None
    """Frames per second of the selected frames; None where the data do not say."""

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.frames.shape[1], self.frames.shape[2]

    def pixels(self) -> Tensor:
        """All pixels ``(T, H * W, 3)``, uint8, a view."""
        return self.frames.flatten(1, 2)

    def __deepcopy__(self, memo: dict[int, Any]) -> VideoClip:
        return self


_clips_in_use: WeakValueDictionary[tuple[Any, ...], VideoClip] = WeakValueDictionary()


def open_clip(path: Path, selection: ClipSelection) -> VideoClip:
    """The clip, decoded unless somebody in this process holds it already.

    Args:
        path: A folder of images, a ``.npy`` file ``(T, H, W, 3)``, or any file that PyAV can decode.
        selection: Which frames.

    Raises:
        InputError: It is missing, cannot be read, does not hold the frames, or they differ in size.
    """
    selection.check()
    if not path.exists():
        raise InputError(f"The video {path} does not exist, expected a video file, .npy or folder of images there.")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    key = (path.resolve(), selection, tuple(file.stat().st_mtime_ns for file in files))
    clip = _clips_in_use.get(key)
    if clip is None:
        if path.is_dir():
            clip = read_folder(path, selection)
        elif path.suffix.lower() == ".npy":
            clip = read_array(path, selection)
        else:
            clip = read_video(path, selection)
        _clips_in_use[key] = clip
    return clip


class FrameStore:
    """Frames that come one by one, reduced and put into one tensor, which is twice in memory only if it has to grow.

    Args:
        path: The video, for messages.
        expected_frames: How many will come, as far as is known.
        downscale_factor: See :class:`ClipSelection`.
    """

    def __init__(self, path: Path, expected_frames: int, downscale_factor: int) -> None:
        self.path = path
        self.expected_frames = expected_frames
        self.downscale_factor = downscale_factor
        self.count = 0
        self._full_size: tuple[int, int] | None = None
        self._frames = torch.empty(0, 0, 0, 3, dtype=torch.uint8)

    def add(self, frame: np.ndarray, name: str) -> None:
        """Adds a frame, uint8 ``(H, W, 3)``.

        Raises:
            InputError: It has another size than the first one.
        """
        size = (frame.shape[0], frame.shape[1])
        if self._full_size is None:
            self._allocate(size)
        elif size != self._full_size:
            raise InputError(
                f"{name} of {self.path} is {size[1]}x{size[0]} pixels, but the frames before are {self._full_size[1]}x"
                f"{self._full_size[0]}, expected one size: crop or scale the frames to one."
            )
        if self.count == len(self._frames):
            self._frames = torch.cat([self._frames, torch.empty_like(self._frames)])
        self._frames[self.count] = torch.from_numpy(self._reduced(frame))
        self.count += 1

    def frames(self) -> Tensor:
        """All that was added, uint8 ``(T, H, W, 3)``."""
        return self._frames[: self.count]

    def _reduced(self, frame: np.ndarray) -> np.ndarray:
        factor = self.downscale_factor
        if factor == 1:
            return frame
        height, width = downscaled_size(frame.shape[0], frame.shape[1], factor)
        areas = frame[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
        return np.round(areas.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)

    def _allocate(self, full_size: tuple[int, int]) -> None:
        self._full_size = full_size
        height, width = downscaled_size(*full_size, self.downscale_factor)
        if min(height, width) < 2:
            raise InputError(f"The frames of {self.path} are {width}x{height} pixels, expected at least 2x2.")
        needed = self.expected_frames * height * width * 3
        what = f"{self.expected_frames} frames of {width}x{height}"
        CONSOLE.print(f"Decoding {self.path}: {what}, {needed / 1e9:.2f} GB on cpu.", soft_wrap=True)
        available = available_bytes(torch.device("cpu"))
        if available is not None and needed > available:
            CONSOLE.print(
                f"[bold yellow]Warning: {what} need {needed / 1e9:.2f} GB, but cpu has {available / 1e9:.2f} GB left: "
                "raise --downscale-factor or lower --num-frames."
            )
        self._frames = torch.empty(max(self.expected_frames, 1), height, width, 3, dtype=torch.uint8)


def read_video(path: Path, selection: ClipSelection) -> VideoClip:
    """Frames of a video file, by PyAV, in the order of presentation, turned upright as its rotation flag says.

    Raises:
        InputError: See :func:`open_clip`.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} holds no video stream, expected a video, .npy or folder of images.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            announced, rate = stream.frames, stream.average_rate or stream.guessed_rate
            store, decoded = _decode(container.decode(stream), path, selection, announced)
    except av.FFmpegError as error:
        raise InputError(
            f"The video {path} cannot be read ({error.strerror}), expected a whole video file, .npy or folder of "
            "images: copy or encode it anew."
        ) from error
    if selection.num_frames is None and decoded < announced:
        CONSOLE.print(
            f"[bold yellow]Warning: {path} announces {announced} frames, but only {decoded} could be decoded; it may "
            "be truncated.",
            soft_wrap=True,
        )
    indices = selection.indices(decoded, path)
    fps = None if not rate else float(rate) / selection.frame_stride
    return VideoClip(store.frames(), tuple(path / f"{index:06d}.png" for index in indices), fps)


def _decode(frames: Iterator[Any], path: Path, selection: ClipSelection, announced: int) -> tuple[FrameStore, int]:
    """The wanted frames, and how many were decoded until nothing more was wanted."""
    expected = len(range(selection.start_frame, announced, selection.frame_stride))
    if selection.num_frames is not None:
        expected = selection.num_frames
    store = FrameStore(path, expected, selection.downscale_factor)
    decoded = 0
    with late_progress(f"Decoding {path.name}", expected) as advance:
        for frame in frames:
            if decoded >= selection.start_frame and (decoded - selection.start_frame) % selection.frame_stride == 0:
                # PyAV says the rotation from version 14 on.
                pixels = upright(frame.to_ndarray(format="rgb24"), getattr(frame, "rotation", 0))
                store.add(pixels, f"Frame {decoded}")
                advance()
            decoded += 1
            if store.count == selection.num_frames:
                break
    return store, decoded


def read_array(path: Path, selection: ClipSelection) -> VideoClip:
    """Frames of a ``.npy`` file ``(T, H, W, 3)``: uint8, or floating point in [0, 1], which is rounded to 8 bit.

    Raises:
        InputError: See :func:`open_clip`; also another shape, type or range.
    """
    expected = "expected (T, H, W, 3), uint8 or floating point in [0, 1]"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"The array {path} cannot be read ({error}), {expected}: write it anew.") from error
    if array.ndim != 4 or array.shape[-1] != 3 or not (array.dtype == np.uint8 or array.dtype.kind == "f"):
        raise InputError(f"The array {path} is {array.shape} of {array.dtype}, {expected}.")
    indices = selection.indices(len(array), path)
    store = FrameStore(path, len(indices), selection.downscale_factor)
    for index in indices:
        frame = np.array(array[index])
        if frame.dtype != np.uint8:
            if not bool(((frame >= 0) & (frame <= 1)).all()):
                raise InputError(
                    f"Frame {index} of {path} holds values from {frame.min():g} to {frame.max():g}, {expected}: scale "
                    "them, or write uint8."
                )
            frame = np.round(255 * frame.astype(np.float32)).astype(np.uint8)
        store.add(frame, f"Frame {index}")
    return VideoClip(store.frames(), tuple(path / f"{index:06d}.png" for index in indices), None)


def read_folder(folder: Path, selection: ClipSelection) -> VideoClip:
    """The images of a folder in natural order of their names (frame_2 before frame_10); alpha is ignored.

    Raises:
        InputError: See :func:`open_clip`.
    """
    from PIL import Image

    what = f"the frames of a video ({', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})"
    hint = layout_hint(folder, "video-data")
    validation.require_folder(folder, what, hint)
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    files.sort(key=lambda path: validation.natural_key(path.name))
    if not files:
        raise InputError(f"The folder {folder} holds no image, expected {what} in it. {hint}".rstrip())
    indices = selection.indices(len(files), folder)
    chosen = [files[index] for index in indices]
    headers = validation.read_image_headers(chosen, f"Checking {folder.name}")
    for path, header in zip(chosen, headers, strict=True):
        if header[:2] != headers[0][:2]:
            raise InputError(
                f"{path} is {header.width}x{header.height} pixels, but {chosen[0].name} is {headers[0].width}x"
                f"{headers[0].height}, expected one size for all frames: crop or scale them to one."
            )
    store = FrameStore(folder, len(chosen), selection.downscale_factor)
    with late_progress(f"Reading {folder.name}", len(chosen)) as advance:
        for path in chosen:
            with Image.open(path) as image:
                store.add(np.array(image.convert("RGB")), path.name)
            advance()
    return VideoClip(store.frames(), tuple(chosen), None)
