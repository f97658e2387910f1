"""Where a standing camera sees motion: patches for the evaluation of videos that hardly move.

In scenes of the Neural 3D Video set (Li et al., CVPR 2022) most of the image stands still. Of every window of 30 frames
the patches are taken whose first frame differs most from the window's mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.atomic_files import write_json
from nf_plugins.data.validation import read_json
from nf_plugins.errors import InputError

PATCH_SIZE, NUM_PATCHES, WINDOW = 128, 4, 30


class DynamicPatches(NamedTuple):
    """Square patches of the images of one camera."""

    coords: list[list[tuple[int, int]]]
    """Row and column of the first pixel of each patch, window by window; a single window stands for all frames."""
    patch_size: int
    window: int
    """Frames per window."""

    def of_frame(self, place: int) -> list[tuple[int, int]]:
        """Patches of a frame, by its place among the camera's frames; the last window's beyond the last."""
        return self.coords[min(place // self.window, len(self.coords) - 1)]


def find_dynamic_patches(
    frames: Iterable[Tensor], patch_size: int = PATCH_SIZE, num_patches: int = NUM_PATCHES, window: int = WINDOW
) -> DynamicPatches:
    """The patches of a video in which most happens.

    Args:
        frames: Images (H, W, 3) in order.
        patch_size: Side in pixels.
        num_patches: Of each window; none overlaps another.
        window: Frames.

    Raises:
        InputError: There is no frame, or the images are smaller than a patch.
    """
    coords: list[list[tuple[int, int]]] = []
    first, total, count = None, None, 0
    for frame in frames:
        if count == window and first is not None and total is not None:
            coords.append(_largest((first - total / count).abs().mean(dim=-1), patch_size, num_patches))
            first, total, count = None, None, 0
        pixels = frame.cpu().double()
        first = pixels if first is None else first
        total = pixels if total is None else total + pixels
        count += 1
    if first is None or total is None:
        raise InputError("There are no frames to find patches in, expected a video: choose another --split.")
    if count > 1 or not coords:  # a window of one frame does not move
        coords.append(_largest((first - total / count).abs().mean(dim=-1), patch_size, num_patches))
    return DynamicPatches(coords, patch_size, window)


def write_patches(path: Path, patches: DynamicPatches) -> None:
    """Write patches as JSON."""
    write_json(path, {"patch_size": patches.patch_size, "window": patches.window, "coords": patches.coords})


def read_patches(path: Path, size: tuple[int, int]) -> DynamicPatches:
    """Read patches: ``patch_size``, and ``coords`` of windows, or of patches that are the same in all frames.

    Args:
        path: JSON file.
        size: Height and width of the images that they have to lie in.

    Raises:
        InputError: The file is no list of patches, or one reaches beyond the images.
    """
    content = read_json(path, "patch_size and coords of patches")
    try:
        patch_size, window = int(content["patch_size"]), int(content.get("window", WINDOW))
        numbers = torch.tensor(content["coords"])
        if numbers.ndim == 2:
            numbers = numbers[None]
        if numbers.ndim != 3 or numbers.shape[-1] != 2 or numbers.numel() == 0 or min(patch_size, window) < 1:
            raise ValueError(f"coords of shape {tuple(numbers.shape)}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"--patches {path} holds no patches ({type(error).__name__}: {error}), expected patch_size and coords, "
            "rows and columns of first pixels: write it anew by naming a file that does not exist."
        ) from error
    if int(numbers.min()) < 0 or bool((numbers.amax(dim=(0, 1)) + patch_size > torch.tensor(size)).any()):
        raise InputError(
            f"--patches {path}: patches of {patch_size} pixels reach beyond the images of {size[1]}x{size[0]}, "
            "expected those of images of this size."
        )
    coords = [[(int(row), int(column)) for row, column in patches] for patches in numbers.long().tolist()]
    return DynamicPatches(coords, patch_size, window)


def cut_patches(image: Tensor, coords: Sequence[tuple[int, int]], patch_size: int) -> list[Tensor]:
    """Patches (patch_size, patch_size, C) of an image (H, W, C)."""
    return [image[row : row + patch_size, column : column + patch_size] for row, column in coords]


def _largest(difference: Tensor, patch_size: int, num_patches: int) -> list[tuple[int, int]]:
    """Places of the patches of largest mean, greedily, of a map (H, W); fewer where no more fit."""
    height, width = difference.shape
    if min(height, width) < patch_size:
        raise InputError(
            f"Patches of {patch_size} pixels do not fit into images of {width}x{height}: give a smaller --patch-size."
        )
    sums = torch.nn.functional.pad(difference.cumsum(0).cumsum(1), (1, 0, 1, 0))
    side = patch_size
    means = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    chosen: list[tuple[int, int]] = []
    while len(chosen) < num_patches and bool(means.isfinite().any()):
        place = int(means.argmax())
        row, column = divmod(place, means.shape[1])
        chosen.append((row, column))
        means[max(0, row - side + 1) : row + side, max(0, column - side + 1) : column + side] = -torch.inf
    return chosen
