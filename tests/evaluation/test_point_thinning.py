"""Even points on a mesh: density of the lattice, and thinning that equals walking point by point."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from nf_plugins.errors import InputError
from nf_plugins.evaluation.point_thinning import points_on_mesh, thin_points


def test_a_right_triangle_gets_a_lattice_of_half_cells() -> None:
    vertices = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    points = points_on_mesh(vertices, np.array([[0, 1, 2]]), 0.25)
    # |e1| |e2| = 2A, so n1 = n2 = 4: u, v in {1/8, 3/8, 5/8, 7/8} with u + v < 1.
    expected = {(u, v) for u in (0.125, 0.375, 0.625, 0.875) for v in (0.125, 0.375, 0.625, 0.875) if u + v < 1}
    assert np.array_equal(points[:3], vertices)
    assert {tuple(np.round(point[:2], 6)) for point in points[3:]} == expected
    assert np.allclose(points[3:, 2], 1.0)


def test_lattice_points_lie_on_their_triangles_at_the_asked_density() -> None:
    mesh = trimesh.creation.box((3.0, 2.0, 1.0))
    lattice = points_on_mesh(mesh.vertices, mesh.faces, 0.05)[len(mesh.vertices) :]
    assert len(lattice) == pytest.approx(mesh.area / 0.05**2, rel=0.05)
    assert np.allclose(np.abs(lattice / (1.5, 1.0, 0.5)).max(axis=1), 1.0)
    # No spot of the surface is farther from a point than a diagonal of the lattice.
    dense = trimesh.sample.sample_surface(mesh, 5000, seed=0)[0]
    assert cKDTree(lattice).query(dense)[0].max() < 0.12


def test_small_and_degenerate_triangles_leave_their_vertices() -> None:
    vertices = np.array([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [5.0, 0, 0]])
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 0, 0]])
    assert np.array_equal(points_on_mesh(vertices, faces, 0.2), vertices)
    assert len(points_on_mesh(vertices, np.zeros((0, 3), dtype=int), 0.2)) == 4


def test_many_chunks_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=1, radius=2.0)
    expected = points_on_mesh(mesh.vertices, mesh.faces, 0.1)
    monkeypatch.setattr("nf_plugins.evaluation.point_thinning.CHUNK", 100)
    assert np.array_equal(points_on_mesh(mesh.vertices, mesh.faces, 0.1), expected)


def test_a_mesh_in_other_units_is_refused_before_memory_is_gone() -> None:
    vertices = 1e6 * np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    with pytest.raises(InputError, match="millimetres for DTU"):
        points_on_mesh(vertices, np.array([[0, 1, 2]]), 0.2)


def test_vertices_that_are_not_numbers_are_counted() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, np.nan, 0]])
    with pytest.raises(InputError, match="1 of the mesh's 3 vertices are not finite"):
        points_on_mesh(vertices, np.array([[0, 1, 2]]), 0.2)


def one_by_one(points: np.ndarray, radius: float, seed: int) -> np.ndarray:
    kept: list[int] = []
    for index in np.random.default_rng(seed).permutation(len(points)):
        if not kept or np.linalg.norm(points[kept] - points[index], axis=1).min() > radius:
            kept.append(int(index))
    return np.sort(kept)


@pytest.mark.parametrize("radius", [0.02, 0.06, 0.4])
def test_thinning_in_batches_keeps_what_walking_point_by_point_keeps(radius: float) -> None:
    points = np.random.default_rng(1).random((4000, 3)) * (1.0, 1.0, 0.1)
    kept = thin_points(points, radius, seed=5)
    assert np.array_equal(kept, one_by_one(points, radius, seed=5))
    thinned = points[kept]
    assert not cKDTree(thinned).query_pairs(radius)
    assert cKDTree(thinned).query(points)[0].max() <= radius


def test_coincident_points_leave_one_and_no_points_none() -> None:
    assert len(thin_points(np.ones((3000, 3)), 0.1)) == 1
    assert len(thin_points(np.zeros((0, 3)), 0.1)) == 0


def test_points_exactly_a_radius_apart_are_near() -> None:
    line = np.stack([np.arange(3000.0), np.zeros(3000), np.zeros(3000)], axis=1)
    assert np.diff(line[thin_points(line, 1.0), 0]).min() == 2.0
