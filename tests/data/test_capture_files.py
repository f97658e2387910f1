from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nf_plugins.data import transforms_json as tj
from nf_plugins.data import validation
from nf_plugins.data.capture_files import MaskFiles, MaskMeaning, find_depths, find_masks
from nf_plugins.errors import InputError


def capture(folder: Path, mode: str = "RGB", **keys: str) -> tj.TransformsFile:
    """Two images with further files, which a pattern with {} for the number names under every key."""
    frames = []
    for number in range(2):
        Image.new(mode, (8, 6)).save(folder / f"{number}.png")
        frame = {"file_path": f"{number}.png"}
        for key, pattern in keys.items():
            frame[key] = pattern.format(number)
            mask = np.zeros((6, 8), dtype=np.uint8)
            mask[:, number + 1 :] = 255
            Image.fromarray(mask).save(folder / frame[key])
        frames.append(frame)
    return tj.TransformsFile(folder / "transforms.json", {}, frames)


def masks(transforms: tj.TransformsFile, meaning: MaskMeaning = "foreground") -> MaskFiles:
    images = tj.image_files(transforms)
    headers = [validation.read_image_header(image) for image in images]
    return find_masks(transforms, np.arange(2), images, headers, meaning)


def test_meanings_of_masks(tmp_path: Path):
    both = capture(tmp_path, mask_path="m{}.png", fg_mask_path="f{}.png")
    found = masks(both, "not_sampled")
    assert found.foreground == [tmp_path / "f0.png", tmp_path / "f1.png"]
    assert found.not_sampled == [tmp_path / "m0.png", tmp_path / "m1.png"]
    assert found.source == "first_channel_positive"
    np.testing.assert_array_equal(found.read_foreground(1)[0], [False, False] + [True] * 6)
    with pytest.raises(InputError, match="both mask_path and fg_mask_path"):
        masks(both)
    one = capture(tmp_path, mask_path="m{}.png")
    assert masks(one).foreground == found.not_sampled and masks(one).not_sampled is None
    assert masks(one, "not_sampled").foreground is None


def test_masks_that_went_through_jpeg_are_cut_at_half(tmp_path: Path):
    found = masks(capture(tmp_path, fg_mask_path="f{}.jpg"))
    assert found.source == "any_channel_above_half"
    np.testing.assert_array_equal(found.read_foreground(0)[0], [False] + [True] * 7)


def test_alpha_is_the_mask_where_there_is_no_other(tmp_path: Path):
    found = masks(capture(tmp_path, "RGBA"))
    assert found.source == "alpha" and found.foreground == [tmp_path / "0.png", tmp_path / "1.png"]
    assert masks(capture(tmp_path, "RGBA", fg_mask_path="f{}.png")).source == "first_channel_positive"
    mixed = capture(tmp_path, "RGBA")
    Image.new("RGB", (8, 6)).save(tmp_path / "1.png")
    with pytest.raises(InputError, match="1.png has no alpha channel"):
        masks(mixed)
    assert masks(capture(tmp_path)).foreground is None


def test_depths_are_images_of_the_images_size(tmp_path: Path):
    def depths(transforms: tj.TransformsFile) -> list[Path] | None:
        images = tj.image_files(transforms)
        return find_depths(transforms, np.arange(2), images, [validation.read_image_header(path) for path in images])

    assert depths(capture(tmp_path)) is None
    found = capture(tmp_path, depth_file_path="d{}.png")
    assert depths(found) == [tmp_path / "d0.png", tmp_path / "d1.png"]
    Image.new("I;16", (5, 5)).save(tmp_path / "d1.png")
    with pytest.raises(InputError, match="d1.png is 5x5 pixels"):
        depths(found)
    found.frames[0]["depth_file_path"] = "d0.npy"
    with pytest.raises(InputError, match="d0.npy is no image file"):
        depths(found)
