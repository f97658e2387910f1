"""The evaluation of a pipeline whose every number is known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ball_pipeline import SIZE, BallDataset, BallPipeline, ball_cameras, ball_config
from PIL import Image

from nf_plugins.errors import InputError
from nf_plugins.evaluation.dataset_images import composite, dataset_for_split
from nf_plugins.evaluation.evaluate import evaluate_pipeline, group_metrics


def test_every_number_has_its_place(tmp_path: Path) -> None:
    pipeline, path = BallPipeline(offset=0.1), tmp_path / "evaluation" / "train.json"
    pipeline.train()
    result = evaluate_pipeline(pipeline, ball_config(), 7, "train", path, use_lpips=False, checkpoint=Path("a.ckpt"))
    assert json.loads(path.read_text())["mean"] == result["mean"]
    assert len(result["images"]) == 8 and result["num_parameters"] == 1
    first = result["images"][0]
    assert first["file_name"] == "train/rgb/000000.png"
    assert (first["camera_id"], first["frame_id"], first["time"]) == (0, 0, 0.0)
    assert first["psnr_fg"] == pytest.approx(20.0, abs=0.2)
    assert first["psnr"] > first["psnr_fg"] + 1.0
    assert first["mask_iou"] == 1.0 and first["mask_bce"] == pytest.approx(-math.log(0.999)) and first["lpips"] is None
    assert 0.5 < first["ssim_fg"] < 1.0
    assert [entry["frame_id"] for entry in result["per_frame"]] == [0, 1, 2, 3]
    assert [entry["num_images"] for entry in result["per_frame"]] == [2] * 4
    assert [entry["camera_id"] for entry in result["per_camera"]] == [0, 1]
    mean = sum(row["psnr"] for row in result["images"]) / 8
    assert result["mean"]["psnr"] == pytest.approx(mean) and result["mean"]["lpips"] is None
    assert pipeline.training and pipeline.model.was_in_training_mode == [False] * 8


def test_the_protocol_says_how_it_was_measured() -> None:
    protocol = evaluate_pipeline(BallPipeline(0.1), ball_config(), 7, use_lpips=False)["protocol"]
    expected = {
        "method": "ball",
        "dataparser": "ball-data",
        "split": "test",
        "num_images": 4,
        "resolution": [24, 24],
        "downscale": 2.0,
        "background": [1.0, 1.0, 1.0],
        "mask_source": "alpha",
        "step": 7,
        "seed": 42,
        "checkpoint": None,
        "protocol_note": "made of thin air",
    }
    assert {key: protocol[key] for key in expected} == expected
    assert protocol["versions"]["torch"] == torch.__version__
    assert set(protocol["versions"]) >= {"nf-plugins", "nerfstudio", "torch", "python"}
    assert protocol["machine"].startswith("cpu: ")


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("full", {"psnr", "ssim", "lpips"}),
        ("foreground", {"psnr_fg", "ssim_fg", "lpips_fg", "mask_iou", "mask_bce"}),
    ],
)
def test_only_the_asked_metrics(mask, names: set[str]) -> None:
    result = evaluate_pipeline(BallPipeline(0.1), ball_config(), 0, mask=mask, use_lpips=False)
    assert set(result["mean"]) == names


def test_data_without_masks_or_times_is_fine() -> None:
    pipeline = BallPipeline(0.1, with_masks=False)
    dataset = pipeline.datamanager.eval_dataset
    result = evaluate_pipeline(pipeline, ball_config(), 0, use_lpips=False)
    assert result["mean"]["psnr"] is not None and result["mean"]["psnr_fg"] is None
    assert result["protocol"]["mask_source"] == "none"
    del dataset.metadata["frame_times"]
    by_time = evaluate_pipeline(pipeline, ball_config(), 0, use_lpips=False)["per_frame"]
    assert [round(entry["time"], 3) for entry in by_time] == [0.0, 0.333, 0.667, 1.0]
    with pytest.raises(InputError, match="no foreground masks"):
        evaluate_pipeline(pipeline, ball_config(), 0, mask="foreground")


def test_images_are_saved_in_pairs(tmp_path: Path) -> None:
    evaluate_pipeline(BallPipeline(), ball_config(), 0, save_images_dir=tmp_path / "images", use_lpips=False)
    names = sorted(file.name for file in (tmp_path / "images").iterdir())
    assert names == sorted(f"{index:05d}_{what}.png" for index in range(4) for what in ("rendered", "true"))
    rendered, truth = (Image.open(tmp_path / "images" / f"00000_{what}.png") for what in ("rendered", "true"))
    assert rendered.tobytes() == truth.tobytes() and rendered.size == (24, 24)


def test_a_split_that_is_not_loaded_is_read_in_the_dataset_s_own_class() -> None:
    pipeline = BallPipeline()

    class CountingDataset(BallDataset):
        def __init__(self, dataparser_outputs, scale_factor: float) -> None:
            super().__init__(dataparser_outputs, "val")
            self.scale_factor = scale_factor

    asked = []

    def outputs_of(split: str):
        asked.append(split)
        return ball_cameras(1, 2 if split == "val" else 0) if split == "val" else ball_cameras()[:0]

    datamanager = pipeline.datamanager
    datamanager.train_dataset = CountingDataset(ball_cameras(), 1.0)
    datamanager.dataparser = SimpleNamespace(get_dataparser_outputs=outputs_of)
    datamanager.config = SimpleNamespace(data=Path("/scene"), camera_res_scale_factor=0.5)
    validation = dataset_for_split(datamanager, "val")
    assert type(validation) is CountingDataset and validation.scale_factor == 0.5 and asked == ["val"]
    assert dataset_for_split(datamanager, "test") is datamanager.eval_dataset
    assert dataset_for_split(datamanager, "train") is datamanager.train_dataset


def test_an_unwritable_output_stops_before_any_rendering(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    pipeline = BallPipeline()
    with pytest.raises(InputError, match="not writable"):
        evaluate_pipeline(pipeline, ball_config(), 0, output_path=tmp_path / "file" / "test.json")
    assert pipeline.model.was_in_training_mode == []


def test_rgba_and_uint8_images_become_rgb_on_the_right_background() -> None:
    image = torch.tensor([[[0.2, 0.4, 0.6, 0.5]]])
    assert torch.allclose(composite(image, BallPipeline().model), torch.tensor([0.6, 0.7, 0.8]))
    black = SimpleNamespace(renderer_rgb=SimpleNamespace(blend_background=lambda rgba: rgba[..., :3] * rgba[..., 3:]))
    assert torch.allclose(composite(image, black), torch.tensor([0.1, 0.2, 0.3]))
    assert float(composite(torch.full((1, 1, 3), 51, dtype=torch.uint8), None).max()) == pytest.approx(0.2)


def test_groups_leave_out_what_has_no_key_and_what_is_undefined() -> None:
    rows = [
        {"camera_id": 1, "psnr": 10.0},
        {"camera_id": 0, "psnr": None},
        {"camera_id": 1, "psnr": 20.0},
        {"camera_id": None, "psnr": 99.0},
    ]
    assert group_metrics(rows, "camera_id") == [
        {"camera_id": 0, "num_images": 1, "psnr": None},
        {"camera_id": 1, "num_images": 2, "psnr": 15.0},
    ]


def test_of_coarse_to_fine_methods_the_fine_image_counts() -> None:
    pipeline = BallPipeline(0.1)
    plain = pipeline.model.get_outputs_for_camera
    pipeline.model.get_outputs_for_camera = lambda camera: {
        f"{name}_{level}": value for name, value in plain(camera).items() for level in ("coarse", "fine")
    }
    result = evaluate_pipeline(pipeline, ball_config(), 0, use_lpips=False)
    assert result["mean"]["psnr_fg"] == pytest.approx(20.0, abs=0.2) and result["mean"]["mask_iou"] == 1.0
    pipeline.model.get_outputs_for_camera = lambda camera: {"depth": torch.zeros(SIZE, SIZE, 1)}
    with pytest.raises(InputError, match="no rgb image, only depth"):
        evaluate_pipeline(pipeline, ball_config(), 0, use_lpips=False)


def test_a_stride_leaves_images_out_and_says_so() -> None:
    result = evaluate_pipeline(BallPipeline(0.1), ball_config(), 7, "train", use_lpips=False, image_stride=3)
    assert [row["image_index"] for row in result["images"]] == [0, 3, 6]
    assert result["protocol"]["num_images"] == 3 and result["protocol"]["image_stride"] == 3
