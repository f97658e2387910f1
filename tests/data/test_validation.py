from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nf_plugins.data import validation
from nf_plugins.errors import InputError


def write_image(path: Path, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Path:
    rng = np.random.default_rng(0)
    channels = {"RGB": 3, "RGBA": 4}[mode]
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], channels), dtype=np.uint8)).save(path)
    return path


def test_header_of_whole_images(tmp_path: Path):
    assert validation.read_image_header(write_image(tmp_path / "a.png")) == (30, 40, False)
    assert validation.read_image_header(write_image(tmp_path / "b.png", "RGBA")) == (30, 40, True)
    assert validation.read_image_header(write_image(tmp_path / "c.jpg")) == (30, 40, False)


@pytest.mark.parametrize("kept", [0.0, 0.005, 0.3, 0.9, 0.995])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image_is_named(tmp_path: Path, kept: float, suffix: str):
    path = write_image(tmp_path / f"broken.{suffix}")
    contents = path.read_bytes()
    path.write_bytes(contents[: int(kept * len(contents))])
    with pytest.raises(InputError, match=f"broken.{suffix} cannot be read"):
        validation.read_image_headers([write_image(tmp_path / "good.png"), path], "Checking")


def test_damaged_and_missing_images_are_named(tmp_path: Path):
    path = write_image(tmp_path / "flipped.png")
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 0x10
    path.write_bytes(contents)
    with pytest.raises(InputError, match=r"flipped\.png cannot be read"):
        validation.read_image_header(path)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"text\.png cannot be read"):
        validation.read_image_header(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        validation.read_image_header(tmp_path / "gone.png")


def test_folders_and_files(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        validation.require_folder(tmp_path / "nowhere", "a scene")
    with pytest.raises(InputError, match="is empty"):
        validation.require_folder(tmp_path, "a scene")
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match=r"a\.txt is a file"):
        validation.require_folder(tmp_path / "a.txt", "a scene")
    with pytest.raises(InputError, match=r"no \*\.png file"):
        validation.require_files(tmp_path, "*.png", "images")
    (tmp_path / "2.png").touch()
    (tmp_path / "1.png").touch()
    (tmp_path / "._1.png").touch()
    assert [path.name for path in validation.require_files(tmp_path, "*.png", "images")] == ["1.png", "2.png"]


@pytest.mark.parametrize("wrong", [-0.01, 1.01, float("nan"), float("inf")])
def test_wrong_time_is_named(wrong: float):
    validation.require_times(torch.tensor([0.0, 1.0]), ["a", "b"])
    with pytest.raises(InputError, match="time of b is"):
        validation.require_times(torch.tensor([0.0, wrong]), ["a", "b"])


@pytest.mark.parametrize("count", [0, 1])
def test_one_frame_is_too_few(count: int):
    validation.require_distinct_frames(2, "scene")
    with pytest.raises(InputError, match="scene has"):
        validation.require_distinct_frames(count, "scene")


def test_json_errors_are_named(tmp_path: Path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json is no valid JSON"):
        validation.read_json(tmp_path / "a.json", "cameras")
    with pytest.raises(InputError, match=r"b\.json does not exist"):
        validation.read_json(tmp_path / "b.json", "cameras")


def test_archives_and_their_errors(tmp_path: Path):
    path = tmp_path / "a.npz"
    arrays = {"a": np.arange(600.0).reshape(20, 30), "b": np.array(["x"])}
    np.savez_compressed(path, **arrays)
    whole = path.read_bytes()
    read = validation.read_npz(path, "cameras")
    assert list(read) == ["a", "b"]
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)

    middle = len(whole) // 4  # in the deflated bytes of a
    damages = [whole[:-20], whole[:50], b"", b"text", whole[:middle] + b"\xff" * 8 + whole[middle + 8 :]]
    for content in damages:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.npz cannot be read .*NumPy archive with cameras"):
            validation.read_npz(path, "cameras")
    with path.open("wb") as file:
        np.save(file, arrays["a"])
    with pytest.raises(InputError, match=r"a\.npz cannot be read \(it holds a single array\)"):
        validation.read_npz(path, "cameras")
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"a\.npz cannot be read .*allow_pickle"):
        validation.read_npz(path, "cameras")
    with pytest.raises(InputError, match=r"b\.npz does not exist, expected cameras"):
        validation.read_npz(tmp_path / "b.npz", "cameras")


def test_natural_order():
    assert sorted(["cam_10", "cam_2", "cam_test"], key=validation.natural_key) == ["cam_2", "cam_10", "cam_test"]
