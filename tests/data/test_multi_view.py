from __future__ import annotations

import math

import pytest
import torch

from nf_plugins.data.multi_view import multi_view_factors, point_nearest_to_axes


def circling_pose(degrees: float, centre: torch.Tensor, radius: float = 2.0) -> torch.Tensor:
    """OpenGL camera-to-world (3, 4) on a level circle that looks at the centre."""
    angle = math.radians(degrees)
    backward = torch.tensor([math.cos(angle), math.sin(angle), 0.0])
    up = torch.tensor([0.0, 0.0, 1.0])
    right = torch.linalg.cross(up, backward)
    return torch.stack([right, up, backward, centre + radius * backward], dim=1)


CENTRE = torch.tensor([0.3, -1.0, 0.5])


def test_look_at_point_is_where_the_axes_meet():
    poses = torch.stack([circling_pose(angle, CENTRE) for angle in (0, 50, 200)])
    torch.testing.assert_close(point_nearest_to_axes(poses), CENTRE, atol=1e-5, rtol=0)


def test_parallel_axes_have_a_finite_answer():
    poses = torch.stack([circling_pose(0, CENTRE), circling_pose(0, CENTRE + torch.tensor([0.0, 1.0, 0.0]))])
    assert bool(torch.isfinite(point_nearest_to_axes(poses)).all())


def test_one_circling_camera():
    poses = torch.stack([circling_pose(3.0 * frame, CENTRE) for frame in range(11)])
    times = torch.linspace(0, 1, 11)
    shuffled = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    factors = multi_view_factors(poses[shuffled], times[shuffled], torch.zeros(11, dtype=torch.long))
    assert factors.angular_speed == pytest.approx(3.0, abs=1e-3)
    assert factors.views_per_time == (1, 1.0, 1)
    assert factors.simultaneous_span == 0


def test_standing_cameras():
    angles, frames = (0.0, 40.0, 120.0), 4
    poses = torch.stack([circling_pose(angle, CENTRE) for angle in angles for _ in range(frames)])
    times = torch.linspace(0, 1, frames).repeat(len(angles))
    ids = torch.arange(len(angles)).repeat_interleave(frames)
    factors = multi_view_factors(poses, times, ids)
    assert factors.angular_speed == pytest.approx(0, abs=1e-4)
    assert factors.views_per_time == (3, 3.0, 3)
    assert factors.simultaneous_span == pytest.approx(120.0, abs=1e-3)
