"""Camera paths: geometry, times, and the viewer's file format."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.trajectories import (
    circling_path,
    distinct_cameras,
    interpolated_cameras,
    load_camera_path,
    look_at_point,
    look_at_pose,
    ping_pong,
    save_camera_path,
    standing_camera,
    times_between,
)

TARGET = torch.tensor([0.2, -0.1, 0.3], dtype=torch.float64)
UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def rig(num_cameras: int = 5, num_frames: int = 3, arc: float = 2 * math.pi) -> Cameras:
    """Cameras on a circle of radius 2, 0.5 above the target they look at, all frames of a camera in a row."""
    poses, times, ids = [], [], []
    for camera in range(num_cameras):
        angle = arc * camera / num_cameras
        offset = torch.tensor([2 * math.cos(angle), 2 * math.sin(angle), 0.5], dtype=torch.float64)
        for frame in range(num_frames):
            poses.append(look_at_pose(TARGET + offset, TARGET, UP))
            times.append(frame / (num_frames - 1))
            ids.append(camera)
    return Cameras(
        camera_to_worlds=torch.stack(poses).float(),
        fx=40.0,
        fy=42.0,
        cx=15.5,
        cy=12.25,
        width=32,
        height=24,
        camera_type=CameraType.PERSPECTIVE,
        times=torch.tensor(times)[:, None],
        metadata={"camera_id": torch.tensor(ids)[:, None]},
    )


def assert_rotations(poses: Tensor) -> None:
    rotations = poses[:, :, :3].double()
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(len(poses), dtype=torch.float64), atol=1e-5)


def test_the_point_all_cameras_look_at_is_found() -> None:
    assert torch.allclose(look_at_point(rig().camera_to_worlds.double()), TARGET, atol=1e-5)


def test_parallel_cameras_have_a_point_to_look_at_too() -> None:
    poses = torch.eye(4, dtype=torch.float64)[None, :3].repeat(3, 1, 1)
    poses[:, :, 3] = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [-1.0, 0.0, 2.0]], dtype=torch.float64)
    assert look_at_point(poses).isfinite().all()
    assert look_at_point(poses)[2] < 2.0


def test_a_ring_is_a_circle_of_cameras_that_look_at_the_centre() -> None:
    times = torch.linspace(0, 1, 12)
    ring = circling_path(rig(), times, start_index=4)
    poses = ring.camera_to_worlds.double()
    assert_rotations(poses)
    offsets = poses[:, :, 3] - TARGET
    assert torch.allclose(offsets[:, 2], torch.full((12,), 0.5, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(offsets[:, :2].norm(dim=-1), torch.full((12,), 2.0, dtype=torch.float64), atol=1e-5)
    cosines = (-poses[:, :, 2] * torch.nn.functional.normalize(-offsets, dim=-1)).sum(-1)
    assert torch.allclose(cosines, torch.ones(12, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(poses[0], rig().camera_to_worlds[4].double(), atol=1e-5)
    steps = (poses[:, :, 3].roll(-1, 0) - poses[:, :, 3]).norm(dim=-1)
    assert torch.allclose(steps, steps[0].expand(12), atol=1e-5)
    assert torch.equal(ring.times[:, 0], times) and ring.metadata is None
    assert float(ring.fx[3]) == 40.0 and float(ring.cy[3]) == 12.25 and int(ring.width[3]) == 32


def test_distinct_cameras_are_one_per_physical_camera_or_pose() -> None:
    cameras = rig()
    assert len(distinct_cameras(cameras)) == 5
    cameras.metadata = None
    assert torch.allclose(distinct_cameras(cameras).camera_to_worlds, cameras.camera_to_worlds[::3])


def test_interpolation_passes_through_every_camera() -> None:
    cameras = rig(num_cameras=4, arc=math.pi)
    path = interpolated_cameras(cameras, torch.linspace(0, 1, 7))
    assert_rotations(path.camera_to_worlds)
    assert torch.allclose(path.camera_to_worlds[::2], cameras.camera_to_worlds[::3], atol=1e-5)
    middle = (cameras.camera_to_worlds[0, :, 3] + cameras.camera_to_worlds[3, :, 3]) / 2
    assert torch.allclose(path.camera_to_worlds[1, :, 3], middle, atol=1e-5)
    with pytest.raises(InputError, match="two distinct cameras"):
        interpolated_cameras(rig(num_cameras=1), torch.zeros(3))


def test_a_standing_camera_keeps_pose_and_metadata_while_time_runs() -> None:
    cameras = rig()
    moving_time = standing_camera(cameras, 7, times_between(0.25, 0.75, 5))
    assert torch.equal(moving_time.camera_to_worlds, cameras.camera_to_worlds[7].expand(5, 3, 4))
    assert moving_time.times.flatten().tolist() == [0.25, 0.375, 0.5, 0.625, 0.75]
    assert moving_time.metadata["camera_id"].flatten().tolist() == [2] * 5
    rays = moving_time[3:4].generate_rays(camera_indices=0, keep_shape=True)
    assert float(rays.times.max()) == 0.625
    with pytest.raises(InputError, match="--camera-index 15"):
        standing_camera(cameras, 15, torch.zeros(1))


def test_times_outside_the_sequence_name_their_option() -> None:
    with pytest.raises(InputError, match=r"--time-range: time 1.5 is outside"):
        times_between(0.0, 1.5, 4)
    with pytest.raises(InputError, match="--num-frames"):
        times_between(0.0, 1.0, 0)


def test_ping_pong_shows_both_ends_once() -> None:
    assert ping_pong(4) == [0, 1, 2, 3, 2, 1]
    assert ping_pong(1) == [0]


def test_a_camera_path_file_keeps_poses_and_render_times(tmp_path: Path) -> None:
    ring = circling_path(rig(), torch.linspace(0.2, 0.9, 6))
    path = tmp_path / "path.json"
    save_camera_path(path, ring, fps=12.0)
    cameras, fps = load_camera_path(path)
    assert fps == 12.0
    assert cameras.times is not None
    assert torch.allclose(cameras.times.flatten(), ring.times.flatten())
    assert cameras.times.shape == (6, 1)
    assert torch.allclose(cameras.camera_to_worlds, ring.camera_to_worlds, atol=1e-6)
    assert torch.allclose(cameras.fy, ring.fy, rtol=1e-4)
    assert (int(cameras.width[0]), int(cameras.height[0])) == (32, 24)


def test_a_path_without_times_has_none_and_bad_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "path.json"
    save_camera_path(path, circling_path(rig(), torch.linspace(0, 1, 2)), fps=24.0)
    content = json.loads(path.read_text())
    content["camera_path"][1]["render_time"] = 3.0
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"path.json asks for render_time 3"):
        load_camera_path(path)
    for entry in content["camera_path"]:
        del entry["render_time"]
    path.write_text(json.dumps(content))
    assert load_camera_path(path)[0].times is None
    path.write_text('{"camera_path": []}')
    with pytest.raises(InputError, match="is not a camera path"):
        load_camera_path(path)
    with pytest.raises(InputError, match="missing.json"):
        load_camera_path(tmp_path / "missing.json")
