"""Time that stands, focal lengths that change."""

from __future__ import annotations

import pytest
import torch
from ball_pipeline import ball_cameras

from nf_plugins.errors import InputError
from nf_plugins.exporters.path_schedules import bullet_time, zoom_factors, zoomed


def test_time_stands_at_the_nearest_pose_and_goes_on() -> None:
    times = bullet_time(torch.linspace(0, 1, 5), (0.3, 1.0), 2)
    assert torch.allclose(times, torch.tensor([0, 0.25, 0.25, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]))
    assert torch.equal(bullet_time(torch.linspace(0, 1, 5), (), 80), torch.linspace(0, 1, 5))
    assert len(bullet_time(torch.linspace(0, 1, 150), (50 / 149, 100 / 149), 80)) == 310
    forth_and_back = torch.tensor([0.0, 0.5, 1.0, 0.5, 0.0])
    assert bullet_time(forth_and_back, (0.5,), 1).tolist() == [0.0, 0.5, 0.5, 1.0, 0.5, 0.0]
    with pytest.raises(InputError, match=r"--freeze-times: time 1\.5"):
        bullet_time(torch.linspace(0, 1, 5), (1.5,), 2)


def test_smoothstep_has_the_published_values() -> None:
    expected = torch.tensor([1, 1.078125, 1.25, 1.421875, 1.5], dtype=torch.float64)
    assert torch.allclose(zoom_factors(5, (0, 4), (1.0, 1.5)), expected)
    assert torch.allclose(zoom_factors(5, None, (1.0, 1.5)), expected)


def test_published_zoom_stands_at_its_knots_and_beyond() -> None:
    factors = zoom_factors(310, (0, 75, 150, 225, 300), (1.0, 1.5, 1.0, 0.75, 1.0))
    assert factors[[0, 75, 150, 225, 300, 309]].tolist() == [1.0, 1.5, 1.0, 0.75, 1.0, 1.0]
    assert float(factors.diff().abs().max()) < 0.011
    linear, smoother = (zoom_factors(5, None, (1.0, 2.0), easing) for easing in ("linear", "smootherstep"))
    assert torch.allclose(linear, torch.tensor([1, 1.25, 1.5, 1.75, 2.0], dtype=torch.float64))
    assert float(smoother[1]) == pytest.approx(1.103515625) and float(smoother[2]) == 1.5
    assert zoom_factors(3, None, (2.0,)).tolist() == [2.0, 2.0, 2.0] and zoom_factors(1, None, (2.0, 3.0)).tolist() == [
        2
    ]


def test_wrong_zooms_are_named() -> None:
    with pytest.raises(InputError, match="gives 2 poses for 3"):
        zoom_factors(5, (0, 4), (1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="rising"):
        zoom_factors(5, (4, 0), (1.0, 2.0))
    with pytest.raises(InputError, match="positive"):
        zoom_factors(5, (0, 4), (1.0, 0.0))


def test_zoomed_cameras_magnify_about_the_principal_point() -> None:
    cameras = ball_cameras(num_cameras=1)
    changed = zoomed(cameras, torch.tensor([1.0, 1.5, 2.0, 0.5], dtype=torch.float64))
    assert changed.fx.flatten().tolist() == [40.0, 60.0, 80.0, 20.0] == changed.fy.flatten().tolist()
    assert torch.equal(changed.cx, cameras.cx) and changed.times is not None
    assert cameras.fx.flatten().tolist() == [40.0] * 4
