"""Extraction along the principal axes: golden errors on a tilted ellipsoid, components by area, world units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.principal_axes_mesh import (
    PrincipalAxesSettings,
    RotatedSurface,
    extract_principal_axes_mesh,
    largest_component_by_area,
    principal_box,
)

RADII = torch.tensor([0.6, 0.3, 0.2])
CENTRE = torch.tensor([0.05, -0.1, 0.1])


def tilt() -> Tensor:
    """A rotation about all axes."""
    x, y, z = (torch.tensor(angle, dtype=torch.float64) for angle in (0.4, -0.7, 1.1))
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    about_x = torch.stack([one, zero, zero, zero, x.cos(), -x.sin(), zero, x.sin(), x.cos()]).view(3, 3)
    about_y = torch.stack([y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos()]).view(3, 3)
    about_z = torch.stack([z.cos(), -z.sin(), zero, z.sin(), z.cos(), zero, zero, zero, one]).view(3, 3)
    return (about_z @ about_y @ about_x).float()


class Ellipsoid:
    """A tilted ellipsoid by the usual first-order signed distance, with a small ball beside it if asked."""

    def __init__(self, with_ball: bool = False) -> None:
        self.bounds = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
        self.with_ball = with_ball

    def signed_distance(self, points: Tensor) -> Tensor:
        local = (points - CENTRE) @ tilt()
        k0, k1 = (local / RADII).norm(dim=-1, keepdim=True), (local / RADII.square()).norm(dim=-1, keepdim=True)
        distance = k0 * (k0 - 1.0) / k1.clamp(min=1e-9)
        if self.with_ball:
            ball = (points - torch.tensor([-0.7, 0.7, -0.7])).norm(dim=-1, keepdim=True) - 0.1
            distance = torch.minimum(distance, ball)
        return distance

    def color(self, points: Tensor) -> Tensor:
        return 0.5 * points + 0.5


@pytest.mark.parametrize(("resolution", "largest"), [(64, 3.5e-4), (128, 9e-5)])
def test_a_tilted_ellipsoid_is_closed_and_as_exact_as_published(resolution: int, largest: float) -> None:
    surface = Ellipsoid()
    mesh = extract_principal_axes_mesh(surface, PrincipalAxesSettings(resolution=resolution), with_colors=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.6 * 0.3 * 0.2, rel=5e-3)
    distances = surface.signed_distance(torch.from_numpy(np.asarray(mesh.vertices)).float()).abs()
    assert 0.2 * largest < float(distances.max()) < largest


def test_only_the_largest_component_remains_with_its_colours_in_world_units() -> None:
    world_from_scene = np.diag([2.0, 2.0, 2.0, 1.0])
    world_from_scene[:3, 3] = (1.0, 2.0, 3.0)
    settings = PrincipalAxesSettings(resolution=40, coarse_resolution=40)
    scene = extract_principal_axes_mesh(Ellipsoid(with_ball=True), settings)
    world = extract_principal_axes_mesh(Ellipsoid(with_ball=True), settings, world_from_scene)
    assert scene.body_count == 1
    assert np.allclose(scene.centroid, CENTRE.numpy(), atol=2e-3)
    assert np.allclose(world.vertices, 2.0 * scene.vertices + (1.0, 2.0, 3.0))
    assert world.volume > 0  # faces outwards
    colors = np.asarray(world.visual.vertex_colors)[:, :3] / 255.0
    assert np.allclose(colors, 0.5 * scene.vertices + 0.5, atol=0.6 / 255)


def test_the_largest_component_is_the_one_of_largest_area_not_of_most_faces() -> None:
    large, fine = trimesh.creation.box((1, 1, 1)), trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    both = trimesh.util.concatenate([fine.apply_translation((3, 0, 0)), large])
    assert len(fine.faces) > len(large.faces)
    part = largest_component_by_area(both)
    assert len(part.faces) == 12 and len(part.vertices) == 8
    assert largest_component_by_area(part) is part


def test_the_box_lies_along_the_axes_and_is_padded_on_every_side() -> None:
    rotation = tilt().double().numpy()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, (0.1, 0.2, 0.3)
    box = trimesh.creation.box((0.9, 0.5, 0.2), transform=matrix)
    axes, centre, bounds = principal_box(box, PrincipalAxesSettings(padding=0.2, num_samples=50_000))
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert np.allclose(np.abs(axes.T @ rotation), np.eye(3)[::-1], atol=0.03)
    assert np.allclose(centre, (0.1, 0.2, 0.3), atol=0.01)
    assert np.allclose(bounds[1] - bounds[0], np.array([0.2, 0.5, 0.9]) + 0.4, atol=0.05)


def test_a_rotated_surface_is_outside_beyond_the_bounds_of_the_original() -> None:
    everything = Ellipsoid()
    everything.signed_distance = lambda points: -torch.ones(len(points), 1)  # type: ignore[method-assign]
    rotated = RotatedSurface(everything, np.eye(3), np.array([0.5, 0.0, 0.0]), np.array([[-2.0] * 3, [2.0] * 3]), 0.1)
    points = torch.tensor([[0.3, 0.0, 0.0], [0.7, 0.0, 0.0], [-1.3, 0.0, 0.0]])
    assert torch.allclose(rotated.signed_distance(points)[:, 0], torch.tensor([-0.1, 0.3, -0.1]), atol=1e-6)
    assert torch.allclose(rotated.to_scene(points)[0], torch.tensor([0.8, 0.0, 0.0]))


def test_no_zero_crossing_gives_an_empty_mesh_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    surface = Ellipsoid()
    surface.signed_distance = lambda points: torch.ones(len(points), 1)  # type: ignore[method-assign]
    assert len(extract_principal_axes_mesh(surface, PrincipalAxesSettings(16, 16)).faces) == 0
    assert "empty" in capsys.readouterr().out


def test_a_resolution_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2, found 1"):
        PrincipalAxesSettings(resolution=1)
