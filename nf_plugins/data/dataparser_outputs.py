"""What the dataparsers of this package share when they fill their outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.errors import InputError

BACKGROUND_COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


def background_tensor(name: str) -> Tensor:
    """Colour (3,) in [0, 1] of a background's name."""
    return torch.tensor(BACKGROUND_COLORS[name])


def require_downscale_factor(factor: int) -> None:
    """The factor is at least 1; raises InputError otherwise."""
    if factor < 1:
        raise InputError(f"--downscale-factor is {factor}, expected a whole number of at least 1.")


def downscaled_size(height: int, width: int, factor: int) -> tuple[int, int]:
    """Height and width after reduction by a whole factor; rows and columns that do not fill a pixel are cut off.

    Raises:
        InputError: Nothing would be left.
    """
    if min(height, width) < factor:
        raise InputError(
            f"--downscale-factor {factor} leaves nothing of an image of {width}x{height} pixels, expected at most "
            f"{min(height, width)}."
        )
    return height // factor, width // factor
