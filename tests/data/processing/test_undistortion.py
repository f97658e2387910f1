from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from nf_plugins.data.processing.undistortion import pinhole_lens, require_undistortable, undistort, undistort_mask
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

PERSPECTIVE = Lens(96, 64, 80.0, 82.0, 49.3, 30.6, distortion=(-0.2, 0.05, 0.01, 0.0, 0.002, -0.003))
FISHEYE = Lens(96, 64, 80.0, 82.0, 49.3, 30.6, distortion=(0.05, -0.01, 0.002, 0.001, 0.0, 0.0), fisheye=True)


def plane_of(lens: Lens) -> np.ndarray:
    """x / z and y / z (H, W, 2) of the ray through every pixel's centre."""
    pixels = np.stack(np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5), axis=-1)
    plane = (pixels - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
    k1, k2, k3, k4, p1, p2 = lens.distortion
    if lens.fisheye:
        points = cv2.fisheye.undistortPoints(plane.reshape(-1, 1, 2), np.eye(3), np.array([k1, k2, k3, k4]))
    else:
        points = cv2.undistortPoints(plane.reshape(-1, 1, 2), np.eye(3), np.array([k1, k2, p1, p2, k3]))
    return points.reshape(plane.shape)


def pattern(plane: np.ndarray) -> np.ndarray:
    """A smooth picture on the plane at depth 1."""
    values = np.stack([np.sin(9 * plane[..., 0]), np.cos(7 * plane[..., 1]), np.sin(5 * plane.sum(axis=-1))], axis=-1)
    return np.round(127.5 + 120 * values).astype(np.uint8)


@pytest.mark.parametrize("lens", [PERSPECTIVE, FISHEYE], ids=["perspective", "fisheye"])
def test_pictures_become_those_of_a_pinhole(lens: Lens):
    pinhole = pinhole_lens(lens)
    assert pinhole == replace(lens, distortion=(0.0,) * 6, fisheye=False)
    inner = (slice(8, -8), slice(8, -8))
    error = undistort(pattern(plane_of(lens)), lens).astype(float) - pattern(plane_of(pinhole))
    assert np.abs(error[inner]).mean() < 1 and np.abs(error[inner]).max() < 6
    # Left as it is, it would not fit; a shift by half a pixel would be a mean error of about 4.
    assert np.abs(pattern(plane_of(lens)).astype(float) - pattern(plane_of(pinhole)))[inner].mean() > 3
    disc = np.hypot(*np.moveaxis(plane_of(lens), -1, 0)) < 0.25
    expected = np.hypot(*np.moveaxis(plane_of(pinhole), -1, 0)) < 0.25
    assert (undistort_mask(disc, lens) != expected).mean() < 0.01


def test_a_pinhole_is_left_alone_and_unknown_lenses_are_refused():
    image = pattern(plane_of(pinhole_lens(PERSPECTIVE)))
    assert undistort(image, pinhole_lens(PERSPECTIVE)) is image
    with pytest.raises(InputError, match="The lens of cam has k4 = 0.1"):
        require_undistortable(replace(PERSPECTIVE, distortion=(0.0, 0, 0, 0.1, 0, 0)), "cam")
    with pytest.raises(InputError, match="fisheye with p1"):
        require_undistortable(replace(FISHEYE, distortion=(0.0, 0, 0, 0, 0.1, 0)), "cam")
    for lens in (PERSPECTIVE, FISHEYE):
        require_undistortable(lens, "cam")
