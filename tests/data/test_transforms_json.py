from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType

from nf_plugins.data import transforms_json as tj
from nf_plugins.errors import InputError

LENS = tj.Lens(40, 30, 50.0, 52.0, 19.0, 16.0, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6))


def transforms(*frames: dict[str, Any], **contents: Any) -> tj.TransformsFile:
    return tj.TransformsFile(Path("scene/transforms.json"), contents, list(frames))


def test_lens_survives_its_keys():
    for lens in (LENS, tj.Lens(40, 30, 50.0, 52.0, 19.0, 16.0, (0.1, 0.2, 0.3, 0.4, 0.0, 0.0), fisheye=True)):
        assert tj.lens_of_frame(transforms({}, **lens.to_json()), 0) == lens
        assert tj.lens_of_frame(transforms(lens.to_json()), 0) == lens


def test_values_of_the_file_go_before_those_of_a_frame_as_in_nerfstudio():
    assert tj.lens_of_frame(transforms({"fl_x": 1.0}, fl_x=7.0, w=4, h=4), 0).fx == 7.0


def test_defaults_of_a_lens():
    lens = tj.lens_of_frame(transforms({}, camera_angle_x=math.pi / 2), 0, (30, 40))
    assert (lens.width, lens.height, lens.cx, lens.cy) == (40, 30, 20.0, 15.0)
    assert lens.fx == pytest.approx(20.0) and lens.fy == lens.fx
    assert tj.lens_of_frame(transforms({}, fl_y=9.0, w=4, h=4), 0).fx == 9.0
    listed = tj.lens_of_frame(transforms({}, fl_x=9.0, w=4, h=4, distortion_params=[1, 2, 3, 4, 5, 6]), 0)
    assert listed.distortion == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ({"fl_x": 9.0}, "has no w and h"),
        ({"fl_x": 9.0, "w": 4, "h": 4, "distortion_params": [1, 2]}, "distortion_params of frame 0 .* holds 2 numbers"),
        (
            {"fl_x": 9.0, "w": 4, "h": 4, "distortion_params": 5},
            "distortion_params of frame 0 .* is 5, expected a list",
        ),
        ({"fl_x": 9.0, "w": 4, "h": 4, "distortion_params": "none!!"}, "distortion_params .* is 'none!!', expected a"),
        ({"fl_x": "wide", "w": 4, "h": 4}, "fl_x of frame 0 .* is 'wide'"),
        ({"fl_x": 9.0, "w": 4, "h": 4, "k1": math.inf}, "distortion of frame 0 .* is inf"),
        ({"camera_angle_x": 4.0, "w": 4, "h": 4}, "has no fl_x"),
    ],
)
def test_bad_lenses(contents: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        tj.lens_of_frame(transforms({}, **contents), 0)


def test_another_size_and_a_reduction_scale_what_is_in_pixels():
    assert LENS.resized(80, 90) == tj.Lens(80, 90, 100.0, 156.0, 38.0, 48.0, LENS.distortion)
    assert LENS.reduced(4) == tj.Lens(10, 7, 12.5, 13.0, 4.75, 4.0, LENS.distortion)


def test_cameras_of_lenses():
    poses = np.tile(np.eye(4)[:3], (2, 1, 1))
    fisheye = tj.Lens(20, 10, 5.0, 5.0, 10.0, 5.0, fisheye=True)
    cameras = tj.nerfstudio_cameras(poses, [LENS, fisheye], 2)
    assert cameras.camera_type[:, 0].tolist() == [CameraType.PERSPECTIVE.value, CameraType.FISHEYE.value]
    assert cameras.width[:, 0].tolist() == [20, 10] and cameras.fy[:, 0].tolist() == [26.0, 2.5]
    assert cameras.distortion_params is not None
    torch.testing.assert_close(cameras.distortion_params[0], torch.tensor(LENS.distortion))
    assert tj.nerfstudio_cameras(poses[:1], [fisheye]).distortion_params is None


def test_files_of_frames(tmp_path: Path):
    pose = np.eye(4).tolist()
    frames = [{"file_path": name, "transform_matrix": pose, "mask_path": "m.png"} for name in ("a/b.JPG", "c")]
    (tmp_path / "x.json").write_text(json.dumps({"frames": frames, "train_filenames": ["c", "a/b.JPG"]}))
    read = tj.read_transforms(tj.find_transforms(tmp_path / "x.json"))
    images = tj.image_files(read)
    assert images == [tmp_path / "a/b.JPG", tmp_path / "c.png"]
    assert tj.files_of_key(read, "mask_path") == [tmp_path / "m.png"] * 2
    assert tj.files_of_key(read, "depth_file_path") is None
    assert tj.split_lists(read, images) == {"train": images[::-1]}
    assert tj.split_lists(read, images[:1]) == {"train": images[:1]}
    read.contents["test_filenames"] = ["d"]
    with pytest.raises(InputError, match="test_filenames of .* names d"):
        tj.split_lists(read, images)
    for wrong in (5, "c", {"c": 1}):
        read.contents["test_filenames"] = wrong
        with pytest.raises(InputError, match="test_filenames of .* is .*, expected a list"):
            tj.split_lists(read, images)


def test_boxes_matrices_and_numbers_of_the_file():
    turn = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]]
    read = transforms({}, scene_aabb=[0, 0, 0, 1, 2, 3], applied_transform=turn, applied_scale=2)
    np.testing.assert_array_equal(tj.scene_aabb_of_file(read), [[0, 0, 0], [1, 2, 3]])  # type: ignore[arg-type]
    np.testing.assert_allclose(tj.matrix_of_file(read, "applied_transform")[:3], turn)
    np.testing.assert_array_equal(tj.matrix_of_file(read, "other"), np.eye(4))
    assert tj.number_of_file(read, "applied_scale", 1.0) == 2 and tj.number_of_file(read, "other", 7.0) == 7
    for wrong in ([0] * 6, [0, 0, 0, 1, 1], "box", [0, 0, 0, 1, 1, math.nan]):
        with pytest.raises(InputError, match="expected xmin"):
            tj.require_aabb(wrong, "the box")
    with pytest.raises(InputError, match="applied_scale of .* is -1"):
        tj.number_of_file(transforms({}, applied_scale=-1), "applied_scale", 1.0)
