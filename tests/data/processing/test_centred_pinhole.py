"""Frames of bent, off-centre and zoomed lenses become those of one pinhole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nf_plugins.data.processing.centred_pinhole import common_pinhole, equals, resample
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

CENTRED = Lens(96, 64, 80.0, 80.0, 48.0, 32.0)
OFF_CENTRE = replace(CENTRED, fx=82.0, fy=79.0, cx=50.0, cy=30.5)


def picture(lens: Lens) -> np.ndarray:
    """x / z and y / z, as a lens without distortion sees them (H, W, 2)."""
    columns, rows = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
    return np.stack([(columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy], axis=-1).astype(np.float32)


def test_a_centred_pinhole_is_left_alone():
    assert common_pinhole([CENTRED] * 3, "here") == CENTRED
    image = picture(CENTRED)
    assert resample(image, CENTRED, CENTRED) is image
    assert equals(replace(CENTRED, cx=48.05), CENTRED) and not equals(replace(CENTRED, cx=48.2), CENTRED)
    assert not equals(replace(CENTRED, distortion=(0.1, 0, 0, 0, 0, 0)), CENTRED)


def test_all_frames_see_what_one_camera_sees_and_nothing_beyond_them():
    zoomed = replace(CENTRED, fx=84.0, fy=84.0)
    target = common_pinhole([CENTRED, OFF_CENTRE, zoomed], "here")
    assert (target.cx, target.cy) == (48, 32) and target.fx == target.fy
    for lens in (CENTRED, OFF_CENTRE, zoomed):
        seen = resample(picture(lens), lens, target)
        np.testing.assert_allclose(seen[1:-1, 1:-1], picture(target)[1:-1, 1:-1], atol=1e-3)
    # As little is lost as can be: the widest lens is met at a border.
    wider = replace(target, fx=0.98 * target.fx, fy=0.98 * target.fy)
    lost = [
        np.abs(resample(picture(lens), lens, wider) - picture(wider)).max() for lens in (CENTRED, OFF_CENTRE, zoomed)
    ]
    assert max(lost) > 3e-3


def test_a_map_of_another_size_is_brought_along():
    target = common_pinhole([OFF_CENTRE], "here")
    small = OFF_CENTRE.resized(48, 32)
    seen = resample(picture(small), OFF_CENTRE, target)
    np.testing.assert_allclose(seen[1:-1, 1:-1], picture(target.resized(48, 32))[1:-1, 1:-1], atol=2e-3)


def test_what_would_leave_less_than_half_is_refused():
    with pytest.raises(InputError, match="The lenses of here are so far from a pinhole"):
        common_pinhole([replace(CENTRED, cx=90.0)], "here")
    with pytest.raises(InputError, match="has k4"):
        common_pinhole([replace(CENTRED, distortion=(0, 0, 0, 0.1, 0, 0))], "here")
