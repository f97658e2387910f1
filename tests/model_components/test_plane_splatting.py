"""Splatting of planes: known numbers, reference loops, identity, holes, and images between two key times."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.blended_rendering import render_blended
from nf_plugins.model_components.ndc import NDCFrame, ndc_rays
from nf_plugins.model_components.plane_splatting import (
    DynamicPlanes,
    PlaneRender,
    StaticPlanes,
    composite_planes,
    moved_pixels,
    planes_at_once,
    planes_from_rays,
    splat,
)
from nf_plugins.model_components.sample_space import Reach

HEIGHT, WIDTH, PLANES = 6, 8, 5
FRAME = NDCFrame(HEIGHT, WIDTH, focal=7.0)


def pixel_centres(height: int, width: int) -> Tensor:
    """Column and row of every pixel's centre ``(H, W, 2)``, float64."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5, torch.arange(width, dtype=torch.float64) + 0.5, indexing="ij"
    )
    return torch.stack([columns, rows], dim=-1)


def splat_by_loop(values: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """One plane, pixel by pixel: values ``(H, W, C)``, places ``(H, W, 2)``."""
    height, width, _ = values.shape
    total, weights = torch.zeros_like(values), torch.zeros(height, width, dtype=values.dtype)
    for row in range(height):
        for column in range(width):
            x, y = (float(place) - 0.5 for place in pixels[row, column])
            for i in (math.floor(y), math.floor(y) + 1):
                for j in (math.floor(x), math.floor(x) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        weight = (1 - abs(x - j)) * (1 - abs(y - i))
                        total[i, j] += weight * values[row, column]
                        weights[i, j] += weight
    return total / (weights[..., None] + 1e-7), weights


def scene(seed: int = 0) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Ray parameters, random samples of all rays of a camera as planes, and its pose; float64."""
    generator = torch.Generator().manual_seed(seed)
    camera_to_world = torch.cat([torch.eye(3), torch.tensor([[0.1], [-0.05], [0.2]])], dim=1).double()
    # The centre of the first pixel is at (0.5, 0.5), the principal point in the middle of the image.
    slopes = (pixel_centres(HEIGHT, WIDTH) - torch.tensor([WIDTH / 2, HEIGHT / 2])) / FRAME.focal
    slopes = slopes * torch.tensor([1.0, -1.0])
    directions = torch.cat([slopes, -torch.ones_like(slopes[..., :1])], dim=-1).view(-1, 3)
    origins, directions = ndc_rays(camera_to_world[:, 3].expand_as(directions), directions, FRAME)
    parameters = torch.linspace(0, 1, PLANES, dtype=torch.float64)
    points = origins[:, None] + parameters[:, None] * directions[:, None]

    def uniform(*channels: int) -> Tensor:
        return torch.rand(HEIGHT * WIDTH, PLANES, *channels, generator=generator, dtype=torch.float64)

    samples = {
        "points": points,
        "dynamic_rgb": uniform(3),
        "dynamic_opacity": uniform(),
        "static_rgb": uniform(3),
        "static_opacity": uniform(),
        "blend_weight": uniform(),
        "flow": 0.4 * uniform(3) - 0.2,
    }
    return parameters, samples, camera_to_world


def key_planes(samples: dict[str, Tensor], fraction: float, camera_to_world: Tensor) -> DynamicPlanes:
    planes = {name: planes_from_rays(values, HEIGHT, WIDTH) for name, values in samples.items()}
    pixels = moved_pixels(planes["points"], planes["flow"], fraction, FRAME, camera_to_world, intrinsics=FRAME)
    return DynamicPlanes(planes["dynamic_rgb"], planes["blend_weight"] * planes["dynamic_opacity"], pixels)


def static_planes(samples: dict[str, Tensor]) -> StaticPlanes:
    opacity = (1 - samples["blend_weight"]) * samples["static_opacity"]
    return StaticPlanes(
        planes_from_rays(samples["static_rgb"], HEIGHT, WIDTH), planes_from_rays(opacity, HEIGHT, WIDTH)
    )


def between(fraction: float, planes_per_chunk: int | None = None) -> PlaneRender:
    parameters, before, camera_to_world = scene(0)
    _, after, _ = scene(1)
    return composite_planes(
        key_planes(before, fraction, camera_to_world),
        key_planes(after, 1 - fraction, camera_to_world),
        static_planes(before),
        fraction,
        parameters,
        planes_per_chunk=planes_per_chunk,
    )


def test_known_splat_of_one_moved_pixel() -> None:
    values = torch.arange(9, dtype=torch.float64).view(3, 3, 1)
    pixels = pixel_centres(3, 3)
    pixels[1, 1] += torch.tensor([0.25, -0.5])
    found = splat(values, pixels)
    expected = torch.tensor([[0, 1.81818, 2.22222], [3, 4, 4.88889], [6, 7, 8]], dtype=torch.float64)
    torch.testing.assert_close(found.values[..., 0], expected, rtol=0, atol=5e-6)
    weights = torch.tensor([[1, 1.375, 1.125], [1, 0.375, 1.125], [1, 1, 1]], dtype=torch.float64)
    torch.testing.assert_close(found.weights, weights)


def test_planes_agree_with_a_loop_over_planes_and_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 3, HEIGHT, WIDTH, 4, generator=generator, dtype=torch.float64)
    moves = 3 * torch.randn(2, 3, HEIGHT, WIDTH, 2, generator=generator, dtype=torch.float64)
    pixels = pixel_centres(HEIGHT, WIDTH) + moves
    found = splat(values, pixels)
    for i in range(2):
        for j in range(3):
            expected, weights = splat_by_loop(values[i, j], pixels[i, j])
            torch.testing.assert_close(found.values[i, j], expected)
            torch.testing.assert_close(found.weights[i, j], weights)
    single = splat(values.float(), pixels.float())
    torch.testing.assert_close(single.values, found.values.float(), rtol=1e-4, atol=1e-5)


def test_what_does_not_move_stays_as_it_is() -> None:
    values = torch.rand(3, HEIGHT, WIDTH, 4, generator=torch.Generator().manual_seed(0))
    pixels = pixel_centres(HEIGHT, WIDTH).float().expand(3, HEIGHT, WIDTH, 2)
    found = splat(values, pixels)
    torch.testing.assert_close(found.values, values, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.weights, torch.ones(3, HEIGHT, WIDTH))


def test_static_points_splat_to_their_own_pixels() -> None:
    _, samples, camera_to_world = scene()
    planes = planes_from_rays(samples["points"], HEIGHT, WIDTH)
    values = planes_from_rays(samples["static_rgb"], HEIGHT, WIDTH)
    reaches: tuple[Reach, ...] = ("unlimited", "pixels")
    for reach in reaches:
        pixels = moved_pixels(
            planes, torch.zeros_like(planes), 0.7, FRAME, camera_to_world, intrinsics=FRAME, reach=reach
        )
        torch.testing.assert_close(pixels, pixel_centres(HEIGHT, WIDTH).expand_as(pixels), rtol=0, atol=1e-4)
        torch.testing.assert_close(splat(values, pixels).values, values, rtol=0, atol=1e-4)


def test_flow_across_the_far_plane_stays_in_the_image_it_came_from() -> None:
    _, samples, camera_to_world = scene()
    planes = planes_from_rays(samples["points"], HEIGHT, WIDTH)[-2:-1]
    flow = torch.zeros_like(planes)
    flow[..., 2] = 2.0
    # Straight back from the world's origin: towards its own vanishing point, never out of the image.
    pixels = moved_pixels(planes, flow, 0.5, FRAME, camera_to_world, intrinsics=FRAME)
    assert float((pixels - pixel_centres(HEIGHT, WIDTH)).abs().max()) < 0.5


def test_whole_pixels_shift_the_image_and_leave_holes() -> None:
    values = torch.rand(1, HEIGHT, WIDTH, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pixels = (pixel_centres(HEIGHT, WIDTH) + torch.tensor([2.0, -1.0]))[None]
    found = splat(values, pixels)
    torch.testing.assert_close(found.values[0, :-1, 2:], values[0, 1:, :-2], rtol=0, atol=1e-6)
    assert float(found.values[0, -1].abs().max()) == 0 and float(found.values[0, :, :2].abs().max()) == 0
    assert float(found.weights[0, -1].max()) == 0


@pytest.mark.parametrize("place", [-1e30, -3.0, 20.0, 1e30, math.inf, math.nan])
def test_what_leaves_the_image_or_has_no_place_is_dropped(place: float) -> None:
    values = torch.rand(HEIGHT, WIDTH, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    pixels = pixel_centres(HEIGHT, WIDTH).float()
    pixels[2, 3] = place
    pixels.requires_grad_()
    found = splat(values, pixels)
    assert found.values[2, 3].tolist() == [0.0, 0.0] and float(found.weights.detach().sum()) == HEIGHT * WIDTH - 1
    found.values.sum().backward()
    assert values.grad is not None and pixels.grad is not None
    assert bool(torch.isfinite(values.grad).all()) and bool(torch.isfinite(pixels.grad).all())


def test_half_precision_values_are_summed_in_single() -> None:
    values = torch.rand(HEIGHT, WIDTH, 2, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    found = splat(values, pixel_centres(HEIGHT, WIDTH).float())
    assert found.values.dtype == torch.float32


def test_fraction_zero_is_the_ordinary_render() -> None:
    parameters, samples, camera_to_world = scene()
    shared = {name: values for name, values in samples.items() if name not in ("points", "flow")}
    ordinary = render_blended(**shared, ray_parameters=parameters)
    alone = composite_planes(key_planes(samples, 0.0, camera_to_world), None, static_planes(samples), 0.0, parameters)
    torch.testing.assert_close(alone.rgb.view(-1, 3), ordinary.rgb, rtol=0, atol=1e-9)
    torch.testing.assert_close(alone.ray_parameter.view(-1), ordinary.ray_parameter, rtol=0, atol=1e-9)
    # Splatting by a vanishing fraction comes to the same.
    torch.testing.assert_close(between(1e-7).rgb, alone.rgb, rtol=0, atol=5e-5)


def test_between_key_times_agrees_with_a_loop_over_planes() -> None:
    fraction = 0.3
    parameters, before, camera_to_world = scene(0)
    _, after, _ = scene(1)
    first, second = key_planes(before, fraction, camera_to_world), key_planes(after, 1 - fraction, camera_to_world)
    static = static_planes(before)
    light = torch.ones(HEIGHT, WIDTH, dtype=torch.float64)
    rgb, depth = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.float64), torch.zeros_like(light)
    for k in range(PLANES):
        color, opacity = torch.zeros_like(rgb), torch.zeros_like(light)
        shares = torch.zeros_like(light)
        for key, mix in ((first, 1 - fraction), (second, fraction)):
            splatted, _ = splat_by_loop(torch.cat([key.rgb[k], key.opacity[k, ..., None]], -1), key.pixels[k])
            moving, standing = splatted[..., 3], static.opacity[k]
            color = color + mix * (moving[..., None] * splatted[..., :3] + standing[..., None] * static.rgb[k])
            shares = shares + mix * (moving + standing)
            opacity = opacity + mix * (1 - (1 - moving) * (1 - standing))
        rgb, depth = rgb + light[..., None] * color, depth + light * shares * parameters[k]
        light = light * (1 - opacity + 1e-10)
    found = between(fraction)
    torch.testing.assert_close(found.rgb, rgb)
    torch.testing.assert_close(found.ray_parameter, depth)
    torch.testing.assert_close(found.accumulation, 1 - light)
    assert float((found.rgb - between(0.0).rgb).abs().max()) > 0.05


@pytest.mark.parametrize("planes_per_chunk", [1, 2, 5, 100])
def test_chunks_do_not_change_the_image(planes_per_chunk: int) -> None:
    whole, parts = between(0.4), between(0.4, planes_per_chunk)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_as_many_planes_as_suit_the_device() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert planes_at_once(36 * 52, cpu) == 35
    assert planes_at_once(288 * 512, cpu) == 1
    assert planes_at_once(288 * 512, gpu) == 28


def test_a_fraction_needs_the_second_key_time() -> None:
    parameters, samples, camera_to_world = scene()
    first = key_planes(samples, 0.5, camera_to_world)
    with pytest.raises(ValueError, match="both key times"):
        composite_planes(first, None, static_planes(samples), 0.5, parameters)


def test_motion_is_straight_in_the_world() -> None:
    # A quarter of the way from depth 2 to depth 4 is depth 2.5, not a quarter of the way in the cube.
    identity = torch.eye(4, dtype=torch.float64)[:3]
    start = torch.tensor([2 * 7.0 / WIDTH * 0.5 / 2, 0.0, 0.0], dtype=torch.float64)  # world (0.5, 0, -2)
    end = torch.tensor([2 * 7.0 / WIDTH * 0.5 / 4, 0.0, 0.5], dtype=torch.float64)  # world (0.5, 0, -4)
    pixel = moved_pixels(start, end - start, 0.25, FRAME, identity, intrinsics=FRAME)
    torch.testing.assert_close(pixel, pixel.new_tensor([7.0 * 0.5 / 2.5 + WIDTH / 2, HEIGHT / 2]), rtol=0, atol=1e-4)


def test_gradients_agree_with_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 3, 4, 2, generator=generator, dtype=torch.float64).requires_grad_()
    moves = torch.rand(2, 3, 4, 2, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    pixels = (pixel_centres(3, 4) + moves).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, p: tuple(splat(v, p)), (values, pixels))
