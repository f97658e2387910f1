"""Distances from epipolar lines of a standing plane and of a moving point, and the masks made of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nf_plugins.data.epipolar_motion import disc, fundamental_matrix, motion_distances, motion_mask, relative_pose

INTRINSICS = np.array([[400.0, 0, 256], [0, 400, 144], [0, 0, 1]])


def pose(rotation: tuple[float, float, float], centre: tuple[float, float, float]) -> np.ndarray:
    return np.concatenate([Rotation.from_rotvec(rotation).as_matrix(), np.array(centre)[:, None]], axis=1)


def project(points: np.ndarray, camera_to_world: np.ndarray) -> np.ndarray:
    local = (points - camera_to_world[:, 3]) @ camera_to_world[:, :3]
    return (local @ INTRINSICS.T)[..., :2] / local[..., 2:]


@pytest.fixture
def plane() -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-0.6, 0.6, 7))
    return np.stack([x, y, 4 + 0.3 * x - 0.2 * y], axis=-1)


@pytest.mark.parametrize(
    ("translation", "expected"), [((0.1, 0.02, 0.05), (1.0271, 2.2407)), ((0.1, 0, 0), (0, 3.4999))]
)
def test_the_published_distances(translation: tuple[float, float, float], expected: tuple[float, float]):
    first, second = np.array([[100.0, 50], [300, 200]]), np.array([[104.0, 50], [309, 203.5]])
    moved = np.concatenate([np.eye(3), np.array(translation)[:, None]], axis=1)
    np.testing.assert_allclose(motion_distances(first, second, INTRINSICS, moved), expected, atol=2e-4)


def test_a_standing_plane_stays_on_its_lines_and_a_moving_one_leaves_them(plane: np.ndarray):
    first, second = pose((0.02, 0.01, 0.0), (0, 0, 0)), pose((0.0, -0.03, 0.05), (0.3, 0.05, 0.1))
    other = relative_pose(first, second)
    before = project(plane, first)
    assert motion_distances(before, project(plane, second), INTRINSICS, other).max() < 1e-9
    moved = motion_distances(before, project(plane + np.array([0, 0.1, 0]), second), INTRINSICS, other)
    assert moved.min() > 5
    # Distances are those of the second pixel: a pixel off the line by n pixels is n away.
    line = np.append(before[0, 0], 1) @ fundamental_matrix(INTRINSICS, other).T
    normal = line[:2] / np.linalg.norm(line[:2])
    away = motion_distances(before[0, 0], project(plane, second)[0, 0] + 2.5 * normal, INTRINSICS, other)
    assert float(away) == pytest.approx(2.5)


def test_a_camera_that_turns_has_no_lines_and_is_judged_by_where_its_turn_takes_points(plane: np.ndarray):
    first, second = pose((0, 0, 0), (0.4, -7.0, 2.0)), pose((0.03, 0.05, -0.02), (0.4, -7.0, 2.0))
    other = relative_pose(first, second)
    assert not np.any(other[:, 3])
    points = plane + first[:, 3]
    turned = project(points, second)
    assert motion_distances(project(points, first), turned, INTRINSICS, other).max() < 1e-9
    along = motion_distances(project(points, first), turned + np.array([3.0, 4.0]), INTRINSICS, other)
    np.testing.assert_allclose(along, 5)


def test_discs():
    assert disc(1).sum() == 5 and disc(2).sum() == 13


def test_masks_lose_specks_and_grow():
    distances = np.zeros((24, 24))
    distances[4, 4] = 9  # a speck
    distances[10:15, 10:15] = 1.5
    mask = motion_mask(distances, 1.0)
    assert not mask[:8, :8].any()
    # Opening by a cross takes the corners, dilation adds two pixels to each side.
    assert mask[12, 8] and mask[12, 16] and not mask[12, 7] and not mask[8, 8]
    assert not motion_mask(distances, 2.0).any()


def test_a_given_mask_is_added_and_grows_by_one_more_pixel():
    given = np.zeros((24, 24), dtype=bool)
    given[12, 12] = True
    mask = motion_mask(np.zeros((24, 24)), 1.0, given)
    assert mask[12, 9] and mask[12, 15] and not mask[12, 8]
    np.testing.assert_array_equal(motion_mask(None, 1.0, given), mask)
    with pytest.raises(ValueError, match="needs distances"):
        motion_mask(None, 1.0)


def test_what_moves_at_the_border_stays():
    distances = np.full((16, 16), 5.0)
    assert motion_mask(distances, 1.0).all()
