"""Colour correction of DNA-Rendering's cameras: a quadratic per channel."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Saturation = Literal["clip", "range"]
IDENTITY = np.array([[0.0, 1.0, 0.0]] * 3)
"""The correction that leaves colours as they are."""


def correct_colours(
    image: NDArray[np.uint8], rows: NDArray[np.float64], saturate: Saturation = "clip"
) -> NDArray[np.uint8]:
    """The image with ``a v^2 + b v + c`` in place of every value ``v`` (0 to 255) of a channel.

    Args:
        image: (H, W, 3) uint8, in the order red, green, blue.
        rows: (3, 3): a, b, c of red, of green and of blue.
        saturate: "clip" cuts off what leaves 0 to 255. "range" stretches the image's own smallest to largest value, of
            all channels, to 0 to 255, as the published extraction does: brightness then depends on the picture.

    Returns:
        (H, W, 3) uint8, rounded.
    """
    values = np.arange(256, dtype=np.float64)
    tables = np.asarray(rows, dtype=np.float64) @ np.stack([values**2, values, np.ones(256)])
    if saturate == "range":
        present = [tables[channel][np.unique(image[..., channel])] for channel in range(3)]
        low, high = min(levels.min() for levels in present), max(levels.max() for levels in present)
        tables = (tables - low) * (255 / (high - low)) if high > low else np.zeros_like(tables)
    tables = np.rint(np.clip(tables, 0, 255)).astype(np.uint8)
    return np.stack([tables[channel][image[..., channel]] for channel in range(3)], axis=-1)


def undo_correction(image: NDArray[np.uint8], rows: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image (H, W, 3) whose values come nearest to the given ones after ``correct_colours``."""
    values = np.arange(256, dtype=np.float64)
    tables = np.clip(np.asarray(rows, dtype=np.float64) @ np.stack([values**2, values, np.ones(256)]), 0, 255)
    inverse = np.abs(tables[:, None, :] - values[None, :, None]).argmin(axis=-1).astype(np.uint8)
    return np.stack([inverse[channel][image[..., channel]] for channel in range(3)], axis=-1)
