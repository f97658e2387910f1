"""The way between two cameras: where it leads, how fast, at which times."""

from __future__ import annotations

import math

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.camera_transition import (
    camera_index,
    eased_progress,
    forward_and_backward_times,
    transition_cameras,
)
from nf_plugins.exporters.trajectories import look_at_pose

TARGET = torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64)
UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def rig(num_frames: int = 2) -> Cameras:
    """Four cameras around a point far from the origin, at two heights, all at distance 2.5; frame by frame."""
    poses, ids, times = [], [], []
    for camera in range(4):
        angle, height = 0.5 * math.pi * camera, (0.0, 1.5)[camera % 2]
        radius = math.sqrt(2.5**2 - height**2)
        offset = torch.tensor([radius * math.cos(angle), radius * math.sin(angle), height], dtype=torch.float64)
        for frame in range(num_frames):
            poses.append(look_at_pose(TARGET + offset, TARGET, UP))
            ids.append(camera + 5)
            times.append(frame / (num_frames - 1))
    return Cameras(
        camera_to_worlds=torch.stack(poses).float(),
        fx=30.0 + torch.tensor(ids).float()[:, None],
        fy=30.0,
        cx=8.0,
        cy=8.0,
        width=16,
        height=16,
        times=torch.tensor(times)[:, None],
        metadata={"camera_id": torch.tensor(ids)[:, None]},
    )


def test_sine_easing_starts_and_stops_gently_and_reaches_both_ends() -> None:
    progress = eased_progress(101)
    assert progress[0] == 0.0 and progress[-1] == 1.0 and progress[50] == pytest.approx(0.5)
    assert float(progress[25]) == pytest.approx(0.5 * math.sin(-math.pi / 4) + 0.5)
    steps = progress.diff()
    assert steps.min() > 0 and steps[0] < 0.1 * steps[50] and torch.allclose(steps, steps.flip(0))
    assert torch.allclose(eased_progress(5, "linear"), torch.linspace(0, 1, 5).double())
    assert eased_progress(1).tolist() == [0.0]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(5, [0.2, 0.4, 0.6, 0.4, 0.2]), (6, [0.2, 0.4, 0.6, 0.4667, 0.3333, 0.2]), (2, [0.2, 0.2]), (1, [0.2])],
)
def test_time_runs_to_its_end_and_back(count: int, expected: list[float]) -> None:
    times = forward_and_backward_times(0.2, 0.6, count)
    assert times.tolist() == pytest.approx(expected, abs=1e-4)


def test_bad_times_are_named() -> None:
    with pytest.raises(InputError, match="--time-range: time 1.5"):
        forward_and_backward_times(0.0, 1.5, 10)
    with pytest.raises(InputError, match="--num-frames"):
        forward_and_backward_times(0.0, 1.0, 0)


@pytest.mark.parametrize("ends", [(0, 2), (2, 7), (7, 0)])
def test_the_camera_keeps_its_distance_and_looks_at_the_subject_all_the_way(ends: tuple[int, int]) -> None:
    cameras = rig()
    path = transition_cameras(cameras, *ends, torch.linspace(0, 1, 9))
    poses = path.camera_to_worlds.double()
    assert torch.allclose(path.camera_to_worlds[[0, -1]], cameras.camera_to_worlds[list(ends)], atol=1e-5)
    rotations = poses[:, :, :3]
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3, dtype=torch.float64), atol=1e-5)
    offsets: Tensor = poses[:, :, 3] - TARGET
    assert torch.allclose(offsets.norm(dim=-1), torch.full((9,), 2.5, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(poses[:, :, 2] * 2.5, offsets, atol=1e-4)
    assert float(path.fx[4]) == float(cameras.fx[ends[0]]) and path.times[:, 0].tolist()[-1] == 1.0


def test_moving_the_world_moves_the_path() -> None:
    cameras, shift = rig(), torch.tensor([10.0, -4.0, 2.0])
    moved = rig()
    moved.camera_to_worlds[:, :, 3] += shift
    times = torch.zeros(6)
    path, moved_path = (transition_cameras(c, 0, 3, times).camera_to_worlds for c in (cameras, moved))
    assert torch.allclose(path[:, :, 3] + shift, moved_path[:, :, 3], atol=1e-4)
    assert torch.allclose(path[:, :, :3], moved_path[:, :, :3], atol=1e-5)


def test_half_of_the_way_is_half_of_the_rotation() -> None:
    path = transition_cameras(rig(), 0, 4, torch.zeros(3), "linear").camera_to_worlds.double()
    cosine = ((path[0, :, :3].T @ path[1, :, :3]).trace() - 1) / 2
    whole = ((path[0, :, :3].T @ path[2, :, :3]).trace() - 1) / 2
    assert math.acos(float(cosine)) == pytest.approx(math.acos(float(whole.clamp(-1, 1))) / 2, abs=1e-3)


def test_cameras_go_by_name_or_by_number() -> None:
    cameras, names = rig(), [*"abcde", "cam_train_0", "cam_train_1", "cam_train_2", "cam_train_3", "cam_test"]
    assert camera_index(cameras, "cam_train_2", names) == 4
    assert camera_index(cameras, "2", names) == camera_index(cameras, "2") == 4
    with pytest.raises(InputError, match=r"no camera cam_test, expected 0 to 3 or cam_train_0, .*cam_train_3;"):
        camera_index(cameras, "cam_test", names)
    with pytest.raises(InputError, match=r"no camera 4, expected 0 to 3;"):
        camera_index(cameras, "4")
    with pytest.raises(InputError, match=r"no camera -1"):
        camera_index(cameras, "-1")
    cameras.metadata = None
    assert camera_index(cameras, "3") == 6
