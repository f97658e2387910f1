"""Opacities of NeuS: closed forms on a plane, unbiasedness, annealing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.neus_alpha import annealed_slope, neus_alpha

SURFACE = 0.7137
COSINE = -0.6


def along_a_ray(num_intervals: int, sharpness: float) -> tuple[Tensor, Tensor, Tensor]:
    """Opacity, middle and distance at the ends of intervals of a ray through a plane at SURFACE; float64."""
    ends = torch.linspace(0.0, 1.5, num_intervals + 1, dtype=torch.float64)
    at_ends = COSINE * (ends - SURFACE)
    middles = 0.5 * (ends[1:] + ends[:-1])
    slope = torch.full_like(middles, COSINE)
    alpha = neus_alpha(COSINE * (middles - SURFACE), slope, ends.diff(), sharpness)
    return alpha, middles, at_ends


@pytest.mark.parametrize("sharpness", [5.0, 64.0, 600.0])
def test_a_plane_has_the_quotient_of_sigmoids(sharpness: float) -> None:
    alpha, _, at_ends = along_a_ray(50, sharpness)
    sigmoid = torch.sigmoid(sharpness * at_ends)
    torch.testing.assert_close(alpha, (sigmoid[:-1] - sigmoid[1:]) / sigmoid[:-1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("sharpness", [20.0, 200.0, 1e6])
def test_the_weight_is_greatest_at_the_surface_whatever_the_sharpness(sharpness: float) -> None:
    alpha, middles, at_ends = along_a_ray(301, sharpness)
    transmittance = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - alpha, 0)])
    weights = alpha * transmittance[:-1]
    assert abs(float(middles[weights.argmax()]) - SURFACE) <= 0.5 * 1.5 / 301
    sigmoid = torch.sigmoid(sharpness * at_ends)
    assert float(weights.sum()) == pytest.approx(float(1 - sigmoid[-1] / sigmoid[0]), abs=1e-9)


def test_a_ray_that_leaves_is_transparent_in_the_end_and_visible_at_the_start() -> None:
    cosine = torch.tensor([-1.0, -0.3, 0.0, 0.3, 1.0])
    torch.testing.assert_close(annealed_slope(cosine, 1.0), torch.tensor([-1.0, -0.3, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(annealed_slope(cosine, 0.0), torch.tensor([-1.0, -0.65, -0.5, -0.35, 0.0]))
    half = 0.5 * (annealed_slope(cosine, 0.0) + annealed_slope(cosine, 1.0))
    torch.testing.assert_close(annealed_slope(cosine, 0.5), half)
    assert float(neus_alpha(torch.tensor(0.0), annealed_slope(torch.tensor(0.5), 1.0), torch.tensor(0.1), 64.0)) == 0.0


def test_gradients_agree_with_differences_and_stay_finite_where_sigmoids_vanish() -> None:
    generator = torch.Generator().manual_seed(0)
    distance = torch.randn(6, generator=generator, dtype=torch.float64).mul(0.1).requires_grad_()
    slope = (-torch.rand(6, generator=generator, dtype=torch.float64)).requires_grad_()
    length = torch.full((6,), 0.05, dtype=torch.float64)
    sharpness = torch.tensor(30.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d, c, k: neus_alpha(d, c, length, k), (distance, slope, sharpness))
    far = torch.tensor([-5.0, 5.0], requires_grad=True)
    alpha = neus_alpha(far, torch.tensor([-1.0, -1.0]), torch.tensor([0.01, 0.01]), 1e5)
    alpha.sum().backward()
    assert alpha.tolist() == [1.0, 0.0] and far.grad is not None
    assert torch.isfinite(far.grad).all()
