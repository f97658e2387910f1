from __future__ import annotations

import numpy as np
import pytest
from ball_capture import LENS, OPENCV, RADIUS, centre_at, photograph, ring_pose

from nf_plugins.data.processing.point_fusion import normalisation_of, thin_out, unproject, without_outliers
from nf_plugins.errors import InputError

INTRINSICS = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])


@pytest.mark.parametrize("is_ray", [False, True])
def test_unprojected_points_lie_on_the_ball(is_ray: bool):
    pose = ring_pose(1.1)
    _, mask, depth = photograph(pose, centre_at(0.2))
    if is_ray:
        columns, rows = np.meshgrid(np.arange(LENS.width) + 0.5, np.arange(LENS.height) + 0.5)
        depth = depth * np.sqrt(1 + ((columns - LENS.cx) / LENS.fx) ** 2 + ((rows - LENS.cy) / LENS.fy) ** 2)
    points = unproject(depth, INTRINSICS, pose @ OPENCV, is_ray)[mask]
    np.testing.assert_allclose(np.linalg.norm(points - centre_at(0.2), axis=1), RADIUS, atol=1e-9)


def test_outliers_go_and_the_rest_stays():
    rng = np.random.default_rng(0)
    surface = rng.normal(size=(2000, 3))
    surface /= np.linalg.norm(surface, axis=1, keepdims=True)
    stray = rng.uniform(3, 6, (20, 3))
    kept = without_outliers(np.concatenate([surface, stray]))
    assert len(kept) >= 1900
    assert np.linalg.norm(kept, axis=1).max() < 1.001
    np.testing.assert_array_equal(without_outliers(stray[:10]), stray[:10])


def test_the_sphere_around_the_points_becomes_the_unit_sphere():
    rng = np.random.default_rng(1)
    points = np.array([3.0, -2, 1]) + rng.uniform(-1, 1, (500, 3)) * [0.5, 0.2, 1.0]
    normalisation = normalisation_of(points)
    scene_from_world = np.linalg.inv(normalisation.world_from_scene)
    scene = points @ scene_from_world[:3, :3].T + scene_from_world[:3, 3]
    assert np.linalg.norm(scene, axis=1).max() == pytest.approx(1.0)
    np.testing.assert_allclose(scene.min(axis=0), -scene.max(axis=0), atol=1e-12)
    np.testing.assert_allclose(normalisation.scene_aabb, 1.1 * np.stack([scene.min(axis=0), scene.max(axis=0)]))


def test_too_few_points_are_said():
    with pytest.raises(InputError, match="Only 3 points .*--depth-range"):
        normalisation_of(np.zeros((3, 3)))
    with pytest.raises(InputError, match="in one place"):
        normalisation_of(np.zeros((30, 3)))


def test_thinning_keeps_an_even_part():
    points = np.arange(300.0).reshape(100, 3)
    np.testing.assert_array_equal(thin_out(points, 100), points)
    np.testing.assert_array_equal(thin_out(points, 30), points[::4])
