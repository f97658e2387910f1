from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nf_plugins.data import camera_conventions as conventions
from nf_plugins.errors import InputError

INTRINSICS = np.array([[310.0, 0.0, 161.5], [0.0, 295.0, 118.25], [0.0, 0.0, 1.0]])


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return rotation * np.sign(np.linalg.det(rotation))


def test_known_projection_matrix():
    # A quarter turn about z: world x is the camera's y, world -y its x. Written out by hand.
    projection = np.array([[161.5 * 0.0, -310.0, 161.5, 2.0], [295.0, 0.0, 118.25, -3.0], [0.0, 0.0, 1.0, 4.0]])
    parts = conventions.decompose_projection(projection)
    np.testing.assert_allclose(parts.intrinsics, INTRINSICS, atol=1e-10)
    np.testing.assert_allclose(parts.rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(projection @ np.append(parts.centre, 1.0), 0, atol=1e-10)


@pytest.mark.parametrize("scale", [1.0, -1.0, 250.0, -1e-3])
def test_decomposition_inverts_composition_for_any_scale_and_sign(scale: float):
    rng = np.random.default_rng(3)
    for _ in range(10):
        rotation, centre = random_rotation(rng), rng.normal(size=3)
        projection = INTRINSICS @ np.concatenate([rotation, -(rotation @ centre)[:, None]], axis=1)
        parts = conventions.decompose_projection(scale * projection)
        np.testing.assert_allclose(parts.intrinsics, INTRINSICS, atol=1e-8)
        np.testing.assert_allclose(parts.rotation, rotation, atol=1e-10)
        np.testing.assert_allclose(parts.centre, centre, atol=1e-10)


def test_decomposition_of_a_real_capture(shared_data: Path):
    archive = np.load(shared_data / "dtu" / "dtu_scan24" / "cameras_sphere.npz")
    projection = (archive["world_mat_7"] @ archive["scale_mat_7"])[:3]
    parts = conventions.decompose_projection(projection)
    again = parts.intrinsics @ np.concatenate([parts.rotation, -(parts.rotation @ parts.centre)[:, None]], axis=1)
    np.testing.assert_allclose(again / again[2, 3], projection / projection[2, 3], rtol=1e-5, atol=1e-4)
    # NeuS puts its cameras around the unit sphere.
    assert 1.0 < np.linalg.norm(parts.centre) < 10.0


def test_rotation_times_translation_round_trip_between_axes():
    rng = np.random.default_rng(4)
    rotation, centre = random_rotation(rng), rng.normal(size=3)
    pose = conventions.camera_to_world_opengl(rotation, centre)
    np.testing.assert_allclose(pose[:, :3].T @ pose[:, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:, :3]) == pytest.approx(1.0)
    np.testing.assert_allclose(pose[:, 2], -rotation[2], atol=1e-12)  # looks along -z
    np.testing.assert_array_equal(conventions.flip_camera_axes(conventions.flip_camera_axes(pose)), pose)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda matrix: matrix.__setitem__((1, 2), np.nan), "NaN"),
        (lambda matrix: matrix.__setitem__((2, slice(None)), matrix[1]), "singular"),
        (lambda matrix: matrix.__setitem__((0, slice(None)), matrix[0] + 0.1 * matrix[1]), "skew"),
    ],
)
def test_bad_projection_is_named(change, says: str):
    projection = INTRINSICS @ np.eye(3, 4)
    change(projection)
    with pytest.raises(InputError, match=says) as caught:
        conventions.decompose_projection(projection, "world_mat_5 of cams.npz")
    assert "world_mat_5 of cams.npz" in str(caught.value)


def test_singular_matrix_survives_float32_as_singular():
    rng = np.random.default_rng(5)
    projection = 1000 * rng.normal(size=(3, 4))
    projection[2] = 0.3 * projection[0] - 0.7 * projection[1]
    with pytest.raises(InputError, match="singular"):
        conventions.decompose_projection(projection.astype(np.float32))


@pytest.mark.parametrize(
    "matrix",
    [np.full((4, 4), np.nan), np.zeros((4, 4)), np.diag([1.0, 1.0, -1.0, 1.0]), 2 * np.eye(4), np.eye(3)],
)
def test_bad_pose_is_named(matrix: np.ndarray):
    with pytest.raises(InputError, match="frame 2"):
        conventions.require_rigid_pose(matrix, "transform_matrix of frame 2")


def test_nearly_rigid_pose_becomes_rigid():
    pose = conventions.require_rigid_pose(np.eye(4) + 1e-4 * np.arange(16).reshape(4, 4) / 16, "pose")
    np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-12)


def test_focal_and_field_of_view_invert_each_other():
    assert conventions.focal_from_field_of_view(math.pi / 2, 200) == pytest.approx(100)
    focal = conventions.focal_from_field_of_view(0.69, 400)
    assert conventions.field_of_view_from_focal(focal, 400) == pytest.approx(0.69)


def test_pixel_ray_norms_are_ray_distance_over_z():
    norms = conventions.pixel_ray_norms((4.0, 2.0), (1.5, 0.5), (2, 3))
    assert norms.shape == (2, 3)
    assert norms[0, 1] == 1.0  # the pixel whose centre is the principal point
    torch.testing.assert_close(norms[1, 2], torch.tensor(math.sqrt(0.25**2 + 0.5**2 + 1)))
