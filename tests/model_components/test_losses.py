import math

import pytest
import torch

from nf_plugins.model_components import losses


def test_foreground_l1_ignores_background_and_weighs_edges() -> None:
    predicted, target = torch.zeros(3, 3), torch.tensor([[0.3] * 3, [0.9] * 3, [0.6] * 3])
    mask = torch.tensor([[1.0], [0.0], [0.5]])
    assert losses.foreground_l1_loss(predicted, target, mask).item() == pytest.approx((0.3 + 0.5 * 0.6) / 1.5)
    assert losses.foreground_l1_loss(predicted, target, torch.zeros(3, 1)).item() == 0


def test_mask_loss_is_clipped_cross_entropy() -> None:
    loss = losses.mask_cross_entropy_loss(torch.tensor([[0.0], [0.25]]), torch.tensor([[1.0], [0.2]]))
    assert loss.item() == pytest.approx((-math.log(1e-3) - math.log(0.75)) / 2, rel=1e-5)


def test_eikonal_of_unit_gradients_is_zero() -> None:
    unit = torch.nn.functional.normalize(torch.randn(5, 7, 3), dim=-1)
    assert losses.eikonal_loss(unit).item() == pytest.approx(0, abs=1e-10)
    assert losses.eikonal_loss(3 * unit).item() == pytest.approx(4, rel=1e-5)


def test_depth_counts_only_measured_foreground() -> None:
    predicted = torch.tensor([[1.0], [2.0], [0.0], [4.0]])
    target = torch.tensor([[1.5], [0.0], [3.0], [5.0]])
    mask = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    assert losses.depth_l1_loss(predicted, target, mask).item() == pytest.approx(0.5)
    assert losses.depth_l1_loss(predicted, target, None).item() == pytest.approx(0.75)
    assert losses.depth_l1_loss(predicted, torch.zeros(4, 1), mask).item() == 0


def test_free_space_counts_only_points_known_to_be_empty_and_inside() -> None:
    distance = torch.tensor([[-0.3], [0.2], [-0.5]])
    assert losses.free_space_loss(distance, torch.tensor([True, True, False])).item() == pytest.approx(0.15)
    assert losses.free_space_loss(distance, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_sparsity_known_values() -> None:
    loss = losses.sparsity_loss(torch.tensor([0.001]), torch.tensor([-0.01]))
    assert loss.item() == pytest.approx(math.exp(-1), rel=1e-4)


def test_elastic_loss_is_zero_for_rotations_and_knows_a_stretch() -> None:
    rotation = torch.linalg.qr(torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0)))[0]
    assert float(losses.elastic_loss(rotation)) < 1e-8
    stretch = torch.diag(torch.tensor([1.03, 1.0, 1.0]))
    squared = math.log(1.03) ** 2 / 0.03**2
    assert float(losses.elastic_loss(stretch[None])) == pytest.approx(2 * squared / (squared + 4), rel=1e-4)
    assert float(losses.elastic_loss(100 * torch.eye(3)[None])) < 2


def test_elastic_loss_has_a_finite_gradient_at_equal_singular_values() -> None:
    jacobian = (1.1 * torch.eye(3)).expand(2, 3, 3).clone().requires_grad_()
    losses.elastic_loss(jacobian).backward()
    assert jacobian.grad is not None and jacobian.grad.isfinite().all() and jacobian.grad.abs().sum() > 0


def test_code_loss_is_the_mean_squared_length() -> None:
    assert float(losses.code_loss(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))) == 13.0
