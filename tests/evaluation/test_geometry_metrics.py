"""Surface distances against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from nf_plugins.evaluation.geometry_metrics import compare_meshes, compare_points, sample_surface


def patch(height: float = 0.0, cells: int = 20) -> trimesh.Trimesh:
    """A unit square in z = height."""
    axis = np.linspace(0.0, 1.0, cells + 1)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    vertices = np.stack([x, y, np.full_like(x, height)], axis=-1).reshape(-1, 3)
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1, 1)
    faces = np.concatenate([corner + [0, cells + 1, 1], corner + [1, cells + 1, cells + 2]])
    return trimesh.Trimesh(vertices, faces, process=False)


def test_a_patch_shifted_along_its_normal_is_its_shift_away() -> None:
    shift = 0.1
    grid = np.asarray(patch(cells=200).vertices)
    distances = compare_points(grid, grid + [0.0, 0.0, shift])
    assert distances.chamfer_l2_mean == pytest.approx(shift)
    assert distances.chamfer_l1_sum == pytest.approx(2 * shift)
    assert distances.accuracy == pytest.approx(shift) and distances.completeness == pytest.approx(shift)


def test_a_sampled_shifted_patch_is_its_shift_away_up_to_the_sample_spacing() -> None:
    distances = compare_meshes(patch(0.0), patch(0.1), num_samples=40_000)
    assert distances.chamfer_l2_mean == pytest.approx(0.1, rel=0.01)
    assert distances.normal_distance == pytest.approx(0.0, abs=1e-9)


def test_the_l1_definition_uses_l1_distances_and_l1_neighbours() -> None:
    query = np.array([[0.0, 0.0, 0.0]])
    points = np.array([[0.7, 0.7, 0.0], [0.0, 0.0, 1.2]])
    distances = compare_points(query, points)
    assert distances.accuracy == pytest.approx(np.hypot(0.7, 0.7))
    assert distances.chamfer_l1_sum == pytest.approx(1.2 + (1.4 + 1.2) / 2)


def test_a_mesh_is_near_itself_and_the_seed_decides_the_samples() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    first, again = (compare_meshes(ball, ball, num_samples=20_000, seed=3) for _ in range(2))
    assert first == again
    assert first.chamfer_l2_mean < 0.02 and first.normal_distance < 0.02
    assert compare_meshes(ball, ball, num_samples=20_000, seed=4) != first


def test_orthogonal_normals_are_two_apart_and_flipped_ones_are_not() -> None:
    points = np.random.default_rng(0).random((50, 3))
    up, side = np.tile([0.0, 0.0, 1.0], (50, 1)), np.tile([1.0, 0.0, 0.0], (50, 1))
    assert compare_points(points, points, up, side).normal_distance == pytest.approx(2.0)
    assert compare_points(points, points, up, -up).normal_distance == pytest.approx(0.0)


def test_world_units_scale_distances_and_leave_normals() -> None:
    small, large = trimesh.creation.icosphere(subdivisions=3, radius=0.5), trimesh.creation.icosphere(subdivisions=3)
    matrix = np.diag([4.0, 4.0, 4.0, 1.0])
    matrix[:3, 3] = (1.0, 2.0, 3.0)
    scene = compare_meshes(small, large, num_samples=5000)
    world = compare_meshes(small, large, num_samples=5000, world_from_scene=matrix)
    assert world.chamfer_l2_mean == pytest.approx(4.0 * scene.chamfer_l2_mean)
    assert world.normal_distance == pytest.approx(scene.normal_distance)


def test_an_empty_mesh_is_infinitely_far_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    distances = compare_meshes(trimesh.Trimesh(), patch(), num_samples=100)
    assert np.isinf([distances.chamfer_l1_sum, distances.chamfer_l2_mean]).all()
    assert np.isnan(distances.normal_distance)
    assert "predicted surface is empty" in capsys.readouterr().out
    assert np.isinf(compare_meshes(patch(), np.zeros((0, 3)), num_samples=100).chamfer_l2_mean)


def test_samples_are_weighted_by_area() -> None:
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0], [10, 0, 0], [11, 0, 0], [10, 2, 0]], dtype=float)
    mesh = trimesh.Trimesh(vertices, [[0, 1, 2], [3, 4, 5]], process=False)
    points, normals = sample_surface(mesh, 8000)
    assert (points[:, 0] < 5).mean() == pytest.approx(0.75, abs=0.02)
    assert np.allclose(np.abs(normals), [0.0, 0.0, 1.0])
