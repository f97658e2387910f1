from __future__ import annotations

from pathlib import Path

import monocular_scene as truth
import numpy as np
import pytest
import torch
from PIL import Image

from dataparsers.nsff import NSFFDataParserConfig
from nf_plugins.data.dynamic_dataset import area_resize
from nf_plugins.data.monocular_dataset import MonocularDataset, nearest_resize


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return truth.write_monocular_scene(tmp_path_factory.mktemp("monocular") / "scene", num_frames=3)


def dataset(scene: Path, split: str = "train", **options: object) -> MonocularDataset:
    return MonocularDataset(NSFFDataParserConfig(data=scene, **options).setup().get_dataparser_outputs(split))  # type: ignore[arg-type]


def test_an_image_comes_with_everything_beside_it(scene: Path) -> None:
    item = dataset(scene).get_data(1)
    size = truth.HEIGHT, truth.WIDTH
    shapes = {key: tuple(value.shape) for key, value in item.items() if isinstance(value, torch.Tensor)}
    assert shapes == {
        "image": (*size, 3),
        "disparity": (*size, 1),
        "disparity_valid": (*size, 1),
        "optical_flow_forward": (*size, 2),
        "optical_flow_forward_valid": (*size, 1),
        "optical_flow_backward": (*size, 2),
        "optical_flow_backward_valid": (*size, 1),
        "motion_mask": (*size, 1),
    }
    view = truth.see(truth.camera_pose(0.5), 0.5)
    np.testing.assert_allclose(item["disparity"][..., 0].numpy(), 1 / view.depth, rtol=1e-6)
    assert (item["disparity_valid"] == 1).all()
    assert np.array_equal(item["motion_mask"][..., 0].numpy() > 0, view.on_ball)
    flow, valid = truth.optical_flow(view, 0.5, truth.camera_pose(1.0), 1.0)
    assert np.array_equal(item["optical_flow_forward"].numpy(), flow)
    assert np.array_equal(item["optical_flow_forward_valid"][..., 0].numpy() > 0, valid)
    assert torch.equal(dataset(scene).get_data(1, "uint8")["image"], (255 * item["image"]).round().to(torch.uint8))


def test_unknown_disparity_is_zero_and_said_to_be_unknown(tmp_path: Path) -> None:
    root = truth.write_monocular_scene(tmp_path / "scene", num_frames=3)
    disparity = np.load(root / "disp" / "00001.npy")
    disparity[4:8, 6:10] = np.nan
    np.save(root / "disp" / "00001.npy", disparity)
    whole, half = dataset(root).get_data(1), dataset(root, downscale_factor=2).get_data(1)
    for item in (whole, half):
        assert item["disparity"].isfinite().all()
        assert torch.equal(item["disparity_valid"] > 0, item["disparity"] > 0)
    assert np.array_equal(whole["disparity_valid"][..., 0].numpy() > 0, ~np.isnan(disparity))
    assert not half["disparity_valid"][2:4, 3:5].any() and half["disparity_valid"].sum() == 9 * 12 - 4


def test_the_ends_have_no_flow_to_beyond(scene: Path) -> None:
    first, last = dataset(scene).get_data(0), dataset(scene).get_data(2)
    for item, inside, outside in ((first, "forward", "backward"), (last, "backward", "forward")):
        assert item[f"optical_flow_{inside}_valid"].any()
        assert not item[f"optical_flow_{outside}_valid"].any() and not item[f"optical_flow_{outside}"].any()


def test_reduced_flow_is_in_reduced_pixels_and_valid_where_all_of_it_is(scene: Path) -> None:
    whole, half = dataset(scene).get_data(1), dataset(scene, downscale_factor=2).get_data(1)
    flow = whole["optical_flow_backward"].unfold(0, 2, 2).unfold(1, 2, 2).mean((-1, -2)) / 2
    torch.testing.assert_close(half["optical_flow_backward"], flow)
    valid = whole["optical_flow_backward_valid"].unfold(0, 2, 2).unfold(1, 2, 2).amin((-1, -2))
    assert torch.equal(half["optical_flow_backward_valid"], valid)
    torch.testing.assert_close(half["image"], whole["image"].unfold(0, 2, 2).unfold(1, 2, 2).mean((-1, -2)))


def test_what_the_metadata_say_in_pixels_follows_the_scale_of_the_cameras(scene: Path) -> None:
    outputs = NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    scaled = MonocularDataset(outputs, 0.5)
    assert scaled.metadata["ndc"] == {"height": 9, "width": 12, "focal": truth.focal_length() / 2}
    cameras = scaled.cameras[1]
    assert scaled.metadata["frame_intrinsics"][1].tolist() == [
        float(value) for value in (cameras.fx, cameras.fy, cameras.cx, cameras.cy)
    ]
    assert scaled.get_data(1)["optical_flow_forward"].shape == (9, 12, 2)
    assert outputs.metadata["ndc"]["height"] == 18


def test_held_out_views_of_another_size_are_brought_to_that_of_the_video(tmp_path: Path) -> None:
    root = truth.write_monocular_scene(tmp_path / "scene", num_frames=3, num_held_out=1)
    for path in (root / "mv_images").rglob("*.png"):
        with Image.open(path) as image:
            image.resize((3 * truth.WIDTH, 3 * truth.HEIGHT), Image.Resampling.NEAREST).save(path)
    item = dataset(root, "test").get_data(2)
    view = truth.see(truth.held_out_pose(0), 1.0)
    np.testing.assert_allclose(item["image"].numpy(), view.rgb / 255, atol=1e-6)
    assert np.array_equal(item["motion_mask"][..., 0].numpy() > 0, view.on_ball)
    assert "disparity" not in item and "optical_flow_forward" not in item


def test_area_resize_keeps_the_mean_and_nearest_resize_the_values() -> None:
    image = torch.rand(6, 9, 2)
    torch.testing.assert_close(area_resize(image, (4, 6)).mean((0, 1)), image.mean((0, 1)))
    assert area_resize(image, (6, 9)) is image
    ramp = torch.arange(6.0)[:, None, None].expand(6, 9, 1)
    assert nearest_resize(ramp, (2, 3))[:, 0, 0].tolist() == [1, 4]
    assert nearest_resize(ramp, (12, 9))[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
