"""Which frames a step looks at, and what its renders depend on."""

from __future__ import annotations

import pytest
import torch

from nf_plugins.fields.scene_flow_field import SceneFlowField, SceneFlowFieldConfig
from nf_plugins.model_components.loss_stages import LossStages
from nf_plugins.model_components.ndc import NDCFrame
from nf_plugins.model_components.plane_samples import PlaneSamples, plane_parameters
from nf_plugins.models.scene_flow_pass import PassPlan, plan_pass, reference_pass, training_pass

STAGES = LossStages(length=10)
FRAME = NDCFrame(height=6, width=8, focal=7.0)


def small_field(num_frames: int = 6) -> SceneFlowField:
    torch.manual_seed(1)
    config = SceneFlowFieldConfig(num_layers=3, hidden_dim=16, skip_layer=2, num_position_frequencies=3)
    return SceneFlowField(config, num_frames)


def forget_time(field: SceneFlowField) -> None:
    """Makes the dynamic network the same at all times, without motion."""
    time_columns = torch.arange(field.space_time_encoding.out_dim).view(-1, 4)[:, 3]
    with torch.no_grad():
        field.dynamic_trunk.layers[0].weight[:, time_columns] = 0
        field.dynamic_trunk.layers[2].weight[:, time_columns] = 0
        field.scene_flow.weight.zero_()
        field.scene_flow.bias.zero_()


def some_samples(num_rays: int = 5, num_samples: int = 7) -> PlaneSamples:
    torch.manual_seed(2)
    directions = torch.nn.functional.normalize(torch.randn(num_rays, 3) * 0.3 - torch.tensor([0, 0, 1.0]), dim=-1)
    return FRAME.place_samples(torch.randn(num_rays, 3) * 0.1, directions, num_samples, jitter=False)


@pytest.mark.parametrize(
    "step, frame, plan",
    [
        (0, 3, PassPlan((-1, 1), (-1, 1), -1, False)),
        (1, 3, PassPlan((-1, 1), (-1, 1), 1, False)),
        (20, 3, PassPlan((-1, 1), (-1, 1), -1, False)),
        (21, 3, PassPlan((-1, 1), (-1, 1), 1, True)),
        (22, 0, PassPlan((1,), (1,), None, False)),
        (22, 1, PassPlan((-1, 1), (-1, 1), None, False)),
        (23, 1, PassPlan((-1, 1), (-1, 1), 1, True)),
        (23, 5, PassPlan((-1,), (-1,), None, False)),
        (22, 5, PassPlan((-1,), (-1,), -1, True)),
    ],
)
def test_plan_stays_within_the_sequence(step: int, frame: int, plan: PassPlan) -> None:
    assert plan_pass(step, frame, 6, STAGES) == plan


def test_plan_of_the_published_code_leaves_the_sequence() -> None:
    assert plan_pass(22, 0, 6, STAGES, leaves_sequence=True) == PassPlan((-1, 1), (-1, 1), -1, True)
    assert not plan_pass(23, 3, 6, STAGES, chains=False).renders_chain
    assert plan_pass(10, 3, 6, LossStages(10, "paper")).renders_chain


def test_alternating_asks_one_neighbour_a_step() -> None:
    plans = [plan_pass(step, 3, 6, STAGES, alternates=True) for step in (22, 23)]
    assert [(plan.followed, plan.queried, plan.chained) for plan in plans] == [((-1, 1), (-1,), -1), ((-1, 1), (1,), 1)]
    assert [plan.query_weight for plan in plans] == [2, 2]
    assert [plan.dynamic_evaluations for plan in plans] == [3, 3]
    edge = plan_pass(22, 0, 6, STAGES, alternates=True)
    assert (edge.queried, edge.query_weight, edge.dynamic_evaluations) == ((1,), 1, 2)


def test_planes_are_even_in_disparity_and_jitter_stays_beside_them() -> None:
    even = plane_parameters(3, 5, torch.zeros(1), jitter=False)
    assert even[0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    torch.manual_seed(0)
    drawn = plane_parameters(1000, 5, torch.zeros(1), jitter=True)
    assert float((drawn - even[0]).abs().max()) <= 0.125
    assert (drawn.diff(dim=-1) >= 0).all()
    assert drawn.mean(0).tolist() == pytest.approx([0.0625, 0.25, 0.5, 0.75, 0.9375], abs=0.01)


def test_without_motion_and_time_every_neighbour_shows_the_frame_itself() -> None:
    field, samples = small_field(), some_samples()
    forget_time(field)
    result = training_pass(field, samples, 3, plan_pass(21, 3, 6, STAGES))
    own = result.reference.dynamic_render
    assert result.chain is not None and result.chain.render is not None
    for render in (result.neighbours[-1].render, result.neighbours[1].render, result.chain.render):
        assert render is not None
        torch.testing.assert_close(render.rgb, own.rgb, atol=1e-6, rtol=0)
        torch.testing.assert_close(render.weights, own.weights, atol=1e-6, rtol=0)


def test_fused_neighbours_equal_separate_queries() -> None:
    field, samples = small_field(), some_samples()
    result = training_pass(field, samples, 3, plan_pass(0, 3, 6, STAGES))
    times = torch.full((5,), 3.0)
    dynamic = field.dynamic(samples.points, samples.view_directions, times)
    for offset, flow in ((-1, dynamic.flow_backward), (1, dynamic.flow_forward)):
        alone = field.dynamic(samples.points + flow, samples.view_directions, times + offset)
        neighbour = result.neighbours[offset]
        assert neighbour.samples is not None
        torch.testing.assert_close(neighbour.samples.rgb, alone.rgb)
        torch.testing.assert_close(neighbour.samples.flow_forward, alone.flow_forward)
    assert result.chain is not None
    second = result.neighbours[-1].samples
    assert second is not None
    torch.testing.assert_close(result.chain.points, samples.points + dynamic.flow_backward + second.flow_backward)


def test_additive_mode_leaves_the_blending_weight_out() -> None:
    field, samples = small_field(), some_samples()
    times = torch.full((5,), 3.0)
    before = [reference_pass(field, samples, times, additive=additive).blended.rgb for additive in (False, True)]
    with torch.no_grad():
        field.blend.bias.add_(1)
    after = [reference_pass(field, samples, times, additive=additive).blended.rgb for additive in (False, True)]
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_what_the_maps_pass_gradients_to() -> None:
    field, samples = small_field(), some_samples()
    result = training_pass(field, samples, 3, plan_pass(0, 3, 6, STAGES))
    assert not result.reference.dynamicness.requires_grad
    visibility = result.neighbours[1].visibility
    assert visibility is not None
    visibility.sum().backward()
    assert field.disocclusion.weight.grad is not None and field.disocclusion.weight.grad.abs().sum() > 0
    # Weights of the warped render are held fixed: no density, flow or colour is moved by the map.
    for head in (field.dynamic_radiance.density, field.dynamic_radiance.rgb, field.scene_flow):
        assert head.weight.grad is None
