"""What moves by itself: pixels whose flow leaves the line that a standing point would move on.

Cameras are OpenCV's: x right, y down, looking along +z. Pixels count from the corner of the first one, whose centre is
(0.5, 0.5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
NO_BASELINE = 1e-9
"""A translation below this part of the cameras' distance from the world's origin (or of 1) is rounding."""
OPENING_RADIUS = 1
DILATION_RADIUS = 2


def relative_pose(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """(3, 4) that takes points of the first camera to the second, from camera-to-world matrices (3 or 4, 4)."""
    rotation = second[:3, :3].T @ first[:3, :3]
    translation = second[:3, :3].T @ (first[:3, 3] - second[:3, 3])
    if np.linalg.norm(translation) <= NO_BASELINE * max(1.0, float(np.linalg.norm(first[:3, 3]))):
        translation = np.zeros(3)
    return np.concatenate([rotation, translation[:, None]], axis=1)


def cross_matrix(vector: FloatArray) -> NDArray[np.float64]:
    """(3, 3) that multiplies like the cross product with ``vector`` (3,)."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def fundamental_matrix(intrinsics: FloatArray, second_from_first: FloatArray) -> NDArray[np.float64]:
    """F (3, 3) with ``p2^T F p1 = 0`` for the two pixels of a standing point.

    Args:
        intrinsics: (3, 3) of both cameras.
        second_from_first: (3, 4), see :func:`relative_pose`.
    """
    inverse = np.linalg.inv(intrinsics)
    return inverse.T @ cross_matrix(second_from_first[:, 3]) @ second_from_first[:, :3] @ inverse


def motion_distances(
    first_pixels: FloatArray, second_pixels: FloatArray, intrinsics: FloatArray, second_from_first: FloatArray
) -> NDArray[np.float64]:
    """How far from its epipolar line each pixel ended, in pixels.

    Between cameras at one place there are no such lines: a standing point then is where the rotation takes it, and the
    distance is that from there.

    Args:
        first_pixels: (*batch, 2).
        second_pixels: (*batch, 2) where flow leads them.
        intrinsics: (3, 3) of both cameras.
        second_from_first: (3, 4).

    Returns:
        (*batch,); 0 at the epipole, which has no line.
    """
    first = np.concatenate([first_pixels, np.ones_like(first_pixels[..., :1])], axis=-1).astype(np.float64)
    if not np.any(second_from_first[:, 3]):
        turned = first @ (intrinsics @ second_from_first[:, :3] @ np.linalg.inv(intrinsics)).T
        return np.linalg.norm(turned[..., :2] / turned[..., 2:] - second_pixels, axis=-1)
    lines = first @ fundamental_matrix(intrinsics, second_from_first).T
    residuals = np.abs(np.sum(lines[..., :2] * second_pixels, axis=-1) + lines[..., 2])
    lengths = np.linalg.norm(lines[..., :2], axis=-1)
    return np.where(lengths > 0, residuals / np.where(lengths > 0, lengths, 1.0), 0.0)


def disc(radius: int) -> NDArray[np.bool_]:
    """(2 r + 1, 2 r + 1) pixels whose centres are no farther than ``radius`` from the middle."""
    steps = np.arange(-radius, radius + 1)
    return steps[:, None] ** 2 + steps[None, :] ** 2 <= radius**2


def motion_mask(
    distances: FloatArray | None, threshold: float, given: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Moving pixels, as NSFF (Li et al. 2021) makes them.

    Distances above the threshold without specks (opening), together with a given mask that is grown by a pixel, all
    grown by two pixels.

    Args:
        distances: (H, W) pixels, the largest of forward and backward, 0 where flow is not trusted; None for none.
        threshold: Pixels.
        given: (H, W), of a segmentation.

    Raises:
        ValueError: Neither is given.
    """
    from scipy import ndimage

    if distances is None and given is None:
        raise ValueError("motion_mask needs distances or a given mask")
    moving = np.zeros(given.shape if distances is None else distances.shape, dtype=bool)  # type: ignore[union-attr]
    if distances is not None:
        # What lies beyond the border does not eat into the mask.
        eroded = ndimage.binary_erosion(distances > threshold, disc(OPENING_RADIUS), border_value=1)
        moving |= ndimage.binary_dilation(eroded, disc(OPENING_RADIUS))
    if given is not None:
        moving |= ndimage.binary_dilation(given, disc(OPENING_RADIUS))
    return np.asarray(ndimage.binary_dilation(moving, disc(DILATION_RADIUS)), dtype=bool)
