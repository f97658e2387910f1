"""Meshes of analytic surfaces: the coarse-to-fine grid changes nothing but the number of evaluations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.mesh import extract_mesh, mesh_from_grid, write_mesh
from nf_plugins.exporters.signed_distance_grid import GridSettings, signed_distance_grid


class AnalyticSurface:
    """A closed-form signed distance in a box, coloured by position."""

    def __init__(self, distance: Callable[[Tensor], Tensor], bounds: list[list[float]] | None = None) -> None:
        self.distance = distance
        self.bounds = torch.tensor(bounds or [[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
        self.num_points = 0

    def signed_distance(self, points: Tensor) -> Tensor:
        self.num_points += len(points)
        return self.distance(points)[:, None]

    def color(self, points: Tensor) -> Tensor:
        return 0.5 * points + 0.5


def sphere(points: Tensor, centre: tuple[float, float, float] = (0.0, 0.0, 0.0), radius: float = 0.5) -> Tensor:
    return (points - torch.tensor(centre)).norm(dim=-1) - radius


def torus(points: Tensor) -> Tensor:
    ring = points[:, :2].norm(dim=-1) - 0.6
    return torch.hypot(ring, points[:, 2]) - 0.15


def two_spheres(points: Tensor) -> Tensor:
    return torch.minimum(sphere(points, (-0.5, 0.1, 0.0), 0.3), sphere(points, (0.45, -0.2, 0.3), 0.07))


@pytest.mark.parametrize("shape", [sphere, torus, two_spheres])
def test_coarse_to_fine_gives_the_dense_mesh_from_far_fewer_points(shape: Callable[[Tensor], Tensor]) -> None:
    bounds = [[-1.0, -0.9, -0.7], [1.0, 1.0, 0.8]]
    dense = signed_distance_grid(AnalyticSurface(shape, bounds), GridSettings(resolution=64, block_size=1))
    surface = AnalyticSurface(shape, bounds)
    sparse = signed_distance_grid(surface, GridSettings(resolution=64, block_size=8))
    expected, found = mesh_from_grid(dense), mesh_from_grid(sparse)
    assert len(expected.faces) > 500
    assert np.array_equal(np.sign(dense.values[:57, :57, :49]), np.sign(sparse.values[:57, :57, :49]))
    assert len(found.faces) == len(expected.faces)
    order = np.lexsort(np.round(found.vertices, 5).T), np.lexsort(np.round(expected.vertices, 5).T)
    assert np.allclose(found.vertices[order[0]], expected.vertices[order[1]], atol=1e-5)
    assert sparse.num_evaluations == surface.num_points
    assert sparse.num_evaluations < 0.4 * dense.num_evaluations


def test_evaluations_grow_with_the_surface_and_not_with_the_volume() -> None:
    surface = AnalyticSurface(sphere)
    grid = signed_distance_grid(surface, GridSettings(resolution=192))
    assert surface.num_points < 0.12 * grid.values.size


def test_a_steep_field_is_refined_as_far_as_its_slope_asks() -> None:
    steep = AnalyticSurface(lambda points: 5.0 * two_spheres(points))
    dense = AnalyticSurface(lambda points: 5.0 * two_spheres(points))
    expected = mesh_from_grid(signed_distance_grid(dense, GridSettings(resolution=48, block_size=1)))
    found = mesh_from_grid(signed_distance_grid(steep, GridSettings(resolution=48, block_size=8)))
    assert len(found.faces) == len(expected.faces)
    assert steep.num_points < dense.num_points


def test_mesh_is_closed_faces_outwards_and_lies_on_the_sphere() -> None:
    mesh = extract_mesh(AnalyticSurface(sphere), GridSettings(resolution=48))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=0.01)
    assert np.allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=1e-3)
    assert (np.einsum("ij,ij->i", mesh.vertex_normals, mesh.vertices) > 0.45).all()


def test_a_surface_that_leaves_the_bounds_gets_a_lid_at_the_margin() -> None:
    mesh = extract_mesh(AnalyticSurface(lambda points: sphere(points, (0.9, 0.0, 0.0))), GridSettings(resolution=40))
    assert mesh.is_watertight and mesh.volume > 0
    assert mesh.vertices[:, 0].max() == pytest.approx(1.0 - 0.025, abs=1e-4)


def test_vertex_colors_follow_scene_positions_while_vertices_move_to_the_world() -> None:
    world_from_scene = np.diag([3.0, 3.0, 3.0, 1.0])
    world_from_scene[:3, 3] = (10.0, 0.0, -5.0)
    scene = extract_mesh(AnalyticSurface(sphere), GridSettings(resolution=24))
    world = extract_mesh(AnalyticSurface(sphere), GridSettings(resolution=24), torch.from_numpy(world_from_scene))
    assert np.allclose(world.vertices, scene.vertices * 3.0 + (10.0, 0.0, -5.0))
    colors = np.asarray(world.visual.vertex_colors)
    assert np.allclose(colors[:, :3] / 255.0, 0.5 * scene.vertices + 0.5, atol=0.6 / 255)
    assert (colors[:, 3] == 255).all()


def test_largest_component_drops_the_small_sphere_only_when_asked() -> None:
    both = extract_mesh(AnalyticSurface(two_spheres), GridSettings(resolution=48))
    largest = extract_mesh(AnalyticSurface(two_spheres), GridSettings(resolution=48), largest_component=True)
    assert both.body_count == 2 and largest.body_count == 1
    assert largest.vertices[:, 0].max() < 0.0


def test_no_surface_gives_an_empty_mesh_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    mesh = extract_mesh(AnalyticSurface(lambda points: torch.ones(len(points))), GridSettings(resolution=16))
    assert len(mesh.faces) == 0
    assert "empty" in capsys.readouterr().out


def test_everything_inside_gives_the_shrunk_box() -> None:
    mesh = extract_mesh(AnalyticSurface(lambda points: -torch.ones(len(points))), GridSettings(resolution=16))
    assert mesh.is_watertight
    assert np.allclose(mesh.bounds, [[-0.975] * 3, [0.975] * 3], atol=1e-3)


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_files_read_back_with_their_colors_and_leave_no_temporary(suffix: str, tmp_path: Path) -> None:
    mesh = extract_mesh(AnalyticSurface(sphere), GridSettings(resolution=24))
    path = tmp_path / "new" / f"sphere.{suffix}"
    write_mesh(path, mesh)
    loaded = trimesh.load(path, force="mesh", process=False)
    assert isinstance(loaded, trimesh.Trimesh)
    assert len(loaded.faces) == len(mesh.faces)
    assert np.allclose(np.sort(loaded.vertices, axis=0), np.sort(mesh.vertices, axis=0), atol=1e-5)
    assert np.asarray(loaded.visual.vertex_colors)[:, :3].std() > 20
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_wrong_settings_and_formats_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="power of two"):
        GridSettings(block_size=6)
    with pytest.raises(InputError, match="stl"):
        write_mesh(tmp_path / "a.stl", trimesh.creation.box())
    assert not list(tmp_path.iterdir())
