"""dtu-data on scans with something wrong: a sentence for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ball_scan
import numpy as np
import pytest
from ball_scan import change_matrices, write_ball_scan
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image

from dataparsers.dtu import DTUDataParserConfig
from nf_plugins.errors import InputError

NUM_VIEWS = 8
RESOLUTION = 32


def parse(scan: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    return DTUDataParserConfig(data=scan, **options).setup().get_dataparser_outputs(split)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """To be damaged."""
    return write_ball_scan(tmp_path / "ball", linear_init_degrees=2.0)


def test_white_masks_are_warned_about_once(scan: Path, capsys: pytest.CaptureFixture[str]):
    for path in (scan / "mask").iterdir():
        Image.new("L", (RESOLUTION, RESOLUTION), 255).save(path)
    parse(scan, "train")
    parse(scan, "val")
    out = capsys.readouterr().out
    assert out.count("All 8 masks") == 1 and "inflates" in out


def test_a_black_mask_among_others_is_warned_about(scan: Path, capsys: pytest.CaptureFixture[str]):
    Image.new("L", (RESOLUTION, RESOLUTION)).save(scan / "mask" / "004.png")
    parse(scan)
    out = " ".join(capsys.readouterr().out.split())
    assert "1 of 8 masks are black, the first" in out and "004.png" in out


def blacken(scan: Path) -> None:
    for path in (scan / "mask").iterdir():
        Image.new("L", (RESOLUTION, RESOLUTION), 127).save(path)


def one_scale_mat_for_all(scan: Path, matrix: np.ndarray) -> None:
    change_matrices(scan / "cameras_sphere.npz", **{f"scale_mat_{i}": matrix for i in range(NUM_VIEWS)})


LINEAR = {"camera_file": "cameras_linear_init.npz"}
BAD_SCANS: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "world_mat missing": (
        lambda s: change_matrices(s / "cameras_sphere.npz", world_mat_3=None),
        {},
        "cameras_sphere.npz has no world_mat_3, expected",
    ),
    "scale_mat missing": (
        lambda s: change_matrices(s / "cameras_sphere.npz", scale_mat_0=None),
        {},
        "cameras_sphere.npz has no scale_mat_0, expected",
    ),
    "fewer cameras": (
        lambda s: change_matrices(s / "cameras_sphere.npz", world_mat_7=None),
        {},
        r"image \(images\) holds 8, but .*cameras_sphere.npz \(world_mat_i\) holds 7",
    ),
    "fewer images": (
        lambda s: [(s / "image" / "000002.png").unlink(), (s / "mask" / "002.png").unlink()],
        {},
        r"image \(images\) holds 7, but .*\(world_mat_i\) holds 8",
    ),
    "fewer masks": (lambda s: (s / "mask/002.png").unlink(), {}, "mask holds 7, but .*image holds 8"),
    "mask of another size": (
        lambda s: Image.new("L", (12, 32)).save(s / "mask/001.png"),
        {},
        "mask/001.png is 12x32 pixels, but its image .*32x32",
    ),
    "black masks": (blacken, {}, "All 8 masks in .*mask are black"),
    "scale_mat of another view": (
        lambda s: change_matrices(s / "cameras_sphere.npz", scale_mat_5=ball_scan.scale_mat(130.0)),
        {},
        "scale_mat_5 of .*cameras_sphere.npz differs from scale_mat_0",
    ),
    "scale_mat stretches": (
        lambda s: one_scale_mat_for_all(s, np.diag([120.0, 120.0, 100.0, 1.0])),
        {},
        "scale_mat_0 of .* scales the axes differently",
    ),
    "scale_mat mirrors": (
        lambda s: one_scale_mat_for_all(s, np.diag([-120.0, 120.0, 120.0, 1.0])),
        {},
        "scale_mat_0 of .* is singular or a reflection",
    ),
    "camera inside": (
        lambda s: one_scale_mat_for_all(s, ball_scan.scale_mat(600.0)),
        {},
        r"camera of view 0 \(.*000000.png\) stands inside the unit sphere .* 0.6 from .*scale_mat .*--camera-file",
    ),
    "no linear init": (
        lambda s: (s / "cameras_linear_init.npz").unlink(),
        LINEAR,
        "cameras_linear_init.npz does not exist .* has cameras_sphere.npz",
    ),
    "linear init of another shape": (
        lambda s: np.savez(s / "cameras_linear_init.npz", np.zeros((8, 3, 5))),
        LINEAR,
        r"cameras_linear_init.npz has no world_mat_0, but arr_0 of the shape \(8, 3, 5\)",
    ),
    "linear init with matrices of another shape": (
        lambda s: change_matrices(s / "cameras_linear_init.npz", world_mat_2=np.eye(3, 4)),
        LINEAR,
        r"world_mat_2 of .*cameras_linear_init.npz has the shape \(3, 4\), expected \(4, 4\)",
    ),
    "noise into the sphere": (
        lambda s: None,
        {"pose_noise_translation": 240.0, "pose_noise_seed": 19},
        "--pose-noise-translation 240 moved it there",
    ),
    "negative noise": (lambda s: None, {"pose_noise_degrees": -1.0}, "--pose-noise-degrees is -1"),
    "empty images": (lambda s: [path.unlink() for path in (s / "image").iterdir()], {}, "image is empty"),
    "other images": (
        lambda s: [path.rename(path.with_suffix(".tif")) for path in (s / "image").iterdir()],
        {},
        "image holds no file ending in .png, .jpg, .jpeg",
    ),
    "factor 0": (lambda s: None, {"downscale_factor": 0}, "--downscale-factor is 0"),
    "no such view": (lambda s: None, {"eval_mode": "list", "eval_views": (8,)}, "--eval-views names 8"),
}


@pytest.mark.parametrize("name", BAD_SCANS)
def test_bad_scans_get_their_sentence(scan: Path, name: str):
    damage, options, says = BAD_SCANS[name]
    damage(scan)
    with pytest.raises(InputError, match=says):
        parse(scan, **options)


def test_other_folders(tmp_path: Path, tiny_dnerf_scene: Path, scan: Path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        parse(tmp_path / "nowhere")
    with pytest.raises(InputError, match="use dnerf-rgba-data"):
        parse(tiny_dnerf_scene)
    with pytest.raises(InputError, match="give --data"):
        parse(scan / "image")
