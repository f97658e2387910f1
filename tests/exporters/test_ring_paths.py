"""Circles and spirals around a subject."""

from __future__ import annotations

import math

import pytest
import torch
from ball_pipeline import ball_cameras
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.ring_paths import (
    cameras_from_world,
    circle_cameras,
    fit_ring,
    published_circle,
    spiral_cameras,
)
from nf_plugins.exporters.trajectories import look_at_pose

TARGET = torch.tensor([0.2, -0.1, 0.3], dtype=torch.float64)


def cameras_at(positions: Tensor, target: Tensor = TARGET, up: Tensor | None = None) -> Cameras:
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) if up is None else up
    poses = torch.stack([look_at_pose(position, target, up) for position in positions]).float()
    return Cameras(camera_to_worlds=poses, fx=40.0, fy=40.0, cx=12.0, cy=12.0, width=24, height=24)


def ring_positions(angles: Tensor, axis: Tensor, radius: float, height: float) -> Tensor:
    first = torch.linalg.cross(axis, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    first = first / first.norm()
    second = torch.linalg.cross(axis, first)
    circle = torch.cos(angles)[:, None] * first + torch.sin(angles)[:, None] * second
    return TARGET + height * axis + radius * circle


def test_a_tilted_ring_is_found_again() -> None:
    axis = torch.tensor([0.2, -0.1, 1.0], dtype=torch.float64)
    axis = axis / axis.norm()
    angles = torch.tensor([0.0, 0.7, 1.9, 3.0, 4.4, 5.1], dtype=torch.float64)
    ring = fit_ring(cameras_at(ring_positions(angles, axis, 2.5, 0.8), up=axis))
    assert torch.allclose(ring.axis, axis, atol=1e-5) and torch.allclose(ring.up, axis, atol=1e-5)
    assert ring.radius == pytest.approx(2.5, abs=1e-4) and ring.height == pytest.approx(0.8, abs=1e-4)
    assert torch.allclose(ring.center, TARGET + 0.8 * axis, atol=1e-4)
    assert torch.allclose(ring.look_at, TARGET, atol=1e-4)


def test_the_ring_of_an_arc_is_the_whole_ring() -> None:
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    angles = torch.linspace(0.0, 1.2, 5, dtype=torch.float64)
    ring = fit_ring(cameras_at(ring_positions(angles, axis, 2.0, 0.5)))
    assert ring.radius == pytest.approx(2.0, abs=1e-3)
    assert torch.allclose(ring.center, TARGET + 0.5 * axis, atol=1e-3)


def test_a_dome_and_a_pair_keep_the_mean_up_direction() -> None:
    positions = [
        [3.0, 0, 0],
        [0, 3.0, 0],
        [-3.0, 0, 0],
        [0, -3.0, 0],
        [1.6, 1.6, 2.0],
        [-1.6, -1.6, 2.0],
        [1.6, -1.6, 2],
    ]
    ring = fit_ring(cameras_at(TARGET + torch.tensor(positions, dtype=torch.float64)))
    assert float(ring.axis[2]) > 0.95
    pair = fit_ring(cameras_at(TARGET + torch.tensor([[3.0, 0, 1], [0, 3.0, 1]], dtype=torch.float64)))
    assert float(pair.axis[2]) > 0.9 and 2.5 < pair.radius < 3.5


def test_a_wall_of_cameras_gets_a_circle_in_the_wall_with_images_upright() -> None:
    rows, columns = torch.meshgrid(torch.linspace(-0.4, 0.4, 3), torch.linspace(-0.8, 0.8, 5), indexing="ij")
    positions = torch.stack([columns.flatten(), torch.full((15,), -4.0), rows.flatten()], dim=-1).double()
    ring = fit_ring(cameras_at(positions, target=torch.zeros(3, dtype=torch.float64)))
    assert float(ring.axis[1].abs()) > 0.99
    assert 0.3 < ring.radius < 0.9 and torch.allclose(
        ring.center, torch.tensor([0.0, -4.0, 0.0], dtype=torch.float64), atol=0.05
    )
    path = circle_cameras(ring, cameras_at(positions)[:1], torch.zeros(8))
    assert bool((path.camera_to_worlds[:, 2, 1] > 0.9).all())  # up in the image is up in the world
    assert bool((path.camera_to_worlds[:, 1, 2] < -0.9).all())  # and all look into the scene


def test_one_camera_makes_no_ring() -> None:
    with pytest.raises(InputError, match="cameras at two places"):
        fit_ring(ball_cameras(num_cameras=1))


def test_a_circle_starts_opposite_goes_counter_clockwise_and_loops() -> None:
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    cameras = cameras_at(ring_positions(torch.arange(6, dtype=torch.float64), axis, 2.0, 0.5))
    ring = fit_ring(cameras)
    path = circle_cameras(ring, cameras[2:3], torch.linspace(0, 1, 8))
    positions = path.camera_to_worlds[:, :, 3].double()
    offset = cameras.camera_to_worlds[2, :, 3].double() - ring.center
    assert torch.allclose(positions[4], ring.center + offset, atol=1e-3)
    assert torch.allclose(positions[0], ring.center - offset, atol=1e-3)
    turn = torch.linalg.cross(positions[:-1] - ring.center, positions[1:] - ring.center) @ ring.axis
    assert torch.allclose(turn, turn[:1].expand(7), atol=1e-3) and float(turn[0]) == pytest.approx(
        4 * math.sin(math.pi / 4), abs=1e-2
    )
    view = -path.camera_to_worlds[:, :, 2].double()
    towards = torch.nn.functional.normalize(TARGET - positions, dim=-1)
    assert torch.allclose(view, towards, atol=1e-4)
    arc = circle_cameras(ring, cameras[2:3], torch.zeros(3), degrees=(-30.0, 30.0)).camera_to_worlds[:, :, 3].double()
    angle = (arc[0] - ring.center) @ (arc[2] - ring.center) / ring.radius**2
    assert float(angle) == pytest.approx(0.5, abs=1e-4)  # both ends are shown


def test_a_pitched_camera_stands_where_it_stood_and_looks_further_down() -> None:
    cameras = ball_cameras(num_cameras=3)
    ring = fit_ring(cameras)
    level, pitched = (circle_cameras(ring, cameras[:1], torch.zeros(4), pitch=pitch) for pitch in (0.0, 15.0))
    assert torch.equal(level.camera_to_worlds[:, :, 3], pitched.camera_to_worlds[:, :, 3])
    views = [-path.camera_to_worlds[:, :, 2] for path in (level, pitched)]
    assert torch.allclose((views[0] * views[1]).sum(-1), torch.tensor(math.cos(math.radians(15.0))), atol=1e-5)
    assert bool((views[1] @ ring.axis.float() < views[0] @ ring.axis.float()).all())
    rotation = pitched.camera_to_worlds[:, :, :3]
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(4), atol=1e-5)


def test_a_spiral_rises_sinks_comes_nearer_and_closes() -> None:
    cameras = ball_cameras(num_cameras=3)
    ring = fit_ring(cameras)
    path = spiral_cameras(ring, cameras[:1], torch.zeros(40), turns=2.0, radius_amplitude=0.25, height_amplitude=0.3)
    offsets = path.camera_to_worlds[:, :, 3].double() - ring.center
    heights = offsets @ ring.axis
    radii = (offsets - heights[:, None] * ring.axis).norm(dim=-1)
    assert float(heights[10]) == pytest.approx(0.3 * ring.radius, abs=1e-4)
    assert float(heights[30]) == pytest.approx(-0.3 * ring.radius, abs=1e-4)
    assert float(radii[0]) == pytest.approx(ring.radius, abs=1e-4)
    assert float(radii[20]) == pytest.approx(0.75 * ring.radius, abs=1e-4)
    steps = (offsets - offsets.roll(1, dims=0)).norm(dim=-1)
    assert float(steps[0]) < 1.5 * float(steps[1:].max())  # the last pose leads to the first


def test_published_circles_have_the_published_poses() -> None:
    zju = published_circle(torch.tensor([0.0, 0.0, 1.8]), 3.0, 300)
    expected = [[0, -1, 0, 0], [-0.258819, 0, -0.965926, 0.962209], [0.965926, 0, -0.258819, 3.363652]]
    assert zju.shape == (300, 3, 4) and torch.allclose(zju[0], torch.tensor(expected).double(), atol=1e-5)
    center = -zju[0, :, :3].T @ zju[0, :, 3]
    assert torch.allclose(center, torch.tensor([-3.0, 0.0, 1.8]).double(), atol=1e-5)
    dna = published_circle(torch.tensor([0.0, -0.8, 0.0]), 3.0, 150, up="y")
    expected = [[0, 0, -1, 0], [-0.258819, 0.965926, 0, -0.003716], [0.965926, 0.258819, 0, 3.104833]]
    assert torch.allclose(dna[0], torch.tensor(expected).double(), atol=1e-5)
    assert torch.allclose(-dna[0, :, :3].T @ dna[0, :, 3], torch.tensor([-3.0, -0.8, 0.0]).double(), atol=1e-5)
    assert torch.allclose(torch.linalg.det(dna[:, :, :3]), torch.ones(150).double())


def test_poses_of_the_world_become_those_of_the_scene() -> None:
    world_from_scene = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))
    world_from_scene[:3, 3] = torch.tensor([5.0, 0.0, -1.0])
    poses = published_circle(torch.tensor([5.0, 0.0, -1.0]), 3.0, 4)
    cameras = cameras_from_world(poses, ball_cameras()[:1], torch.zeros(4), world_from_scene)
    point = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    world = world_from_scene[:3, :3].double() @ point + world_from_scene[:3, 3]
    of_world = poses[:, :, :3] @ world + poses[:, :, 3]
    pose = cameras.camera_to_worlds.double()
    local = (pose[:, :, :3].transpose(-1, -2) @ (point - pose[:, :, 3])[..., None])[..., 0]
    of_scene = 2 * local * torch.tensor([1.0, -1.0, -1.0])  # twice: world units
    assert torch.allclose(of_world, of_scene, atol=1e-5)
