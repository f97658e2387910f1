from __future__ import annotations

from pathlib import Path

import ball_scan
import numpy as np
import pytest

from nf_plugins.data.projection_archive import common_scale_mat, compose_world_mat, read_projection_archive
from nf_plugins.errors import InputError


@pytest.fixture
def camera_file(tmp_path: Path) -> Path:
    return ball_scan.write_ball_scan(tmp_path / "scan", 3, 8) / "cameras_sphere.npz"


def read(path: Path, num_images: int = 3):
    return read_projection_archive(path, path.parent / "image", num_images)


def test_cameras_of_a_file(camera_file: Path):
    archive = read(camera_file)
    intrinsics = ball_scan.integer_pixel_intrinsics(8)
    for view, pose in enumerate(ball_scan.scan_poses(3)):
        parts = archive.decompose(view)
        np.testing.assert_allclose(parts.intrinsics, intrinsics, atol=1e-9)
        np.testing.assert_allclose(parts.rotation.T, pose[:3, :3], atol=1e-12)
        np.testing.assert_allclose(parts.centre, pose[:3, 3], atol=1e-12)
        world_mat = compose_world_mat(intrinsics, pose, common_scale_mat([(archive, [view])]))
        np.testing.assert_allclose(world_mat, archive.world_mats[view], rtol=1e-12)


def test_another_frame_moves_the_cameras_as_it_says(camera_file: Path):
    archive = read(camera_file)
    other = ball_scan.scale_mat(60.0, np.array([1.0, 2.0, 3.0]))
    own, moved = archive.decompose(1), archive.decompose(1, other)
    np.testing.assert_allclose(moved.rotation, own.rotation, atol=1e-12)
    world = ball_scan.WORLD_SCALE * own.centre + ball_scan.WORLD_CENTRE
    np.testing.assert_allclose(60.0 * moved.centre + [1.0, 2.0, 3.0], world, atol=1e-9)


def test_rotated_scale_matrices_are_similarities_too(camera_file: Path):
    archive = read(camera_file)
    turned = 5.0 * np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned *= np.sign(np.linalg.det(turned))
    for matrix in archive.scale_mats:
        matrix[:3, :3] = turned
    np.testing.assert_array_equal(common_scale_mat([(archive, range(3))])[:3, :3], turned)


@pytest.mark.parametrize("place", [(0, 1), (3, 0)])
def test_shears_and_projections_are_refused(camera_file: Path, place: tuple[int, int]):
    archive = read(camera_file)
    archive.scale_mats[0][place] = 30.0
    with pytest.raises(InputError, match=r"scale_mat_0 of .*cameras_sphere.npz scales the axes differently"):
        common_scale_mat([(archive, range(3))])


def test_numbers_that_do_not_fit(camera_file: Path):
    for num_images in (2, 4):
        with pytest.raises(InputError, match=f"image .images. holds {num_images}, but .* holds 3"):
            read(camera_file, num_images)
    np.savez(camera_file)
    with pytest.raises(InputError, match="has no world_mat_0, but nothing at all"):
        read(camera_file)
