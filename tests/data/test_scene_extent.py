from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ball_capture import LENS, MIDDLE, RADIUS, centre_at, photograph, ring_pose

from nf_plugins.data import transforms_json as tj
from nf_plugins.data.scene_extent import (
    BoxRule,
    box_from_cameras,
    box_from_masks,
    box_from_points,
    choose_box,
    read_points,
)
from nf_plugins.errors import InputError


def ball_views(angles: list[float], times: list[float]):
    poses = np.stack([ring_pose(angle, 0.5 + 0.2 * (i % 3)) for i, angle in enumerate(angles)])
    masks = [photograph(pose, centre_at(time))[1] for pose, time in zip(poses, times, strict=True)]
    return tj.nerfstudio_cameras(poses[:, :3], [LENS] * len(poses)), masks


def holds_the_ball(box: np.ndarray, times: list[float], slack: float = 0.05) -> bool:
    centres = np.stack([centre_at(time) for time in times])
    return bool((centres - RADIUS > box[0] - slack).all() and (centres + RADIUS < box[1] + slack).all())


def test_synchronised_masks_give_a_tight_box():
    times = [0.0, 0.15, 0.3]
    angles = [0.1, 1.4, 2.9, 4.4]
    cameras, masks = ball_views(angles * 3, [time for time in times for _ in angles])
    box = box_from_masks(cameras, np.repeat([0, 1, 2], 4), lambda index: masks[index])
    assert box is not None and holds_the_ball(box, times)
    # Motion and ball are 1.6 x 1 x 1; cells are coarse.
    assert (box[1] - box[0] < [2.4, 1.8, 1.8]).all()


def test_one_view_at_a_time_gives_a_box_that_holds_the_whole_motion():
    times = np.linspace(0, 0.3, 12).tolist()
    cameras, masks = ball_views(np.linspace(0, 2.5, 12).tolist(), times)
    box = box_from_masks(cameras, np.arange(12), lambda index: masks[index])
    assert box is not None and holds_the_ball(box, times)
    assert (box[1] - box[0]).max() < 5


def test_masks_that_contradict_the_poses_still_give_a_box():
    angles = [0.1, 1.4, 2.9, 4.4]
    cameras, masks = ball_views(angles, [0.1] * 4)
    masks[0] = np.roll(masks[0], 14, axis=1)
    masks[2] = np.roll(masks[2], -14, axis=1)
    box = box_from_masks(cameras, np.zeros(4, dtype=np.int64), lambda index: masks[index])
    assert box is not None
    assert ((box[0] < MIDDLE) & (box[1] > MIDDLE)).all()


def test_nothing_follows_from_empty_masks_or_one_direction():
    cameras, masks = ball_views([0.1, 0.1001], [0.0, 0.3])
    assert box_from_masks(cameras, np.arange(2), lambda index: masks[index]) is None
    cameras, masks = ball_views([0.1, 2.0], [0.0, 0.0])
    assert box_from_masks(cameras, np.zeros(2, dtype=np.int64), lambda index: masks[index] & False) is None


def test_cameras_give_the_cube_that_they_see():
    cameras, _ = ball_views([0.1, 1.4, 2.9, 4.4], [0.0] * 4)
    box = box_from_cameras(cameras)
    assert box is not None
    np.testing.assert_allclose(box.mean(axis=0), MIDDLE, atol=0.01)
    half = (box[1] - box[0])[0] / 2
    distance = np.linalg.norm(ring_pose(0.1, 0.7)[:3, 3] - MIDDLE)
    assert half == pytest.approx(distance * np.sin(np.arctan(16 / 62)), rel=0.05)
    same = tj.nerfstudio_cameras(np.tile(ring_pose(0.1)[None, :3], (3, 1, 1)), [LENS] * 3)
    assert box_from_cameras(same) is None


def test_stray_points_do_not_count(tmp_path: Path):
    import trimesh

    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    points[:5] = 1e6
    box = box_from_points(points)
    np.testing.assert_allclose(box, [[-0.98] * 3, [0.98] * 3], atol=0.03)
    trimesh.PointCloud(points).export(tmp_path / "points.ply")
    assert read_points(tmp_path / "points.ply").shape == (1000, 3)
    (tmp_path / "broken.ply").write_text("ply")
    for name in ("broken.ply", "missing.ply"):
        with pytest.raises(InputError, match=name):
            read_points(tmp_path / name)


def test_what_is_asked_for_goes_before_what_is_there():
    cameras, masks = ball_views([0.1, 1.4, 2.9, 4.4], [0.1] * 4)
    file = tj.TransformsFile(Path("transforms.json"), {"scene_aabb": [0, 0, 0, 1, 1, 1]}, [{}] * 4)
    common = {
        "rotation": np.eye(3), "cameras": cameras, "frame_ids": np.zeros(4, dtype=np.int64), "train": range(4),
        "read_mask": lambda index: masks[index],
    }  # fmt: skip
    assert choose_box(BoxRule(), file, **common)[1] == "scene_aabb"
    assert choose_box(BoxRule("masks"), file, **common)[1] == "the masks"
    assert choose_box(BoxRule("cameras"), file, **common)[1] == "what the cameras look at"
    box, words = choose_box(BoxRule("masks", (0, 0, 0, 2, 2, 2)), file, **common)
    assert words == "--scene-aabb" and box.tolist() == [[0, 0, 0], [2, 2, 2]]
    tight = choose_box(BoxRule("masks", margin=0.0), file, **common)[0]
    wide = choose_box(BoxRule("masks", margin=0.1), file, **common)[0]
    np.testing.assert_allclose(tight[0] - wide[0], 0.1 * (tight[1] - tight[0]).max())
