"""What the dataparsers of this package share when they fill their outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.data.validation import ImageHeader
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


def pinhole_cameras(
    camera_to_worlds: NDArray[np.float64],
    intrinsics: NDArray[np.float64],
    headers: Sequence[ImageHeader],
    factor: int,
    *,
    camera_ids: Tensor,
    times: Tensor | None = None,
) -> Cameras:
    """Perspective cameras without distortion, one for each image, reduced by a whole factor.

    Args:
        camera_to_worlds: Poses (N, 3, 4), OpenGL axes, scene units.
        intrinsics: (N, 3, 3) of the images as they lie on disk; pixel centres at half-integers.
        headers: Sizes of these images.
        factor: To reduce by.
        camera_ids: Which physical camera took an image (N,), int64.
        times: (N,) in [0, 1]; None for a scene that stands still.

    Raises:
        InputError: Nothing would be left of an image.
    """
    scaled = torch.from_numpy(intrinsics / factor).float()
    sizes = torch.tensor([downscaled_size(header.height, header.width, factor) for header in headers])
    return Cameras(
        camera_to_worlds=torch.from_numpy(camera_to_worlds).float(),
        fx=scaled[:, 0, 0:1],
        fy=scaled[:, 1, 1:2],
        cx=scaled[:, 0, 2:3],
        cy=scaled[:, 1, 2:3],
        height=sizes[:, 0:1],
        width=sizes[:, 1:2],
        camera_type=CameraType.PERSPECTIVE,
        times=None if times is None else times[:, None],
        metadata={"camera_id": camera_ids[:, None]},
    )
