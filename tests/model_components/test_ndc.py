"""Normalised device coordinates: known numbers, the structure of planes, inverse, projection."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components.blended_rendering import expected_pixel
from nf_plugins.model_components.ndc import (
    SAFE_DEPTHS,
    NDCFrame,
    ndc_from_world,
    ndc_rays,
    project,
    world_from_ndc,
)

FRAME = NDCFrame(height=288, width=512, focal=400.0)
CENTRE = (0.1, -0.05, 0.2)


def pose(centre: tuple[float, float, float] = CENTRE) -> Tensor:
    """An unrotated camera, float64."""
    return torch.cat([torch.eye(3, dtype=torch.float64), torch.tensor(centre, dtype=torch.float64)[:, None]], dim=1)


def camera_rays(camera_to_world: Tensor, num_rays: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    """Origins, directions of any length and pixels of random rays of a camera, float64."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(num_rays, 2, generator=generator, dtype=torch.float64) * torch.tensor([512.0, 288.0])
    slopes = (pixels - torch.tensor([256.0, 144.0])) / 400 * torch.tensor([1.0, -1.0])
    directions = torch.cat([slopes, -torch.ones_like(slopes[:, :1])], dim=-1) @ camera_to_world[:, :3].T
    directions = directions * (0.2 + torch.rand(num_rays, 1, generator=generator, dtype=torch.float64))
    return camera_to_world[:, 3].expand_as(directions), directions, pixels


def turned_pose() -> Tensor:
    """A camera turned by about 14 degrees and moved, float64."""
    turn = torch.linalg.matrix_exp(torch.tensor([[0, -0.1, 0.2], [0.1, 0, -0.1], [-0.2, 0.1, 0]], dtype=torch.float64))
    return torch.cat([turn, torch.tensor([[0.3], [-0.2], [0.4]], dtype=torch.float64)], dim=1)


@pytest.mark.parametrize("length", [1.0, 0.37])
def test_a_known_ray(length: float) -> None:
    direction = torch.tensor([-0.39, 0.235, -1.0]) * length
    origin, moved = ndc_rays(torch.tensor(CENTRE), direction, FRAME)
    torch.testing.assert_close(origin, torch.tensor([-0.575, 0.644444, -1.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(moved, torch.tensor([-0.034375, 0.008333, 2.0]), rtol=0, atol=1e-6)


def test_a_known_point_and_its_pixel() -> None:
    direction = torch.tensor([-0.39, 0.235, -1.0], dtype=torch.float64)
    origin, moved = ndc_rays(pose()[:, 3], direction, FRAME)
    point = origin + 0.4 * moved
    torch.testing.assert_close(point, point.new_tensor([-0.58875, 0.647778, -0.2]), rtol=0, atol=1e-6)
    world = world_from_ndc(point, FRAME)
    torch.testing.assert_close(world, world.new_tensor([-0.628, 0.388667, -1.666668]), rtol=0, atol=1e-6)
    pixel = world.new_tensor([100.0, 50.0])
    torch.testing.assert_close(project(world, pose(), FRAME), pixel, rtol=0, atol=1e-4)
    # The far plane comes out behind the camera, and at the same pixel all the same.
    far = world_from_ndc(origin + moved, FRAME)
    assert float(far[2]) > 1e6
    torch.testing.assert_close(project(far, pose(), FRAME), pixel, rtol=0, atol=1e-4)


def test_beyond_the_far_plane_only_the_clamp_stays_in_front() -> None:
    point = torch.tensor([0.1, 0.2, 1.2], requires_grad=True)
    assert float(world_from_ndc(point, FRAME)[2]) == pytest.approx(10.0, abs=1e-3)
    world = world_from_ndc(point, FRAME, SAFE_DEPTHS)
    assert float(world[2]) == pytest.approx(-200.0, abs=0.05)
    world.sum().backward()
    assert point.grad is not None and bool(torch.isfinite(point.grad).all())


@pytest.mark.parametrize("near", [1.0, 2.5])
@pytest.mark.parametrize("camera_to_world", [pose(), turned_pose()], ids=["still", "turned"])
def test_samples_of_one_parameter_lie_on_one_plane_of_the_world(near: float, camera_to_world: Tensor) -> None:
    frame = NDCFrame(288, 512, 400.0, near)
    origins, directions, pixels = camera_rays(camera_to_world)
    ndc_origins, ndc_directions = ndc_rays(origins, directions, frame)
    torch.testing.assert_close(ndc_origins[:, 2], torch.full((50,), -1.0, dtype=torch.float64))
    torch.testing.assert_close(ndc_directions[:, 2], torch.full((50,), 2.0, dtype=torch.float64))
    for parameter in (0.0, 0.5, 0.9):
        world = world_from_ndc(ndc_origins + parameter * ndc_directions, frame)
        expected = torch.full((50,), -near / (1 - parameter), dtype=torch.float64)
        torch.testing.assert_close(world[:, 2], expected, rtol=1e-5, atol=0)
        # On the ray of the world: its pixel is the ray's.
        torch.testing.assert_close(project(world, camera_to_world, frame), pixels, rtol=0, atol=1e-3)


def test_the_inverse_takes_points_back() -> None:
    generator = torch.Generator().manual_seed(0)
    world = torch.rand(4, 7, 3, generator=generator, dtype=torch.float64) * 3 - torch.tensor([1.5, 1.5, 5.0])
    torch.testing.assert_close(world_from_ndc(ndc_from_world(world, FRAME), FRAME), world, rtol=1e-5, atol=1e-5)


def test_the_corners_of_the_frustum_are_those_of_the_cube() -> None:
    near_corner = torch.tensor([256 / 400, 144 / 400, -1.0])
    torch.testing.assert_close(ndc_from_world(near_corner, FRAME), torch.tensor([1.0, 1.0, -1.0]))
    torch.testing.assert_close(ndc_from_world(7 * near_corner, FRAME)[:2], torch.ones(2))


def test_project_broadcasts_poses_and_takes_intrinsics() -> None:
    points = torch.tensor([[[0.0, 0.0, -2.0], [0.5, 0.25, -2.0]]]).expand(3, 2, 3)
    poses = torch.eye(4).expand(3, 1, 4, 4)
    intrinsics = torch.tensor([100.0, 200.0, 30.5, 20.5]).expand(3, 1, 4)
    expected = torch.tensor([[30.5, 20.5], [55.5, -4.5]]).expand(3, 2, 2)
    torch.testing.assert_close(project(points, poses, intrinsics), expected)


def test_gradients_agree_with_differences() -> None:
    origins, directions, _ = (tensor[:3].clone() for tensor in camera_rays(turned_pose()))
    origins.requires_grad_()
    directions.requires_grad_()
    assert torch.autograd.gradcheck(lambda o, d: ndc_rays(o, d, FRAME), (origins, directions))
    points = torch.tensor([[0.1, -0.4, -0.5], [0.3, 0.2, 0.6]], dtype=torch.float64, requires_grad=True)
    camera = turned_pose().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, c: project(world_from_ndc(p, FRAME, SAFE_DEPTHS), c, FRAME), (points, camera)
    )


def test_what_lies_behind_a_camera_beyond_the_near_plane_is_not_seen() -> None:
    origins, directions = torch.tensor([[0.0, 0, 0.2], [0.0, 0, -2.0]]), torch.tensor([[0.0, 0, -1]]).expand(2, 3)
    samples = FRAME.on_rays(origins, directions, torch.linspace(0, 1, 9).expand(2, 9))
    depths = 1 / (1 - torch.linspace(0, 1, 9))
    assert (samples.lengths[0] > 0).all()
    assert ((samples.lengths[1] > 0) == (depths >= 2.0)).all()


def test_a_point_behind_a_camera_has_no_pixel_but_in_published_code() -> None:
    points = ndc_from_world(torch.tensor([[0.1, 0.0, -1.5]]), FRAME)
    ahead = torch.eye(4)[:3].clone()
    ahead[2, 3] = -2.0
    weights = torch.ones(1, 1)
    assert expected_pixel(weights, points[:, None], FRAME, ahead, FRAME, reach="pixels").isinf().all()
    assert expected_pixel(weights, points[:, None], FRAME, ahead, FRAME).isfinite().all()
