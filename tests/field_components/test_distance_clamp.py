"""The bounded distance of the HashMod reference."""

from __future__ import annotations

import torch

from nf_plugins.field_components.distance_clamp import laplace_tanh_clamp


def test_values_measured_of_the_original() -> None:
    values = torch.tensor([-1.0, -0.6, -0.1, 0.1, 0.6, 1.0])[:, None]
    expected = torch.tensor([-0.329, -0.209, -0.038, 0.040, 0.257, 0.429])[:, None]
    torch.testing.assert_close(laplace_tanh_clamp(values), expected, atol=1e-3, rtol=0)


def test_slope_at_the_surface_and_sign() -> None:
    values = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(laplace_tanh_clamp(values), values)
    assert abs(float(slope) - 0.391) < 1e-3
    many = torch.linspace(-3, 3, 101)[:, None]
    clamped = laplace_tanh_clamp(many)
    assert bool((clamped.sign() == many.sign()).all()) and float(clamped.abs().max()) < 1
