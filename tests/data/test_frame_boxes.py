from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from ball_capture import RADIUS
from rig_scene import centre_of, write_ball_rig

from nf_plugins.data.easymocap_rig import read_easymocap_rig
from nf_plugins.data.frame_boxes import FrameBoxes, frame_boxes, without_strays
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.rig_selection import select_rig
from nf_plugins.errors import InputError

NUM_FRAMES = 4


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball_rig(tmp_path_factory.mktemp("rig") / "ball", resolution=48, boxes=True)


@pytest.fixture
def scene(rig: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(rig, tmp_path / "ball"))


def find(root: Path, points: Any = "auto", **options: Any) -> FrameBoxes:
    evidence = {key: options.pop(key) for key in ("transform", "keypoints") if key in options}
    capture = read_easymocap_rig(root, points=points)
    config = MultiViewDataParserConfig(**options)
    return frame_boxes(capture, select_rig(capture, config, "train"), config, **evidence)


def truth(padding: float = 0.1) -> np.ndarray:
    centres = np.stack([centre_of(frame, NUM_FRAMES) for frame in range(NUM_FRAMES)])
    reach = RADIUS + padding
    return np.stack([centres - reach, centres + reach], axis=1)


@pytest.mark.parametrize("source", ["auto", "vertices", "vhull"])
def test_boxes_of_files_are_the_balls(rig: Path, source: str) -> None:
    boxes = find(rig, scene_box_from=source)
    assert boxes.is_per_frame and boxes.source == ("vertices" if source == "auto" else source)
    np.testing.assert_allclose(boxes.boxes, truth(), atol=0.02)
    np.testing.assert_allclose(boxes.scene, [truth()[:, 0].min(0), truth()[:, 1].max(0)], atol=0.02)
    np.testing.assert_array_equal(boxes.scene, [boxes.boxes[:, 0].min(0), boxes.boxes[:, 1].max(0)])


def test_boxes_of_chosen_frames(rig: Path) -> None:
    boxes = find(rig, start_frame=1, frame_stride=2, box_padding=0.0)
    np.testing.assert_allclose(boxes.boxes, truth(0.0)[[1, 3]], atol=0.02)


def test_one_box_for_all_frames(rig: Path) -> None:
    boxes = find(rig, frame_boxes="whole-scene")
    assert not boxes.is_per_frame
    np.testing.assert_array_equal(boxes.boxes, np.repeat(boxes.scene[None], NUM_FRAMES, axis=0))
    np.testing.assert_allclose(boxes.scene, [truth()[:, 0].min(0), truth()[:, 1].max(0)], atol=0.02)


def test_boxes_of_masks_hold_the_ball(rig: Path) -> None:
    whole = find(rig, scene_box_from="masks", box_padding=0.0)
    assert not whole.is_per_frame
    each = find(rig, scene_box_from="masks", box_padding=0.0, frame_boxes="per-frame")
    assert each.is_per_frame
    exact = truth(0.0)
    for boxes in (whole.boxes, each.boxes):
        assert (boxes[:, 0] < exact[:, 0] + 0.02).all() and (boxes[:, 1] > exact[:, 1] - 0.02).all()
    assert np.abs(each.boxes - exact).max() < 0.3
    assert each.boxes[-1, 0, 0] - each.boxes[0, 0, 0] > 0.4, "it follows the ball"


def test_point_clouds_and_their_strays(scene: Path) -> None:
    shutil.rmtree(scene / "vertices")
    (scene / "pointcloud").mkdir()
    for frame in range(NUM_FRAMES):
        ball = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS).vertices + centre_of(frame, NUM_FRAMES)
        stray = np.array([[9.0, 9.0, 9.0], [-7.0, 2.0, 0.0]])
        trimesh.PointCloud(np.concatenate([ball, stray])).export(scene / f"pointcloud/{frame + 1:05d}.ply")
    boxes = find(scene)
    assert boxes.source == "points"
    np.testing.assert_allclose(boxes.boxes, truth(), atol=0.02)
    (scene / "pointcloud").rename(scene / "pointcloud_denoise")
    assert find(scene).scene[1].max() > 9, "denoised clouds are believed"


def test_strays_leave_few_points_alone() -> None:
    points = np.random.default_rng(0).normal(size=(10, 3))
    assert len(without_strays(points)) == 10


def test_a_motion_of_the_world_moves_what_files_say(rig: Path) -> None:
    """A quarter turn about z maps boxes onto boxes."""
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]
    turn[:3, 3] = (1.0, 2.0, 3.0)
    for source in ("vertices", "vhull"):
        plain, moved = find(rig, scene_box_from=source).boxes, find(rig, scene_box_from=source, transform=turn).boxes
        corners = plain @ turn[:3, :3].T + turn[:3, 3]
        np.testing.assert_allclose(moved, np.stack([corners.min(1), corners.max(1)], axis=1), atol=1e-6)


def test_joints(rig: Path) -> None:
    centres = np.stack([centre_of(frame, NUM_FRAMES) for frame in range(NUM_FRAMES)])
    keypoints = np.stack([centres - 0.3, centres + 0.3, np.full_like(centres, np.nan)], axis=1)
    keypoints[2] = np.nan
    whole = find(rig, scene_box_from="keypoints", keypoints=keypoints)
    np.testing.assert_allclose(whole.scene, [centres.min(0) - 0.6, centres.max(0) + 0.6])
    each = find(rig, scene_box_from="keypoints", keypoints=keypoints, frame_boxes="per-frame").boxes
    np.testing.assert_allclose(each[0], [centres[0] - 0.6, centres[0] + 0.6])
    np.testing.assert_allclose(each[2], whole.scene, err_msg="without joints: anywhere")


def test_what_the_cameras_look_at_is_only_a_last_resort(scene: Path) -> None:
    for name in ("vertices", "vhull", "masks"):
        shutil.rmtree(scene / name)
    with pytest.raises(InputError, match=r"cannot be found from .*\(4 training cameras\).*--scene-box"):
        find(scene)
    box = find(scene, scene_box_from="cameras").scene
    assert (box[0] < truth()[0, 0]).all() and (box[1] > truth()[0, 1]).all()


def test_a_given_box(rig: Path, scene: Path) -> None:
    exact = truth()
    given = (exact[1, 0, 0], -9.0, -9.0, 9.0, 9.0, 9.0)
    boxes = find(rig, scene_box=given)
    assert boxes.is_per_frame and boxes.source == "vertices"
    np.testing.assert_array_equal(boxes.scene, np.reshape(given, (2, 3)))
    assert boxes.boxes[0, 0, 0] == given[0], "frames' boxes stay inside"
    np.testing.assert_allclose(boxes.boxes[2:], exact[2:], atol=0.02)
    beside = find(rig, scene_box=(20.0, 20, 20, 21, 21, 21))
    np.testing.assert_array_equal(beside.boxes, np.repeat(beside.scene[None], NUM_FRAMES, axis=0))
    shutil.rmtree(scene / "vertices")
    shutil.rmtree(scene / "vhull")
    alone = find(scene, scene_box=given)
    assert not alone.is_per_frame and alone.source == "--scene-box"
    with pytest.raises(InputError, match="--scene-box is"):
        find(rig, scene_box=(1.0, 0, 0, 0, 1, 1))


def test_bad_files(scene: Path) -> None:
    np.save(scene / "vhull/000002.npy", np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"000002\.npy has the shape \(3, 2\), expected a box \(2, 3\)"):
        find(scene, scene_box_from="vhull")
    np.save(scene / "vhull/000002.npy", np.array([[1.0, 1, 1], [0, 2, 2]]))
    with pytest.raises(InputError, match=r"000002\.npy is .*each minimum below its maximum"):
        find(scene, scene_box_from="vhull")
    np.save(scene / "vertices/000001.npy", np.zeros((4, 2)))
    with pytest.raises(InputError, match=r"000001\.npy has the shape \(4, 2\), expected \(V, 3\)"):
        find(scene)
    (scene / "vertices/000001.npy").write_bytes(b"x")
    with pytest.raises(InputError, match=r"000001\.npy cannot be read"):
        find(scene)


def test_masks_of_a_picture_source(rig: Path) -> None:
    capture = read_easymocap_rig(rig)

    class Source:
        def mask(self, path: Path) -> np.ndarray:
            from PIL import Image

            return np.asarray(Image.open(path), dtype=np.float32) / 255

    config = MultiViewDataParserConfig(scene_box_from="masks")
    selection = select_rig(capture, config, "train")
    expected = frame_boxes(capture, selection, config).scene
    found = frame_boxes(replace(capture, picture_source=Source(), mask_rule=""), selection, config).scene
    np.testing.assert_allclose(found, expected)
