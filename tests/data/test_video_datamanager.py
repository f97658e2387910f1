"""Batches of a video: every frame equally often, held-out pixels never, colours and rays that belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_video import HEIGHT, NUM_FRAMES, WIDTH, toy_frames, write_video

from dataparsers.dnerf_rgba import DNeRFRGBADataParserConfig
from dataparsers.video import VideoDataParserConfig
from nf_plugins.data.held_out import HeldOut
from nf_plugins.data.video_datamanager import VideoDataManager, VideoDataManagerConfig, VideoPixelSampler
from nf_plugins.data.video_dataset import VideoDataset
from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import group_rows
from nf_plugins.model_components.picture_plane import PicturePlane

FRAMES = torch.from_numpy(toy_frames())
RAYS = 100


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "toy.mp4", toy_frames())


def datamanager_of(video: Path, rays: int = RAYS, **options: Any) -> VideoDataManager:
    config = VideoDataManagerConfig(
        dataparser=VideoDataParserConfig(data=video, **options),
        train_num_rays_per_batch=rays,
        eval_num_rays_per_batch=rays,
    )
    return config.setup(device="cpu", test_mode="test")


def test_a_batch_holds_every_frame_equally_often_and_in_order(video: Path) -> None:
    datamanager = datamanager_of(video)
    rays, batch = datamanager.next_train(0)
    frames, rows, columns = batch["indices"].unbind(-1)
    each = RAYS // NUM_FRAMES
    assert frames.tolist() == [frame for frame in range(NUM_FRAMES) for _ in range(each)]
    assert len(rays) == len(frames) == each * NUM_FRAMES
    torch.testing.assert_close(batch["image"], FRAMES[frames, rows, columns].float() / 255)
    assert rays.times is not None
    torch.testing.assert_close(rays.times[:, 0], frames / (NUM_FRAMES - 1))
    groups = group_rows(rays.times[:, 0])
    assert groups.gather is None and groups.capacity == each, "grouping by frame moves nothing"
    plane = PicturePlane(HEIGHT, WIDTH)
    coordinates, _, inside = plane.intersect(rays.origins, rays.directions)
    assert inside.all()
    expected = torch.stack([2 * rows / (HEIGHT - 1) - 1, 2 * columns / (WIDTH - 1) - 1], dim=-1)
    torch.testing.assert_close(coordinates, expected, rtol=0, atol=1e-6)


def drawn_pixels(datamanager: VideoDataManager, test: bool, batches: int) -> list[set[int]]:
    """Numbers of the pixels of each frame that come up in many batches."""
    drawn: list[set[int]] = [set() for _ in range(NUM_FRAMES)]
    for step in range(batches):
        _, batch = datamanager.next_eval(step) if test else datamanager.next_train(step)
        for frame, row, column in batch["indices"].tolist():
            drawn[frame].add(row * WIDTH + column)
    return drawn


def test_training_draws_all_training_pixels_and_no_held_out_one(video: Path) -> None:
    torch.manual_seed(0)
    datamanager = datamanager_of(video, rays=6000, held_out_fraction=0.3)
    held_out = datamanager.train_dataset.held_out
    pixels = drawn_pixels(datamanager, test=False, batches=4)
    for frame in range(NUM_FRAMES):
        test = set(held_out.test_pixels(frame).tolist())
        assert len(test) == int(0.3 * HEIGHT * WIDTH)
        assert pixels[frame] == set(range(HEIGHT * WIDTH)) - test
    evaluated = drawn_pixels(datamanager, test=True, batches=2)
    assert evaluated == [set(held_out.test_pixels(frame).tolist()) for frame in range(NUM_FRAMES)]


def test_held_out_frames_are_not_drawn(video: Path) -> None:
    torch.manual_seed(0)
    datamanager = datamanager_of(video, rays=4000, held_out="frames", held_out_fraction=0.34)
    test_frames = datamanager.eval_dataset.held_out.frames.tolist()
    assert len(test_frames) == 2
    trained = drawn_pixels(datamanager, test=False, batches=2)
    evaluated = drawn_pixels(datamanager, test=True, batches=2)
    for frame in range(NUM_FRAMES):
        whole = set(range(HEIGHT * WIDTH))
        assert trained[frame] == (set() if frame in test_frames else whole)
        assert evaluated[frame] == (whole if frame in test_frames else set())


def test_without_held_out_pixels_evaluation_draws_training_pixels(video: Path) -> None:
    datamanager = datamanager_of(video, held_out="none")
    _, batch = datamanager.next_eval(0)
    assert batch["indices"][:, 0].unique().tolist() == list(range(NUM_FRAMES))


def test_the_sequence_of_batches_follows_from_torch_s_generator(video: Path) -> None:
    datamanager = datamanager_of(video)
    torch.manual_seed(7)
    first = [datamanager.next_train(step)[1]["indices"] for step in range(2)]
    torch.manual_seed(7)
    second = [datamanager.next_train(step)[1]["indices"] for step in range(2)]
    assert torch.equal(torch.stack(first), torch.stack(second))
    assert not torch.equal(first[0], first[1])


def test_datasets_share_one_decoded_clip(video: Path) -> None:
    datamanager = datamanager_of(video, held_out="frames", held_out_fraction=0.34)
    train, test = datamanager.train_dataset, datamanager.eval_dataset
    assert isinstance(train, VideoDataset) and train.clip is test.clip
    assert datamanager._pixels.data_ptr() == train.clip.frames.data_ptr()
    assert len(train) + len(test) == NUM_FRAMES
    for index, frame in enumerate(test.clip_frames):
        torch.testing.assert_close(test[index]["image"], FRAMES[frame].float() / 255)
        data = test.get_data(index, image_type="uint8")
        assert torch.equal(data["image"], FRAMES[frame])
        data["image"][:] = 0
        assert test[index]["image"].sum() > 0, "what tools write into must not be the clip"
    camera, batch = next(iter(datamanager.fixed_indices_eval_dataloader))
    assert batch["image"].shape == (HEIGHT, WIDTH, 3) and float(camera.times) == test.clip_frames[0] / (NUM_FRAMES - 1)


def test_what_does_not_fit_is_said(video: Path, tiny_dnerf_scene: Path) -> None:
    with pytest.raises(
        InputError, match="train-num-rays-per-batch is 5, expected at least one for each of the 6 frames"
    ):
        datamanager_of(video, rays=5)
    config = VideoDataManagerConfig(dataparser=VideoDataParserConfig(data=video), camera_res_scale_factor=0.5)
    with pytest.raises(InputError, match="camera-res-scale-factor is 0.5, expected 1 for a video"):
        config.setup(device="cpu")
    config = VideoDataManagerConfig(dataparser=DNeRFRGBADataParserConfig(data=tiny_dnerf_scene))
    with pytest.raises(InputError, match="dnerf-rgba-data does not give; use video-data"):
        config.setup(device="cpu")


def test_a_limit_on_frames_draws_some_of_them_and_keeps_held_out_pixels_out() -> None:
    torch.manual_seed(0)
    held_out = HeldOut("pixels", 9, 40, 0.3, 42)
    sampler = VideoPixelSampler(held_out, 400, max_frames=4)
    seen = set()
    for _ in range(20):
        frames, pixels = sampler.sample()
        assert pixels.shape == (4, 100) and (frames.diff() > 0).all()
        seen |= set(frames.tolist())
        for frame, row in zip(frames.tolist(), pixels, strict=True):
            assert held_out.is_training(frame)[row].all()
    assert seen == set(range(9))
    test_frames, test_pixels = VideoPixelSampler(held_out, 400, test=True, max_frames=4).sample()
    for frame, row in zip(test_frames.tolist(), test_pixels, strict=True):
        assert not held_out.is_training(frame)[row].any()
    with pytest.raises(InputError, match="max-frames-per-batch"):
        VideoPixelSampler(held_out, 400, max_frames=0)
