"""Losses of NSFF: known values, what each is blind to, variants, and who receives gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.ndc import NDCFrame, world_from_ndc
from nf_plugins.model_components.scene_flow_losses import (
    SparsityVariant,
    blend_entropy_loss,
    centre_smoothness_loss,
    chained_disocclusion,
    chained_photometric_loss,
    combined_photometric_loss,
    cycle_loss,
    depth_prior_loss,
    disocclusion_loss,
    dynamic_photometric_loss,
    flow_prior_loss,
    flow_sparsity_loss,
    spatial_smoothness_loss,
    temporal_smoothness_loss,
    warped_photometric_loss,
)

FRAME = NDCFrame(height=288, width=512, focal=400.0)
PREDICTED = torch.tensor([[0.2, 0.4, 0.6], [0.5, 0.5, 0.5]])
TARGET = torch.tensor([[0.1, 0.4, 0.9], [0.0, 1.0, 0.5]])
FLOW = torch.tensor([[1.0, -1.0, 0.5], [0.2, 0.2, -0.4]])
RAY_PARAMETER = torch.tensor([0.1, 0.4, 0.2, 0.9, 0.5], dtype=torch.float64)
DISPARITY = torch.tensor([5.0, 2.0, 4.0, 0.5, 1.0], dtype=torch.float64)


def test_only_uniform_rays_count_in_the_combined_loss() -> None:
    assert float(combined_photometric_loss(PREDICTED, TARGET)) == pytest.approx(0.6 / 6)
    assert float(combined_photometric_loss(PREDICTED, TARGET, 1)) == pytest.approx(0.1 / 3)


def test_masks_of_the_dynamic_fields_colours() -> None:
    dynamicness, visibility = torch.tensor([0.5, 0.25]), torch.tensor([0.2, 0.8])
    assert float(dynamic_photometric_loss(PREDICTED, TARGET, None)) == pytest.approx(0.1)
    assert float(dynamic_photometric_loss(PREDICTED, TARGET, dynamicness)) == pytest.approx(0.077778, abs=1e-6)
    assert float(chained_photometric_loss(PREDICTED, TARGET, dynamicness)) == pytest.approx(0.077778, abs=1e-6)
    # (0.2 * 0.1 + 0.8 * 0.5) / 3, and (0.1 * 0.1 + 0.2 * 0.5) / 0.9
    assert float(warped_photometric_loss(PREDICTED, TARGET, visibility, None)) == pytest.approx(0.14)
    assert float(warped_photometric_loss(PREDICTED, TARGET, visibility, dynamicness)) == pytest.approx(0.11 / 0.9)


def test_disocclusion_of_two_steps() -> None:
    assert float(chained_disocclusion(torch.tensor(0.2), torch.tensor(0.5))) == pytest.approx(0.6)
    assert float(chained_disocclusion(torch.tensor(0.0), torch.tensor(0.3))) == pytest.approx(0.3)


def test_cycles_that_close_cost_nothing_and_hidden_samples_count_less() -> None:
    disocclusion = torch.tensor([0.0, 1.0])
    assert float(cycle_loss(FLOW, -FLOW, disocclusion)) == 0
    ends = torch.tensor([[0.3, 0.0, 0.0], [9.0, 9.0, 9.0]])
    assert float(cycle_loss(FLOW, -FLOW + ends, disocclusion)) == pytest.approx(0.1)
    assert float(disocclusion_loss(disocclusion)) == 0.5


@pytest.mark.parametrize(
    ("variant", "expected"), [("summed_axes", 0.05), ("expected", 0.206667), ("all_samples", 0.55)]
)
def test_known_sparsity(variant: SparsityVariant, expected: float) -> None:
    loss = flow_sparsity_loss(FLOW, torch.tensor([0.2, 0.8]), variant)
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    batched = flow_sparsity_loss(FLOW.expand(3, 2, 3), torch.tensor([0.2, 0.8]).expand(3, 2), variant)
    torch.testing.assert_close(batched, loss)


def ray_and_its_flow() -> tuple[Tensor, Tensor, Tensor]:
    """Twenty samples of a ray in the world, and the same one frame before and after, float64."""
    parameter = torch.linspace(0, 1, 20, dtype=torch.float64)
    zero = torch.zeros_like(parameter)
    points = torch.stack([zero + 0.1, zero - 0.2, 2 * parameter - 1], dim=-1)
    forward = torch.stack([0.01 * parameter, 0.02 * parameter**2, zero], dim=-1)
    backward = torch.stack([-0.005 * parameter, 0.01 * parameter, zero], dim=-1)
    previous, centre, following = (world_from_ndc(x, FRAME) for x in (points + backward, points, points + forward))
    return previous, centre, following


def test_known_smoothness() -> None:
    previous, centre, following = ray_and_its_flow()
    assert float(spatial_smoothness_loss(centre, following)) == pytest.approx(0.00440706, abs=5e-9)
    assert float(spatial_smoothness_loss(centre, previous)) == pytest.approx(0.00226669, abs=5e-9)
    single = temporal_smoothness_loss(previous, centre, following)
    assert float(single) == pytest.approx(0.000129369, abs=5e-10)
    torch.testing.assert_close(centre_smoothness_loss(previous, centre, following), 2 * single)


def test_far_samples_take_no_part_in_smoothness() -> None:
    previous, centre, following = ray_and_its_flow()
    changed = following.clone()
    changed[19] += 1e3
    torch.testing.assert_close(
        spatial_smoothness_loss(centre, changed), spatial_smoothness_loss(centre, following), rtol=0, atol=0
    )
    changed[18] += 1e3
    torch.testing.assert_close(
        temporal_smoothness_loss(previous, centre, changed),
        temporal_smoothness_loss(previous, centre, following),
        rtol=0,
        atol=0,
    )
    torch.testing.assert_close(
        spatial_smoothness_loss(centre, changed, "paper"),
        spatial_smoothness_loss(centre, following, "paper"),
        rtol=0,
        atol=0,
    )


def test_the_papers_spatial_smoothness_weighs_pairs_by_their_distance() -> None:
    points = torch.zeros(3, 10, 3, dtype=torch.float64)
    points[..., 2] = -0.25 * torch.arange(10)
    points.requires_grad_()
    moved = points.detach().clone()
    moved[..., 0] += 0.1 * torch.arange(10)
    loss = spatial_smoothness_loss(points, moved, "paper")
    assert float(loss.detach()) == pytest.approx(math.exp(-0.5) * 0.1 / 3)
    # The weights have no gradient: along z only differences of flow, which are 0 here, could have one.
    loss.backward()
    assert points.grad is not None and float(points.grad[..., 2].abs().max()) == 0


@pytest.mark.parametrize("loss", [spatial_smoothness_loss, lambda a, b: temporal_smoothness_loss(2 * a - b, a, b)])
def test_constant_velocity_is_smooth(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    points = torch.rand(4, 20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(loss(points, points + torch.tensor([0.1, -0.2, 0.3]))) == pytest.approx(0, abs=1e-12)


def test_known_depth_loss() -> None:
    assert float(depth_prior_loss(RAY_PARAMETER, DISPARITY)) == pytest.approx(0.449954, abs=5e-7)
    # Of an even number the lower of the middle values.
    assert float(depth_prior_loss(RAY_PARAMETER[:4], DISPARITY[:4])) == pytest.approx(0.162367, abs=5e-7)


def test_depth_loss_does_not_see_shift_and_scale_of_disparity() -> None:
    loss = depth_prior_loss(RAY_PARAMETER, DISPARITY)
    torch.testing.assert_close(depth_prior_loss(RAY_PARAMETER, 1e-3 * DISPARITY - 7), loss)
    torch.testing.assert_close(depth_prior_loss(1 - 0.1 * DISPARITY, DISPARITY), torch.zeros_like(loss))


def test_depth_loss_of_degenerate_targets_is_finite() -> None:
    predicted = RAY_PARAMETER.clone().requires_grad_()
    for disparity in (torch.full_like(DISPARITY, 3.0), DISPARITY):
        for values in (predicted, 0 * predicted):
            loss = depth_prior_loss(values, disparity)
            (gradient,) = torch.autograd.grad(loss, predicted)
            assert math.isfinite(float(loss.detach())) and bool(torch.isfinite(gradient).all())


def test_rays_without_disparity_are_left_out() -> None:
    valid = torch.tensor([True, True, True, True, False])
    disparity = DISPARITY.clone()
    disparity[4] = math.nan
    loss = depth_prior_loss(RAY_PARAMETER, disparity, valid)
    torch.testing.assert_close(loss, depth_prior_loss(RAY_PARAMETER[:4], DISPARITY[:4]))
    assert float(depth_prior_loss(RAY_PARAMETER, disparity, torch.zeros(5, dtype=torch.bool))) == 0


def test_flow_loss_in_pixels_where_the_flow_is_valid() -> None:
    pixel, flow = torch.tensor([[100.5, 50.5], [3.5, 4.5]]), torch.tensor([[2.0, -1.0], [50.0, 50.0]])
    moved = torch.tensor([[103.5, 49.0], [3.5, 4.5]])
    assert float(flow_prior_loss(moved, pixel, flow, torch.tensor([True, False]))) == pytest.approx(0.75)
    assert float(flow_prior_loss(pixel + flow, pixel, flow, torch.ones(2))) == 0
    # Displacements, as in the paper's code: an offset of the rendered surface does not count.
    assert float(flow_prior_loss(moved + 5, pixel + 5, flow, torch.tensor([1.0, 0.0]))) == pytest.approx(0.75)
    assert float(flow_prior_loss(moved, pixel, flow, torch.zeros(2))) == 0


def test_known_entropy() -> None:
    weights = torch.tensor([0.0, 0.1, 1 / math.e, 0.5, 1.0], dtype=torch.float64)
    found = [float(blend_entropy_loss(weight)) for weight in weights]
    assert found == pytest.approx([0.0, 0.230259, 0.367879, 0.346574, 0.0], abs=6e-7)
    assert float(blend_entropy_loss(weights)) == pytest.approx(sum(found) / 5)


def test_learned_masks_receive_gradients() -> None:
    disocclusion = torch.tensor([0.3, 0.6], requires_grad=True)
    losses = (
        warped_photometric_loss(PREDICTED, TARGET, 1 - disocclusion, None),
        cycle_loss(FLOW, FLOW.flip(0), disocclusion),
        disocclusion_loss(disocclusion),
    )
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, disocclusion)
        assert float(gradient.abs().min()) > 0


def test_gradients_agree_with_differences() -> None:
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).add(0.1).requires_grad_()

    points, moved, before, weights, color = leaf(2, 5, 3), leaf(2, 5, 3), leaf(2, 5, 3), leaf(2, 5), leaf(5, 3)
    parameter, blend = leaf(5), leaf(2, 5)
    target = torch.rand(5, 3, generator=generator, dtype=torch.float64)
    checks: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
        (lambda c, m: warped_photometric_loss(c, target, m, target[:, 0]), (color, parameter)),
        (cycle_loss, (points, moved, weights)),
        (spatial_smoothness_loss, (points, moved)),
        (temporal_smoothness_loss, (before, points, moved)),
        (lambda z: depth_prior_loss(z, DISPARITY), (parameter,)),
        (lambda p: flow_prior_loss(p, target[:, :2], -target[:, 1:], target[:, 2]), (leaf(5, 2),)),
        (blend_entropy_loss, (blend,)),
        (lambda f, w: flow_sparsity_loss(f, w, "expected"), (points, weights)),
        (lambda f, w: flow_sparsity_loss(f, w, "summed_axes"), (points, weights)),
    ]
    for loss, inputs in checks:
        assert torch.autograd.gradcheck(loss, inputs)
