from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from smc_scene import write_smc_ball

from nf_plugins.data.smc_archive import SmcArchive
from nf_plugins.errors import InputError


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("smc") / "0013_01"
    return write_smc_ball(root, num_cameras=3, num_frames=12, large_cameras=("02",))


def test_what_was_written_is_read(scene: Path) -> None:
    pictures, annotations = SmcArchive(scene / "0013_01.smc"), SmcArchive(scene / "0013_01_annots.smc")
    assert list(pictures.picture_cameras) == ["00", "01", "02"]
    assert pictures.picture_cameras["02"] == "Camera_12mp/2/color"
    assert pictures.num_frames("01") == 12 and pictures.image_size("01") == (32, 40)
    assert list(annotations.cameras()) == ["00", "01", "02"] and not pictures.cameras()
    assert annotations.frames_with_mask("00") == set(range(12)) and not annotations.frames_with_mask("07")
    image, mask = pictures.image("01", 11), annotations.mask("01", 11)
    assert image.shape == (32, 40, 3) and set(np.unique(mask)) == {0, 255}
    assert not np.array_equal(mask, annotations.mask("01", 1)), "frame 11 comes after 10, not after 1"


def test_it_is_shared_by_threads_and_copies(scene: Path) -> None:
    archive = SmcArchive(scene / "0013_01.smc")
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda frame: archive.image("00", frame), range(12)))
    np.testing.assert_array_equal(images[7], archive.image("00", 7))
    assert copy.deepcopy(archive) is archive
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(archive)).image("00", 7), images[7])


def test_a_truncated_file_is_told_of(scene: Path, tmp_path: Path) -> None:
    content = (scene / "0013_01.smc").read_bytes()
    (tmp_path / "short.smc").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"short\.smc cannot be read .*expected a whole \.smc file"):
        SmcArchive(tmp_path / "short.smc")
    (tmp_path / "none.smc").write_bytes(b"")
    with pytest.raises(InputError, match="none.smc cannot be read"):
        SmcArchive(tmp_path / "none.smc")
    with pytest.raises(InputError, match="does not exist"):
        SmcArchive(tmp_path / "missing.smc")


def test_damaged_entries_are_told_of(tmp_path: Path) -> None:
    root = write_smc_ball(tmp_path / "a", num_cameras=2, num_frames=2)
    with h5py.File(root / "a.smc", "a") as file:
        encoded = np.asarray(file["Camera_5mp/0/color/1"])
        del file["Camera_5mp/0/color/1"], file["Camera_5mp/1/color/1"]
        file["Camera_5mp/0/color/1"] = encoded[: len(encoded) // 2]
        file["Camera_5mp/1/color/1"] = np.zeros(10, dtype=np.uint8)
    archive = SmcArchive(root / "a.smc")
    with pytest.raises(InputError, match=r"Camera_5mp/0/color/1 of .*a\.smc is damaged"):
        archive.image("00", 1)
    with pytest.raises(InputError, match=r"Camera_5mp/1/color/1 of .*a\.smc is no image"):
        archive.image("01", 1)
    with h5py.File(root / "a_annots.smc", "a") as file:
        del file["Camera_Parameter/01/RT"]
    with pytest.raises(InputError, match="has no Camera_Parameter/01/RT"):
        SmcArchive(root / "a_annots.smc").cameras()
