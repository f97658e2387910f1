"""Frames to a video, an animated image or a folder of PNGs, one at a time, under the final name only when complete."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.atomic_files import atomic_path, check_writable
from nf_plugins.errors import InputError

Frame = NDArray[np.uint8]
AddFrame = Callable[[Frame], None]

VIDEO_QUALITY_CRF = 18
"""x264's constant rate factor: 18 is visually lossless."""
_FRAME_FILE = re.compile(r"\d{5}\.png")


def check_frame_output(path: Path) -> None:
    """Fail before rendering where the frames could not be written.

    Raises:
        InputError: for a suffix other than .mp4, .gif or none (a folder of PNGs), a folder that cannot be written to,
            or a folder that holds anything but frames of an earlier run.
    """
    path = Path(path)
    if path.suffix.lower() in (".mp4", ".gif"):
        check_writable(path)
    elif path.suffix == "":
        if path.exists() and (not path.is_dir() or any(not _FRAME_FILE.fullmatch(p.name) for p in path.iterdir())):
            raise InputError(f"{path} holds something else than rendered frames; choose another output path.")
        check_writable(path.with_name(path.name + ".png"))
    else:
        raise InputError(
            f"{path.name}: unknown video format {path.suffix}, expected .mp4, .gif, or no suffix for a folder of PNGs."
        )


@contextmanager
def frame_writer(path: Path, fps: float) -> Iterator[AddFrame]:
    """Open an output for frames; the block is given a function that takes them one by one.

    Frames are uint8 (H, W, 3), all of one size. For mp4 an odd last row or column is repeated, because its pixel
    format needs even sides. An existing file or folder of frames is replaced when the block ends without an error;
    after an error it is as before.

    Args:
        path: ``.mp4``, ``.gif``, or no suffix for a folder of ``00000.png`` …
        fps: Frames per second (meaningless for a folder).
    """
    path = Path(path)
    check_frame_output(path)
    if path.suffix == "":
        with _png_folder(path) as add_frame:
            yield add_frame
        return
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".gif":
            writer = _gif_writer(temporary, fps)
        elif _ffmpeg_is_there():
            writer = _ffmpeg_mp4_writer(temporary, fps)
        else:
            writer = _pyav_mp4_writer(temporary, fps)
        with writer as add_frame:
            yield add_frame


def _ffmpeg_is_there() -> bool:
    return shutil.which("ffmpeg") is not None


@contextmanager
def _ffmpeg_mp4_writer(path: Path, fps: float) -> Iterator[AddFrame]:
    """mediapy, which pipes raw frames to the ffmpeg program; opened at the first frame, whose size it needs."""
    import mediapy

    writer: Any = None

    def add_frame(frame: Frame) -> None:
        nonlocal writer
        frame = _even(frame)
        if writer is None:
            writer = mediapy.VideoWriter(path, shape=frame.shape[:2], fps=fps, crf=VIDEO_QUALITY_CRF)
            writer.__enter__()
        writer.add_image(frame)

    try:
        yield add_frame
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _pyav_mp4_writer(path: Path, fps: float) -> Iterator[AddFrame]:
    """PyAV, which brings its own libx264."""
    import av

    stream: Any = None
    with av.open(str(path), mode="w", format="mp4", options={"movflags": "faststart"}) as container:

        def add_frame(frame: Frame) -> None:
            nonlocal stream
            frame = _even(frame)
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": str(VIDEO_QUALITY_CRF)}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

        yield add_frame
        if stream is not None:
            container.mux(stream.encode(None))


@contextmanager
def _gif_writer(path: Path, fps: float) -> Iterator[AddFrame]:
    """imageio, which writes every frame with its own palette; loops for ever."""
    import imageio.v2 as imageio

    writer: Any = imageio.get_writer(path, format="GIF", mode="I", duration=1000.0 / fps, loop=0)  # type: ignore
    with writer:
        yield lambda frame: writer.append_data(np.ascontiguousarray(frame))


@contextmanager
def _png_folder(path: Path) -> Iterator[AddFrame]:
    """A temporary folder beside ``path`` that takes its place at the end."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    count = 0

    def add_frame(frame: Frame) -> None:
        nonlocal count
        Image.fromarray(frame).save(temporary / f"{count:05d}.png")
        count += 1

    try:
        yield add_frame
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _even(frame: Frame) -> Frame:
    padding = [(0, side % 2) for side in frame.shape[:2]]
    return np.pad(frame, [*padding, (0, 0)], mode="edge") if any(after for _, after in padding) else frame
