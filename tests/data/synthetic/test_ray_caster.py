from __future__ import annotations

import numpy as np
import pytest
import trimesh

from nf_plugins.data.synthetic.cameras import Intrinsics, look_at, ring_cameras, square_intrinsics
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.synthetic.ray_caster import MeshRayCaster, pixel_rays

RADIUS = 0.6
CENTRE = np.array([0.1, -0.05, 0.08])


@pytest.fixture(scope="module")
def ball() -> ColouredMesh:
    sphere = trimesh.creation.icosphere(subdivisions=5, radius=RADIUS)
    vertices = np.array(sphere.vertices)
    return ColouredMesh(vertices + CENTRE, np.array(sphere.faces), 0.5 + 0.5 * vertices / RADIUS)


def _grid_rays(resolution, pose):
    intrinsics = square_intrinsics(resolution, np.deg2rad(40.0))
    rows, columns = np.divmod(np.arange(resolution**2), resolution)
    pixels = np.stack([columns, rows], axis=-1) + 0.5
    return intrinsics, *pixel_rays(intrinsics, pose, pixels)


def test_depth_of_a_ball_is_the_closed_form_ray_distance(ball):
    pose = ring_cameras(3, 3.0, np.array([0.0, 0.0, 1.0]))[1]
    intrinsics, origins, directions = _grid_rays(48, pose)
    view = MeshRayCaster(ball).render(intrinsics, pose)
    towards = ((CENTRE - origins) * directions).sum(-1)
    squared = RADIUS**2 - (((CENTRE - origins) ** 2).sum(-1) - towards**2)
    expected = np.where(squared > 0, towards - np.sqrt(np.maximum(squared, 0.0)), 0.0).reshape(48, 48)
    inside = (squared > 0.02).reshape(48, 48)
    assert inside.sum() > 200
    np.testing.assert_allclose(view.depth[inside], expected[inside], atol=1e-3)
    hits = origins + view.depth.reshape(-1, 1) * directions
    normals = ((hits - CENTRE) / RADIUS).reshape(48, 48, 3)
    np.testing.assert_allclose(view.normal[inside], normals[inside], atol=5e-3)
    np.testing.assert_allclose(view.rgb[inside] / 255.0, 0.5 + 0.5 * normals[inside], atol=0.02)


def test_mask_equals_positive_depth_and_the_rest_is_empty(ball):
    pose = ring_cameras(1, 3.0, np.array([0.0, 1.0, 0.0]))[0]
    view = MeshRayCaster(ball).render(square_intrinsics(40, np.deg2rad(40.0)), pose, supersampling=1)
    np.testing.assert_array_equal(view.mask, view.depth > 0)
    np.testing.assert_array_equal(view.alpha, view.mask.astype(np.float32))
    assert 0 < view.mask.mean() < 1
    assert view.rgb[~view.mask].max() == 0


def test_supersampled_alpha_estimates_the_covered_area(ball):
    pose = ring_cameras(1, 3.0, np.array([0.0, 0.0, 1.0]))[0]
    caster = MeshRayCaster(ball)
    coarse = caster.render(square_intrinsics(24, np.deg2rad(40.0)), pose, supersampling=4)
    fine = caster.render(square_intrinsics(96, np.deg2rad(40.0)), pose, supersampling=1)
    expected = fine.mask.reshape(24, 4, 24, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(coarse.alpha, expected, atol=1e-6)
    assert ((coarse.alpha > 0) & (coarse.alpha < 1)).any()


def test_edge_colours_are_not_darkened_by_the_background(ball):
    white = ColouredMesh(ball.vertices, ball.faces, np.ones_like(ball.vertices))
    pose = ring_cameras(1, 3.0, np.array([0.0, 0.0, 1.0]))[0]
    view = MeshRayCaster(white).render(square_intrinsics(32, np.deg2rad(40.0)), pose, supersampling=3)
    assert view.rgb[view.alpha > 0].min() == 255
    assert view.rgb[view.mask].min() == 255


def test_nearer_surface_hides_the_farther_one(ball):
    colors = np.concatenate([np.tile([1.0, 0.0, 0.0], (len(ball.vertices), 1)), np.tile([0.0, 1.0, 0.0], (4, 1))])
    wall = np.array([[-2.0, -2, -1], [2, -2, -1], [2, 2, -1], [-2, 2, -1]])
    faces = np.concatenate([ball.faces, len(ball.vertices) + np.array([[0, 1, 2], [0, 2, 3]])])
    mesh = ColouredMesh(np.concatenate([ball.vertices, wall]), faces, colors)
    pose = look_at(np.array([0.0, 0.0, 3.0]), np.zeros(3), np.array([0.0, 1.0, 0.0]))
    view = MeshRayCaster(mesh).render(square_intrinsics(33, np.deg2rad(40.0)), pose, supersampling=1)
    assert view.mask.all()
    assert view.rgb[16, 16].tolist() == [255, 0, 0] and view.rgb[0, 0].tolist() == [0, 255, 0]


def test_image_is_upright(ball):
    mesh = ColouredMesh(ball.vertices, ball.faces, np.repeat((ball.vertices[:, 2:] > CENTRE[2]) * 1.0, 3, axis=-1))
    pose = look_at(np.array([0.0, -3.0, 0.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    view = MeshRayCaster(mesh).render(square_intrinsics(32, np.deg2rad(40.0)), pose)
    upper, lower = view.rgb[:14][view.mask[:14]], view.rgb[18:][view.mask[18:]]
    assert upper.mean() > 250 and lower.mean() < 60


def test_without_perspective_a_ball_keeps_its_size_at_any_distance() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    mesh = ColouredMesh(np.asarray(ball.vertices), np.asarray(ball.faces), np.ones((len(ball.vertices), 3)))
    caster, intrinsics = MeshRayCaster(mesh), Intrinsics(40, 30, 20.0, 20.0, 12.0, 16.0)
    for distance in (2.0, 9.0):
        pose = look_at(np.array([0.0, -distance, 0.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
        view = caster.render(intrinsics, pose, 1, "orthographic")
        rows, columns = np.nonzero(view.mask)
        assert len(rows) == pytest.approx(np.pi * 10**2, rel=0.03)
        assert rows.mean() + 0.5 == pytest.approx(16.0, abs=0.1) and columns.mean() + 0.5 == pytest.approx(
            12.0, abs=0.1
        )
        assert view.depth[15, 11] == pytest.approx(distance - 0.5, abs=0.01)
        np.testing.assert_allclose(view.normal[15, 11], (0.0, -1.0, 0.0), atol=0.06)
