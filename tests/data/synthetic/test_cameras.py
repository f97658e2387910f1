from __future__ import annotations

import numpy as np
import pytest

from nf_plugins.data.synthetic.cameras import (
    circling_camera,
    hemisphere_cameras,
    ring_cameras,
    sphere_position,
    spiral_cameras,
    square_intrinsics,
    swap_opengl_opencv,
    swaying_camera,
)

UPS = [np.eye(3)[axis] for axis in range(3)]


def _rigs(up: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.concatenate(
        [
            ring_cameras(5, 3.0, up, 0.3),
            circling_camera(7, 3.0, up),
            hemisphere_cameras(6, 3.0, up, rng),
            spiral_cameras(8, 3.0, up, 0.7),
            swaying_camera(ring_cameras(1, 3.0, up)[0], 9, 0.4, up, rng),
        ]
    )


@pytest.mark.parametrize("up", UPS)
def test_cameras_are_upright_rotations_that_look_at_the_centre(up):
    for pose in _rigs(up):
        rotation, position = pose[:3, :3], pose[:3, 3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        np.testing.assert_allclose(-rotation[:, 2] * 3.0, -position, atol=1e-12)
        assert rotation[:, 1] @ up > 0.0
        assert rotation[:, 0] @ up == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("up", UPS)
def test_sphere_position_has_the_distance_and_elevation(up):
    position = sphere_position(1.1, 0.4, 2.0, up)
    assert np.linalg.norm(position) == pytest.approx(2.0)
    assert position @ up == pytest.approx(2.0 * np.sin(0.4))


def test_ring_alternates_elevations_and_spreads_evenly():
    positions = ring_cameras(6, 2.0, UPS[2], elevations=(0.1, 0.6))[:, :3, 3]
    np.testing.assert_allclose(positions[:, 2], 2.0 * np.sin([0.1, 0.6] * 3))
    azimuths = np.unwrap(np.arctan2(positions[:, 1], positions[:, 0]))
    np.testing.assert_allclose(np.diff(azimuths), np.pi / 3)


def test_circling_camera_never_stands_still():
    positions = circling_camera(8, 2.0, UPS[2])[:, :3, 3]
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    assert apart[~np.eye(8, dtype=bool)].min() > 0.5


def test_jumping_cameras_stay_above_the_ground_and_follow_the_seed():
    first, again, other = (hemisphere_cameras(50, 2.0, UPS[2], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first[:, 2, 3].min() >= 0.0
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_opencv_conversion_flips_two_axes_and_is_its_own_inverse():
    pose = ring_cameras(1, 2.0, UPS[2])
    converted = swap_opengl_opencv(pose)
    np.testing.assert_allclose(converted[0, :3, 2], -pose[0, :3, 2])
    np.testing.assert_allclose(converted[0, :3, 1], -pose[0, :3, 1])
    np.testing.assert_array_equal(converted[0, :, 3], pose[0, :, 3])
    np.testing.assert_array_equal(swap_opengl_opencv(converted), pose)


def test_square_intrinsics_span_the_field_of_view():
    intrinsics = square_intrinsics(100, np.deg2rad(60.0))
    assert np.arctan(50.0 / intrinsics.fx) == pytest.approx(np.deg2rad(30.0))
    assert intrinsics.matrix[0, 2] == 50.0 and intrinsics.matrix[1, 1] == intrinsics.fy


def test_swaying_camera_stays_near_its_place_and_at_its_distance():
    up = np.array([0.0, 0.0, 1.0])
    pose = ring_cameras(3, 2.5, up, 0.4)[1]
    path = swaying_camera(pose, 50, 0.3, up, np.random.default_rng(0))
    positions = path[:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(positions, axis=-1), 2.5)
    elevations = np.arcsin(positions[:, 2] / 2.5)
    azimuths = np.arctan2(positions[:, 1], positions[:, 0]) - np.arctan2(pose[1, 3], pose[0, 3])
    assert 0.2 < np.abs(azimuths).max() <= 0.3 + 1e-9
    assert np.abs(elevations - np.arcsin(pose[2, 3] / 2.5)).max() <= 0.15 + 1e-9
    assert np.linalg.norm(np.diff(positions, axis=0), axis=-1).max() < 0.2, "it moves smoothly"
    again = swaying_camera(pose, 50, 0.3, up, np.random.default_rng(0))
    np.testing.assert_array_equal(path, again)


def test_spiral_covers_its_part_of_the_sphere_evenly():
    up = UPS[2]
    directions = spiral_cameras(64, 1.0, up, elevations=(-0.3, 1.0))[:, :3, 3]
    heights = directions @ up
    assert np.sin(-0.3) < heights.min() < np.sin(-0.3) + 0.02 and np.sin(1.0) - 0.02 < heights.max() < np.sin(1.0)
    cosines = directions @ directions.T - 3 * np.eye(64)
    nearest = np.rad2deg(np.arccos(cosines.max(axis=1)))
    assert nearest.min() > 0.5 * nearest.max()
