"""Camera paths of NSFF: known offsets, composition with poses, interpolation, times."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.wander_path import (
    bullet_poses,
    ellipse_offsets,
    frames_around,
    interpolated_poses,
    key_frames_and_fraction,
    shifted_poses,
    times_of_frames,
    wander_offsets,
)
from nf_plugins.field_components.frame_times import frame_coordinates


def turn_about_y(degrees: float) -> Tensor:
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], dtype=torch.float64)


def pose(degrees: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    return torch.cat([turn_about_y(degrees), torch.tensor(centre, dtype=torch.float64)[:, None]], dim=1)


def test_known_wander() -> None:
    offsets = wander_offsets(400.0)
    assert offsets.shape == (60, 3)
    torch.testing.assert_close(offsets[0], offsets.new_tensor([0.0, -0.04, -0.04]))
    torch.testing.assert_close(offsets[15], offsets.new_tensor([-0.12, 0.0, 0.0]), rtol=0, atol=1e-9)
    torch.testing.assert_close(wander_offsets(400.0, near=2.0), 2 * offsets)
    # It closes: one more step than the last leads to the first.
    steps = offsets.roll(-1, 0) - offsets
    assert float(steps.norm(dim=-1).max()) < 0.02


def test_known_ellipse() -> None:
    offsets = ellipse_offsets(400.0, 100)
    torch.testing.assert_close(offsets[10], offsets.new_tensor([-0.08, 0.0, 0.0]), rtol=0, atol=1e-9)
    torch.testing.assert_close(offsets[0], offsets.new_tensor([0.0, -0.04, 0.0]))
    torch.testing.assert_close(offsets[40:80], offsets[:40], rtol=0, atol=1e-9)
    assert float(offsets[:, 2].abs().max()) == 0


def test_offsets_are_in_the_cameras_axes() -> None:
    camera = pose(90.0, (1.0, 2.0, 3.0))
    moved = shifted_poses(camera, torch.tensor([[0.5, 0.25, 0.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(moved[:, :, :3], camera[:, :3].expand(2, 3, 3))
    # Turned by a quarter about y the camera's x points along -z and its z along x.
    torch.testing.assert_close(moved[0, :, 3], camera.new_tensor([1.0, 2.25, 2.5]))
    torch.testing.assert_close(moved[1, :, 3], camera.new_tensor([2.0, 2.0, 3.0]))
    # The same as multiplying by the inverse of the opposite translation from the right.
    square, step = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    square[:3], step[:3, 3] = camera, torch.tensor([-0.5, -0.25, 0.0])
    torch.testing.assert_close(moved[0], (square @ torch.linalg.inv(step))[:3])


def test_poses_between_frames_go_the_shortest_way_round() -> None:
    poses = torch.stack([pose(170.0), pose(-170.0, (2.0, 0.0, 0.0)), pose(-170.0, (3.0, 1.0, 0.0))])
    found = interpolated_poses(poses, torch.tensor([0.0, 0.25, 0.5, 1.0, 1.5]))
    expected = [pose(170.0), pose(175.0, (0.5, 0, 0)), pose(180.0, (1.0, 0, 0)), poses[1], pose(-170.0, (2.5, 0.5, 0))]
    torch.testing.assert_close(found, torch.stack(expected))


def test_equal_rotations_and_a_single_frame_stay_as_they_are() -> None:
    poses = pose(33.0, (0.1, 0.2, 0.3)).float().expand(3, 3, 4)
    found = interpolated_poses(poses, torch.tensor([0.3, 1.7]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, poses[:2])
    torch.testing.assert_close(interpolated_poses(poses[:1], torch.tensor([0.0, 0.4])), poses[:2])


def test_poses_outside_the_recording_are_those_of_its_ends() -> None:
    poses = torch.stack([pose(0.0), pose(10.0, (1.0, 0.0, 0.0))])
    torch.testing.assert_close(interpolated_poses(poses, torch.tensor([-3.0, 1.4])), poses)


def test_bullet_poses_are_the_recorded_way_with_an_ellipse_on_top() -> None:
    poses = torch.stack([pose(0.0), pose(90.0, (1.0, 0.0, 0.0))])
    coordinates = torch.linspace(0, 1, 11)
    found = bullet_poses(poses, coordinates, 400.0)
    recorded = interpolated_poses(poses, coordinates)
    torch.testing.assert_close(found[:, :, :3], recorded[:, :, :3])
    # At the end the camera has turned by a quarter: its left is the world's +z.
    torch.testing.assert_close(found[10, :, 3] - recorded[10, :, 3], poses.new_tensor([0.0, 0.0, 0.08]))


def test_frames_around_a_frame() -> None:
    frames = frames_around(12, 30)
    assert len(frames) == 161 and float(frames[0]) == 4 and float(frames[-1]) == 20
    torch.testing.assert_close(frames.diff(), torch.full((160,), 0.1, dtype=torch.float64))
    assert int((frames == frames.round()).sum()) == 17
    assert len(frames_around(12, 30, reach=10)) == 201
    near_the_end = frames_around(28, 30)
    assert float(near_the_end[-1]) == 29 and len(near_the_end) == 91


@pytest.mark.parametrize("target", [-1, 30, 29.5, math.nan])
def test_a_target_outside_the_recording_is_refused(target: float) -> None:
    with pytest.raises(InputError, match="--frame"):
        frames_around(target, 30)


@pytest.mark.parametrize(
    ("coordinate", "expected"),
    [
        (3.25, (3, 4, 0.25)),
        (0.0, (0, 0, 0.0)),
        (9.0, (9, 9, 0.0)),
        (2.9999999, (3, 3, 0.0)),
        (-0.5, (0, 0, 0.0)),
        (11.3, (9, 9, 0.0)),
    ],
)
def test_key_frames(coordinate: float, expected: tuple[int, int, float]) -> None:
    assert key_frames_and_fraction(coordinate, 10) == expected


def test_a_slow_motion_needs_each_key_frame_once() -> None:
    keys = [key_frames_and_fraction(float(frame), 30) for frame in frames_around(12, 30)]
    assert len({key for before, after, _ in keys for key in (before, after)}) == 17


def test_times_of_frames_are_the_inverse_of_frame_coordinates() -> None:
    frame_times = torch.tensor([0.0, 0.1, 0.5, 1.0])
    coordinates = torch.tensor([0.0, 0.4, 1.0, 2.75, 3.0])
    times = times_of_frames(coordinates, frame_times)
    assert times.dtype == torch.float32
    torch.testing.assert_close(frame_coordinates(times, frame_times), coordinates)
    assert times_of_frames(torch.tensor([-1.0, 8.0]), frame_times).tolist() == [0.0, 1.0]
