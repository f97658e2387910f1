from __future__ import annotations

import numpy as np
import pytest
import trimesh

from nf_plugins.data.synthetic.coloured_mesh import (
    ColouredMesh,
    sample_surface,
    shade,
    transform_points,
    vertex_normals,
)


def _ball() -> ColouredMesh:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    return ColouredMesh(np.array(ball.vertices), np.array(ball.faces), np.full((len(ball.vertices), 3), 0.8))


def test_normals_of_a_ball_point_outwards():
    ball = _ball()
    np.testing.assert_allclose(vertex_normals(ball.vertices, ball.faces), ball.vertices / 0.5, atol=0.02)


def test_unused_vertices_get_no_normal():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])
    np.testing.assert_array_equal(vertex_normals(vertices, np.array([[0, 1, 2]]))[3], 0.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shading_is_brighter_above_and_never_exceeds_the_texture(axis):
    up = np.eye(3)[axis]
    shaded = shade(_ball(), up).colors
    height = _ball().vertices @ up
    assert shaded[height.argmax()].mean() > shaded[height.argmin()].mean() + 0.1
    assert shaded.max() <= 0.8 + 1e-9 and shaded.min() >= 0.8 * 0.6 - 1e-9


def test_surface_samples_are_uniform_by_area():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    mesh = ColouredMesh(square, np.array([[0, 1, 2], [0, 2, 3]]), np.ones((4, 3)))
    points = sample_surface(mesh, 4000, np.random.default_rng(0))
    np.testing.assert_array_equal(points[:, 2], 0.0)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=2, range=[[0, 1], [0, 1]])
    assert np.abs(counts - 1000).max() < 120


def test_transform_points_keeps_batch_shape():
    matrix = np.eye(4)
    matrix[:3, 3] = [1.0, 2.0, 3.0]
    assert transform_points(matrix, np.zeros((2, 5, 3)))[1, 4].tolist() == [1.0, 2.0, 3.0]
