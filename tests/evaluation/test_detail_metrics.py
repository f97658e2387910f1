"""The measure of fine texture."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nf_plugins.evaluation.detail_metrics import detail_energy, detail_psnr, masked_blur
from nf_plugins.evaluation.image_metrics import psnr


def stripes(size: int = 64, contrast: float = 0.2, period: float = 4.0) -> Tensor:
    columns = torch.arange(size, dtype=torch.float32)
    pattern = 0.5 + contrast * torch.sin(2 * math.pi * columns / period)
    return pattern[None, :, None].expand(size, size, 3).clone()


def disc(size: int = 64, radius: float = 24.0) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((rows - size / 2).square() + (columns - size / 2).square() < radius**2).float()[..., None]


def test_equal_images_are_equal_and_a_flat_one_gets_the_energy_of_the_texture() -> None:
    truth, mask = stripes(), disc()
    assert detail_psnr(truth, truth, mask) == math.inf and detail_energy(truth, truth, mask) == pytest.approx(1)
    flat = torch.full_like(truth, 0.5)
    rms = 0.2 / math.sqrt(2)  # of a sine; two pixels of blur leave next to nothing of a period of four
    assert detail_psnr(flat, truth, mask) == pytest.approx(-20 * math.log10(rms), abs=0.1)
    assert detail_energy(flat, truth, mask) == pytest.approx(0, abs=1e-6)
    assert detail_energy(0.5 + 0.5 * (truth - 0.5), truth, mask) == pytest.approx(0.5, abs=1e-3)


def test_a_slow_change_of_colour_does_not_count_but_blur_does() -> None:
    truth, mask = stripes(), disc()
    tinted = truth + torch.linspace(0, 0.1, 64)[:, None, None]
    blurred = masked_blur(truth, torch.ones_like(mask), 2.0).float()
    assert psnr(tinted, truth, mask) < 30
    tinted_detail, blurred_detail = detail_psnr(tinted, truth, mask), detail_psnr(blurred, truth, mask)
    assert tinted_detail is not None and tinted_detail > 60
    assert blurred_detail is not None and blurred_detail < 20


def test_nothing_outside_the_mask_is_seen() -> None:
    truth, mask = stripes(), disc()
    predicted = truth + 0.02 * torch.sin(torch.arange(64.0))[:, None, None]
    other = torch.where(mask > 0.5, predicted, torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0)))
    black = truth * mask
    assert detail_psnr(other, black, mask) == pytest.approx(detail_psnr(predicted, truth, mask), abs=1e-6)
    # A plain blur would see the silhouette.
    flat = torch.full_like(truth, 0.5)
    assert detail_psnr(flat * mask, flat * mask * 0 + flat * mask, mask) == math.inf
    assert detail_energy(flat * mask, truth, mask) == pytest.approx(0, abs=1e-6)


def test_an_empty_or_thin_mask_has_no_value() -> None:
    truth = stripes()
    thin = torch.zeros(64, 64, 1)
    thin[30:36] = 1
    for mask in (torch.zeros(64, 64, 1), thin):
        assert detail_psnr(truth, truth, mask) is None and detail_energy(truth, truth, mask) is None
    assert detail_energy(truth, torch.zeros_like(truth), None) is None
