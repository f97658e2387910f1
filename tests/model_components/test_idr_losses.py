"""IDR's losses on four rays, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from nf_plugins.model_components.idr_losses import silhouette_loss, silhouette_sharpness, surface_color_loss

IN_MASK = torch.tensor([True, True, False, False])
ON_SURFACE = torch.tensor([True, False, False, False])


def test_colour_error_is_divided_by_all_rays_in_the_wide_range() -> None:
    predicted = torch.tensor([[0.5, 0.5, 0.5]] * 4)
    target = torch.tensor([[0.25, 0.5, 1.0]] * 4)
    # In [-1, 1] the errors are 0.5, 0 and 1; one of four rays counts.
    assert float(surface_color_loss(predicted, target, ON_SURFACE)) == pytest.approx(1.5 / 4)


def test_silhouette_by_hand() -> None:
    distances = torch.tensor([[-0.3], [0.02], [-0.01], [0.04]])
    alpha = 50.0
    # Ray 1 should be inside, rays 2 and 3 outside; ray 0 has a surface and takes no part.
    expected = math.log1p(math.exp(1.0)) + math.log1p(math.exp(0.5)) + math.log1p(math.exp(-2.0))
    loss = silhouette_loss(distances, IN_MASK, ON_SURFACE, alpha)
    assert float(loss) == pytest.approx(expected / (alpha * 4), rel=1e-6)


def test_silhouette_pulls_the_distance_to_its_side() -> None:
    distances = torch.zeros(4, 1, requires_grad=True)
    silhouette_loss(distances, IN_MASK, ON_SURFACE, 50.0).backward()
    gradient = distances.grad
    assert gradient is not None
    assert float(gradient[0]) == 0 and float(gradient[1]) > 0 and float(gradient[2]) < 0 and float(gradient[3]) < 0


def test_empty_sets_give_zero_with_a_gradient() -> None:
    predicted = torch.rand(4, 3, requires_grad=True)
    nobody = torch.zeros(4, dtype=torch.bool)
    loss = surface_color_loss(predicted, torch.rand(4, 3), nobody)
    loss.backward()
    assert float(loss) == 0 and predicted.grad is not None and float(predicted.grad.abs().max()) == 0
    assert float(silhouette_loss(torch.rand(4, 1), IN_MASK, ~nobody, 50.0)) == 0


def test_sharpness_doubles_at_the_published_milestones() -> None:
    milestones = (12_250, 24_500, 36_750, 49_000, 61_250)
    steps = (0, 12_249, 12_250, 24_500, 36_750, 49_000, 61_250, 98_048)
    values = [silhouette_sharpness(step, 50.0, milestones, 2.0) for step in steps]
    assert values == [50, 50, 100, 200, 400, 800, 1600, 1600]
