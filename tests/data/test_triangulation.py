from __future__ import annotations

import cv2
import numpy as np
import pytest

from nf_plugins.data import triangulation

LENSES = np.array([[-0.2, 0.08, 0.002, -0.001, 0.01], [0.05, -0.02, 0.0, 0.003, 0.0], np.zeros(5)])
MATRICES = np.array([[[400.0, 0, 130], [0, 410, 240], [0, 0, 1]]] * 3)
MATRICES[1, 0, 2] = 120.0


def cameras() -> np.ndarray:
    poses = []
    for angle in (0.0, 0.8, 1.9):
        rotation = cv2.Rodrigues(np.array([0.1, angle, -0.05]))[0]
        poses.append(np.concatenate([rotation, [[0.1], [-0.2], [4.0]]], axis=1))
    return np.stack(poses)


def images_of(points: np.ndarray) -> np.ndarray:
    """Pixels (N, C, 2) by OpenCV."""
    columns = [
        cv2.projectPoints(points, cv2.Rodrigues(pose[:, :3])[0], pose[:, 3], matrix, lens)[0][:, 0]
        for pose, matrix, lens in zip(cameras(), MATRICES, LENSES, strict=True)
    ]
    return np.stack(columns, axis=1)


POINTS = np.random.default_rng(0).uniform(-0.6, 0.6, (40, 3))


def test_points_come_back_from_their_images():
    pixels = images_of(POINTS)
    planes = triangulation.plane_coordinates(pixels, MATRICES, LENSES)
    found = triangulation.triangulate(planes, np.ones((40, 3)), cameras())
    np.testing.assert_allclose(found, POINTS, atol=1e-9)
    errors = triangulation.reprojection_errors(found, pixels, cameras(), MATRICES, LENSES)
    assert errors.shape == (40, 3) and errors.max() < 1e-6


def test_undistortion_inverts_distortion():
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (30, 2))
    for lens in LENSES:
        distorted = triangulation.distort_plane(points, lens)
        np.testing.assert_allclose(triangulation.undistort_plane(distorted, lens), points, atol=1e-10)


def test_unseen_points_count_for_nothing():
    planes = triangulation.plane_coordinates(images_of(POINTS), MATRICES, LENSES)
    weights = np.ones((40, 3))
    planes[3, 1] = 1e6
    weights[3, 1] = 0.0
    weights[5, 1:] = 0.0
    weights[6] = 0.0
    found = triangulation.triangulate(planes, weights, cameras())
    np.testing.assert_allclose(found[3], POINTS[3], atol=1e-9)
    assert np.isnan(found[5:7]).all() and np.isfinite(np.delete(found, [5, 6], axis=0)).all()


def test_a_wrong_camera_shows_in_its_reprojection_error():
    pixels = images_of(POINTS)
    planes = triangulation.plane_coordinates(pixels, MATRICES, LENSES)
    found = triangulation.triangulate(planes[:, :2], np.ones((40, 2)), cameras()[:2])
    moved = cameras()
    moved[2, 0, 3] += 0.1  # ten centimetres to the side at four metres: 10 pixels
    errors = triangulation.reprojection_errors(found, pixels, moved, MATRICES, LENSES)
    assert errors[:, :2].max() < 1e-6
    assert np.median(errors[:, 2]) == pytest.approx(10, rel=0.15)
