"""The loop around the origin: where it looks, what it passes, how it closes."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from ball_scan import scan_poses
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation

from nf_plugins.errors import InputError
from nf_plugins.exporters.orbit import closed_rotations, orbit_cameras, published_views


def scan_cameras(num_views: int = 49) -> Cameras:
    poses = scan_poses(num_views) @ np.diag([1.0, -1.0, -1.0, 1.0])
    focal = torch.linspace(30.0, 40.0, num_views)
    return Cameras(torch.from_numpy(poses[:, :3]).float(), fx=focal, fy=focal, cx=16.0, cy=15.0, width=32, height=30)


def test_the_published_path_looks_at_the_origin_from_3_8_to_4_2() -> None:
    cameras = scan_cameras()
    path = orbit_cameras(cameras, torch.zeros(30), intrinsics_index=3)
    poses = path.camera_to_worlds.double()
    distance = poses[:, :, 3].norm(dim=-1)
    assert len(path) == 30 and float(distance.min()) >= 3.8 - 1e-6 and float(distance.max()) <= 4.2 + 1e-6
    # The view is along the negative third axis: going on by the distance ends at the origin.
    assert float((poses[:, :, 3] - distance[:, None] * poses[:, :, 2]).abs().max()) < 1e-5
    torch.testing.assert_close(poses[:, :, :3].mT @ poses[:, :, :3], torch.eye(3).double().expand(30, 3, 3))
    torch.testing.assert_close(poses[0], poses[-1], atol=1e-6, rtol=0)
    assert path.fx.unique().tolist() == cameras.fx[3].tolist() and int(path.height[0]) == 30


def test_the_path_passes_the_views_at_their_times() -> None:
    cameras = scan_cameras()
    path = orbit_cameras(cameras, torch.zeros(61)).camera_to_worlds  # ten poses to a unit of the knots
    for knot, view, distance in ((0, 11, 4.2), (2, 16, 4.2), (3, 34, 3.8), (5, 28, 3.8), (6, 11, 4.2)):
        torch.testing.assert_close(path[10 * knot, :, :3], cameras.camera_to_worlds[view, :, :3], atol=1e-5, rtol=0)
        assert float(path[10 * knot, :, 3].norm()) == pytest.approx(distance, abs=1e-5)


def test_the_published_views_are_found_by_their_numbers_in_a_split() -> None:
    cameras = scan_cameras()
    kept = [view for view in range(49) if view % 8]  # 16 is held out
    split = cameras[torch.tensor(kept)]
    split.metadata = {"camera_id": torch.tensor(kept)[:, None]}
    path = orbit_cameras(split, torch.zeros(61)).camera_to_worlds
    for knot, view in ((0, 11), (2, 15), (3, 34), (5, 28)):
        torch.testing.assert_close(path[10 * knot, :, :3], cameras.camera_to_worlds[view, :, :3], atol=1e-5, rtol=0)


@pytest.mark.parametrize("views", [(5,), (1, 4), (0, 2, 3), (7, 6, 5, 4, 3, 2)])
def test_any_number_of_views(views: tuple[int, ...]) -> None:
    cameras = scan_cameras(8)
    path = orbit_cameras(cameras, torch.zeros(4 * len(views) + 1), views, radius=(2.0, 3.0)).camera_to_worlds
    for place, view in enumerate((*views, views[0])):
        torch.testing.assert_close(path[4 * place, :, :3], cameras.camera_to_worlds[view, :, :3], atol=1e-5, rtol=0)
    assert (
        2.0 - 1e-6 <= float(path[:, :, 3].norm(dim=-1).min()) <= float(path[:, :, 3].norm(dim=-1).max()) <= 3.0 + 1e-6
    )


@pytest.mark.parametrize("turns", [1, 2])
def test_a_loop_goes_on_where_it_closes_even_if_its_quaternions_do_not(turns: int) -> None:
    angles = 2 * math.pi * turns * np.arange(8) / 8  # after one turn the quaternion is the negative of the first
    rotations = Rotation.from_rotvec(angles[:, None] * np.array([[0.0, 0.0, 1.0]])).as_matrix()
    where = np.linspace(0, 8, 161)
    found = Rotation.from_matrix(closed_rotations(rotations, np.arange(9.0), where))
    expected = Rotation.from_rotvec(2 * math.pi * turns / 8 * where[:, None] * np.array([[0.0, 0.0, 1.0]]))
    assert float((found * expected.inv()).magnitude().max()) < 0.01 * turns


def test_the_views_of_small_scans_are_spread_alike() -> None:
    assert published_views(64) == published_views(35) == [11, 16, 34, 28]
    assert published_views(8) == [2, 3, 7, 6] and published_views(1) == [0, 0, 0, 0]
    for count in (1, 2, 8):
        assert len(orbit_cameras(scan_cameras(count), torch.zeros(5))) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": (0, 8)}, "--orbit-views 8: the split has 8 cameras"),
        ({"views": (-1,)}, "--orbit-views -1"),
        ({"views": ()}, "--orbit-views is empty"),
        ({"intrinsics_index": 8}, "--camera-index 8"),
    ],
)
def test_views_that_are_not_there_are_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        orbit_cameras(scan_cameras(8), torch.zeros(5), **options)
