"""Metrics where the box is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ball_pipeline import SIZE, BallDataset, ball_cameras
from skimage.metrics import structural_similarity

from nf_plugins.evaluation.box_protocol import box_mask, box_metrics, evaluation_box, masked_rectangle, rect_ssim
from nf_plugins.evaluation.image_metrics import psnr
from nf_plugins.model_components.projected_box import box_pixels


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_box_s_pixels_are_those_of_its_projected_corners() -> None:
    camera = ball_cameras()[2:3]
    box = torch.tensor([[-0.5, -0.2, -0.4], [0.3, 0.4, 0.1]])
    pose = camera.camera_to_worlds[0].clone()
    pose[:, 1:3] *= -1
    rotation = pose[:, :3].T
    world_to_camera = torch.cat([rotation, -rotation @ pose[:, 3:]], dim=1)
    intrinsics = torch.tensor([[40.0, 0, SIZE / 2 - 0.5], [0, 40.0, SIZE / 2 - 0.5], [0, 0, 1]])
    mask = box_mask(camera, box)
    assert mask.shape == (SIZE, SIZE) and 20 < int(mask.sum()) < SIZE * SIZE
    assert torch.equal(mask, box_pixels(world_to_camera, intrinsics, (SIZE, SIZE), box))
    assert not bool(box_mask(camera, box + 100).any())


def test_the_box_is_that_of_the_image_s_frame() -> None:
    dataset = BallDataset(ball_cameras(), "test")
    assert evaluation_box(dataset, 0) is None
    dataset.metadata["scene_aabb"] = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    boxes = torch.stack([torch.tensor([[0.0, 0, 0], [1, 1, 1]]) + frame for frame in range(4)])
    dataset.metadata["frame_boxes"] = boxes
    for index, frame in ((0, 0), (2, 2), (7, 3)):
        box = evaluation_box(dataset, index)
        assert box is not None and torch.equal(box, boxes[frame])
    scene = evaluation_box(dataset, 2, "scene")
    assert scene is not None and torch.equal(scene, dataset.metadata["scene_aabb"])


def test_psnr_is_over_the_mask_and_ssim_over_its_rectangle_for_both_ranges() -> None:
    truth = noise(0, 20, 30, 3)
    predicted = truth.clone()
    predicted[5:15, 8:20] += 0.1
    predicted[0, 0] = 1 - truth[0, 0]  # outside: counts in the whole image only
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[5:15, 8:20] = True
    assert masked_rectangle(mask) == (5, 8, 10, 12)
    values = box_metrics(predicted, truth, mask, None)
    assert values["psnr_box"] == pytest.approx(20.0, abs=1e-4) and psnr(predicted, truth) > 20
    crop = [image[5:15, 8:20].double().numpy() for image in (predicted, truth)]
    for name, data_range in (("ssim_range1_box", 1.0), ("ssim_range2_box", 2.0)):
        expected = structural_similarity(*crop, data_range=data_range, channel_axis=-1)
        assert values[name] == pytest.approx(float(np.asarray(expected)), abs=1e-9)
    assert values["lpips_box"] is None
    narrow, wide = values["ssim_range1_box"], values["ssim_range2_box"]
    assert narrow is not None and wide is not None and wide > narrow


def test_lpips_sees_the_rectangle_alone() -> None:
    seen: list[tuple[int, ...]] = []

    def lpips(predicted: torch.Tensor, truth: torch.Tensor) -> float:
        seen.append(tuple(predicted.shape))
        return 0.25

    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[2:9, 3:13] = True
    values = box_metrics(noise(0, 20, 30, 3), noise(1, 20, 30, 3), mask, lpips)  # type: ignore[arg-type]
    assert values["lpips_box"] == 0.25 and seen == [(7, 10, 3)]


def test_empty_masks_and_small_rectangles_have_no_values() -> None:
    image = noise(0, 20, 30, 3)
    assert set(box_metrics(image, image, torch.zeros(20, 30, dtype=torch.bool), None).values()) == {None}
    assert rect_ssim(image, image, (0, 0, 6, 20), 1.0) is None
    assert rect_ssim(image, image, (0, 0, 7, 20), 1.0) == pytest.approx(1)
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[:3] = True
    assert box_metrics(image, image, mask, None)["psnr_box"] == math.inf
