from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ball_scan import write_ball_scan
from nerfstudio.data.dataparsers.dnerf_dataparser import DNeRFDataParserConfig
from PIL import Image

from dataparsers.dnerf_rgba import DNeRFRGBADataParserConfig
from dataparsers.dtu import DTUDataParserConfig
from dataparsers.owlii import OwliiDataParserConfig
from nf_plugins.data.check import check_capture
from nf_plugins.data.check_figure import box_corners, draw_capture, scene_points
from nf_plugins.errors import InputError


def test_numbers_of_the_owlii_scene(tiny_owlii_scene: Path):
    report = check_capture(OwliiDataParserConfig(data=tiny_owlii_scene), "owlii-data")
    train, test = report.splits["train"], report.splits["test"]
    assert train.images_per_camera == {"cam_train_0": 6, "cam_train_1": 6, "cam_train_2": 6}
    assert test.images_per_camera == {"cam_test": 6}
    assert train.resolutions == {"24x24": 18}
    assert train.rays_in_box == 1.0
    assert train.foreground is not None
    masks = [Image.open(path) for path in train.outputs.metadata["fg_mask_filenames"]]
    assert float(train.foreground[4]) == pytest.approx(sum(v > 0 for v in masks[4].tobytes()) / 576)
    assert report.time_spacing == pytest.approx((0.2, 0.2, 0.2))
    assert report.factors.views_per_time == (3, 3.0, 3)
    assert report.factors.angular_speed == pytest.approx(0, abs=1e-2)
    torch.testing.assert_close(report.factors.look_at_point, torch.zeros(3), atol=1e-4, rtol=0)
    assert report.warnings == []


def test_box_that_misses_the_subject_is_warned_about(owlii_scene: Callable[..., Path]):
    scene = owlii_scene()
    (scene / "aabb.txt").write_text("[0.1, -0.3, -0.3, 0.3, 0.5, 0.3]")
    report = check_capture(OwliiDataParserConfig(data=scene), "owlii-data")
    assert report.splits["train"].rays_in_box < 0.9
    assert any("miss the scene box" in warning for warning in report.warnings)


def test_empty_mask_is_warned_about(owlii_scene: Callable[..., Path]):
    scene = owlii_scene()
    mask = scene / "cam_train_1" / "mask" / "000002.png"
    Image.new("L", (24, 24)).save(mask)
    report = check_capture(OwliiDataParserConfig(data=scene), "owlii-data")
    assert any("1 masks of the train split are empty" in warning for warning in report.warnings)


def test_scene_that_stands_still(tmp_path: Path):
    scan = write_ball_scan(tmp_path / "scan")
    report = check_capture(DTUDataParserConfig(data=scan, eval_mode="interval", eval_interval=4), "dtu-data")
    assert report.is_static and report.time_spacing is None
    assert report.warnings == []
    assert report.factors.views_per_time == (6, 6.0, 6)
    assert 90 < report.factors.simultaneous_span < 180
    drawn = scene_points(report)
    assert drawn is not None
    assert float(torch.from_numpy(drawn[0]).norm(dim=-1).max()) < 0.75
    assert float(torch.from_numpy(drawn[0]).mean(dim=0).norm()) < 0.1
    for path in (scan / "mask").iterdir():
        Image.new("L", (32, 32), 255).save(path)
    report = check_capture(DTUDataParserConfig(data=scan), "dtu-data")
    assert any("All masks of the train split are white" in warning for warning in report.warnings)
    assert any("shares images" in warning for warning in report.warnings)


def test_dataparser_of_nerfstudio(tiny_dnerf_scene: Path):
    report = check_capture(DNeRFDataParserConfig(data=tiny_dnerf_scene), "dnerf-data")
    assert len(report.splits["train"].dataset) == 6
    assert report.splits["train"].foreground is None
    assert report.time_spacing == pytest.approx((0.2, 0.2, 0.2))


def test_foreign_failures_become_a_sentence_with_the_right_dataparser(tiny_owlii_scene: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"dnerf-data cannot read the train split of .*use owlii-data"):
        check_capture(DNeRFDataParserConfig(data=tiny_owlii_scene), "dnerf-data")
    with pytest.raises(InputError, match="nowhere does not exist"):
        check_capture(DNeRFDataParserConfig(data=tmp_path / "nowhere"), "dnerf-data")


def test_foreign_data_are_checked_too(dnerf_scene: Callable[..., Path]):
    scene = dnerf_scene()
    Image.new("RGBA", (20, 24)).save(scene / "train" / "r_002.png")
    with pytest.raises(InputError, match=r"r_002\.png is 20x24 pixels, but its camera is 24x24"):
        check_capture(DNeRFDataParserConfig(data=scene), "dnerf-data")
    scene = dnerf_scene("times")
    path = scene / "transforms_train.json"
    contents = json.loads(path.read_text())
    contents["frames"][3]["time"] = 7.0
    path.write_text(json.dumps(contents))
    with pytest.raises(InputError, match=r"time of .*r_003\.png is 7"):
        check_capture(DNeRFDataParserConfig(data=scene), "dnerf-data")


def test_box_corners_and_their_edges():
    corners = box_corners(torch.tensor([[0.0, 1.0, 2.0], [3.0, 5.0, 7.0]]))
    assert len(torch.unique(corners, dim=0)) == 8
    for bit in (1, 2, 4):
        assert int((corners[0] != corners[bit]).sum()) == 1


def test_visual_hull_holds_the_ball(owlii_scene: Callable[..., Path], ball_centre_at):
    scene = owlii_scene()
    for path in (scene / "cloud").iterdir():
        path.unlink()
    drawn = scene_points(check_capture(OwliiDataParserConfig(data=scene), "owlii-data"))
    assert drawn is not None
    points, times, what = drawn
    assert "visual hull" in what
    distance = torch.from_numpy(points).double() - torch.from_numpy(ball_centre_at(float(times[0])))
    assert float(distance.norm(dim=-1).max()) < 0.9
    assert float(distance.mean(dim=0).norm()) < 0.1


@pytest.mark.parametrize("background", ["white", "black"])
def test_picture_is_written(tiny_dnerf_scene: Path, tmp_path: Path, background: str):
    config = DNeRFRGBADataParserConfig(data=tiny_dnerf_scene, background_color=background)  # type: ignore[arg-type]
    draw_capture(check_capture(config, "dnerf-rgba-data"), tmp_path / "check.png")
    with Image.open(tmp_path / "check.png") as picture:
        assert len(set(picture.convert("L").resize((60, 40)).tobytes())) > 20
    assert [path.name for path in tmp_path.iterdir()] == ["check.png"]
