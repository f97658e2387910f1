"""Alignment of cameras: a similarity costs nothing, known errors come out as they went in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nf_plugins.errors import InputError
from nf_plugins.evaluation.camera_accuracy import camera_errors, poses_in_world, scale_and_translation


def true_poses(count: int = 12) -> np.ndarray:
    """Cameras (N, 3, 4) some 700 units from the origin, looking anywhere."""
    rng = np.random.default_rng(3)
    rotations = Rotation.random(count, rng).as_matrix()
    return np.concatenate([rotations, rng.normal(size=(count, 3, 1)) * 700.0], axis=2)


def moved(poses: np.ndarray, scale: float, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scale * rotation, translation
    return poses_in_world(poses, matrix)


@pytest.mark.parametrize("seed", range(4))
def test_a_similarity_leaves_no_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, rotation = true_poses(), Rotation.random(None, rng).as_matrix()
    estimated = moved(truth, float(rng.uniform(0.01, 3.0)), rotation, rng.normal(size=3) * 100)
    errors = camera_errors(estimated, truth)
    assert errors.rotation_degrees.max() < 1e-6
    assert errors.translation.max() < 1e-6
    assert np.allclose(poses_in_world(estimated, errors.alignment.matrix()), truth)


def test_a_known_perturbation_is_recovered() -> None:
    truth = true_poses()
    signs = np.where(np.arange(len(truth)) % 2 == 0, 1.0, -1.0)
    # Pairs of opposite errors about one world axis, so that the best alignment is none.
    truth[1::2, :, :3] = truth[::2, :, :3]
    turns = Rotation.from_rotvec(np.radians(5.0) * signs[:, None] * [0.0, 0.6, 0.8]).as_matrix()
    estimated = truth.copy()
    estimated[:, :, :3] = turns @ truth[:, :, :3]
    errors = camera_errors(estimated, truth)
    assert np.allclose(errors.rotation_degrees, 5.0, atol=1e-6)
    assert errors.translation.max() < 1e-6


def test_lost_cameras_do_not_move_the_alignment_of_the_others() -> None:
    truth = true_poses(15)
    estimated = moved(truth, 0.01, Rotation.from_rotvec([0.3, -1.0, 0.2]).as_matrix(), np.array([1.0, 2.0, 3.0]))
    displacement = 0.01 * Rotation.from_rotvec([0.3, -1.0, 0.2]).as_matrix() @ np.array([6.0, 0.0, 8.0])
    estimated[2, :, 3] += displacement
    estimated[9, :, 3] -= 5 * displacement
    translation = camera_errors(estimated, truth).translation
    assert translation[2] == pytest.approx(10.0, abs=1e-4)  # 10 mm
    assert translation[9] == pytest.approx(50.0, abs=1e-4)
    assert np.delete(translation, [2, 9]).max() < 1e-4


def test_the_fit_minimises_the_sum_of_distances() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(9, 3))
    target = 2.0 * source + rng.normal(size=(9, 3))
    scale, translation = scale_and_translation(source, target)

    def total(scale: float, translation: np.ndarray) -> float:
        return float(np.linalg.norm(scale * source + translation - target, axis=1).sum())

    best = total(scale, translation)
    for _ in range(200):
        assert total(scale + 1e-3 * rng.normal(), translation + 1e-3 * rng.normal(size=3)) >= best - 1e-9


def test_half_turns_and_tiny_angles_are_exact() -> None:
    truth = true_poses(40)
    for angle in (1e-6, 179.9):
        estimated = truth.copy()
        estimated[0, :, :3] = Rotation.from_rotvec([np.radians(angle), 0, 0]).as_matrix() @ truth[0, :, :3]
        errors = camera_errors(estimated, truth)
        assert errors.rotation_degrees[0] == pytest.approx(angle, rel=0.05)


def test_poses_come_to_the_world_as_rotations() -> None:
    matrix = np.diag([120.0, 120.0, 120.0, 1.0])
    matrix[:3, 3] = (40.0, -25.0, 610.0)
    poses = true_poses(3)
    world = poses_in_world(poses, matrix)
    assert np.allclose(world[:, :, :3], poses[:, :, :3])
    assert np.allclose(world[:, :, 3], 120.0 * poses[:, :, 3] + matrix[:3, 3])
    assert np.array_equal(poses_in_world(poses, None), poses)


def test_results_are_plain_and_too_few_cameras_are_refused() -> None:
    truth = true_poses(4)
    content = camera_errors(truth, truth).as_dict()
    assert set(content["rotation_degrees"]) == {"mean", "median", "max"} and content["num_cameras"] == 4
    assert np.allclose(content["alignment"], np.eye(4), atol=1e-9)
    with pytest.raises(InputError, match="4 estimated and 3 true"):
        camera_errors(truth, truth[:3])
    with pytest.raises(InputError, match="two or more"):
        camera_errors(truth[:1], truth[:1])
