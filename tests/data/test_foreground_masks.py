from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nf_plugins.data.foreground_masks import holds_labels, read_mask
from nf_plugins.errors import InputError


def saved(folder: Path, pixels: np.ndarray, name: str = "mask.png", mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(folder / name)
    return folder / name


def test_rules_on_an_image_with_colours(tmp_path: Path):
    pixels = np.zeros((1, 4, 3), dtype=np.uint8)
    pixels[0, 1:] = [(1, 0, 0), (0, 60, 0), (0, 0, 200)]
    path = saved(tmp_path, pixels)
    found = {
        rule: read_mask(path, rule)[0, :, 0].tolist()
        for rule in ("first_channel_positive", "any_channel_positive", "any_channel_above_half")
    }
    assert found == {
        "first_channel_positive": [0, 1, 0, 0],
        "any_channel_positive": [0, 1, 1, 1],
        "any_channel_above_half": [0, 0, 0, 1],
    }


def test_maps_of_labels_count_by_their_label(tmp_path: Path):
    labels = np.array([[0, 1, 5, 19]], dtype=np.uint8)
    assert read_mask(saved(tmp_path, labels), "any_channel_positive")[0, :, 0].tolist() == [0, 1, 1, 1]
    palette = Image.fromarray(labels, mode="P")
    palette.putpalette([0, 0, 0, 0, 128, 0] + [0] * 3 * 254)  # label 5 is black
    palette.save(tmp_path / "palette.png")
    assert read_mask(tmp_path / "palette.png", "any_channel_positive")[0, :, 0].tolist() == [0, 1, 1, 1]
    assert read_mask(tmp_path / "palette.png", "first_channel_positive")[0, :, 0].tolist() == [0, 0, 0, 0]


def test_transparency_is_no_foreground(tmp_path: Path):
    rgba = np.zeros((1, 2, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    rgba[0, 1, 1] = 9
    assert read_mask(saved(tmp_path, rgba), "any_channel_positive")[0, :, 0].tolist() == [0, 1]


def test_jpeg_noise_is_no_foreground(tmp_path: Path):
    pixels = np.zeros((32, 32), dtype=np.uint8)
    pixels[9:21, 11:27] = 255
    path = tmp_path / "mask.jpg"
    Image.fromarray(pixels).save(path, quality=30)
    assert (read_mask(path, "any_channel_positive")[..., 0].numpy() != (pixels > 0)).any()
    np.testing.assert_array_equal(read_mask(path, "any_channel_above_half")[..., 0].numpy(), pixels > 0)


def test_bits_and_large_numbers(tmp_path: Path):
    bits = saved(tmp_path, np.array([[0, 255]], dtype=np.uint8), mode="1")
    for rule in ("first_channel_positive", "any_channel_above_half"):
        assert read_mask(bits, rule)[0, :, 0].tolist() == [0, 1]
    wide = saved(tmp_path, np.array([[0, 300, 60000]], dtype=np.uint16), "wide.png")
    assert read_mask(wide, "any_channel_positive")[0, :, 0].tolist() == [0, 1, 1]
    assert read_mask(wide, "any_channel_above_half")[0, :, 0].tolist() == [0, 0, 1]


def test_unreadable_mask_and_unknown_rule(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png cannot be read"):
        read_mask(tmp_path / "a.png", "any_channel_positive")
    with pytest.raises(ValueError, match="fg_mask_source is alpha"):
        read_mask(tmp_path / "a.png", "alpha")


def test_soft_masks_are_shares(tmp_path: Path):
    shares = np.array([[0, 51, 102, 255]], dtype=np.uint8)
    path = saved(tmp_path, shares)
    np.testing.assert_allclose(read_mask(path, "soft")[0, :, 0], [0, 0.2, 0.4, 1], atol=1e-6)
    colours = np.stack([shares, shares // 2, 0 * shares], axis=-1)
    np.testing.assert_allclose(read_mask(saved(tmp_path, colours), "soft")[0, :, 0], [0, 0.2, 0.4, 1], atol=1e-6)
    deep = Image.fromarray(np.array([[0, 65535 // 5]], dtype=np.uint16))
    deep.save(tmp_path / "deep.png")
    np.testing.assert_allclose(read_mask(tmp_path / "deep.png", "soft")[0, :, 0], [0, 0.2], atol=1e-6)
    bits = saved(tmp_path, shares, "bits.png", mode="1")
    assert set(read_mask(bits, "soft").unique().tolist()) <= {0.0, 1.0}


def test_labels_are_small_numbers(tmp_path: Path):
    expected = {0: False, 1: True, 20: True, 200: False}
    for largest, is_label in expected.items():
        path = saved(tmp_path, np.array([[0, largest]], dtype=np.uint8))
        assert holds_labels(path) == is_label, largest
