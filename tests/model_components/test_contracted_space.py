"""Contracted space: inverse, closed-form placements, disparity, what has a pixel; and that the cube stays as it was."""

from __future__ import annotations

import math

import pytest
import torch
from nerfstudio.field_components.spatial_distortions import SceneContraction
from torch import Tensor
from torch.nn.functional import normalize

from nf_plugins.model_components.blended_rendering import expected_pixel
from nf_plugins.model_components.contracted_space import FARTHEST, RADIUS, ContractedSpace, contract, uncontract
from nf_plugins.model_components.ndc import (
    RENDERING_DEPTHS,
    SAFE_DEPTHS,
    NDCFrame,
    ndc_rays,
    project,
    world_from_ndc,
)
from nf_plugins.model_components.plane_samples import PlaneSamples
from nf_plugins.model_components.plane_splatting import moved_pixels
from nf_plugins.model_components.sample_space import FARTHEST_PARAMETER, SampleSpace

NEAR = 0.5
SPACE = ContractedSpace(near=NEAR, focal=0.9)
FRAME = NDCFrame(height=18, width=24, focal=24.0)
LENS = torch.tensor([24.0, 24.0, 12.0, 9.0], dtype=torch.float64)


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rays(count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit rays in all directions from places inside and outside of the unit ball, float64."""
    return 1.5 * doubles(count, 3, seed=seed), normalize(doubles(count, 3, seed=seed + 1), dim=-1)


def backwards() -> Tensor:
    """A camera at (0.3, 0, -2) that looks along +z."""
    turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))
    return torch.cat([turn, torch.tensor([[0.3], [0.0], [-2.0]], dtype=torch.float64)], dim=1)


def test_contraction_is_that_of_nerfstudio_and_has_its_inverse() -> None:
    radii = torch.logspace(-2, 3, 60, dtype=torch.float64)[:, None]
    world = radii * normalize(doubles(60, 3), dim=-1)
    torch.testing.assert_close(contract(world), SceneContraction()(world), rtol=1e-12, atol=0)
    torch.testing.assert_close(uncontract(contract(world), 1e4), world, rtol=1e-9, atol=0)
    ball = 1.999 * normalize(doubles(60, 3, seed=3), dim=-1) * torch.rand(60, 1, dtype=torch.float64)
    torch.testing.assert_close(contract(uncontract(ball, 1e9)), ball, rtol=1e-12, atol=0)
    torch.testing.assert_close(SPACE.world(contract(world) / RADIUS, "pixels"), world, rtol=1e-9, atol=0)


def test_known_contracted_points() -> None:
    world = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 4.0], [3.0, 0.0, -4.0]])
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, -1.5, 0.0], [0.0, 0.0, 1.75], [1.08, 0.0, -1.44]])
    torch.testing.assert_close(contract(world), expected)


def test_what_lies_beyond_infinity_comes_to_the_limit_in_its_direction() -> None:
    points = torch.tensor([[0.0, 0.6, -0.8], [0.0, 0.9, -1.2], [0.0, 6.0, -8.0]])
    for reach, farthest in FARTHEST.items():
        world = SPACE.world(points, reach)
        torch.testing.assert_close(world, farthest * torch.tensor([0.0, 0.6, -0.8]).expand(3, 3), rtol=0.1, atol=0)
        assert world.isfinite().all()
    near = torch.tensor([[0.0, 0.0, -1.9], [0.2, 0.1, 0.0]])
    assert torch.equal(SPACE.world(near / 2, "distances"), SPACE.world(near / 2, "unlimited"))


def test_gradients_agree_with_differences() -> None:
    points = torch.cat([0.4 * normalize(doubles(3, 3), dim=-1), 5 * normalize(doubles(3, 3, seed=1), dim=-1)])
    assert torch.autograd.gradcheck(contract, points.requires_grad_())
    inside = torch.cat([0.3 * normalize(doubles(3, 3), dim=-1), 0.8 * normalize(doubles(3, 3, seed=1), dim=-1)])
    assert torch.autograd.gradcheck(lambda x: SPACE.world(x, "distances"), inside.requires_grad_())
    origins, directions = (values[:4].clone().requires_grad_() for values in rays())
    parameters = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64).expand(4, 3)

    def placed(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        samples = SPACE.on_rays(o, d, parameters)
        return samples.points, samples.lengths[:, :-1]

    assert torch.autograd.gradcheck(placed, (origins, directions))
    centre = torch.zeros(1, 3, requires_grad=True)
    (contract(centre) + uncontract(centre, 10)).sum().backward()
    assert centre.grad is not None and centre.grad.tolist() == [[2.0, 2.0, 2.0]]


def test_samples_lie_on_shells_around_the_camera_even_in_disparity() -> None:
    origins, directions = rays()
    samples = SPACE.place_samples(origins, directions, 9, jitter=False)
    assert samples.points.norm(dim=-1).max() < 1
    assert samples.looks_ahead.all()
    offsets = SPACE.world(samples.points, "unlimited") - origins[:, None]
    distances = offsets.norm(dim=-1)
    for index, parameter in enumerate(torch.linspace(0, 1, 9).tolist()[:-1]):
        expected = torch.full((40,), NEAR / (1 - parameter), dtype=torch.float64)
        torch.testing.assert_close(distances[:, index], expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(SPACE.distances(origins, directions, samples.ray_parameters[:, index]), expected)
    torch.testing.assert_close(normalize(offsets, dim=-1), directions[:, None].expand_as(offsets), rtol=0, atol=1e-5)
    # The parameter is affine in disparity: equal steps of the one are equal steps of the other.
    steps = (1 / distances[:, :-1]).diff(dim=-1)
    torch.testing.assert_close(steps, torch.full_like(steps, -0.125 / NEAR), rtol=1e-6, atol=0)
    far = SPACE.distances(origins, directions, torch.ones(40, dtype=torch.float64))
    assert far.tolist() == pytest.approx([NEAR / (1 - FARTHEST_PARAMETER)] * 40)


def test_lengths_are_those_of_contracted_space() -> None:
    """Straight away from the middle of the world everything is known."""
    direction = torch.tensor([[0.0, 0.6, -0.8]])
    samples = SPACE.on_rays(torch.zeros(1, 3), direction, torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]]))
    radii = torch.tensor([0.5, 2 / 3, 1.0, 1.5, 2.0])
    torch.testing.assert_close(samples.points[0], radii[:, None] * direction / 2, rtol=0, atol=1e-6)
    torch.testing.assert_close(samples.lengths[0, :-1], radii.diff(), rtol=1e-5, atol=0)
    assert float(samples.lengths[0, -1]) == 1e10
    origins, directions = rays()
    lengths = SPACE.place_samples(origins, directions, 64, jitter=False).lengths[:, :-1]
    assert bool((lengths > 0).all()) and bool((lengths.sum(-1) < 4).all())


def test_single_precision_keeps_pixels_of_near_and_far_samples() -> None:
    pose = backwards()
    slopes = torch.tensor([[0.4, 0.3], [-0.45, 0.1], [0.0, 0.0]], dtype=torch.float64)
    directions = normalize(torch.cat([slopes, -torch.ones(3, 1)], dim=-1), dim=-1) @ pose[:, :3].T
    samples = SPACE.place_samples(pose[:, 3].expand(3, 3).float(), directions.float(), 33, jitter=False)
    pixels = project(SPACE.world(samples.points, "pixels"), pose.float(), LENS.float(), SPACE.least_depth("pixels"))
    expected = LENS[:2] * slopes * torch.tensor([1, -1]) + LENS[2:]
    assert float((pixels - expected[:, None]).abs().max()) < 0.01


def test_the_axial_parameter_is_affine_in_the_inverse_of_depth() -> None:
    """Of one wall for all rays of a wide lens, which their distances are not."""
    pose = backwards()
    slopes = torch.linspace(-1.2, 1.2, 13, dtype=torch.float64)
    rays_in_camera = normalize(torch.stack([slopes, 0.3 * slopes, -torch.ones(13)], dim=-1), dim=-1)
    depth = 2 + 0.5 * torch.sin(slopes * 5)
    distance = depth / -rays_in_camera[:, 2]
    parameter = 1 - NEAR / distance
    weight_sum = torch.linspace(0.8, 1, 13, dtype=torch.float64)
    found = SPACE.axial_parameter(weight_sum * parameter, weight_sum, rays_in_camera @ pose[:, :3].T, pose)
    torch.testing.assert_close(found, weight_sum * (1 - NEAR / depth))
    assert float((parameter - (1 - NEAR / depth)).abs().max()) > 0.05
    kept = FRAME.axial_parameter(parameter, weight_sum, rays_in_camera, pose)
    assert kept is parameter


def test_what_moves_behind_a_camera_has_no_pixel() -> None:
    pose = backwards()
    world = torch.tensor([[0.3, 0.0, 1.0], [0.3, 0.0, -1.0], [0.3, 0.0, -1.5]], dtype=torch.float64)
    goal = torch.tensor([[0.8, 0.0, 1.0], [0.3, 0.0, -3.0], [0.3, 0.0, -1.98]], dtype=torch.float64)
    start = contract(world) / 2
    flow = contract(goal) / 2 - start
    pixels = moved_pixels(start, flow, 1.0, SPACE, pose, intrinsics=LENS)
    torch.testing.assert_close(pixels[0], LENS.new_tensor([12 - 24 * 0.5 / 3, 9.0]))
    assert bool(pixels[1:].isinf().all())
    half = moved_pixels(start, flow, 0.5, SPACE, pose, intrinsics=LENS)
    torch.testing.assert_close(half[0], LENS.new_tensor([12 - 24 * 0.25 / 3, 9.0]))
    assert bool(half[1].isinf().all()) and bool(half[2].isfinite().all())


def test_pixels_behind_the_camera_give_no_gradient() -> None:
    points = torch.tensor([[0.0, 0.0, -0.4], [0.1, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    pixel = expected_pixel(torch.ones(2, 1), points[:, None], SPACE, backwards(), LENS, reach="pixels")
    assert pixel.isfinite().all(-1).tolist() == [True, False]
    torch.where(pixel.isfinite(), pixel, 0.0).sum().backward()
    assert points.grad is not None and bool(points.grad.isfinite().all())
    assert float(points.grad[0].abs().sum()) > 0 and float(points.grad[1].abs().sum()) == 0


def seen(motion: tuple[float, float, float], direction: tuple[float, float, float], weight: float = 1.0) -> list[float]:
    """Motion in the image of a point two units away from the origin."""
    directions = torch.tensor([direction], dtype=torch.float64)
    point = 2 * directions[:, None]
    samples = PlaneSamples(contract(point) / 2, directions, torch.tensor([[0.75]]), torch.tensor([[1.0]]))
    flow = contract(point + torch.tensor(motion, dtype=torch.float64)) / 2 - samples.points
    weights = torch.tensor([[weight]], dtype=torch.float64)
    return SPACE.seen_motion(weights, samples, flow, torch.zeros(1, 3, dtype=torch.float64))[0].tolist()


@pytest.mark.parametrize("direction, right", [((0, 0, -1), (1, 0, 0)), ((0, 0, 1), (-1, 0, 0)), ((1, 0, 0), (0, 0, 1))])
def test_motion_is_shown_as_a_camera_sees_it_that_looks_along_the_ray(
    direction: tuple[float, float, float], right: tuple[float, float, float]
) -> None:
    sideways = tuple(0.1 * value for value in right)
    assert seen(sideways, direction) == pytest.approx([0.9 * 0.05, 0.0], abs=1e-9)
    assert seen((0.0, 0.2, 0.0), direction, weight=0.5) == pytest.approx([0.0, -0.9 * 0.1 / 2], abs=1e-9)
    assert seen(tuple(-0.5 * value for value in direction), direction) == pytest.approx([0, 0], abs=1e-9)
    # Through the camera and beyond: no mirror image, nothing infinite.
    assert all(math.isfinite(value) for value in seen(tuple(-3.0 * value for value in direction), direction))


def test_the_cube_is_as_it_was() -> None:
    """Every number that a space gives is, bit for bit, the one of the formulas that it stands for."""
    torch.manual_seed(0)
    origins = 0.1 * torch.randn(20, 3)
    directions = normalize(torch.randn(20, 3) * 0.3 - torch.tensor([0, 0, 1.0]), dim=-1)
    directions[-1] = torch.tensor([0.0, 0.0, 1.0])
    space: SampleSpace = FRAME
    samples = space.place_samples(origins, directions, 6, jitter=False)
    ahead = directions.clone()
    ahead[-1] = torch.tensor([0.0, 0.0, -1.0])
    starts, steps = ndc_rays(origins, ahead, FRAME)
    parameters = torch.linspace(0, 1, 6).expand(20, 6)
    assert torch.equal(samples.points, starts[:, None] + parameters[..., None] * steps[:, None])
    last = torch.full((20, 1), 1e10)
    lengths = torch.cat([parameters.diff(dim=-1), last], dim=-1) * steps.norm(dim=-1, keepdim=True)
    assert torch.equal(samples.lengths[:-1], lengths[:-1]) and bool((samples.lengths[-1] == 0).all())
    assert samples.looks_ahead.tolist() == [True] * 19 + [False]
    assert torch.equal(space.world(samples.points, "unlimited"), world_from_ndc(samples.points, FRAME))
    assert torch.equal(space.world(samples.points, "distances"), world_from_ndc(samples.points, FRAME, SAFE_DEPTHS))
    assert torch.equal(space.world(samples.points, "pixels"), world_from_ndc(samples.points, FRAME, RENDERING_DEPTHS))
    middle = world_from_ndc(starts + 0.5 * steps, FRAME)
    assert torch.equal(space.distances(origins, ahead, torch.full((20,), 0.5)), (middle - origins).norm(dim=-1))
    assert space.least_depth("unlimited") is None
    flow, weights = 0.1 * torch.randn(20, 6, 3), torch.rand(20, 6)
    moved = (weights[..., None] * flow).sum(-2)[..., :2] * torch.tensor([0.5, -0.5 * 18 / 24])
    assert torch.equal(space.seen_motion(weights, samples, flow, origins), moved)
