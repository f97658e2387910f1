from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ball_capture import BACKDROP, centre_at, photograph, ring_pose, write_video
from PIL import Image

from nf_plugins.data.processing.frame_sources import find_sources, open_source, read_frames, reduce_image, upright
from nf_plugins.errors import InputError


def images(number: int = 5) -> list[np.ndarray]:
    return [photograph(ring_pose(0.3), centre_at(0.1 * frame))[0] for frame in range(number)]


def write_images(folder: Path, number: int = 5) -> Path:
    folder.mkdir(parents=True)
    for frame, image in enumerate(images(number)):
        Image.fromarray(image).save(folder / f"{frame + 1}.png")
    return folder


def test_a_video_tells_the_time_of_every_frame_without_decoding(tmp_path: Path):
    source = open_source(write_video(tmp_path / "cam.mp4", images(), fps=12.5), image_fps=99.0)
    np.testing.assert_allclose(source.times, np.arange(5) / 12.5, atol=1e-4)
    assert source.fps == pytest.approx(12.5, rel=1e-3)


def test_chosen_frames_of_a_video_are_those_frames(tmp_path: Path):
    truth = images(8)
    source = open_source(write_video(tmp_path / "cam.mp4", truth), image_fps=10.0)
    chosen = [0, 3, 3, 7]
    for index, frame in zip(chosen, read_frames(source, chosen), strict=True):
        errors = [float(np.abs(frame.astype(float) - other).mean()) for other in truth]
        assert int(np.argmin(errors)) == index and min(errors) < 6


def test_folders_of_images_are_in_natural_order(tmp_path: Path):
    source = open_source(write_images(tmp_path / "cam", 12), image_fps=4.0)
    assert [path.stem for path in source.files] == [str(number) for number in range(1, 13)]
    np.testing.assert_allclose(source.times, np.arange(12) / 4)
    frames = list(read_frames(source, [1, 10]))
    np.testing.assert_array_equal(frames[1], images(12)[10])


def test_sources_are_found_by_name(tmp_path: Path):
    for name in ("cam10", "cam2"):
        write_video(tmp_path / f"{name}.MP4", images(2))
    write_images(tmp_path / "cam1", 2)
    (tmp_path / ".hidden.mp4").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    assert list(find_sources(tmp_path, "videos")) == ["cam1", "cam2", "cam10"]
    write_images(tmp_path / "cam2", 2)
    with pytest.raises(InputError, match="both of camera cam2"):
        find_sources(tmp_path, "videos")
    with pytest.raises(InputError, match="holds no video"):
        find_sources(tmp_path / "cam1", "videos")


def write_sound_without_picture(path: Path) -> None:
    import av

    with av.open(str(path), mode="w") as container:
        sound = container.add_stream("aac", rate=44100)
        picture = container.add_stream("libx264", rate=10)
        picture.height = picture.width = 16
        picture.pix_fmt = "yuv420p"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 44100, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def test_no_frames_no_video_and_damage_are_said(tmp_path: Path):
    write_sound_without_picture(tmp_path / "none.mkv")
    with pytest.raises(InputError, match="none.mkv has no frames"):
        open_source(tmp_path / "none.mkv", 10.0)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="text.mp4 cannot be read"):
        open_source(tmp_path / "text.mp4", 10.0)
    video = write_video(tmp_path / "cut.mp4", images(8))
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(InputError, match="cut.mp4"):
        list(read_frames(open_source(video, 10.0), list(range(8))))


def test_frames_of_changing_size_are_refused(tmp_path: Path):
    folder = write_images(tmp_path / "cam")
    Image.new("RGB", (20, 20)).save(folder / "3.png")
    with pytest.raises(InputError, match="Frame 2 of .*cam is 20x20 pixels, but earlier ones are 40x32"):
        list(read_frames(open_source(folder, 10.0), [0, 1, 2]))
    (folder / "2.png").write_text("no image")
    with pytest.raises(InputError, match="2.png cannot be read"):
        list(read_frames(open_source(folder, 10.0), [0, 1]))


def test_a_video_that_ends_early_is_said(tmp_path: Path):
    source = open_source(write_video(tmp_path / "cam.mp4", images(3)), image_fps=10.0)
    with pytest.raises(InputError, match="ends before its frame 5"):
        list(read_frames(source, [0, 5]))


def test_frames_are_turned_as_their_video_says():
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[0, 2] = 255
    assert upright(image, 0).shape == (2, 3, 3)
    turned = upright(image, 90)  # counter-clockwise: the right upper corner becomes the left upper one
    assert turned.shape == (3, 2, 3) and turned[0, 0, 0] == 255
    np.testing.assert_array_equal(upright(image, -90), upright(image, 270))


def test_reduction_averages_areas_and_cuts_off_the_rest():
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    small = reduce_image(image, 2)
    assert small.shape == (2, 3, 3)
    assert small[1, 2, 0] == round(image[2:4, 4:6, 0].mean())
    assert reduce_image(image, 1) is image
    assert tuple(images(1)[0][0, 0]) == BACKDROP
