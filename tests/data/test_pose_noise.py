from __future__ import annotations

import numpy as np
import pytest

from nf_plugins.data.pose_noise import perturb_poses, rotation_matrices


def identity_poses(count: int) -> np.ndarray:
    return np.tile(np.eye(3, 4), (count, 1, 1))


def test_rotation_about_a_known_axis():
    turns = rotation_matrices(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), np.array([np.pi / 2, np.pi / 6]))
    np.testing.assert_allclose(turns[0] @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(turns[1] @ [0.0, 1.0, 0.0], [0.0, np.cos(np.pi / 6), 0.5], atol=1e-15)


def test_no_noise_is_the_identity():
    poses = np.random.default_rng(0).normal(size=(5, 3, 4))
    np.testing.assert_array_equal(perturb_poses(poses, 0.0, 0.0, 3), poses)


def test_angles_and_shifts_have_the_spread_that_was_asked_for():
    noisy = perturb_poses(identity_poses(4000), 2.0, 0.05, 0)
    cosines = (np.trace(noisy[:, :, :3], axis1=1, axis2=2) - 1) / 2
    angles = np.rad2deg(np.arccos(cosines.clip(-1, 1)))
    # The mean square of a normal variable is its variance; 4000 draws give it within 7 %.
    assert np.sqrt(np.mean(angles**2)) == pytest.approx(2.0, rel=0.05)
    assert noisy[:, :, 3].std(axis=0) == pytest.approx([0.05] * 3, rel=0.05)
    # Axes look everywhere alike: the mean rotation is none.
    assert np.abs(noisy[:, :, :3].mean(axis=0) - np.eye(3)).max() < 2e-3


def test_cameras_turn_about_their_own_centres():
    poses = identity_poses(6)
    poses[:, :, 3] = np.random.default_rng(1).normal(size=(6, 3))
    noisy = perturb_poses(poses, 10.0, 0.0, 0)
    np.testing.assert_array_equal(noisy[:, :, 3], poses[:, :, 3])
    np.testing.assert_allclose(np.linalg.det(noisy[:, :, :3]), 1.0)


def test_scales_change_the_amount_alone_and_the_seed_everything():
    poses = identity_poses(3)
    one, two, other = (perturb_poses(poses, 0.0, *rest) for rest in ((0.1, 5), (0.2, 5), (0.1, 6)))
    np.testing.assert_allclose(two[:, :, 3], 2 * one[:, :, 3])
    assert np.abs(other - one).max() > 0.01
    np.testing.assert_array_equal(perturb_poses(poses[:2], 1.0, 0.1, 5), perturb_poses(poses, 1.0, 0.1, 5)[:2])
