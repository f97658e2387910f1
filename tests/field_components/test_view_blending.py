import pytest
import torch
from torch import Tensor, nn

from nf_plugins.field_components.view_blending import ViewBlending, weight_entropy

FEATURES = 8


@torch.no_grad()
def wavy(blending: ViewBlending, bias: float = 0.01) -> ViewBlending:
    for module in blending.modules():
        if isinstance(module, nn.Linear):
            rows, columns = torch.meshgrid(
                torch.arange(module.out_features).float(), torch.arange(module.in_features).float(), indexing="ij"
            )
            module.weight.copy_(0.2 * torch.sin(rows + 2 * columns))
            module.bias.fill_(bias)
    return blending


def random_inputs(num_views: int, num_points: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(num_views, num_points, 3 + FEATURES + 4, generator=generator)
    inputs[..., :3] = torch.rand(num_views, num_points, 3, generator=generator)
    return inputs


def lively(**options: bool) -> ViewBlending:
    """Weights with which views differ clearly: the scores of freshly made networks are often all 0."""
    torch.manual_seed(1)
    blending = ViewBlending(positive_start=False, **options)
    with torch.no_grad():
        for head in (blending.group_score, blending.blend_score):
            head.weight.abs_().mul_(2)
    return blending


def test_number_of_parameters() -> None:
    def count(blending: ViewBlending) -> int:
        return sum(parameter.numel() for parameter in blending.parameters())

    assert count(ViewBlending(density_head=True)) == 9011
    assert count(ViewBlending()) == 8946


def test_published_values_of_fixed_weights() -> None:
    # What two views see at a point, see test_source_projection; all scores are 0 here, so views weigh the same.
    rgb = torch.tensor([[0.539526, 0.469697, 0.511962], [0.556719, 0.422727, 0.503828]])
    codes = torch.tensor([[-0.105609, -0.994378, 0.003674, 0.999079], [0.891676, -0.444881, -0.083507, 0.995440]])
    columns, rows = torch.tensor([0.539526, 0.618577]) * 23, torch.tensor([0.469697, 0.469697]) * 15
    waves = torch.stack([torch.sin(0.1 * (c + 1) * columns + 0.2 * rows + torch.arange(2.0)) for c in range(8)], dim=-1)
    colours, _, weights = wavy(ViewBlending())(torch.cat([rgb, waves, codes], dim=-1)[:, None])
    torch.testing.assert_close(colours, torch.tensor([[0.548123, 0.446212, 0.507895]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(weights, torch.full((2, 1), 0.5))


def test_order_of_the_inputs_by_an_independent_formula() -> None:
    blending, inputs = lively(), random_inputs(3)
    views, directions = inputs[..., : 3 + FEATURES], inputs[..., 3 + FEATURES :]
    variance, mean = views.var(dim=0, unbiased=True).expand_as(views), views.mean(dim=0).expand_as(views)
    group = blending.group(torch.cat([views, variance, mean], dim=-1)).relu()
    pooled = blending.pool((blending.group_score(group).relu().softmax(0) * group).sum(0)).relu()
    hidden = blending.hidden(pooled).relu()
    shared = torch.cat([hidden, pooled], dim=-1).expand(3, -1, -1)
    scores = blending.blend_score(blending.blend(torch.cat([shared, views, directions], dim=-1)).relu()).relu()
    expected = (scores.softmax(0) * inputs[..., :3]).sum(0)
    colours, own_hidden, weights = blending(inputs)
    torch.testing.assert_close(colours, expected)
    torch.testing.assert_close(own_hidden, hidden)
    assert float(weights.max() - weights.min()) > 0.05


def test_the_order_of_the_views_does_not_matter() -> None:
    blending, inputs, order = lively(), random_inputs(4), torch.tensor([2, 0, 3, 1])
    colours, _, weights = blending(inputs)
    other, _, other_weights = blending(inputs[order])
    torch.testing.assert_close(colours, other)
    torch.testing.assert_close(weights[order], other_weights)


@pytest.mark.parametrize("signed", [False, True])
def test_colours_are_convex_combinations(signed: bool) -> None:
    inputs = random_inputs(4)
    colours, _, weights = lively(signed_scores=signed)(inputs)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(7))
    assert (weights >= 0).all()
    assert (colours <= inputs[..., :3].amax(dim=0) + 1e-6).all() and (
        colours >= inputs[..., :3].amin(dim=0) - 1e-6
    ).all()


def test_a_single_view_gives_its_colour_and_finite_gradients() -> None:
    inputs = random_inputs(1).requires_grad_()
    blending = lively()
    colours, hidden, weights = blending(inputs)
    torch.testing.assert_close(colours, inputs[0, :, :3])
    (colours.sum() + hidden.sum()).backward()
    assert inputs.grad is not None and torch.isfinite(inputs.grad).all() and torch.isfinite(hidden).all()
    assert float(weight_entropy(weights)) == 0


def test_published_scores_cannot_push_a_view_below_the_others() -> None:
    unsigned, signed = lively(), lively(signed_scores=True)
    for blending in (unsigned, signed):
        blending.blend_score.weight.data.mul_(-1)
    inputs = random_inputs(3)
    torch.testing.assert_close(unsigned(inputs)[2], torch.full((3, 7), 1 / 3))
    assert float(signed(inputs)[2].min()) < 0.2


def test_views_that_do_not_see_a_point_do_not_count() -> None:
    inputs = random_inputs(3)
    visible = torch.ones(3, 7, dtype=torch.bool)
    visible[2, :4] = False
    visible[:, 5] = False
    blending = lively()
    colours, _, weights = blending(inputs, visible)
    two = blending(inputs[:2])[0]
    torch.testing.assert_close(colours[:4], two[:4])
    assert (weights[2, :4] == 0).all()
    torch.testing.assert_close(colours[4:], blending(inputs)[0][4:])
    one = visible.clone()
    one[1:, 0] = False
    torch.testing.assert_close(blending(inputs, one)[0][0], inputs[0, 0, :3])


def test_features_of_the_point_and_directions_join_in_where_asked_for() -> None:
    torch.manual_seed(0)
    blending = ViewBlending(density_head=True, volume_dim=8, direction_pooling=True)
    inputs, volume = random_inputs(3), torch.rand(7, 8, requires_grad=True)
    _, hidden, _ = blending(inputs, None, volume)
    density = blending.raw_density(hidden)
    assert density.shape == (7, 1)
    density.sum().backward()
    assert volume.grad is not None and float(volume.grad.abs().max()) > 0
    assert blending.direction is not None and float(blending.direction.weight.grad.abs().max()) > 0  # type: ignore[union-attr]


def num_cut_off(positive_start: bool) -> int:
    """Of 20 fresh networks: those in which no view's weight depends on anything."""
    count = 0
    for seed in range(20):
        torch.manual_seed(seed)
        weights = ViewBlending(positive_start=positive_start)(random_inputs(3, 40))[2]
        count += bool((weights - 1 / 3).abs().max() < 1e-6)
    return count


def test_networks_start_with_scores_that_can_be_learnt() -> None:
    assert num_cut_off(positive_start=False) > 0
    assert num_cut_off(positive_start=True) == 0
    started = ViewBlending(density_head=True)
    assert started.density is not None
    assert float(started.density.bias) == float(started.blend_score.bias) == float(started.group_score.bias) == 1
    published = ViewBlending(density_head=True, positive_start=False)
    assert all(not bool(m.bias.any()) for m in published.modules() if isinstance(m, nn.Linear))


def test_entropy_of_equal_and_of_single_weights() -> None:
    assert float(weight_entropy(torch.full((4, 5), 0.25))) == pytest.approx(1)
    assert float(weight_entropy(torch.eye(4)[:, :1])) == pytest.approx(0, abs=1e-6)
