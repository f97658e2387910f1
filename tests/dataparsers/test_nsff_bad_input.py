"""Recordings that a space-time method cannot learn from, as ``nsff-data`` finds them; more in test_nsff_data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def test_a_standing_camera_without_depth_has_no_shape_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = truth.write_monocular_scene(tmp_path / "scene", num_held_out=0, motion_masks=False, priors=False)
    rows = np.load(scene / "poses_bounds.npy")
    np.save(scene / "poses_bounds.npy", np.concatenate([rows[:1, :15].repeat(5, axis=0), rows[:, 15:]], axis=1))
    NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    assert "there is no disp/, so nothing gives the shape" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("options", [{"near_bound": 0.01}, {"far_bound": -3.0}])
def test_bounds_by_hand_do_nothing_with_poses_that_have_some(tmp_path: Path, options: dict[str, Any]) -> None:
    scene = write_scene(tmp_path / "scene")
    with pytest.raises(InputError, match=r"-bound -?[\d.]+ applies to transforms\.json and does nothing with .*scene"):
        NSFFDataParserConfig(data=scene, **options).setup().get_dataparser_outputs("train")


@pytest.mark.parametrize(
    "options", [{"images_folder": "images"}, {"pose_file": "poses.npy"}, {"pixel_convention": "half"}]
)
def test_options_of_poses_bounds_do_nothing_with_a_transforms_file(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "transforms.json").write_text("{}")
    option = "--" + next(iter(options)).replace("_", "-")
    with pytest.raises(InputError, match=rf"{option} \S+ applies to poses_bounds\.npy and does nothing with"):
        NSFFDataParserConfig(data=tmp_path, **options).setup().get_dataparser_outputs("train")


def test_depth_and_masks_on_their_side_are_refused(tmp_path: Path) -> None:
    """Another size is no matter, other proportions are: they would be stretched."""
    scene = truth.write_monocular_scene(tmp_path / "scene")
    disparity, mask = scene / "disp" / "00003.npy", scene / "motion_masks" / "00002.png"
    held_out = scene / "mv_masks" / "00001" / "cam02.png"
    values = np.load(disparity)
    np.save(disparity, values[::2, ::2])
    for path in (mask, held_out):
        with Image.open(path) as image:
            image.resize((48, 36)).save(path)
    NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")

    np.save(disparity, values.T)
    with pytest.raises(InputError, match=r"disp/00003\.npy is 18x24 pixels, .* but 1\.33 times in the video"):
        NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    np.save(disparity, values)
    for path in (mask, held_out):
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(path)
        with pytest.raises(InputError, match=rf"{path.parent.name}/{path.name} is 36x48 pixels"):
            NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(path)


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
