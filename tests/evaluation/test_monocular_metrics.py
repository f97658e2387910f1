"""Closed forms of the metrics over what moves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nf_plugins.evaluation.evaluate_monocular import METRICS_NOTE
from nf_plugins.evaluation.lpips import LazyLPIPS
from nf_plugins.evaluation.monocular_metrics import (
    MONOCULAR_METRICS,
    layered_distance,
    mean_similarity,
    monocular_metrics,
    ssim_map,
)


def half_mask(height: int, width: int) -> torch.Tensor:
    """The upper half."""
    mask = torch.zeros(height, width, 1)
    mask[: height // 2] = 1
    return mask


def random_alexnet(self: LazyLPIPS) -> torch.nn.Module:
    """The network of LPIPS with random features under its published weights of layers."""
    from torchmetrics.functional.image.lpips import _LPIPS

    torch.manual_seed(0)
    return _LPIPS(net="alex", pnet_rand=True).eval()


def test_a_constant_error_has_the_same_psnr_over_any_mask() -> None:
    truth = torch.full((16, 20, 3), 0.4)
    values = monocular_metrics(truth + 0.1, truth, half_mask(16, 20))
    assert values["psnr"] == pytest.approx(20, abs=1e-5) and values["psnr_dynamic"] == pytest.approx(20, abs=1e-5)
    # Of constant images only the term of the means is left.
    for name, extent in (("ssim_range1", 1.0), ("ssim_range2", 2.0)):
        constant = (0.01 * extent) ** 2
        expected = (2 * 0.4 * 0.5 + constant) / (0.4**2 + 0.5**2 + constant)
        assert values[name] == pytest.approx(expected, abs=1e-6)
        assert values[f"{name}_dynamic"] == pytest.approx(expected, abs=1e-6)


def test_only_errors_on_the_mask_count_in_dynamic_metrics() -> None:
    truth = torch.rand(24, 20, 3, generator=torch.Generator().manual_seed(0))
    rendered = truth.clone()
    rendered[16:] = 0  # farther than half a window from the mask
    values = monocular_metrics(rendered, truth, half_mask(24, 20))
    assert values["psnr_dynamic"] == math.inf and values["ssim_range1_dynamic"] == pytest.approx(1)
    assert values["psnr"] is not None and values["psnr"] < 15 and values["ssim_range1"] < 0.9  # type: ignore[operator]
    rendered = truth.clone()
    rendered[:12, :, 0] += 0.3  # one channel of three over the whole mask
    values = monocular_metrics(rendered, truth, half_mask(24, 20))
    assert values["psnr_dynamic"] == pytest.approx(-10 * math.log10(0.03), abs=1e-4)
    assert values["psnr"] == pytest.approx(-10 * math.log10(0.015), abs=1e-4)


def test_without_a_mask_or_with_an_empty_one_dynamic_metrics_are_not_defined() -> None:
    image = torch.rand(9, 9, 3)
    for mask in (None, torch.zeros(9, 9, 1)):
        values = monocular_metrics(image, image, mask)
        assert set(values) == set(MONOCULAR_METRICS)
        assert all(values[name] is None for name in values if name.endswith("_dynamic"))
        assert values["ssim_range1"] == pytest.approx(1)


def test_a_range_of_two_inflates_similarity() -> None:
    from skimage.data import astronaut

    photo = torch.from_numpy(astronaut() / 255.0)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.05, photo.shape))
    values = monocular_metrics((photo + noise).clamp(0, 1), photo, None)
    assert values["ssim_range1"] == pytest.approx(0.57, abs=0.02)
    assert values["ssim_range2"] == pytest.approx(0.73, abs=0.02)


def test_similarity_of_a_window_is_that_of_its_moments() -> None:
    first, second = torch.rand(2, 9, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    similarity = ssim_map(first, second, 1.0)
    assert similarity is not None and similarity.shape == (9, 9, 3)
    a, b = first[1:8, 1:8, 0].reshape(-1), second[1:8, 1:8, 0].reshape(-1)
    covariance = torch.cov(torch.stack([a, b]))
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * a.mean() * b.mean() + c1) * (2 * covariance[0, 1] + c2)
    expected /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    assert float(similarity[4, 4, 0]) == pytest.approx(float(expected))
    assert mean_similarity(similarity) == pytest.approx(float(similarity[3:6, 3:6].mean()))
    corner = torch.zeros(9, 9, 1)
    corner[0, 0] = 1
    assert mean_similarity(similarity, corner) == pytest.approx(float(similarity[0, 0].mean()))
    assert ssim_map(first[:6], second[:6], 1.0) is None


def test_layers_are_averaged_over_their_own_pixels_of_the_mask() -> None:
    fine, coarse = torch.zeros(4, 4), torch.zeros(2, 2)
    fine[:2], coarse[0] = 0.5, 2.0
    assert layered_distance([fine, coarse]) == pytest.approx(0.25 + 1.0)
    assert layered_distance([fine, coarse], half_mask(8, 8)) == pytest.approx(0.5 + 2.0)
    lost = torch.zeros(8, 8, 1)
    lost[3, 3] = 1  # a pixel that the nearest values of the coarse layer leave out
    assert layered_distance([fine, coarse], lost) == pytest.approx(0.5)
    assert layered_distance([coarse], lost) is None


def test_perceptual_distance_of_the_whole_mask_is_that_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LazyLPIPS, "_build", random_alexnet)
    first, second = torch.rand(2, 64, 72, 3, generator=torch.Generator().manual_seed(2))
    metric = LazyLPIPS()
    values = monocular_metrics(first, second, torch.ones(64, 72, 1), metric)
    assert values["lpips"] == pytest.approx(metric(first, second), rel=1e-5)
    for name in ("psnr", "lpips"):
        assert values[f"{name}_dynamic"] == pytest.approx(values[name], rel=1e-5)
    changed = first.clone()
    changed[:32] = second[:32]
    upper = monocular_metrics(changed, first, half_mask(64, 72), metric)
    assert upper["lpips_dynamic"] > upper["lpips"] > 0  # type: ignore[operator]
    assert not metric._network.lin0._forward_hooks


def test_without_weights_there_is_no_perceptual_distance(monkeypatch, capsys) -> None:
    def refuse(self: LazyLPIPS) -> None:
        raise ConnectionError("no weights")

    monkeypatch.setattr(LazyLPIPS, "_build", refuse)
    metric, image = LazyLPIPS(), torch.rand(64, 64, 3)
    for _ in range(2):
        assert monocular_metrics(image, image, torch.ones(64, 64, 1), metric)["lpips_dynamic"] is None
    assert capsys.readouterr().out.count("LPIPS is left out") == 1


def test_masks_of_layers_lie_half_a_pixel_beside_the_published_ones_as_the_note_says() -> None:
    mask, layer = torch.zeros(8, 8, 1), torch.arange(16.0).reshape(4, 4)
    mask[3, 5] = 1  # nearest to a centre, (i + 1/2) 8 / 4, of row 1 and column 2
    assert layered_distance([layer], mask) == layer[1, 2]
    published = torch.nn.functional.interpolate(mask.permute(2, 0, 1)[None], (4, 4), mode="nearest")[0, 0]
    assert not published.any()
    assert "torch's nearest interpolation" in METRICS_NOTE and "half a pixel of the layer beside" in METRICS_NOTE
