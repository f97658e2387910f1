"""Photographs without lens distortion: as a pinhole camera of the same focal length would have taken them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

OPENCV_FIRST_PIXEL = 0.5
"""OpenCV has the centre of the first pixel at (0, 0), a ``Lens`` at (0.5, 0.5)."""


class PixelMap(NamedTuple):
    """Where each pixel of the new image comes from in the old one; float32 (H, W), OpenCV's coordinates."""

    columns: NDArray[np.float32]
    rows: NDArray[np.float32]


def pinhole_lens(lens: Lens) -> Lens:
    """The lens of the images that ``undistort`` makes: the same without distortion."""
    return replace(lens, distortion=(0.0,) * 6, fisheye=False)


def has_distortion(lens: Lens) -> bool:
    """Whether images of the lens differ from those of a pinhole."""
    return lens.fisheye or any(lens.distortion)


def require_undistortable(lens: Lens, name: str) -> None:
    """Raise InputError where OpenCV has no such lens; messages call it ``name``."""
    _, _, _, k4, p1, p2 = lens.distortion
    if lens.fisheye and (p1 or p2):
        raise InputError(
            f"The lens of {name} is a fisheye with p1 and p2, expected k1 to k4 alone: undistort the images first."
        )
    if not lens.fisheye and k4:
        raise InputError(
            f"The lens of {name} has k4 = {k4:g}, expected k1, k2, k3, p1 and p2 alone: undistort the images first."
        )


@lru_cache(maxsize=2)
def pinhole_map(lens: Lens) -> PixelMap:
    """The map from images of a pinhole to those of a lens that OpenCV has; kept for the next image of the lens."""
    import cv2

    k1, k2, k3, k4, p1, p2 = lens.distortion
    matrix = np.array(
        [[lens.fx, 0, lens.cx - OPENCV_FIRST_PIXEL], [0, lens.fy, lens.cy - OPENCV_FIRST_PIXEL], [0, 0, 1]]
    )
    size = (lens.width, lens.height)
    if lens.fisheye:
        radial = np.array([k1, k2, k3, k4])
        maps = cv2.fisheye.initUndistortRectifyMap(matrix, radial, np.eye(3), matrix, size, cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(
            matrix, np.array([k1, k2, p1, p2, k3]), np.eye(3), matrix, size, cv2.CV_32FC1
        )
    return PixelMap(np.asarray(maps[0], dtype=np.float32), np.asarray(maps[1], dtype=np.float32))


def undistort(image: NDArray[np.uint8], lens: Lens) -> NDArray[np.uint8]:
    """An image (H, W) or (H, W, C) of a lens as a pinhole takes it; what lies beyond the old image repeats its border.

    The pinhole is ``pinhole_lens(lens)``.
    """
    if not has_distortion(lens):
        return image
    import cv2

    columns, rows = pinhole_map(lens)
    remapped = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(remapped, dtype=np.uint8)


def undistort_mask(mask: NDArray[np.bool_], lens: Lens) -> NDArray[np.bool_]:
    """A mask (H, W) likewise: foreground where the interpolated one is above half."""
    return undistort(255 * mask.astype(np.uint8), lens) > 127 if has_distortion(lens) else mask
