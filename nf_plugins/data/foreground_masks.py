"""Mask files: what their pixels mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nf_plugins.errors import InputError

MASK_RULES = ("first_channel_positive", "any_channel_positive", "any_channel_above_half", "soft")
"""Values of ``metadata["fg_mask_source"]`` for mask files: foreground is where the first channel is above 0; where any
colour channel (or the index into a palette) is, as in maps of body parts; where any is above half of the largest value,
as in masks that went through JPEG. "soft": the largest channel is the foreground's share of a pixel."""

LARGEST_LABEL = 31
"""Maps of body parts have up to about 20 labels."""


def read_mask(path: Path, rule: str) -> Tensor:
    """A mask file as float32 (H, W, 1): 1 = foreground, 0 = background, with the rule "soft" anything in between.

    Args:
        rule: One of ``MASK_RULES``.

    Raises:
        InputError: It cannot be read.
    """
    if rule not in MASK_RULES:
        raise ValueError(f"fg_mask_source is {rule}, expected one of {MASK_RULES}")
    values = _mask_values(path, by_colour=rule in ("first_channel_positive", "soft"))
    if rule == "first_channel_positive":
        foreground = values[..., :1] > 0
    elif rule == "any_channel_positive":
        foreground = (values > 0).any(axis=-1, keepdims=True)
    elif rule == "soft":
        foreground = values.max(axis=-1, keepdims=True).astype(np.float32) / _largest(values)
    else:
        foreground = (values > _largest(values) / 2).any(axis=-1, keepdims=True)
    return torch.from_numpy(foreground.astype(np.float32))


def holds_labels(path: Path) -> bool:
    """Whether a mask file holds small whole numbers, such as 0 and 1 or those of body parts, rather than shares."""
    values = _mask_values(path, by_colour=False)
    return values.dtype != bool and 0 < int(values.max()) <= LARGEST_LABEL


def _mask_values(path: Path, by_colour: bool) -> NDArray[Any]:
    """The colour channels (H, W, 1 or 3) of a file.

    Args:
        by_colour: Of an image with a palette, the colours; otherwise the index, which is a label.
    """
    try:
        with Image.open(path) as image:
            values = np.asarray(image.convert("RGB") if by_colour and image.mode == "P" else image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The mask {path} cannot be read ({error}), expected a whole image file.") from error
    values = values[..., None] if values.ndim == 2 else values
    # The last of two or four channels is alpha.
    return values[..., : 3 if values.shape[-1] > 2 else 1]


def _largest(values: NDArray[Any]) -> int:
    return 1 if values.dtype == bool else int(np.iinfo(values.dtype).max)
