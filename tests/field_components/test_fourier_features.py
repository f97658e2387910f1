"""Random Fourier features against their kernel."""

from __future__ import annotations

import math

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.field_components.fourier_features import FourierFeatures


def test_the_raw_point_comes_first_then_sines_then_cosines() -> None:
    torch.manual_seed(0)
    encoding = FourierFeatures(3, num_features=5, sigma=2.0)
    points = torch.rand(4, 6, 3) * 2 - 1
    encoded = encoding(points)
    assert encoded.shape == (4, 6, 13)
    assert torch.equal(encoded[..., :3], points)
    for column in range(5):
        angle = 2 * math.pi * sum(points[..., axis] * encoding.frequencies[axis, column] for axis in range(3))
        torch.testing.assert_close(encoded[..., 3 + column], torch.sin(angle), rtol=0, atol=1e-5)
        torch.testing.assert_close(encoded[..., 8 + column], torch.cos(angle), rtol=0, atol=1e-5)


def test_inner_products_are_the_gaussian_kernel_that_sigma_says() -> None:
    """E cos(2 pi b (x - y)) = exp(-2 (pi sigma |x - y|)^2)."""
    torch.manual_seed(0)
    sigma, points = 0.7, torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.2, -0.1]])
    features = FourierFeatures(3, num_features=200_000, sigma=sigma)(points)[:, 3:]
    kernel = float(features[0] @ features[1]) / 200_000
    assert kernel == pytest.approx(math.exp(-2 * (math.pi * sigma) ** 2 * 0.06), abs=5e-3)


def test_the_frequencies_travel_with_the_checkpoint() -> None:
    one, other = FourierFeatures(3, 4), FourierFeatures(3, 4)
    assert not torch.equal(one.frequencies, other.frequencies)
    other.load_state_dict(one.state_dict())
    points = torch.rand(5, 3)
    assert torch.equal(one(points), other(points))


def test_second_derivatives() -> None:
    points = torch.rand(3, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(FourierFeatures(3, 4, 0.3).double(), points)


def test_what_makes_no_features_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 frequency and a positive sigma, got 0 and 1"):
        FourierFeatures(3, 0)
    with pytest.raises(InputError, match="got 8 and 0"):
        FourierFeatures(3, 8, 0.0)
