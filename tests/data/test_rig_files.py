from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nf_plugins.data.rig_files import find_frame_files, find_masks, find_plates, label_or_half, label_or_soft
from nf_plugins.errors import InputError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_masks_beside_images(tmp_path: Path) -> None:
    images = [[tmp_path / f"images/{name}/{frame}.jpg" for name in "ab"] for frame in range(2)]
    touch(tmp_path / "mask/a/0.png", tmp_path / "mask/images/b/0.jpg", tmp_path / "schp/a/0.png")
    masks, rule = find_masks(tmp_path, images, "auto", ("mask", "schp"), label_or_half)
    assert masks == [[tmp_path / "mask/a/0.png", tmp_path / "mask/images/b/0.jpg"], [None, None]]
    assert rule == "any_channel_positive"
    assert find_masks(tmp_path, images, "none", ("mask",), label_or_half) == (None, "")
    assert find_masks(tmp_path, images, "auto", ("masks",), label_or_half) == (None, "")
    assert find_masks(tmp_path, images, "schp", ("mask",), label_or_half)[0] == [
        [tmp_path / "schp/a/0.png", None], [None, None]
    ]  # fmt: skip
    with pytest.raises(InputError, match="--mask-folder matte: there is no folder"):
        find_masks(tmp_path, images, "matte", (), label_or_half)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no mask for .*a/0\.jpg, nor for any other image"):
        find_masks(tmp_path, images, "empty", (), label_or_half)


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def test_labels_and_shares_are_told_apart(tmp_path: Path) -> None:
    shares = save(tmp_path / "masks/0.png", np.array([[0, 100, 255]]))
    binary = save(tmp_path / "masks/1.png", np.array([[0, 1, 1]]))
    empty = save(tmp_path / "masks/2.png", np.zeros((1, 3)))
    parts = save(tmp_path / "schp/0.png", np.array([[0, 5, 200]]))
    photograph = save(tmp_path / "masks/3.jpg", np.array([[0, 1, 1]]))
    assert label_or_soft([shares]) == label_or_soft([empty]) == label_or_soft([photograph]) == "soft"
    assert label_or_soft([binary]) == label_or_soft([empty, binary]) == label_or_soft([parts]) == "any_channel_positive"


def test_files_of_frames_by_order_and_by_number(tmp_path: Path) -> None:
    images = [Path(f"images/a/{frame:06d}.jpg") for frame in (4, 5, 10)]
    touch(*(tmp_path / f"vertices/{frame}.npy" for frame in (4, 5, 10)))

    def find(folder: str, first: int = 0) -> list[Path] | None:
        return find_frame_files(tmp_path, (folder,), "*.npy", images, first_number=first, way_out="mend it.")

    assert [path.stem for path in find("vertices") or []] == ["4", "5", "10"]
    touch(*(tmp_path / f"all/{frame:05d}.npy" for frame in range(1, 13)))
    assert [path.stem for path in find("all") or []] == ["00004", "00005", "00010"]
    assert [path.stem for path in find("all", 1) or []] == ["00005", "00006", "00011"], "numbered from 1"
    assert find("nowhere") is None
    (tmp_path / "all/00010.npy").unlink()
    with pytest.raises(InputError, match="all holds 11, but the capture's list of frames holds 3.*mend it"):
        find("all")


def test_plates(tmp_path: Path) -> None:
    touch(tmp_path / "bkgd/a/00.jpg", tmp_path / "bkgd/b.png")
    assert find_plates(tmp_path, "auto", ["a", "b", "c"]) == [tmp_path / "bkgd/a/00.jpg", tmp_path / "bkgd/b.png", None]
    assert find_plates(tmp_path, "none", ["a"]) is None and find_plates(tmp_path / "bkgd", "auto", ["a"]) is None
    with pytest.raises(InputError, match="--background-plates empty: there is no folder"):
        find_plates(tmp_path, "empty", ["a"])
