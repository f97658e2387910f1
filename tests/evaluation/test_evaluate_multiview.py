"""The protocols of captures, on images in closed form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ball_pipeline import RADIUS, SIZE, BallPipeline, ball_centre, ball_config
from PIL import Image

from nf_plugins.errors import InputError
from nf_plugins.evaluation.evaluate_multiview import (
    MultiviewOptions,
    chosen_images,
    evaluate_multiview,
    frame_numbers,
)

OFFSET = 0.1


def rig_pipeline(offset: float = OFFSET, with_masks: bool = True) -> Any:
    """The ball's pipeline, ``offset`` too bright, with a box per frame and names of its two cameras."""
    pipeline = BallPipeline(offset, with_masks)
    train = pipeline.datamanager.train_dataset
    boxes = torch.stack([torch.stack([ball_centre(t) - RADIUS, ball_centre(t) + RADIUS]) for t in (0, 1 / 3, 2 / 3, 1)])
    for dataset in (train, pipeline.datamanager.eval_dataset):
        dataset.metadata |= {"frame_boxes": boxes, "camera_names": ["left", "right"]}
    pipeline.datamanager.eval_dataset = train  # both cameras
    return pipeline


def evaluate(pipeline: Any, **options: Any) -> dict[str, Any]:
    return evaluate_multiview(pipeline, ball_config(), 7, MultiviewOptions(**options))


def test_the_box_protocol_measures_inside_the_box() -> None:
    pipeline = rig_pipeline()
    result = evaluate(pipeline)
    assert result["num_images"] == 8 and len(result["images"]) == 8 and result["num_parameters"] == 1
    row = result["images"][5]
    assert (row["camera_id"], row["frame_id"]) == (1, 1) and 0.1 < row["box_share"] < 0.6
    # An error of the foreground alone is diluted by the part of the pixels that is measured.
    assert row["psnr"] - row["psnr_box"] == pytest.approx(-10 * np.log10(row["box_share"]), abs=1e-3)
    assert row["psnr_fg"] == pytest.approx(20, abs=1e-3) and row["psnr_box"] > 20.1
    assert row["ssim_range2_box"] > row["ssim_range1_box"] and row["mask_iou"] == 1
    assert row["lpips_box"] is None and "lpips_box" not in result["mean"] and "psnr_inner" not in result["mean"]
    assert result["mean"]["psnr_box"] == pytest.approx(np.mean([image["psnr_box"] for image in result["images"]]))
    assert [camera["name"] for camera in result["per_camera"]] == ["left", "right"]
    assert result["protocol"]["name"] == "box" and result["protocol"]["step"] == 7
    assert result["seconds_per_image"] > 0
    json.dumps(result)


def test_a_perfect_render_has_no_finite_psnr() -> None:
    result = evaluate(rig_pipeline(0.0), image_stride=4)
    assert "psnr_box" not in result["mean"] and result["images"][0]["psnr_box"] == float("inf")
    assert result["mean"]["ssim_range1_box"] == pytest.approx(1)
    assert result["images"][0]["ssim_fg"] is not None and result["mean"]["mask_iou"] == 1


def test_cameras_and_strides_choose_images() -> None:
    dataset = rig_pipeline().datamanager.train_dataset
    assert chosen_images(dataset, MultiviewOptions()) == list(range(8))
    assert chosen_images(dataset, MultiviewOptions(test_cameras=("right",))) == [4, 5, 6, 7]
    assert chosen_images(dataset, MultiviewOptions(test_cameras=("0",), frame_stride=3)) == [0, 3]
    assert chosen_images(dataset, MultiviewOptions(frame_stride=2, image_stride=3)) == [0, 6]
    with pytest.raises(InputError, match="--test-cameras names up, .* some of left, right"):
        chosen_images(dataset, MultiviewOptions(test_cameras=("up",)))
    with pytest.raises(InputError, match="--frame-stride 0"):
        chosen_images(dataset, MultiviewOptions(frame_stride=0))


def test_without_boxes_the_box_is_the_image() -> None:
    pipeline = rig_pipeline(with_masks=False)
    for name in ("frame_boxes", "scene_aabb"):
        pipeline.datamanager.train_dataset.metadata.pop(name, None)
    row = evaluate(pipeline, image_stride=8)["images"][0]
    assert row["box_share"] == 1 and row["psnr_box"] == pytest.approx(row["psnr"])
    assert row["psnr_fg"] is None and row["detail_psnr"] > 20 and row["detail_energy"] > 0.5


def test_nhr_leaves_the_rim_out() -> None:
    result = evaluate(rig_pipeline(), protocol="nhr", test_cameras=("left",))
    assert result["mean"]["psnr_inner"] == pytest.approx(20, abs=1e-3)
    with pytest.raises(InputError, match="expected masks or --truth-folder"):
        evaluate(rig_pipeline(with_masks=False), protocol="nhr")


def test_nhr_compares_with_released_pictures(tmp_path: Path) -> None:
    pipeline = rig_pipeline(0.0)
    dataset = pipeline.datamanager.train_dataset

    class Config:
        start_frame, frame_stride = 10, 5

    pipeline.datamanager.dataparser = type("Parser", (), {"config": Config})
    assert frame_numbers(pipeline.datamanager, dataset) == [10, 15, 20, 25]
    options = {"protocol": "nhr", "test_cameras": ("right",), "frame_stride": 2, "truth_folder": tmp_path}
    with pytest.raises(InputError, match=r"0010_01_gt\.png"):
        evaluate(pipeline, **options)
    assert pipeline.model.was_in_training_mode == []  # nothing was rendered
    for frame, index in ((10, 4), (20, 6)):
        image = dataset[index]
        darker = image["image"].numpy() - 0.05 * image["fg_mask"].numpy()
        for kind, values in (("gt", darker), ("mask", image["fg_mask"].numpy()[..., 0])):
            picture = Image.fromarray((255 * values.clip(0, 1)).round().astype(np.uint8))
            picture.save(tmp_path / f"{frame:04d}_01_{kind}.png")
    result = evaluate(pipeline, **options)
    assert result["mean"]["psnr_inner"] == pytest.approx(-20 * np.log10(0.05), abs=0.2)
    assert result["images"][0]["psnr_box"] == float("inf")  # which knows the data's own images


def test_dynerf_measures_in_patches_and_keeps_them(tmp_path: Path) -> None:
    pipeline, path = rig_pipeline(), tmp_path / "patches.json"
    options = {"protocol": "dynerf", "patches": path, "patch_size": 8}
    with pytest.raises(InputError, match="one camera, and 2 are evaluated"):
        evaluate(pipeline, **options)
    result = evaluate(pipeline, test_cameras=("left",), **options)
    coords = json.loads(path.read_text())["coords"]
    assert len(coords) == 1 and len(coords[0]) >= 2 and result["patches"]["patch_size"] == 8
    assert {"psnr_dynamic", "ssim_range1_dynamic", "ssim_range2_dynamic"} <= set(result["mean"])
    first = result["images"][0]
    pixels = dataset_foreground(pipeline, 0, coords[0])
    assert first["psnr_dynamic"] == pytest.approx(20 - 10 * np.log10(pixels), abs=1e-3)
    path.write_text(json.dumps({"coords": [[0, 0]], "patch_size": 4}))  # a corner, where nothing is
    again = evaluate(pipeline, test_cameras=("left",), **options)
    assert again["images"][0]["psnr_dynamic"] == float("inf") and "psnr_dynamic" not in again["mean"]


def dataset_foreground(pipeline: Any, index: int, coords: list[list[int]]) -> float:
    """Part of the patches' pixels that is foreground."""
    mask = pipeline.datamanager.train_dataset[index]["fg_mask"]
    assert mask.shape == (SIZE, SIZE, 1)
    return float(torch.stack([mask[row : row + 8, column : column + 8] for row, column in coords]).mean())
