from __future__ import annotations

import numpy as np
import pytest

from nf_plugins.data.synthetic.depth_sensor import DepthSensor, depth_edges, incidence_angles

SIZE = 200
FRONTAL, NORMS = np.zeros((SIZE, SIZE)), np.ones((SIZE, SIZE))
QUIET = DepthSensor(noise=0.0, edge_dropout=0.0, grazing_angle=0.5 * np.pi)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("z", [0.5, 1.0, 4.0])
def test_noise_grows_with_the_square_of_the_distance(z):
    sensor = DepthSensor(noise=0.002, edge_dropout=1.0, grazing_angle=0.5 * np.pi)
    errors = sensor.measure(np.full((SIZE, SIZE), z), NORMS, FRONTAL, rng()) - z
    assert errors.std() == pytest.approx(0.002 * z**2, rel=0.02)
    assert abs(errors.mean()) < 4 * 0.002 * z**2 / SIZE


def test_noise_is_that_of_z_not_of_the_ray():
    """A ray at 60 degrees is twice as long as its z: its error doubles, and z alone says how large it is."""
    sensor = DepthSensor(noise=0.002, edge_dropout=0.0, grazing_angle=0.5 * np.pi)
    errors = sensor.measure(np.full((SIZE, SIZE), 4.0), 2 * NORMS, FRONTAL, rng()) - 4.0
    assert errors.std() == pytest.approx(2 * 0.002 * 2.0**2, rel=0.02)


def test_a_sensor_without_faults_gives_the_truth():
    depth = np.random.default_rng(0).uniform(1, 2, (SIZE, SIZE))
    depth[:, :50] = 0
    np.testing.assert_allclose(QUIET.measure(depth, NORMS, FRONTAL, rng()), depth)


def test_edges_are_silhouettes_and_steps():
    depth = np.full((8, 12), 2.0)
    depth[:, :2] = 0.0
    depth[:, 8:] = 2.2
    depth[4, 5] = 2.01  # a bump, no step
    expected = np.zeros((8, 12), dtype=bool)
    expected[:, [2, 7, 8]] = True
    np.testing.assert_array_equal(depth_edges(depth), expected)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_edges_drop_out_with_the_given_probability(probability):
    depth = np.full((SIZE, SIZE), 2.0)
    depth[:, ::2] = 3.0  # every pixel is at an edge
    sensor = DepthSensor(noise=0.0, edge_dropout=probability, grazing_angle=0.5 * np.pi)
    assert (sensor.measure(depth, NORMS, FRONTAL, rng()) == 0).mean() == pytest.approx(probability, abs=0.01)


def test_grazing_views_drop_out_linearly():
    depth = np.full((SIZE, SIZE), 2.0)
    sensor = DepthSensor(noise=0.0, edge_dropout=0.0, grazing_angle=np.deg2rad(60))
    for degrees, lost in ((0, 0.0), (59, 0.0), (75, 0.5), (90, 1.0)):
        measured = sensor.measure(depth, NORMS, np.full_like(depth, np.deg2rad(degrees)), rng())
        assert (measured == 0).mean() == pytest.approx(lost, abs=0.01)


def test_the_same_seed_gives_the_same_values_whatever_is_missing():
    sensor = DepthSensor(noise=0.01, edge_dropout=0.0, grazing_angle=0.5 * np.pi)
    whole = np.full((SIZE, SIZE), 2.0)
    half = whole.copy()
    half[:100] = 0.0
    first, second = (sensor.measure(depth, NORMS, FRONTAL, rng()) for depth in (whole, half))
    np.testing.assert_array_equal(first[100:], second[100:])
    assert not second[:100].any()


def test_incidence_is_the_angle_to_either_side_of_the_surface():
    normals = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [np.sqrt(0.5), 0.0, np.sqrt(0.5)]])
    angles = incidence_angles(normals, np.array([0.0, 0.0, -1.0]))
    np.testing.assert_allclose(np.rad2deg(angles), [0, 0, 90, 45])
