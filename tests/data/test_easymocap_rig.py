from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rig_scene import rig_lens, rig_poses, write_ball_rig

from nf_plugins.data.easymocap_rig import read_easymocap_rig
from nf_plugins.errors import InputError

DISTORTION = (-0.3, 0.1, 0.004, -0.003, 0.02)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    root = write_ball_rig(tmp_path / "ball", num_cameras=3, distortion=DISTORTION, boxes=True)
    rig = read_easymocap_rig(root)
    assert rig.camera_names == ["00", "01", "02"] and len(rig.images) == 4
    assert rig.images[2][1] == root / "images/01/000002.png" and rig.images[0][0].is_absolute()
    assert rig.masks is not None and rig.masks[2][1] == root / "masks/01/000002.png" and rig.mask_rule == "soft"
    assert rig.frame_points == [root / f"vertices/{frame:06d}.npy" for frame in range(4)]
    assert rig.frame_box_files == [root / f"vhull/{frame:06d}.npy" for frame in range(4)]
    assert rig.plates is None and rig.picture_source is None and rig.ratios is None
    expected = rig_lens(32, DISTORTION)
    for lens in rig.lenses:
        assert (lens.height, lens.width) == (32, 40)
        found = np.array([lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion])
        np.testing.assert_allclose(
            found, [expected.fx, expected.fy, expected.cx, expected.cy, *expected.distortion], atol=1e-12
        )
    np.testing.assert_allclose(rig.camera_to_worlds, np.stack(list(rig_poses(3).values()))[:, :3], atol=1e-9)


@pytest.mark.parametrize(("masks", "rule"), [("schp", "any_channel_positive"), ("jpg", "soft"), ("none", "")])
def test_kinds_of_masks(tmp_path: Path, masks: str, rule: str) -> None:
    rig = read_easymocap_rig(write_ball_rig(tmp_path / "ball", num_cameras=2, masks=masks))
    assert rig.mask_rule == rule and (rig.masks is None) == (masks == "none")
    assert read_easymocap_rig(tmp_path / "ball", points="points").frame_points is None


def test_unsorted_names_and_other_sizes(tmp_path: Path) -> None:
    """Names are sorted whatever the file's order; a calibration of another size is scaled, of another shape refused."""
    root = write_ball_rig(tmp_path / "ball", num_cameras=3)
    for name, other in (("00", "10"), ("02", "9")):
        (root / "images" / name).rename(root / "images" / other)
        for file in ("intri.yml", "extri.yml"):
            text = (root / file).read_text().replace(f'"{name}"', f'"{other}"').replace(f"_{name}:", f"_{other}:")
            (root / file).write_text(text)
    assert read_easymocap_rig(root, mask_folder="none").camera_names == ["01", "9", "10"]
    assert read_easymocap_rig(root, mask_folder="none", name_order="string").camera_names == ["01", "10", "9"]
    whole = read_easymocap_rig(root, mask_folder="none").lenses[0]
    for path in (root / "images").rglob("*.png"):
        Image.open(path).resize((20, 16)).save(path)
    assert read_easymocap_rig(root, mask_folder="none").lenses[0] == whole.resized(20, 16)
    for path in (root / "images").rglob("*.png"):
        Image.open(path).resize((20, 20)).save(path)
    with pytest.raises(InputError, match="are 20x20 pixels, but it was calibrated at 40x32"):
        read_easymocap_rig(root, mask_folder="none")


def test_calibration_is_needed(tmp_path: Path) -> None:
    root = write_ball_rig(tmp_path / "ball", num_cameras=2)
    (root / "extri.yml").unlink()
    with pytest.raises(InputError, match=r"holds no extri\.yml"):
        read_easymocap_rig(root)
