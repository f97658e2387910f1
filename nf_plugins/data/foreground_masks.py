"""Mask files: what their pixels mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nf_plugins.errors import InputError

MASK_RULES = ("first_channel_positive", "any_channel_positive", "any_channel_above_half")
"""Values of ``metadata["fg_mask_source"]`` for mask files: foreground is where the first channel is above 0; where any
colour channel (or the index into a palette) is, as in maps of body parts; where any is above half of the largest value,
as in masks that went through JPEG."""


def read_mask(path: Path, rule: str) -> Tensor:
    """A mask file as float32 (H, W, 1): 1 = foreground, 0 = background.

    Args:
        rule: One of ``MASK_RULES``.

    Raises:
        InputError: It cannot be read.
    """
    if rule not in MASK_RULES:
        raise ValueError(f"fg_mask_source is {rule}, expected one of {MASK_RULES}")
    try:
        with Image.open(path) as image:
            # An index into a palette is a label; its colour is what counts elsewhere.
            by_colour = image.mode == "P" and rule == "first_channel_positive"
            values = np.asarray(image.convert("RGB") if by_colour else image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The mask {path} cannot be read ({error}), expected a whole image file.") from error
    values = values[..., None] if values.ndim == 2 else values
    # The last of two or four channels is alpha.
    values = values[..., : 3 if values.shape[-1] > 2 else 1]
    if rule == "first_channel_positive":
        foreground = values[..., :1] > 0
    elif rule == "any_channel_positive":
        foreground = (values > 0).any(axis=-1, keepdims=True)
    else:
        largest = 1 if values.dtype == bool else np.iinfo(values.dtype).max
        foreground = (values > largest / 2).any(axis=-1, keepdims=True)
    return torch.from_numpy(foreground.astype(np.float32))
