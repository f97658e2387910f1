from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ball_capture import LENS, NUM_FRAMES, OPENCV, centre_at, photograph, ring_poses, write_recording, write_video
from PIL import Image

from nf_plugins.data.processing.rgbd_recording import read_depth, read_recording
from nf_plugins.errors import InputError


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "recording")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    contents = json.loads((folder / "cameras.json").read_text())
    change(contents)
    (folder / "cameras.json").write_text(json.dumps(contents))
    return folder


def test_cameras_and_files(recording: Path):
    cameras = read_recording(recording, (), 30.0)
    assert [camera.name for camera in cameras] == ["cam1", "cam2", "cam3"]
    assert [len(camera.camera_to_worlds) for camera in cameras] == [NUM_FRAMES, 1, 1]
    np.testing.assert_allclose(cameras[2].pose(3), ring_poses(3)["cam3"] @ OPENCV, atol=1e-9)
    assert not np.allclose(cameras[0].pose(3), cameras[0].pose(0))
    color, depth = next(cameras[1].frames([2]))
    truth, mask, z = photograph(ring_poses(3)["cam2"], centre_at(0.2))
    np.testing.assert_array_equal(color, truth)
    right = depth == np.round(1000 * np.where(mask, z, 9.0))
    assert right.mean() > 0.95


def test_npz_and_separate_numbers_and_inverse_poses_say_the_same(recording: Path):
    before = read_recording(recording, (), 30.0)
    entries = json.loads((recording / "cameras.json").read_text())
    arrays = {f"{name}_{key}": np.array(value) for name, entry in entries.items() for key, value in entry.items()}
    (recording / "cameras.json").unlink()
    np.savez(recording / "cameras.npz", **arrays)
    for one, other in zip(before, read_recording(recording, (), 30.0), strict=True):
        np.testing.assert_array_equal(one.intrinsics, other.intrinsics)
        np.testing.assert_array_equal(one.camera_to_worlds, other.camera_to_worlds)
    for entry in entries.values():
        matrix = np.array(entry.pop("K"))
        entry.update(fx=matrix[0, 0], fy=matrix[1, 1], cx=matrix[0, 2], cy=matrix[1, 2])
        entry["world_to_camera"] = np.linalg.inv(np.array(entry.pop("camera_to_world"))).tolist()
    (recording / "cameras.json").write_text(json.dumps(entries))
    for one, other in zip(before, read_recording(recording, (), 30.0), strict=True):
        np.testing.assert_allclose(one.camera_to_worlds, other.camera_to_worlds, atol=1e-9)
        np.testing.assert_array_equal(one.intrinsics, other.intrinsics)


def test_colour_may_be_a_video(recording: Path):
    import shutil

    images = [np.asarray(Image.open(recording / f"cam2/color/{frame}.png")) for frame in range(NUM_FRAMES)]
    shutil.rmtree(recording / "cam2" / "color")
    write_video(recording / "cam2" / "color.mp4", images)
    camera = read_recording(recording, ("cam2",), 30.0)[0]
    color, _ = next(camera.frames([3]))
    assert np.abs(color.astype(float) - images[3]).mean() < 6


def test_distortion_is_taken_out_of_colour_and_depth(recording: Path):
    coefficients = [0.2, -0.05, 0.001, -0.002, 0.0]
    camera = read_recording(edit(recording, lambda c: c["cam2"].update(distortion=coefficients)), ("cam2",), 30.0)[0]
    undistort = camera.undistorter()
    columns = np.tile(np.arange(LENS.width, dtype=np.float32) * 100, (LENS.height, 1))
    straight = undistort(columns.astype(np.uint16), False)
    # Where a pixel of the new image lies in the old one, by OpenCV's own projection.
    point = np.array([(30 - camera.intrinsics[0, 2]) / LENS.fx, (20 - camera.intrinsics[1, 2]) / LENS.fy, 1.0])
    pixel = cv2.projectPoints(point[None], np.zeros(3), np.zeros(3), camera.intrinsics, np.array(coefficients))[0]
    assert straight[20, 30] == pytest.approx(100 * round(float(pixel[0, 0, 0])), abs=1)
    plain = read_recording(recording, ("cam3",), 30.0)[0].undistorter()
    assert plain(columns, True) is columns


def drop(name: str) -> Callable[[Path], object]:
    def remove(folder: Path) -> None:
        for path in (folder / "cam2" / name).iterdir():
            path.unlink()

    return remove


def entry(**values: Any) -> Callable[[Path], object]:
    return lambda folder: edit(folder, lambda contents: contents["cam2"].update(values))


BAD_RECORDINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no cameras": (lambda f: (f / "cameras.json").unlink(), "holds no cameras.json and no cameras.npz"),
    "no JSON": (lambda f: (f / "cameras.json").write_text("{"), "cameras.json is no valid JSON"),
    "a list": (lambda f: (f / "cameras.json").write_text("[1]"), "is no object with an entry per camera"),
    "empty": (lambda f: (f / "cameras.json").write_text("{}"), "names no camera"),
    "no K": (lambda f: edit(f, lambda c: c["cam2"].pop("K")), "camera cam2 of .* has no fx"),
    "K of another shape": (entry(K=[[1, 2], [3, 4]]), r"K of cam2 .* has the shape \(2, 2\)"),
    "skew": (entry(K=[[60, 5, 20], [0, 60, 16], [0, 0, 1]]), "K of cam2 .* has a skew"),
    "no pose": (lambda f: edit(f, lambda c: c["cam2"].pop("camera_to_world")), "camera cam2 .* has 0 poses"),
    "NaN pose": (entry(camera_to_world=[[float("nan")] * 4] * 4), "camera_to_world 0 of cam2 .* holds NaN"),
    "ragged pose": (entry(camera_to_world=[[1], [2, 3]]), "camera_to_world 0 of cam2"),
    "distortion": (entry(distortion=[1, 2, 3]), "distortion of cam2 .* has 3 numbers"),
    "no folder": (lambda f: edit(f, lambda c: c.update(cam9=c["cam2"])), "cam9 does not exist"),
    "no depth": (drop("depth"), "depth is empty"),
    "no colour": (drop("color"), "color holds no images"),
}


@pytest.mark.parametrize("name", BAD_RECORDINGS)
def test_bad_recordings_get_their_sentence(recording: Path, name: str):
    damage, says = BAD_RECORDINGS[name]
    damage(recording)
    with pytest.raises(InputError, match=says):
        read_recording(recording, (), 30.0)


def test_depth_must_be_of_16_bit_and_of_the_colours_size(recording: Path, shared_data: Path):
    path = recording / "cam2" / "depth" / "1.png"
    camera = read_recording(recording, ("cam2",), 30.0)[0]
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(path)
    with pytest.raises(
        InputError, match="1.png is 20x20 pixels, but its colour image is 40x32, expected depth aligned"
    ):
        list(camera.frames([0, 1]))
    Image.new("L", (40, 32)).save(path)
    with pytest.raises(InputError, match="1.png has uint8 values"):
        read_depth(path)
    path.write_text("no image")
    with pytest.raises(InputError, match="1.png cannot be read"):
        read_depth(path)
    real = read_depth(shared_data / "flow/deepdeform/seq258/depth/000000.png")
    assert real.dtype == np.uint16 and 500 < float(np.median(real[real > 0])) < 5000
