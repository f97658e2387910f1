"""Image metrics against closed forms, torchmetrics and a window-by-window reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nf_plugins.evaluation.image_metrics import mask_cross_entropy, mask_iou, masked_ssim, psnr, ssim


def image_pair(height: int = 24, width: int = 19) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(height, width, 3, generator=generator)
    return (truth + 0.2 * torch.randn(height, width, 3, generator=generator)).clamp(0, 1), truth


def test_psnr_of_a_constant_offset() -> None:
    truth = torch.rand(8, 9, 3) * 0.5
    assert psnr(truth + 0.1, truth) == pytest.approx(20.0, abs=1e-4)
    assert psnr(truth, truth) == math.inf


def test_masked_psnr_sees_the_mask_only() -> None:
    truth = torch.rand(8, 8, 3) * 0.5
    rendered = truth + 0.3
    rendered[:4] = truth[:4] + 0.01
    mask = torch.zeros(8, 8, 1)
    mask[:4] = 1.0
    assert psnr(rendered, truth, mask) == pytest.approx(40.0, abs=1e-3)
    assert psnr(rendered, truth, torch.ones(8, 8, 1)) == pytest.approx(psnr(rendered, truth))
    assert math.isnan(psnr(rendered, truth, torch.zeros(8, 8, 1)))


def test_ssim_is_torchmetrics_map_over_whole_windows() -> None:
    from torchmetrics.image import StructuralSimilarityIndexMeasure

    rendered, truth = image_pair()
    _, similarity = StructuralSimilarityIndexMeasure(data_range=1.0, return_full_image=True)(
        rendered.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None]
    )
    assert ssim(rendered, truth) == pytest.approx(float(similarity[0, :, 5:-5, 5:-5].mean()), abs=1e-6)
    assert ssim(truth, truth) == pytest.approx(1.0)


def test_ssim_is_the_mean_over_valid_gaussian_windows_as_dycheck_defines_it() -> None:
    rendered, truth = image_pair()
    kernel = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    kernel /= kernel.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(image, (11, 11), axis=(0, 1))
        return np.einsum("...ij,i,j->...", windows, kernel, kernel)

    x, y = rendered.double().numpy(), truth.double().numpy()
    mx, my = blur(x), blur(y)
    vx, vy = (np.maximum(0.0, blur(a * a) - m * m) for a, m in ((x, mx), (y, my)))
    bound, cxy = np.sqrt(vx * vy), blur(x * y) - mx * my
    cxy = np.sign(cxy) * np.minimum(bound, np.abs(cxy))
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mx * my + c1) * (2 * cxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert similarity.shape == (14, 9, 3)
    assert ssim(rendered, truth) == pytest.approx(similarity.mean(), abs=1e-6)


@pytest.mark.parametrize("average", ["mask", "windows"])
def test_masked_ssim_with_a_mask_of_ones_is_the_unmasked_one(average) -> None:
    rendered, truth = image_pair()
    assert masked_ssim(rendered, truth, torch.ones(24, 19, 1), average) == pytest.approx(
        ssim(rendered, truth), abs=1e-5
    )


def test_masked_ssim_of_one_window_equals_the_formula_written_out() -> None:
    rendered, truth = image_pair(11, 11)
    mask = (torch.rand(11, 11, 1, generator=torch.Generator().manual_seed(1)) > 0.4).float()
    mask[5, 5] = 1.0
    mask[3] = 0.0
    kernel = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    kernel /= kernel.sum()
    weights = mask[..., 0].numpy()

    def blur(values: np.ndarray) -> float:
        column_sum, rows_seen = 0.0, 0
        for row in range(11):
            count = weights[row].sum()
            if count > 0:
                column_sum += kernel[row] * (kernel * weights[row] * values[row]).sum() * 11 / count
                rows_seen += 1
        return column_sum * 11 / rows_seen

    expected = []
    for channel in range(3):
        x, y = (image[..., channel].double().numpy() for image in (rendered, truth))
        mx, my = blur(x), blur(y)
        vx, vy = max(0.0, blur(x * x) - mx * mx), max(0.0, blur(y * y) - my * my)
        cxy = np.clip(blur(x * y) - mx * my, -np.sqrt(vx * vy), np.sqrt(vx * vy))
        expected.append((2 * mx * my + 1e-4) * (2 * cxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    assert masked_ssim(rendered, truth, mask) == pytest.approx(np.mean(expected), abs=1e-9)


def test_masked_ssim_ignores_what_lies_outside_the_mask() -> None:
    rendered, truth = image_pair(32, 32)
    mask = torch.zeros(32, 32, 1)
    mask[8:20, 10:22] = 1.0
    other = torch.where(mask > 0, rendered, torch.rand(32, 32, 3))
    assert masked_ssim(other, truth, mask) == masked_ssim(rendered, truth, mask)
    value = masked_ssim(rendered, truth, mask)
    assert value is not None and value < 0.99
    everywhere = masked_ssim(rendered, truth, mask, average="windows")
    assert everywhere is not None and everywhere > value


def test_what_is_not_defined_is_none() -> None:
    small = torch.rand(10, 30, 3)
    assert ssim(small, small) is None
    assert masked_ssim(small, small, torch.ones(10, 30, 1)) is None
    image = torch.rand(16, 16, 3)
    assert masked_ssim(image, image, torch.zeros(16, 16, 1)) is None
    assert mask_iou(torch.zeros(4, 4, 1), torch.zeros(4, 4, 1)) is None


def test_mask_iou_of_overlapping_halves() -> None:
    first, second = torch.zeros(4, 8, 1), torch.zeros(4, 8, 1)
    first[:, :4], second[:, 2:6] = 0.9, 1.0
    assert mask_iou(first, second) == pytest.approx(2 / 6)


def test_mask_cross_entropy_of_known_opacities() -> None:
    opacity, mask = torch.full((2, 2, 1), 0.8), torch.tensor([1.0, 1.0, 0.0, 1.0]).view(2, 2, 1)
    assert mask_cross_entropy(opacity, mask) == pytest.approx(-(3 * math.log(0.8) + math.log(0.2)) / 4)
    wrong = mask_cross_entropy(torch.zeros(2, 2, 1), torch.full((2, 2, 1), 0.6))
    assert wrong == pytest.approx(-math.log(1e-3), rel=1e-6)
