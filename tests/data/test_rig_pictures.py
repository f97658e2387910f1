from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from neural3dv_scene import write_neural3dv_ball

from nf_plugins.data.processing.frame_sources import FrameSource, open_source, read_frames
from nf_plugins.data.rig_pictures import VideoPictures, camera_and_frame, picture_name

FRAMES = [1, 3, 4]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FrameSource]:
    root = write_neural3dv_ball(tmp_path_factory.mktemp("videos") / "beef")
    return {path.stem: open_source(path, 30.0) for path in sorted(root.glob("*.mp4"))}


def name_of(sources: dict[str, FrameSource], camera: str, frame: int) -> Path:
    return picture_name(sources[camera].path, camera, frame)


def test_names_say_camera_and_frame(sources: dict[str, FrameSource]) -> None:
    assert camera_and_frame(name_of(sources, "cam02", 3)) == ("cam02", 3)


def test_frames_are_the_videos(sources: dict[str, FrameSource]) -> None:
    pictures = VideoPictures(sources, FRAMES, (32, 40))
    expected = list(read_frames(sources["cam02"], FRAMES))
    for frame, image in zip(FRAMES, expected, strict=True):
        np.testing.assert_array_equal(pictures.image(name_of(sources, "cam02", frame)), image)
    halved = VideoPictures(sources, FRAMES, (16, 20), 0.5)
    means = expected[1].reshape(16, 2, 20, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(halved.image(name_of(sources, "cam02", 3)), means, atol=0.51)
    with pytest.raises(ValueError, match="was not chosen"):
        pictures.image(name_of(sources, "cam02", 0))


def test_a_camera_is_decoded_once_and_the_oldest_are_dropped(
    sources: dict[str, FrameSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    original = VideoPictures._decode

    def counted(self: VideoPictures, camera: str) -> np.ndarray:
        decoded.append(camera)
        return original(self, camera)

    monkeypatch.setattr(VideoPictures, "_decode", counted)
    pictures = VideoPictures(sources, FRAMES, (32, 40), most_bytes=0)
    with ThreadPoolExecutor(8) as pool:
        names = [name_of(sources, camera, frame) for camera in ("cam00", "cam01") for frame in FRAMES]
        list(pool.map(pictures.image, names))
    assert sorted(decoded) == ["cam00", "cam01"]
    pictures.image(name_of(sources, "cam02", 1))
    assert len(pictures._decoded) == 2 and "cam02" in pictures._decoded
    roomy = VideoPictures(sources, FRAMES, (32, 40))
    for camera in sources:
        roomy.image(name_of(sources, camera, 1))
    assert len(roomy._decoded) == 4
    assert roomy.num_bytes == sum(frames.nbytes for frames in roomy._decoded.values())


def test_copies_share_what_is_decoded(sources: dict[str, FrameSource]) -> None:
    pictures = VideoPictures(sources, FRAMES, (32, 40))
    assert copy.deepcopy(pictures) is pictures
    name = name_of(sources, "cam01", 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pictures)).image(name), pictures.image(name))
