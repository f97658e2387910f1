"""Inverse depth of a slanted plane from its exact flow; outliers, cameras that turn, and holes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nf_plugins.data.epipolar_motion import relative_pose
from nf_plugins.data.flow_triangulation import FlowObservation, fill_smoothly, triangulate_flow

HEIGHT, WIDTH = 20, 30
INTRINSICS = np.array([[40.0, 0, 15], [0, 40, 10], [0, 0, 1]])
PLANE = np.array([0.02, -0.03, 0.25])
"""Inverse depth in the first camera is PLANE . ray."""


def camera(rotation: tuple[float, float, float], centre: tuple[float, float, float]) -> np.ndarray:
    return np.concatenate([Rotation.from_rotvec(rotation).as_matrix(), np.array(centre)[:, None]], axis=1)


def rays() -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return np.stack([columns, rows, np.ones_like(columns)], axis=-1) @ np.linalg.inv(INTRINSICS).T


def observe(pose: np.ndarray, shift: tuple[float, float, float] = (0, 0, 0)) -> FlowObservation:
    """The plane from another camera; the first one is at the origin."""
    other = relative_pose(camera((0, 0, 0), (0, 0, 0)), pose)
    points = rays() / (rays() @ PLANE)[..., None] + np.array(shift)
    local = points @ other[:, :3].T + other[:, 3]
    pixels = (local @ INTRINSICS.T)[..., :2] / local[..., 2:]
    return FlowObservation(pixels, np.ones((HEIGHT, WIDTH), dtype=bool), other)


POSES = [
    camera((0.02, -0.05, 0.01), (0.3, 0.05, 0.1)),
    camera((0, 0.03, -0.02), (-0.25, 0.1, -0.05)),
    camera((0.01, 0, 0), (0.1, -0.3, 0)),
]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_plane_is_found_exactly(count: int):
    depth = triangulate_flow(INTRINSICS, [observe(pose) for pose in POSES[:count]])
    np.testing.assert_allclose(depth.values, rays() @ PLANE, atol=1e-9)
    assert depth.residuals.max() < 1e-6
    assert depth.known.all()


def test_information_is_the_squared_parallax_over_that_of_the_flow():
    pose = camera((0, 0, 0), (0.5, 0, 0))
    depth = triangulate_flow(INTRINSICS, [observe(pose)])
    # Moving along x by 0.5 shifts a pixel by 40 * 0.5 per unit of inverse depth; flow is good to half a pixel.
    np.testing.assert_allclose(depth.information, (40 * 0.5 / 0.5) ** 2)


def test_an_outlier_is_outvoted():
    observations = [observe(pose) for pose in POSES]
    wrong = observe(camera((0, 0, 0), (0.2, 0.1, 0)))
    wrong.pixels[5, 7] += np.array([25.0, -10.0])
    depth = triangulate_flow(INTRINSICS, [*observations, wrong])
    truth = rays() @ PLANE
    assert abs(depth.values[5, 7] - truth[5, 7]) < 0.05 * truth[5, 7]
    np.testing.assert_allclose(depth.values[8:], truth[8:], atol=1e-9)


def test_pixels_without_trust_know_nothing():
    observation = observe(POSES[0])
    observation.valid[3, 4] = False
    depth = triangulate_flow(INTRINSICS, [observation])
    assert depth.values[3, 4] == 0 and depth.information[3, 4] == 0 and not depth.known[3, 4]
    assert depth.known.sum() == HEIGHT * WIDTH - 1


def test_a_camera_that_turns_knows_nothing():
    depth = triangulate_flow(INTRINSICS, [observe(camera((0.02, 0.05, 0), (0, 0, 0)))])
    assert not depth.known.any() and np.all(depth.information == 0)


def test_a_camera_that_nearly_turns_knows_next_to_nothing():
    rng = np.random.default_rng(0)
    observation = observe(camera((0.02, 0.05, 0), (1e-3, 0, 0)))
    observation.pixels[:] += 0.3 * rng.standard_normal((HEIGHT, WIDTH, 2))
    assert triangulate_flow(INTRINSICS, [observation]).known.mean() < 0.05


def test_what_is_behind_the_camera_is_not_known():
    observation = observe(POSES[0])
    backwards = relative_pose(camera((0, 0, 0), (0, 0, 0)), camera((0.02, -0.05, 0.01), (-0.3, -0.05, -0.1)))
    flipped = FlowObservation(observation.pixels, observation.valid, backwards)
    assert not triangulate_flow(INTRINSICS, [flipped]).known.any()


def test_holes_are_filled_from_around_them_and_the_rest_stays():
    truth = np.tile(np.linspace(1, 2, 40), (30, 1))
    weights = np.ones((30, 40))
    weights[10:20, 15:25] = 0
    filled = fill_smoothly(np.where(weights > 0, truth, np.nan), weights)
    np.testing.assert_allclose(filled[weights > 0], truth[weights > 0], rtol=1e-6)
    assert np.abs(filled - truth).max() < 0.15
    assert np.all(fill_smoothly(np.full((5, 7), 3.0), np.eye(5, 7)) == 3)
    with pytest.raises(ValueError, match="a value somewhere"):
        fill_smoothly(truth, np.zeros((30, 40)))
