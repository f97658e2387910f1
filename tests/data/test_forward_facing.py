from __future__ import annotations

from pathlib import Path

import monocular_scene as truth
import numpy as np
import pytest

from nf_plugins.data.forward_facing import (
    average_pose,
    near_distance,
    require_forward_facing,
    scene_box,
    scene_frame,
    warn_of_cameras_beyond_near_plane,
    warn_of_standing_camera,
)
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

LENS = Lens(24, 18, 24.0, 24.0, 12.5, 9.5)
BOUNDS = np.array([[2.0, 8.0], [4.0, 9.0], [3.0, 7.0], [5.0, 6.0]])


def video_poses() -> np.ndarray:
    tilt = truth.camera_pose(0.3)[:3, :3] @ np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    poses = np.stack([truth.camera_pose(time)[:3] for time in (0.0, 0.4, 0.7, 1.0)])
    return np.concatenate([tilt @ poses[:, :, :3], (poses[:, :, 3] @ tilt.T + [5.0, -2.0, 7.0])[..., None]], axis=2)


def test_the_average_camera_becomes_the_identity_and_the_near_bound_one_over_the_factor() -> None:
    frame = scene_frame(video_poses(), BOUNDS, "ndc", 0.9)
    np.testing.assert_allclose(average_pose(frame.poses(video_poses())), np.eye(4)[:3], atol=1e-12)
    assert frame.scale == pytest.approx(1 / (0.9 * np.percentile([2, 4, 3, 5], 5)))


def test_contracted_space_keeps_half_of_the_disparities_inside_the_unit_ball() -> None:
    frame = scene_frame(video_poses(), BOUNDS, "contracted", 0.9)
    near, far = np.median(BOUNDS, axis=0)
    assert 1 / frame.scale == pytest.approx(2 / (1 / near + 1 / far))
    np.testing.assert_allclose(average_pose(frame.poses(video_poses())), np.eye(4)[:3], atol=1e-12)


def test_sampling_begins_at_the_near_plane() -> None:
    frame = scene_frame(video_poses(), BOUNDS, "ndc", 0.8)
    assert frame.scale * near_distance(BOUNDS, 0.8) == pytest.approx(1)


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_cameras_that_look_all_around_have_a_contracted_frame(tilt: float) -> None:
    """Viewing directions cancel, or with the cameras tilted leave the vertical alone."""
    x, y = np.cos(tilt), np.sin(tilt)
    downwards = np.array([[1, 0, 0], [0, x, y], [0, -y, x]])
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    turns = np.array([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angles]) @ downwards
    poses = np.concatenate([turns, (2.0 * turns[:, :, 2] + [1.0, 2.0, 3.0])[..., None]], axis=-1)
    frame = scene_frame(poses, np.tile(BOUNDS, (2, 1)), "contracted", 0.9)
    found = frame.poses(poses)
    np.testing.assert_allclose(found[4, :, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found[:, :, 3].mean(axis=0), 0, atol=1e-12)


def test_the_box_holds_what_the_cameras_see_between_their_bounds() -> None:
    poses = video_poses()
    frame = scene_frame(poses, BOUNDS, "ndc", 0.9)
    low, high = scene_box(frame, poses, BOUNDS, LENS, "ndc")
    middle = poses[1, :, 3] - 8.9 * poses[1, :, 2]
    scene = frame.scale * (frame.rotation @ middle + frame.translation)
    assert (scene > low).all() and (scene < high).all()
    beyond = poses[1, :, 3] - 20 * poses[1, :, 2]
    assert frame.scale * (frame.rotation @ beyond + frame.translation)[2] < low[2]
    assert scene_box(frame, poses, BOUNDS, LENS, "contracted").tolist() == [[-1] * 3, [1] * 3]


def test_a_camera_that_looks_sideways_is_refused() -> None:
    poses = scene_frame(video_poses(), BOUNDS, "ndc", 0.9).poses(video_poses())
    require_forward_facing(poses, LENS, Path("video"))
    angle = np.deg2rad(75)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    poses[2, :, :3] = turn @ poses[2, :, :3]
    with pytest.raises(InputError, match="Camera 2 of .*Use --space contracted, or"):
        require_forward_facing(poses, LENS, Path("video"))


def test_a_camera_that_only_turns_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    poses = video_poses()
    warn_of_standing_camera(poses, BOUNDS, Path("video"), has_depth=False)
    assert capsys.readouterr().out == ""
    poses[:, :, 3] = 1.0
    for has_depth, so in ((True, "so shape comes from disp/ alone"), (False, "no disp/, so nothing gives the shape")):
        warn_of_standing_camera(poses, BOUNDS, Path("video"), has_depth=has_depth)
        said = " ".join(capsys.readouterr().out.split())
        assert "turns on the spot" in said and so in said and ("alone" in said) == has_depth


def test_cameras_that_look_in_opposite_directions_have_no_average() -> None:
    poses = np.stack([np.eye(4)[:3], np.diag([-1.0, 1.0, -1.0, 1.0])[:3]])
    with pytest.raises(InputError, match="opposite directions"):
        average_pose(poses)


def test_cameras_that_move_past_the_near_plane_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    poses = np.tile(np.eye(4)[:3], (3, 1, 1))
    poses[:, 2, 3] = [0.5, -0.9, -1.25]
    warn_of_cameras_beyond_near_plane(poses, Path("video"))
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of the selected cameras of video lie beyond the near plane, by up to 0.25" in said
    warn_of_cameras_beyond_near_plane(poses[:2], Path("video"))
    assert not capsys.readouterr().out
