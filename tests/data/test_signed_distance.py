"""Signed distances of meshes against closed forms and against trimesh."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from nf_plugins.data.signed_distance import EdgeReport, MeshSignedDistance, check_edges, require_closed
from nf_plugins.errors import InputError


def box_distance(points: np.ndarray, half: np.ndarray) -> np.ndarray:
    beyond = np.abs(points) - half
    return np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(axis=-1), 0)


def torus_distance(points: np.ndarray, major: float, minor: float) -> np.ndarray:
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - major, points[:, 2]) - minor


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (2000, 3))


def test_sphere_box_and_torus_have_their_closed_forms(points: np.ndarray) -> None:
    half = np.array([0.3, 0.5, 0.7])
    box = trimesh.creation.box(2 * half)
    np.testing.assert_allclose(MeshSignedDistance(box.vertices, box.faces)(points), box_distance(points, half))
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.6)
    expected = np.linalg.norm(points, axis=-1) - 0.6
    np.testing.assert_allclose(MeshSignedDistance(ball.vertices, ball.faces)(points), expected, atol=5e-4)
    torus = trimesh.creation.torus(0.6, 0.2, major_sections=256, minor_sections=128)
    expected = torus_distance(points, 0.6, 0.2)
    np.testing.assert_allclose(MeshSignedDistance(torus.vertices, torus.faces)(points), expected, atol=5e-4)


def test_agrees_with_trimesh(points: np.ndarray) -> None:
    mesh = trimesh.creation.capsule(height=0.7, radius=0.25, count=[12, 12])
    ours = MeshSignedDistance(mesh.vertices, mesh.faces)(points[:50])
    np.testing.assert_allclose(ours, -trimesh.proximity.signed_distance(mesh, points[:50]), atol=1e-9)


def test_points_on_the_surface_have_no_distance() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    on_surface = trimesh.sample.sample_surface(ball, 500, seed=0)[0]
    assert np.abs(MeshSignedDistance(ball.vertices, ball.faces)(on_surface)).max() < 1e-12
    assert MeshSignedDistance(ball.vertices, ball.faces)(np.zeros((0, 3))).shape == (0,)


def test_overlapping_parts_are_one_solid_and_inward_faces_are_turned(points: np.ndarray) -> None:
    left, right = (trimesh.creation.icosphere(subdivisions=3, radius=0.5) for _ in range(2))
    left.apply_translation([-0.25, 0, 0])
    right.apply_translation([0.25, 0, 0])
    both = trimesh.util.concatenate([left, right])
    inside = (np.linalg.norm(points - [0.25, 0, 0], axis=-1) < 0.48) | (
        np.linalg.norm(points + [0.25, 0, 0], axis=-1) < 0.48
    )
    distance = MeshSignedDistance(both.vertices, both.faces)(points)
    assert (distance[inside] < 0).all()
    turned = MeshSignedDistance(both.vertices, both.faces[:, ::-1])(points)
    np.testing.assert_allclose(turned, distance)


def test_a_mesh_with_a_hole_is_refused_with_the_way_out_and_taken_with_it(points: np.ndarray) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    opened = ball.faces[1:]
    assert check_edges(ball.vertices, ball.faces) == EdgeReport(0, 0)
    assert check_edges(ball.vertices, opened) == EdgeReport(3, 0)
    with pytest.raises(InputError, match=r"frame\.ply is not watertight \(3 open edges\).*--sign winding"):
        MeshSignedDistance(ball.vertices, opened, name="frame.ply")
    closed, winding = (
        MeshSignedDistance(ball.vertices, faces, sign=sign)(points)
        for faces, sign in ((ball.faces, "closed"), (opened, "winding"))
    )
    far = np.abs(closed) > 0.05
    assert (np.sign(closed[far]) == np.sign(winding[far])).all()


def test_faces_that_look_different_ways_are_told_from_holes() -> None:
    box = trimesh.creation.box()
    faces = box.faces.copy()
    faces[0] = faces[0, ::-1]
    assert check_edges(box.vertices, faces) == EdgeReport(0, 3)
    with pytest.raises(InputError, match="3 edges between faces that face different sides"):
        require_closed(box.vertices, faces, "box.off")


def test_vertices_that_were_split_along_seams_are_no_holes() -> None:
    box = trimesh.creation.box()
    soup = box.vertices[box.faces].reshape(-1, 3)
    assert check_edges(soup, np.arange(len(soup)).reshape(-1, 3)).is_closed
    assert MeshSignedDistance(soup, np.arange(len(soup)).reshape(-1, 3))(np.zeros((1, 3)))[0] == pytest.approx(-0.5)
