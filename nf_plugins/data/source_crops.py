"""Source images are cut to their subject and laid in the middle of one canvas, so that they make one tensor."""

from __future__ import annotations

import torch
from torch import Tensor

MULTIPLE = 8
"""Sides of a canvas are multiples of this: feature networks halve them two or three times."""

Rectangle = tuple[int, int, int, int]
"""Top, left, height, width in pixels."""


def crop_rectangle(mask: Tensor) -> Rectangle:
    """The smallest rectangle around all pixels of a mask ``(H, W)`` above 0; the whole image where there are none."""
    rows, columns = (mask > 0).any(1).nonzero()[:, 0], (mask > 0).any(0).nonzero()[:, 0]
    if not len(rows):
        return 0, 0, mask.shape[0], mask.shape[1]
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left


def canvas_size(heights: list[int], widths: list[int]) -> tuple[int, int]:
    """Height and width of a canvas for images: the next multiple of eight above the largest."""
    return (max(heights) // MULTIPLE + 1) * MULTIPLE, (max(widths) // MULTIPLE + 1) * MULTIPLE


def place(crop: Tensor, rectangle: Rectangle, canvas: tuple[int, int], fill: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Lays what was cut out of an image in the middle of a canvas.

    Args:
        crop: ``(h, w, C)``.
        rectangle: Where it was cut out.
        canvas: Height and width, at least those of the crop.
        fill: What surrounds it ``(C,)``.

    Returns:
        The canvas ``(*canvas, C)``, and what is to be added to column and row (to the principal point) of the image to
        arrive at the same place on the canvas.
    """
    top, left, height, width = rectangle
    above, before = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    pixels = fill.to(crop).expand(*canvas, crop.shape[-1]).clone()
    pixels[above : above + height, before : before + width] = crop
    return pixels, (before - left, above - top)


def shifted_intrinsics(intrinsics: Tensor, shift: tuple[int, int]) -> Tensor:
    """Intrinsics ``(3, 3)`` with the principal point moved by columns and rows."""
    moved = intrinsics.clone()
    moved[:2, 2] += torch.tensor(shift, dtype=intrinsics.dtype)
    return moved
