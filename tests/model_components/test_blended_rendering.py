"""Rendering of two fields: known numbers, reference loops, limits, and where gradients go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.blended_rendering import (
    blended_weights,
    disocclusion_map,
    dynamic_weights,
    dynamicness_map,
    expected_pixel,
    expected_point,
    render_blended,
    render_field,
    sample_opacity,
    weighted_sum,
)
from nf_plugins.model_components.ndc import NDCFrame, ndc_rays
from nf_plugins.model_components.plane_samples import sample_lengths

PARAMETERS = torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=torch.float64)
DYNAMIC = torch.tensor(
    [[0, 1, -1, 0.5], [1, 0, 0, 2], [-1, 0.5, 2, -1], [0, 0, 0, 1]], dtype=torch.float64
)  # raw rgb and density
STATIC = torch.tensor([[1, 1, 1, 0.2], [0, -1, 1, 0], [0.5, 0.5, -0.5, 3], [2, -2, 0, 0.5]], dtype=torch.float64)
BLEND = torch.tensor([0.9, 0.5, 0.2, 0.1], dtype=torch.float64)
FRAME = NDCFrame(height=288, width=512, focal=400.0)


def close(found: Tensor, expected: float | list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), rtol=0, atol=6e-7)


def opacities(noise: float = 0.0) -> tuple[Tensor, Tensor]:
    lengths = sample_lengths(PARAMETERS, torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64))
    return sample_opacity(DYNAMIC[:, 3], lengths, noise), sample_opacity(STATIC[:, 3], lengths, noise)


def random_samples(seed: int = 0, rays: int = 3, count: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(rays, count, *shape, generator=generator, dtype=torch.float64)

    return {
        "dynamic_rgb": uniform(3),
        "dynamic_opacity": uniform(),
        "static_rgb": uniform(3),
        "static_opacity": uniform(),
        "blend_weight": uniform(),
        "ray_parameters": uniform().sort(dim=-1).values,
    }


def test_known_blended_render() -> None:
    dynamic, static = opacities()
    render = render_blended(
        torch.sigmoid(DYNAMIC[:, :3]),
        dynamic,
        torch.sigmoid(STATIC[:, :3]),
        static,
        blend_weight=BLEND,
        ray_parameters=PARAMETERS,
    )
    close(render.rgb, [0.655139, 0.555691, 0.406100])
    close(render.ray_parameter, 0.429152)
    close(render.weights.dynamic, [0.233264, 0.264871, 0.0, 0.013443])
    torch.testing.assert_close(dynamicness_map(render.weights), render.weights.dynamic.sum(-1))


def test_known_renders_of_one_field_and_their_disocclusion() -> None:
    dynamic, static = opacities()
    alone = render_field(torch.sigmoid(DYNAMIC[:, :3]), dynamic, PARAMETERS)
    close(alone.rgb, [0.619616, 0.559886, 0.440114])
    close(alone.ray_parameter, 0.378437)
    close(alone.weights, [0.259182, 0.517688, 0.0, 0.223130])
    still = render_field(torch.sigmoid(STATIC[:, :3]), static, PARAMETERS)
    close(still.rgb, [0.655526, 0.594248, 0.427369])
    close(still.ray_parameter, 0.564336)
    close(disocclusion_map(alone.weights, torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)), 0.781292)


def test_noise_comes_before_the_relu() -> None:
    lengths = torch.ones(3)
    opacity = sample_opacity(torch.tensor([-1.0, 0.5, 0.5]), lengths, torch.tensor([1.5, -1.0, 0.0]))
    torch.testing.assert_close(opacity, 1 - torch.exp(-torch.tensor([0.5, 0.0, 0.5])))


def test_lengths_are_those_of_the_rays_and_the_last_one_takes_all_light() -> None:
    parameters = torch.tensor([[0.0, 0.25, 1.0], [0.0, 0.5, 0.75]])
    lengths = sample_lengths(parameters, torch.tensor([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]]))
    torch.testing.assert_close(lengths[:, :2], torch.tensor([[1.25, 3.75], [0.5, 0.25]]))
    assert sample_opacity(torch.full((2, 3), 1e-6), lengths)[:, 2].tolist() == [1.0, 1.0]


def test_blending_agrees_with_a_loop() -> None:
    samples = random_samples()
    render = render_blended(**samples)
    for ray in range(3):
        light, rgb, depth = 1.0, torch.zeros(3, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for k in range(6):
            moving = samples["blend_weight"][ray, k] * samples["dynamic_opacity"][ray, k]
            standing = (1 - samples["blend_weight"][ray, k]) * samples["static_opacity"][ray, k]
            color = moving * samples["dynamic_rgb"][ray, k] + standing * samples["static_rgb"][ray, k]
            rgb, depth = rgb + light * color, depth + light * (moving + standing) * samples["ray_parameters"][ray, k]
            light = light * ((1 - moving) * (1 - standing) + 1e-10)
        torch.testing.assert_close(render.rgb[ray], rgb)
        torch.testing.assert_close(render.ray_parameter[ray], depth)


def test_a_blend_weight_of_one_or_zero_leaves_one_field() -> None:
    samples = random_samples()
    moving = render_field(samples["dynamic_rgb"], samples["dynamic_opacity"], samples["ray_parameters"])
    standing = render_field(samples["static_rgb"], samples["static_opacity"], samples["ray_parameters"])
    for blend, alone in ((1.0, moving), (0.0, standing)):
        render = render_blended(**{**samples, "blend_weight": torch.full((3, 6), blend, dtype=torch.float64)})
        torch.testing.assert_close(render.rgb, alone.rgb)
        torch.testing.assert_close(render.ray_parameter, alone.ray_parameter)


def test_without_a_blend_weight_the_fields_add_up() -> None:
    samples = random_samples()
    weights = blended_weights(samples["dynamic_opacity"], samples["static_opacity"], None)
    transparency = (1 - samples["dynamic_opacity"]) * (1 - samples["static_opacity"])
    torch.testing.assert_close(weights.dynamic[:, 0], samples["dynamic_opacity"][:, 0])
    torch.testing.assert_close(weights.static[:, 1], transparency[:, 0] * samples["static_opacity"][:, 1])


def test_opaque_samples_stop_the_light_with_finite_gradients() -> None:
    opacity = torch.tensor([0.0, 1.0, 1.0, 1.0], requires_grad=True)
    weights = dynamic_weights(opacity)
    torch.testing.assert_close(weights, torch.tensor([0.0, 1.0, 0.0, 0.0]), rtol=0, atol=1e-6)
    (weights * torch.arange(4.0)).sum().backward()
    assert opacity.grad is not None and bool(torch.isfinite(opacity.grad).all())


def test_masks_give_no_gradient_to_weights() -> None:
    samples = random_samples()
    blend = samples["blend_weight"].requires_grad_()
    weights = blended_weights(samples["dynamic_opacity"], samples["static_opacity"], blend)
    assert weights.dynamic.requires_grad and not dynamicness_map(weights).requires_grad
    disocclusion = torch.full((3, 6), 0.2, dtype=torch.float64, requires_grad=True)
    visibility = disocclusion_map(weights.dynamic, disocclusion)
    visibility.sum().backward()
    assert blend.grad is None
    torch.testing.assert_close(disocclusion.grad, -weights.dynamic.detach())


def moved_samples() -> tuple[Tensor, Tensor, Tensor]:
    """Five samples of the ray through (100, 50), their weights, and the same samples moved by a flow; float64."""
    origin, direction = ndc_rays(
        torch.tensor([0.1, -0.05, 0.2], dtype=torch.float64),
        torch.tensor([-0.39, 0.235, -1.0], dtype=torch.float64),
        FRAME,
    )
    points = origin + torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)[:, None] * direction
    weights = torch.tensor([0.0, 0.1, 0.6, 0.2, 0.1], dtype=torch.float64)
    return points, points + torch.tensor([0.02, -0.01, 0.03], dtype=torch.float64), weights


def camera(*centre: float) -> Tensor:
    return torch.cat([torch.eye(3, dtype=torch.float64), torch.tensor(centre, dtype=torch.float64)[:, None]], dim=1)


@pytest.mark.parametrize("normalised", [True, False])
def test_known_induced_flow(normalised: bool) -> None:
    points, moved, weights = moved_samples()
    pixel = expected_pixel(weights, moved, FRAME, camera(0.12, -0.05, 0.25), FRAME, normalised=normalised)
    torch.testing.assert_close(pixel, pixel.new_tensor([104.6893, 53.0703]), rtol=0, atol=6e-5)
    own = expected_pixel(weights, points, FRAME, camera(0.1, -0.05, 0.2), FRAME, normalised=normalised)
    torch.testing.assert_close(own, own.new_tensor([100.0, 50.0]), rtol=0, atol=1e-3)


def test_rays_that_are_not_opaque_keep_their_pixel_only_when_normalised() -> None:
    points, _, weights = moved_samples()
    own = camera(0.1, -0.05, 0.2)
    as_published = expected_pixel(0.9 * weights, points, FRAME, own, FRAME, normalised=False)
    torch.testing.assert_close(as_published, own.new_tensor([113.953, 58.596]), rtol=0, atol=6e-4)
    normalised = expected_pixel(0.9 * weights, points, FRAME, own, FRAME.intrinsics(own))
    torch.testing.assert_close(normalised, own.new_tensor([100.0, 50.0]), rtol=0, atol=1e-3)
    empty = expected_point((0 * weights).requires_grad_(), points)
    empty.sum().backward()
    assert empty.tolist() == [0.0, 0.0, 0.0]


def test_expected_flow_is_the_mean_of_the_samples_flow() -> None:
    flow = torch.tensor([[1.0, -1.0, 0.5], [0.2, 0.2, -0.4]])
    torch.testing.assert_close(weighted_sum(torch.tensor([0.2, 0.8]), flow), torch.tensor([0.36, -0.04, -0.22]))


def test_gradients_agree_with_differences() -> None:
    samples = random_samples(rays=2, count=4)
    inputs = tuple(tensor.requires_grad_() for tensor in samples.values())

    def rendered(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        render = render_blended(*tensors[:4], blend_weight=tensors[4], ray_parameters=tensors[5])
        return render.rgb, render.ray_parameter

    assert torch.autograd.gradcheck(rendered, inputs)
    density = torch.tensor([[0.5, 2.0, -1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([[0.2, 0.4, 0.3, 0.8]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d, s: dynamic_weights(sample_opacity(d, s)), (density, lengths))
    points, moved, weights = moved_samples()
    assert torch.autograd.gradcheck(
        lambda w, x: expected_pixel(w, x, FRAME, camera(0.12, -0.05, 0.25), FRAME, reach="distances"),
        (weights[None, 1:].requires_grad_(), (0.9 * moved[None, 1:]).requires_grad_()),
    )
    assert points.shape == moved.shape
