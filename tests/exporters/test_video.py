"""Frames written are frames read back, and a failure leaves what was there."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from nf_plugins.errors import InputError
from nf_plugins.exporters import video
from nf_plugins.exporters.video import check_frame_output, frame_writer


def frames(count: int = 7, height: int = 33, width: int = 46) -> list[np.ndarray]:
    """Grey images, brighter and brighter, with a red left half."""
    result = []
    for index in range(count):
        frame = np.full((height, width, 3), 30 + 25 * index, dtype=np.uint8)
        frame[:, : width // 2] = (200, 20, 20)
        result.append(frame)
    return result


def write(path: Path, images: list[np.ndarray], fps: float = 10.0) -> None:
    with frame_writer(path, fps) as add_frame:
        for image in images:
            add_frame(image)


def test_mp4_without_the_ffmpeg_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_ffmpeg_is_there", lambda: False)
    path = tmp_path / "new" / "movie.mp4"
    write(path, frames())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == 10.0
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
    assert len(decoded) == 7 and decoded[0].shape == (34, 46, 3)
    for image, read in zip(frames(), decoded, strict=True):
        assert np.abs(image[16, 40].astype(int) - read[16, 40]).max() < 8
        assert read[16, 5, 0] > 180 and read[16, 5, 1] < 60
    assert [file.name for file in path.parent.iterdir()] == ["movie.mp4"]


@pytest.mark.skipif(not video._ffmpeg_is_there(), reason="there is no ffmpeg program")
def test_mp4_with_the_ffmpeg_program(tmp_path: Path) -> None:
    write(tmp_path / "movie.mp4", frames())
    with av.open(str(tmp_path / "movie.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 7


def test_gif(tmp_path: Path) -> None:
    write(tmp_path / "movie.gif", frames(4))
    with Image.open(tmp_path / "movie.gif") as image:
        assert image.n_frames == 4 and image.size == (46, 33)
        assert image.info["duration"] == 100 and image.info["loop"] == 0
        image.seek(3)
        assert np.abs(np.asarray(image.convert("RGB"))[16, 40].astype(int) - 105).max() < 8


def test_folder_of_pngs_is_exact_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    write(tmp_path / "movie", frames(5))
    write(tmp_path / "movie", frames(3))
    names = sorted(file.name for file in (tmp_path / "movie").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "movie" / "00002.png")), frames()[2])


@pytest.mark.parametrize("name", ["movie.mp4", "movie.gif", "movie"])
def test_an_error_leaves_the_earlier_output_and_no_temporary(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path, frames(2))
    before = path.read_bytes() if path.is_file() else sorted(file.name for file in path.iterdir())
    with pytest.raises(RuntimeError, match="stop"), frame_writer(path, 10.0) as add_frame:
        add_frame(frames()[0])
        raise RuntimeError("stop")
    assert (path.read_bytes() if path.is_file() else sorted(file.name for file in path.iterdir())) == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_bad_outputs_are_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"movie.avi: unknown video format .avi"):
        check_frame_output(tmp_path / "movie.avi")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("keep me")
    with pytest.raises(InputError, match="something else than rendered frames"):
        check_frame_output(tmp_path / "notes")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="not writable"):
        check_frame_output(tmp_path / "file" / "movie.mp4")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "notes"]
