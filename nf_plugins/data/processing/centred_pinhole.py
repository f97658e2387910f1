"""Frames as one pinhole camera takes them: no distortion, square pixels, the principal point in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.processing.undistortion import OPENCV_FIRST_PIXEL, require_undistortable
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

TOLERANCE = 0.1
"""Pixels by which a lens may differ from the common one without its frames being resampled."""
LARGEST_ZOOM = 2.0
ZOOM_STEPS = 20


def common_pinhole(lenses: Sequence[Lens], where: str) -> Lens:
    """The camera that all frames are brought to; each of its pixels has a true one in every frame.

    Its focal length is the median one, enlarged as far as it takes to leave no border without content.

    Args:
        lenses: Of all frames, of one size.
        where: What error messages call their source.

    Raises:
        InputError: A lens cannot be undistorted, or so much that less than half of the frame would be left.
    """
    distinct = sorted(set(lenses), key=repr)
    for lens in distinct:
        require_undistortable(lens, where)
    focal = float(np.median([np.sqrt(lens.fx * lens.fy) for lens in lenses]))
    width, height = distinct[0].width, distinct[0].height
    target = Lens(width, height, focal, focal, 0.5 * width, 0.5 * height)
    curved = [lens for lens in distinct if not equals(lens, target)]
    if all(_covers(lens, target) for lens in curved):
        return target
    low, high = 1.0, LARGEST_ZOOM
    if not all(_covers(lens, _zoomed(target, high)) for lens in curved):
        raise InputError(
            f"The lenses of {where} are so far from a pinhole in the middle that less than half of a frame would be "
            "left of it (NSFF's layout has one focal length and no principal point), expected moderate distortion and "
            "one zoom: undistort and crop the frames first."
        )
    for _ in range(ZOOM_STEPS):
        middle = 0.5 * (low + high)
        covers = all(_covers(lens, _zoomed(target, middle)) for lens in curved)
        low, high = (low, middle) if covers else (middle, high)
    return _zoomed(target, high)


def equals(lens: Lens, target: Lens) -> bool:
    """Whether images of the lens are those of the pinhole ``target``, as far as it matters."""
    if lens.fisheye:
        return False
    corner = np.array([0.5 * lens.width, 0.5 * lens.height])
    stretch = np.abs(np.array([lens.fx / target.fx, lens.fy / target.fy]) - 1) * corner
    shift = np.abs(np.array([lens.cx - target.cx, lens.cy - target.cy]))
    bent = max(map(abs, lens.distortion)) * max(corner / target.fx) ** 3 * target.fx
    return bool(max(*stretch, *shift, bent) < TOLERANCE)


def resample(image: NDArray[Any], lens: Lens, target: Lens) -> NDArray[Any]:
    """An image (H, W) or (H, W, C) of a lens as ``target`` takes it, bilinear; of any size of the lens' shape."""
    height, width = image.shape[:2]
    lens, target = lens.resized(width, height), target.resized(width, height)
    if equals(lens, target):
        return image
    import cv2

    columns, rows = _map(lens, target)
    return np.asarray(cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _zoomed(lens: Lens, zoom: float) -> Lens:
    return replace(lens, fx=zoom * lens.fx, fy=zoom * lens.fy)


@lru_cache(maxsize=2)
def _map(lens: Lens, target: Lens) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Column and row (H, W) in images of the lens of every pixel of the target, OpenCV's coordinates."""
    import cv2

    k1, k2, k3, k4, p1, p2 = lens.distortion
    old, new = _matrix(lens), _matrix(target)
    size = (target.width, target.height)
    if lens.fisheye:
        maps = cv2.fisheye.initUndistortRectifyMap(old, np.array([k1, k2, k3, k4]), np.eye(3), new, size, cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(old, np.array([k1, k2, p1, p2, k3]), np.eye(3), new, size, cv2.CV_32FC1)
    return np.asarray(maps[0], dtype=np.float32), np.asarray(maps[1], dtype=np.float32)


def _matrix(lens: Lens) -> NDArray[np.float64]:
    first = OPENCV_FIRST_PIXEL
    return np.array([[lens.fx, 0, lens.cx - first], [0, lens.fy, lens.cy - first], [0, 0, 1.0]])


def _covers(lens: Lens, target: Lens) -> bool:
    """Whether every pixel of the target lies in the lens' image, to half a pixel."""
    columns, rows = _map(lens, target)
    return bool(
        columns.min() >= -0.5
        and rows.min() >= -0.5
        and columns.max() <= lens.width - 0.5
        and rows.max() <= lens.height - 0.5
    )
