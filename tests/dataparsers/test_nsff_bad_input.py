"""Recordings that a space-time method cannot learn from, as ``nsff-data`` finds them; more in test_nsff_data."""

from __future__ import annotations

from pathlib import Path

import monocular_scene as truth
import numpy as np
import pytest
from PIL import Image

from dataparsers.nsff import NSFFDataParserConfig
from nf_plugins.errors import InputError


def write_scene(root: Path, num_frames: int = 5) -> Path:
    return truth.write_monocular_scene(root, num_frames, num_held_out=0, motion_masks=False)


def test_a_video_of_two_frames_is_refused(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene", 2)
    with pytest.raises(InputError, match="selects 2 of the 2 frames of .*, expected at least 3: flow needs"):
        NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")


@pytest.mark.parametrize("start", [5, 9])
def test_a_start_behind_the_video_is_refused(tmp_path: Path, start: int) -> None:
    scene = write_scene(tmp_path / "scene")
    with pytest.raises(InputError, match=f"--start-frame {start} --end-frame 5 selects no frames of the 5 of"):
        NSFFDataParserConfig(data=scene, start_frame=start).setup().get_dataparser_outputs("train")


def test_a_camera_that_only_turns_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = write_scene(tmp_path / "scene")
    NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    assert "turns on the spot" not in " ".join(capsys.readouterr().out.split())
    rows = np.load(scene / "poses_bounds.npy")
    poses = rows[:, :15].reshape(-1, 3, 5)
    poses[:, :, 3] = poses[0, :, 3]
    np.save(scene / "poses_bounds.npy", np.concatenate([poses.reshape(-1, 15), rows[:, 15:]], axis=1))
    outputs = NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    assert "turns on the spot or stands still, so shape comes from disp/" in " ".join(capsys.readouterr().out.split())
    turned = outputs.metadata["frame_camera_to_worlds"]
    assert turned[:, :, 3].abs().max() < 1e-6 and (turned[0, :, :3] - turned[4, :, :3]).abs().max() > 0.05


@pytest.mark.parametrize(("suffix", "replaced"), [(".flo", ".npz"), (".npy", ".npz"), (".png", ".npz")])
def test_flow_of_another_size_is_refused_in_every_format(tmp_path: Path, suffix: str, replaced: str) -> None:
    from nf_plugins.data.optical_flow_files import write_flo

    scene = write_scene(tmp_path / "scene")
    path = (scene / "flow_i1" / "00002_bwd").with_suffix(suffix)
    flow = np.zeros((9, 12, 2), np.float32)
    if suffix == ".flo":
        write_flo(path, flow)
    elif suffix == ".npy":
        np.save(path, flow)
    else:
        import cv2

        cv2.imwrite(str(path), np.full((9, 12, 3), 2**15, np.uint16))
    path.with_suffix(replaced).unlink()
    with pytest.raises(
        InputError, match=rf"00002_bwd\{suffix} holds the flow of 12x9 pixels, but the images are 24x18"
    ):
        NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")


def test_a_picture_of_flow_is_no_flow(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene")
    Image.new("RGB", (24, 18)).save(scene / "flow_i1" / "00002_bwd.png")
    parser = NSFFDataParserConfig(data=scene).setup()
    assert parser.get_dataparser_outputs("train").metadata["flow_backward_filenames"][2].suffix == ".npz"
    (scene / "flow_i1" / "00002_bwd.npz").unlink()
    with pytest.raises(InputError, match="a picture of flow in colours does not say how long it is"):
        NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
