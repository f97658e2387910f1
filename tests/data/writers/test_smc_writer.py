from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from ball_capture import OPENCV
from rig_scene import rig_lens, rig_poses
from smc_scene import write_smc_ball

from nf_plugins.data.writers.smc_writer import write_smc_scene
from nf_plugins.data.writers.zju_writer import ZjuCamera
from nf_plugins.errors import InputError


def test_conventions_of_the_layout(tmp_path: Path) -> None:
    root = write_smc_ball(tmp_path / "0008_03", num_cameras=2, num_frames=3, large_cameras=("01",))
    pose, lens = rig_poses(2)["01"], rig_lens()
    with h5py.File(root / "0008_03_annots.smc") as file:
        camera = file["Camera_Parameter/01"]
        np.testing.assert_allclose(camera["RT"][()], pose @ OPENCV)  # type: ignore[index]
        np.testing.assert_allclose(camera["K"][0, 2], lens.cx - 0.5)  # type: ignore[index]
        assert file["Mask/1/mask/2"].dtype == np.uint8  # type: ignore[union-attr]
    with h5py.File(root / "0008_03.smc") as file:
        assert file["Camera_12mp"].attrs["num_frame"] == 3 and file["Camera_5mp"].attrs["num_device"] == 1
        assert sorted(file["Camera_12mp/1/color"]) == ["0", "1", "2"]  # type: ignore[arg-type]
    assert len(list((root / "mesh").glob("*.ply"))) == 3
    with pytest.raises(InputError, match="--overwrite"):
        write_smc_ball(root)


def test_cameras_are_numbers(tmp_path: Path) -> None:
    camera = ZjuCamera("left", np.eye(3), np.eye(4))
    with pytest.raises(ValueError, match="whole numbers"):
        write_smc_scene(tmp_path / "a", [camera], [], world_from_scene=np.eye(4), request={})
    assert not (tmp_path / "a").exists()
