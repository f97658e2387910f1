from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ball_capture import LENS, ring_poses, views
from PIL import Image

from nf_plugins.data import transforms_json as tj
from nf_plugins.data.writers.nerfstudio_time_writer import TimedView, write_nerfstudio_time_scene


def test_everything_comes_back(tmp_path: Path):
    lenses = {"cam1": LENS, "cam2": replace(LENS, fx=70.0, distortion=(0.1, 0, 0, 0, 0, 0))}
    truth = list(views(2, mask=True, depth=True))
    path = write_nerfstudio_time_scene(tmp_path / "scene", lenses, iter(truth), time_unit="seconds")
    read = tj.read_transforms(path)
    assert read.contents["time_unit"] == "seconds" and read.contents["camera_model"] == "OPENCV"
    np.testing.assert_allclose(
        tj.camera_poses(read), np.stack([view.camera_to_world[:3] for view in truth]), atol=1e-12
    )
    np.testing.assert_array_equal(tj.times_of_frames(read), [view.time for view in truth])
    images, masks, depths = (
        tj.image_files(read), tj.files_of_key(read, "fg_mask_path"), tj.files_of_key(read, "depth_file_path"),
    )  # fmt: skip
    assert masks is not None and depths is not None
    for index, view in enumerate(truth):
        assert tj.lens_of_frame(read, index) == lenses[view.camera]
        np.testing.assert_array_equal(np.asarray(Image.open(images[index])), view.image)
        np.testing.assert_array_equal(np.asarray(Image.open(masks[index])), 255 * view.mask)  # type: ignore[operator]
        np.testing.assert_array_equal(np.asarray(Image.open(depths[index])), view.depth)


def test_a_lens_that_all_share_stands_once(tmp_path: Path):
    path = write_nerfstudio_time_scene(tmp_path, dict.fromkeys(ring_poses(2), LENS), views(2))
    contents = json.loads(path.read_text())
    assert contents["fl_x"] == LENS.fx
    assert set(contents["frames"][0]) == {"file_path", "time", "camera", "transform_matrix"}


@pytest.mark.parametrize("channels", [3, 4])
def test_jpeg_and_alpha(tmp_path: Path, channels: int):
    image = np.full((8, 8, channels), 200, dtype=np.uint8)
    view = TimedView("a", 0.0, image, np.eye(4))
    write_nerfstudio_time_scene(tmp_path, {"a": LENS}, [view], image_format="jpg")
    with Image.open(tmp_path / "images/a/000000.jpg") as written:
        assert written.mode == "RGB"
    write_nerfstudio_time_scene(tmp_path, {"a": LENS}, [view])
    with Image.open(tmp_path / "images/a/000000.png") as written:
        assert written.mode == ("RGB", "RGBA")[channels - 3]
