"""Decoding: files, arrays and folders give the same frames; wrong ones give a sentence."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_video import toy_frames, write_images, write_video

from nf_plugins.data import video_clip
from nf_plugins.data.video_clip import ClipSelection, open_clip
from nf_plugins.errors import InputError

FRAMES = toy_frames(num_frames=12)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "toy.mp4", FRAMES)


def test_a_video_file(video: Path) -> None:
    clip = open_clip(video, ClipSelection())
    assert clip.frames.dtype == torch.uint8
    np.testing.assert_array_equal(clip.frames.numpy(), FRAMES)
    assert clip.fps == 10 and clip.size == FRAMES.shape[1:3] and clip.num_frames == 12
    assert clip.names[3] == video / "000003.png"
    np.testing.assert_array_equal(clip.pixels().numpy(), FRAMES.reshape(12, -1, 3))


def test_a_part_of_a_video_file(video: Path) -> None:
    clip = open_clip(video, ClipSelection(start_frame=2, num_frames=3, frame_stride=4))
    np.testing.assert_array_equal(clip.frames.numpy(), FRAMES[[2, 6, 10]])
    assert [name.stem for name in clip.names] == ["000002", "000006", "000010"]
    assert clip.fps == 2.5
    rest = open_clip(video, ClipSelection(start_frame=9))
    np.testing.assert_array_equal(rest.frames.numpy(), FRAMES[9:])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_flags_are_applied(tmp_path: Path, turns: int) -> None:
    path = write_video(tmp_path / "turned.mp4", np.ascontiguousarray(np.rot90(FRAMES, turns, axes=(1, 2))))
    content = path.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    start = content.index(upright, content.index(b"tkhd"))  # the track's matrix
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    turned = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:start] + turned + content[start + len(upright) :])
    clip = open_clip(path, ClipSelection())
    np.testing.assert_array_equal(clip.frames.numpy(), FRAMES)


def test_arrays_of_either_type(tmp_path: Path) -> None:
    np.save(tmp_path / "bytes.npy", FRAMES)
    np.save(tmp_path / "floats.npy", FRAMES.astype(np.float64) / 255)
    for name in ("bytes.npy", "floats.npy"):
        clip = open_clip(tmp_path / name, ClipSelection(frame_stride=2))
        np.testing.assert_array_equal(clip.frames.numpy(), FRAMES[::2])
        assert clip.fps is None


def test_a_folder_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", FRAMES)
    (folder / "notes.txt").write_text("not a frame")
    (folder / ".frame_0.png").write_text("not a frame either")
    clip = open_clip(folder, ClipSelection())
    np.testing.assert_array_equal(clip.frames.numpy(), FRAMES)
    assert [name.name for name in clip.names[-2:]] == ["frame_10.png", "frame_11.png"]


def test_reduction_averages_areas_and_cuts_what_does_not_fill_a_pixel(tmp_path: Path) -> None:
    np.save(tmp_path / "toy.npy", FRAMES)
    clip = open_clip(tmp_path / "toy.npy", ClipSelection(downscale_factor=5))
    areas = FRAMES[:, :10, :15].astype(float).reshape(12, 2, 5, 3, 5, 3)
    np.testing.assert_allclose(clip.frames.numpy(), areas.mean(axis=(2, 4)), atol=0.501)
    assert clip.size == (2, 3)


def test_a_clip_is_decoded_once_while_somebody_holds_it(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_clip(video, ClipSelection(num_frames=5))
    with monkeypatch.context() as patch:
        patch.setattr(video_clip, "read_video", lambda *_: pytest.fail("decoded twice"))
        assert open_clip(video, ClipSelection(num_frames=5)) is first
    assert open_clip(video, ClipSelection(num_frames=4)) is not first
    assert deepcopy({"clip": first})["clip"] is first
    keys = len(video_clip._clips_in_use)
    del first
    gc.collect()
    assert len(video_clip._clips_in_use) < keys


def test_a_truncated_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.RandomState(0).randint(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "whole.mp4", noise, movflags="faststart")
    content = path.read_bytes()
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(content[: len(content) // 2])
    clip = open_clip(torn, ClipSelection())
    assert 2 <= clip.num_frames < 20
    output = " ".join(capsys.readouterr().out.split())
    assert f"announces 20 frames, but only {clip.num_frames} could be decoded" in output


def test_memory_is_said_and_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "toy.npy", FRAMES)
    monkeypatch.setattr(video_clip, "available_bytes", lambda device: 100)
    open_clip(tmp_path / "toy.npy", ClipSelection())
    output = " ".join(capsys.readouterr().out.split())
    assert "12 frames of 16x12, 0.00 GB on cpu" in output
    assert "Warning: 12 frames of 16x12 need" in output and "raise --downscale-factor" in output


def test_more_frames_than_the_file_announces() -> None:
    """A container that does not tell its length announces 0 frames."""
    store = video_clip.FrameStore(Path("stream"), expected_frames=0, downscale_factor=1)
    for index, frame in enumerate(FRAMES):
        store.add(frame, f"Frame {index}")
    np.testing.assert_array_equal(store.frames().numpy(), FRAMES)
    with pytest.raises(InputError, match="Frame 12 of stream is 12x16 pixels, but the frames before are 16x12"):
        store.add(FRAMES[0].transpose(1, 0, 2), "Frame 12")


def folder_of_two_sizes(path: Path) -> None:
    write_images(path, FRAMES[:3])
    Image.fromarray(FRAMES[0, :6]).save(path / "frame_2.png")


def folder_with_a_torn_image(path: Path) -> None:
    write_images(path, FRAMES[:3])
    torn = path / "frame_1.png"
    torn.write_bytes(torn.read_bytes()[:-30])


def sound(path: Path) -> None:
    import av

    with av.open(str(path), mode="w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


BAD_DATA: list[tuple[str, Callable[[Path], object], str]] = [
    ("nowhere.mp4", lambda path: None, "nowhere.mp4 does not exist"),
    ("empty.mp4", lambda path: path.write_bytes(b""), r"empty.mp4 cannot be read \(Invalid data.*\), expected"),
    ("text.mp4", lambda path: path.write_text("no video" * 99), "text.mp4 cannot be read"),
    ("sound.mp4", sound, "holds no video stream"),
    ("zero.npy", lambda path: np.save(path, FRAMES[:0]), "holds 0 frames, 0 of them"),
    ("one.npy", lambda path: np.save(path, FRAMES[:1]), "holds 1 frame, 1 of them .* at least two"),
    ("one.mp4", lambda path: write_video(path, FRAMES[:1]), "holds 1 frame, 1 of them"),
    ("flat.npy", lambda path: np.save(path, FRAMES[0]), r"\(12, 16, 3\) of uint8, expected \(T, H, W, 3\)"),
    ("int.npy", lambda path: np.save(path, FRAMES.astype(int)), "of int64, expected"),
    ("large.npy", lambda path: np.save(path, FRAMES.astype(np.float32)), "Frame 0 .* values from 26 to .*: scale them"),
    ("nan.npy", lambda path: np.save(path, np.full((3, 4, 4, 3), np.nan)), "values from nan to nan"),
    ("broken.npy", lambda path: path.write_bytes(b"\x93NUMPY"), "broken.npy cannot be read"),
    ("thin.npy", lambda path: np.save(path, FRAMES[:, :1]), "are 16x1 pixels, expected at least 2x2"),
    ("void", lambda path: path.mkdir(), "void is empty, expected the frames of a video"),
    ("sizes", folder_of_two_sizes, "frame_2.png is 16x6 pixels, but frame_0.png is 16x12, expected one size"),
    ("torn", folder_with_a_torn_image, "frame_1.png cannot be read"),
]


@pytest.mark.parametrize(("name", "write", "message"), BAD_DATA, ids=[name for name, _, _ in BAD_DATA])
def test_bad_data(tmp_path: Path, name: str, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=message):
        open_clip(tmp_path / name, ClipSelection())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 13}, "holds 12 frames, 12 of them .* but --num-frames asks for 13"),
        ({"num_frames": 5, "frame_stride": 3}, "4 of them from frame 0 on in steps of 3, but"),
        ({"start_frame": 11}, "1 of them from frame 11 on .* at least two"),
        ({"start_frame": 40}, "holds 12 frames, 0 of them"),
        ({"num_frames": 1}, "--num-frames is 1, expected at least 2"),
        ({"start_frame": -1}, "--start-frame is -1"),
        ({"frame_stride": 0}, "--frame-stride is 0"),
        ({"downscale_factor": 0}, "--downscale-factor is 0"),
        ({"downscale_factor": 99}, "--downscale-factor 99 leaves nothing of an image of 16x12"),
    ],
)
@pytest.mark.parametrize("kind", ["video", "array", "folder"])
def test_selections_that_the_data_do_not_hold(
    video: Path, tmp_path: Path, kind: str, options: dict[str, int], message: str
) -> None:
    path = video
    if kind == "array":
        path = tmp_path / "toy.npy"
        np.save(path, FRAMES)
    elif kind == "folder":
        path = write_images(tmp_path / "frames", FRAMES)
    with pytest.raises(InputError, match=message):
        open_clip(path, ClipSelection(**options))


def test_a_folder_without_images_names_the_dataparser_that_reads_it(tiny_owlii_scene: Path) -> None:
    with pytest.raises(InputError, match="holds no image.* use owlii-data"):
        open_clip(tiny_owlii_scene, ClipSelection())


def test_real_clip(shared_data: Path) -> None:
    clip = open_clip(shared_data / "video" / "bikes.mp4", ClipSelection(num_frames=3, downscale_factor=8))
    assert clip.frames.shape == (3, 34, 80, 3)
    assert clip.fps == 25
    assert 20 < clip.frames.float().mean() < 235
