"""video-data: cameras that see the picture plane, splits by protocol, one clip for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from toy_video import HEIGHT, NUM_FRAMES, WIDTH, toy_frames, write_images, write_video

from dataparsers.video import VideoDataParserConfig
from nf_plugins.data.layouts import layout_hint
from nf_plugins.errors import InputError

FRAMES = toy_frames()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "toy.mp4", FRAMES)


def outputs_of(video: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return VideoDataParserConfig(data=video, **options).setup().get_dataparser_outputs(split)


def test_every_frame_has_a_camera_with_its_time(video: Path) -> None:
    outputs = outputs_of(video)
    cameras = outputs.cameras
    assert cameras.times is not None and cameras.metadata is not None
    expected = torch.arange(NUM_FRAMES) / (NUM_FRAMES - 1)
    assert torch.equal(cameras.times[:, 0], expected)
    assert torch.equal(outputs.metadata["frame_times"], expected)
    assert cameras.height.unique().tolist() == [HEIGHT] and cameras.width.unique().tolist() == [WIDTH]
    assert cameras.metadata["camera_id"].tolist() == [[0]] * NUM_FRAMES
    assert outputs.metadata["fps"] == 10
    assert outputs.image_filenames == [video / f"{frame:06d}.png" for frame in range(NUM_FRAMES)]
    # Every corner of the picture is just inside the box that the viewer draws.
    torch.testing.assert_close(outputs.scene_box.aabb[1, :2], torch.tensor([WIDTH / 15, HEIGHT / 15]))


def test_the_first_pixel_is_at_minus_one(video: Path) -> None:
    """Known answer: x in the world is 2 column / 15 - 1 (16 columns are the longer side), y points up."""
    cameras = outputs_of(video).cameras
    rays = cameras.generate_rays(camera_indices=2, keep_shape=True)
    points = rays.origins - rays.directions * (rays.origins[..., 2:] / rays.directions[..., 2:])
    torch.testing.assert_close(points[0, 0], torch.tensor([-1.0, 11 / 15, 0.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(points[11, 15], torch.tensor([1.0, -11 / 15, 0.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(points[3, 4, 0], torch.tensor(2 * 4 / 15 - 1), rtol=0, atol=1e-6)
    assert rays.times is not None
    torch.testing.assert_close(rays.times.unique(), torch.tensor([0.4]))


def test_splits_of_held_out_pixels_are_all_frames(video: Path) -> None:
    parser = VideoDataParserConfig(data=video).setup()
    train, val, test = (parser.get_dataparser_outputs(split) for split in ("train", "val", "test"))
    for outputs in (train, val, test):
        assert len(outputs.cameras) == len(outputs.image_filenames) == NUM_FRAMES
        assert outputs.metadata["video_clip"] is train.metadata["video_clip"]
        assert outputs.metadata["held_out"] is train.metadata["held_out"]
    assert train.metadata["held_out"].pixels.shape == (NUM_FRAMES, int(0.1 * HEIGHT * WIDTH))
    assert "0.1 of the pixels of every frame held out, seed 42" in test.metadata["protocol_note"]
    drawn = np.random.RandomState(42).choice(HEIGHT * WIDTH, 19, replace=False)
    assert train.metadata["held_out"].test_pixels(0).tolist() == sorted(drawn.tolist())


def test_splits_of_held_out_frames_share_the_line_of_times(video: Path) -> None:
    options = {"held_out": "frames", "held_out_fraction": 0.4, "held_out_seed": 3}
    train, test = (outputs_of(video, split, **options) for split in ("train", "test"))
    held_out = sorted(np.random.RandomState(3).choice(NUM_FRAMES, 2, replace=False).tolist())
    assert test.metadata["clip_frames"].tolist() == held_out
    assert train.metadata["clip_frames"].tolist() == [frame for frame in range(NUM_FRAMES) if frame not in held_out]
    assert [int(path.stem) for path in test.image_filenames] == held_out
    assert test.cameras.times is not None
    torch.testing.assert_close(test.cameras.times[:, 0], torch.tensor(held_out) / (NUM_FRAMES - 1))
    for outputs in (train, test):
        assert len(outputs.metadata["frame_times"]) == NUM_FRAMES
    assert test.metadata["protocol_note"] == "0.4 of the frames held out, seed 3"


def test_nothing_held_out(video: Path) -> None:
    for split in ("train", "test"):
        outputs = outputs_of(video, split, held_out="none")
        assert len(outputs.cameras) == NUM_FRAMES
        assert "nothing is held out" in outputs.metadata["protocol_note"]


def test_reduced_frames_have_reduced_cameras(video: Path) -> None:
    outputs = outputs_of(video, downscale_factor=3, num_frames=3, start_frame=1, frame_stride=2)
    assert outputs.metadata["picture_size"] == (4, 5)
    assert int(outputs.cameras.width[0]) == 5 and float(outputs.cameras.cx[0]) == 2.5
    assert outputs.metadata["frame_times"].tolist() == [0.0, 0.5, 1.0]
    assert [path.stem for path in outputs.image_filenames] == ["000001", "000003", "000005"]


def test_frames_per_second_can_be_given(video: Path, tmp_path: Path) -> None:
    assert outputs_of(video, frame_stride=2).metadata["fps"] == 5
    assert outputs_of(video, fps=30.0).metadata["fps"] == 30
    folder = write_images(tmp_path / "frames", FRAMES)
    outputs = outputs_of(folder)
    assert outputs.metadata["fps"] is None
    assert outputs.image_filenames[1] == folder / "frame_1.png"
    assert outputs_of(folder, fps=12.0).metadata["fps"] == 12
    with pytest.raises(InputError, match="--fps is 0"):
        outputs_of(video, fps=0.0)


def test_wrong_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        outputs_of(tmp_path / "nowhere.mp4")
    np.save(tmp_path / "none.npy", FRAMES[:0])
    with pytest.raises(InputError, match="holds 0 frames"):
        outputs_of(tmp_path / "none.npy")


def test_nf_check_data_reads_it(video: Path) -> None:
    from nf_plugins.data.check import check_capture

    report = check_capture(VideoDataParserConfig(data=video, downscale_factor=2), "video-data")
    assert report.splits["train"].resolutions == {"8x6": NUM_FRAMES}
    assert report.splits["test"].rays_in_box == 1.0
    assert report.time_spacing == pytest.approx((0.2, 0.2, 0.2))


def test_videos_are_recognised_where_another_dataparser_was_asked(
    video: Path, tiny_owlii_scene: Path, tmp_path: Path
) -> None:
    assert layout_hint(video, "owlii-data") == "It looks like a video file; use video-data."
    assert layout_hint(video, "video-data") == ""
    folder = write_images(tmp_path / "frames", FRAMES)
    assert "the frames of a video; use video-data" in layout_hint(folder, "owlii-data")
    assert layout_hint(tmp_path, "owlii-data") == "", "a folder of images says little about what is around it"
    assert f"give --data {folder.resolve()}" in layout_hint(tmp_path, "video-data")
    # Images of a camera belong to a scene rather than to a video.
    assert "video" not in layout_hint(tiny_owlii_scene / "cam_test", "owlii-data")
