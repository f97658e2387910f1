from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nf_plugins.data.processing.photographs import find_masks, list_images, read_photograph_mask
from nf_plugins.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(root / name)
    return root


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("IMG_1.jpg", "IMG_1.png"),
        ("IMG_2.jpg", "IMG_2.jpg.png"),
        ("images/IMG_3.jpg", "a/IMG_3.jpg"),
        ("a/IMG_4.jpg", "a/IMG_4.png"),
        ("b/IMG_4.jpg", "b/IMG_4.png"),
        ("IMG_4.jpg", None),
        ("IMG_9.jpg", None),
    ],
)
def test_files_are_found_by_more_or_less_of_their_path(tmp_path: Path, wanted: str, found: str | None):
    touch(tmp_path, "IMG_1.png", "IMG_2.jpg.png", "a/IMG_3.jpg", "a/IMG_4.png", "b/IMG_4.png", ".hidden/IMG_9.png")
    file = list_images(tmp_path, "images").find(wanted)
    assert file == (None if found is None else tmp_path / found)


def test_every_photograph_needs_a_mask(tmp_path: Path):
    photographs = list_images(touch(tmp_path / "images", "a.jpg", "b.jpg"), "photographs")
    used = list(photographs.files.values())
    with pytest.raises(InputError, match=r"2 of 2 photographs, the first .*a\.jpg, have no mask.*rembg.*--masks DIR"):
        find_masks(photographs, used, None)
    touch(tmp_path / "masks", "a.png")
    with pytest.raises(InputError, match=r"masks of 1 of 2 photographs, none called like b\.jpg.*Segment Anything"):
        find_masks(photographs, used, tmp_path / "masks")
    touch(tmp_path / "masks", "b.jpg.png")
    assert [path.name for path in find_masks(photographs, used, tmp_path / "masks")] == ["a.png", "b.jpg.png"]
    with pytest.raises(InputError, match="masks.empty does not exist"):
        find_masks(photographs, used, tmp_path / "masks.empty")


def test_masks_are_not_shared(tmp_path: Path):
    photographs = list_images(touch(tmp_path / "images", "a/1.jpg", "b/1.jpg"), "photographs")
    touch(tmp_path / "masks", "1.png")
    with pytest.raises(InputError, match=r"1\.png belongs to 2 photographs by its name"):
        find_masks(photographs, list(photographs.files.values()), tmp_path / "masks")


def test_what_the_pixels_of_a_mask_mean(tmp_path: Path):
    inside = np.zeros((3, 4), dtype=bool)
    inside[1, 1:3] = True
    grey = 255 * inside.astype(np.uint8)
    # Dark, cut out.
    cut_out = np.concatenate([np.full((3, 4, 3), 9, np.uint8), grey[..., None]], axis=-1)
    opaque = np.concatenate([np.repeat(grey[..., None], 3, -1), np.full((3, 4, 1), 255, np.uint8)], axis=-1)
    for name, pixels in (("grey", grey), ("bits", inside), ("cut_out", cut_out), ("opaque", opaque)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_photograph_mask(tmp_path / f"{name}.png"), inside)
    # A photograph that nothing was cut out of is all object, whatever its colours.
    assert read_photograph_mask(tmp_path / "opaque.png", is_photograph=True).all()


def test_black_and_broken_masks_are_named(tmp_path: Path):
    Image.fromarray(np.eye(3, dtype=np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"small\.png is all black \(its largest value is 1\).*0 and 255"):
        read_photograph_mask(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png cannot be read"):
        read_photograph_mask(tmp_path / "broken.png")
    with pytest.raises(InputError, match="holds no images"):
        (tmp_path / "texts").mkdir()
        (tmp_path / "texts" / "a.txt").touch()
        list_images(tmp_path / "texts", "photographs")
