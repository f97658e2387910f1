from __future__ import annotations

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.fields.scene_flow_field import RadianceHeads, SceneFlowField, SceneFlowFieldConfig

SMALL = {"num_layers": 3, "hidden_dim": 16, "skip_layer": 2, "num_position_frequencies": 3}


def rays(num_rays: int = 4, num_samples: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(num_rays, 3), dim=-1)
    return torch.rand(num_rays, num_samples, 3) * 2 - 1, directions, torch.full((num_rays,), 2.0)


def test_published_sizes() -> None:
    field = SceneFlowField(SceneFlowFieldConfig(), num_frames=30)
    for parts, parameters, weights in (
        (field.dynamic_parts(), 608_652, 606_208),
        (field.static_parts(), 596_101, 593_664),
    ):
        assert sum(p.numel() for part in parts for p in part.parameters()) == parameters
        assert sum(p.numel() for part in parts for p in part.parameters() if p.dim() == 2) == weights
    assert sum(parameter.numel() for parameter in field.parameters()) == 1_204_753


def test_encoding_takes_time_beside_the_point() -> None:
    field = SceneFlowField(SceneFlowFieldConfig(), num_frames=30)
    code = field.space_time_encoding(torch.tensor([0.1, -0.2, 0.3, 0.4]))
    assert code.shape == (84,)
    assert float(code.sum()) == pytest.approx(22.4984, abs=1e-3)
    assert code[4:8].tolist() == pytest.approx([0.099833, -0.198669, 0.295520, 0.389418], abs=1e-6)
    assert (field.position_encoding.out_dim, field.direction_encoding.out_dim) == (63, 27)


def test_network_time_depends_on_the_number_of_frames() -> None:
    field = SceneFlowField(SceneFlowFieldConfig(**SMALL), num_frames=10)
    assert field.network_time(torch.tensor([0.0, 5.0, 9.0, -1.0, 10.0])).tolist() == pytest.approx(
        [-1.0, 0.0, 0.8, -1.2, 1.0]
    )


def test_feature_and_view_layer_as_one_equal_one_after_the_other() -> None:
    torch.manual_seed(0)
    heads = RadianceHeads(hidden_dim=16, direction_dim=9).double()
    hidden = torch.randn(4, 5, 16, dtype=torch.float64, requires_grad=True)
    encoded = torch.randn(4, 9, dtype=torch.float64)
    beside = torch.cat([heads.feature(hidden), encoded[:, None].expand(4, 5, 9)], dim=-1)
    expected = torch.sigmoid(heads.rgb(torch.relu(heads.view(beside))))
    rgb, density = heads(hidden, encoded)
    torch.testing.assert_close(rgb, expected.float())
    torch.testing.assert_close(density, heads.density(hidden)[..., 0].float())
    inputs = [hidden, *heads.feature.parameters(), *heads.view.parameters(), *heads.rgb.parameters()]
    factors = torch.rand_like(expected)
    ours = torch.autograd.grad((rgb * factors).sum(), inputs)
    for gradient, true in zip(ours, torch.autograd.grad((expected * factors).sum(), inputs), strict=True):
        torch.testing.assert_close(gradient, true, atol=1e-6, rtol=1e-5)


def test_ranges_and_what_depends_on_what() -> None:
    field = SceneFlowField(SceneFlowFieldConfig(**SMALL), num_frames=8)
    points, directions, frames = rays()
    dynamic, static = field.dynamic(points, directions, frames), field.static(points, directions)
    for value, low in (
        (dynamic.flow_backward, -1), (dynamic.flow_forward, -1), (dynamic.rgb, 0), (dynamic.disocclusion_backward, 0),
        (dynamic.disocclusion_forward, 0), (static.rgb, 0), (static.blend_weight, 0),
    ):  # fmt: skip
        assert low < float(value.min()) and float(value.max()) < 1
    assert dynamic.rgb.shape == dynamic.flow_forward.shape == (4, 5, 3)
    assert dynamic.density.shape == dynamic.disocclusion_forward.shape == static.blend_weight.shape == (4, 5)
    turned = field.dynamic(points, -directions, frames)
    assert not torch.allclose(turned.rgb, dynamic.rgb)
    assert torch.equal(turned.density, dynamic.density) and torch.equal(turned.flow_forward, dynamic.flow_forward)
    assert torch.equal(field.static(points, -directions).blend_weight, static.blend_weight)
    later = field.dynamic(points, directions, frames + 1)
    assert not torch.allclose(later.density, dynamic.density)


def test_rays_of_several_frames_equal_those_of_each_frame_alone() -> None:
    field = SceneFlowField(SceneFlowFieldConfig(**SMALL, residual_layers=(0, 1), residual_rank=(3,)), num_frames=8)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    points, directions, _ = rays()
    frames = torch.tensor([3.0, 2.5, 3.0, 7.0])
    together = field.dynamic(points, directions, frames)
    for row in range(4):
        alone = field.dynamic(points[row : row + 1], directions[row : row + 1], frames[row : row + 1])
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], many[row], atol=1e-5, rtol=1e-4)


def test_residuals_change_with_the_frame_and_stay_beyond_the_last() -> None:
    config = SceneFlowFieldConfig(**SMALL, residual_layers=(1, 2), residual_mode="lookup")
    field = SceneFlowField(config, num_frames=8)
    points, directions, _ = rays()
    with torch.no_grad():
        for layer in (1, 2):
            field.dynamic_trunk.layers[layer].coefficients.normal_()
    encoded = field.space_time_encoding(torch.cat([points, torch.zeros(4, 5, 1)], dim=-1))
    at = {frame: field._dynamic_features(encoded, torch.full((4,), frame)) for frame in (-2.0, 0.0, 6.0, 7.0, 9.0)}
    assert torch.equal(at[-2.0], at[0.0]) and torch.equal(at[9.0], at[7.0])
    assert not torch.allclose(at[6.0], at[7.0])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"residual_layers": (8,)}, "layers 0 to 7"),
        ({"residual_layers": (1, 1)}, "once"),
        ({"num_layers": 0}, "at least one layer"),
        ({"residual_layers": (1,), "residual_rank": (0,)}, "holds a 0"),
    ],
)
def test_sizes_that_make_no_network(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SceneFlowField(SceneFlowFieldConfig(**options), num_frames=4)
