"""Optical flow of frames from files: of any size, of the frames as they were recorded, confirmed by the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nf_plugins.data.flow_consistency import consistent_pixels, pixel_grid, sample_grid
from nf_plugins.data.monocular_files import FlowFiles
from nf_plugins.data.optical_flow_files import OpticalFlow, read_flow
from nf_plugins.data.parallel import threaded_map
from nf_plugins.data.pinhole_pixels import lens_pixels, pinhole_pixels
from nf_plugins.data.processing.centred_pinhole import equals
from nf_plugins.data.processing.frame_depth import WHOLLY_KNOWN
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

FloatArray = NDArray[np.floating]
CENTRE = 0.5
"""Of the first pixel, from the corner of the image, as lenses count."""
MOSTLY_TRUSTED = 0.5
"""Of the weights with which pixels of the flow back are mixed."""


def check_flow_files(files: FlowFiles, frame_size: tuple[int, int]) -> None:
    """Reads all flow once.

    Raises:
        InputError: A file is damaged, or not of the frames' shape (H, W), which may be scaled and rounded to a pixel.
    """
    paths = [path for path in (*files.forward, *files.backward) if path is not None]
    for path, size in zip(paths, threaded_map(_size_of_whole, paths, "Checking flow"), strict=True):
        if not same_shape(size, frame_size):
            raise InputError(
                f"{path} holds the flow of {size[1]}x{size[0]} pixels, but the frames are {frame_size[1]}x"
                f"{frame_size[0]}, expected the same shape (any size, rounded to a pixel): estimate it on whole "
                "frames, cut off what was added to them, or choose another --flow-backend and leave --flow-folder out."
            )


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one of two images (height, width) is the other one scaled, a side of it rounded up or down to a pixel."""
    return _is_scaled(size, other) or _is_scaled(other, size)


def given_flow(
    files: FlowFiles, lenses: Sequence[Lens], target: Lens, size: tuple[int, int]
) -> Callable[[int], tuple[OpticalFlow, OpticalFlow]]:
    """A function that reads the flow between a frame and the next one, there and back, of frames of a size (H, W).

    It is trusted where its file says so, as far as one does, and the way back confirms it.

    Args:
        files: By chosen frame.
        lenses: Of the frames as they were recorded, whose flow the files hold.
        target: The pinhole that the frames are brought to.
        size: Of the result.
    """

    def read(frame: int) -> tuple[OpticalFlow, OpticalFlow]:
        forward, backward = files.forward[frame], files.backward[frame + 1]
        assert forward is not None and backward is not None  # the last frame has no next one
        first, second = lenses[frame], lenses[frame + 1]
        there = bring_flow(read_flow(forward), first, second, target, size)
        back = bring_flow(read_flow(backward), second, first, target, size)
        return confirmed_flow(there, back), confirmed_flow(back, there)

    return read


def bring_flow(given: OpticalFlow, first: Lens, second: Lens, target: Lens, size: tuple[int, int]) -> OpticalFlow:
    """Flow between recorded frames as flow between what the target's camera makes of them.

    Both ends of a displacement are brought over, each through its lens. Flow is interpolated linearly, and valid where
    all that it is interpolated of is.

    Args:
        given: Of any size (h, w) of the frames' shape.
        first: Lens of the frame that the flow starts in, at the recording's size.
        second: Of the frame that it leads to.
        target: The pinhole, at the recording's size.
        size: (H, W) of the result.
    """
    height, width = given.valid.shape
    start = pixel_grid(*size).astype(np.float64) + CENTRE
    seen, start_known = _recorded_pixels(start, first, target, size, (height, width))
    values = np.concatenate([given.flow, given.valid[..., None].astype(np.float32)], axis=-1)
    inside = np.clip(seen - CENTRE, 0, [width - 1, height - 1])
    sampled = sample_grid(values, inside, "bilinear").astype(np.float64)
    end, end_known = _target_pixels(seen + sampled[..., :2], second, target, size, (height, width))
    known = start_known & end_known
    flow = np.where(known[..., None], end - start, 0.0).astype(np.float32)
    return OpticalFlow(flow, known & (sampled[..., 2] > WHOLLY_KNOWN))


def confirmed_flow(flow: OpticalFlow, back: OpticalFlow) -> OpticalFlow:
    """Flow that is valid only where it leads to pixels whose flow back is valid, too, and leads near the start."""
    end = pixel_grid(*flow.valid.shape) + flow.flow
    trusted = sample_grid(back.valid[..., None].astype(np.float32), end, "bilinear")[..., 0] > MOSTLY_TRUSTED
    return OpticalFlow(flow.flow, flow.valid & trusted & consistent_pixels(flow.flow, back.flow))


def _is_scaled(size: tuple[int, int], original: tuple[int, int]) -> bool:
    (height, width), (height_before, width_before) = size, original
    by_height, by_width = height / height_before, width / width_before
    return abs(width - by_height * width_before) <= 1 or abs(height - by_width * height_before) <= 1


def _recorded_pixels(
    pixels: FloatArray, lens: Lens, target: Lens, size: tuple[int, int], recorded_size: tuple[int, int]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Where a lens' image of ``recorded_size`` has what the target's of ``size`` has at pixels (H, W, 2)."""
    if equals(lens, target):
        return pixels * _scale(recorded_size, size), np.ones(pixels.shape[:-1], dtype=bool)
    target, lens = _at_size(target, size), _at_size(lens, recorded_size)
    found = lens_pixels(torch.from_numpy(_through(pixels, target, lens)), lens)
    return found.pixels.numpy(), found.known.numpy()


def _target_pixels(
    pixels: FloatArray, lens: Lens, target: Lens, size: tuple[int, int], recorded_size: tuple[int, int]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """The way back."""
    if equals(lens, target):
        return pixels * _scale(size, recorded_size), np.ones(pixels.shape[:-1], dtype=bool)
    target, lens = _at_size(target, size), _at_size(lens, recorded_size)
    found = pinhole_pixels(torch.from_numpy(pixels), lens)
    return _through(found.pixels.numpy(), lens, target), found.known.numpy()


def _through(pixels: FloatArray, lens: Lens, other: Lens) -> FloatArray:
    """Pixels (*batch, 2) of one pinhole in the image of another one, whatever their distortion."""
    slopes = (pixels - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
    return slopes * [other.fx, other.fy] + [other.cx, other.cy]


def _scale(size: tuple[int, int], other: tuple[int, int]) -> NDArray[np.float64]:
    """Width and height (2,) as parts of the other one's."""
    return np.array([size[1] / other[1], size[0] / other[0]])


def _at_size(lens: Lens, size: tuple[int, int]) -> Lens:
    return lens.resized(size[1], size[0])


def _size_of_whole(path: Path) -> tuple[int, int]:
    height, width = read_flow(path).valid.shape
    return height, width
