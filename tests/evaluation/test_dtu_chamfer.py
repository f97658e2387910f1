"""The DTU protocol on shapes whose distances are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from nf_plugins.errors import InputError
from nf_plugins.evaluation.dtu_chamfer import (
    DTUChamferSettings,
    ErrorCloud,
    mesh_chamfer,
    points_chamfer,
    write_error_cloud,
)
from nf_plugins.evaluation.dtu_reference import ObservedVolume, SurfaceReference
from nf_plugins.evaluation.point_thinning import points_on_mesh, thin_points


def square(height: float, side: float = 10.0) -> trimesh.Trimesh:
    corners = np.array([[0, 0, height], [side, 0, height], [side, side, height], [0, side, height]], dtype=float)
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)


def thinned(mesh: trimesh.Trimesh, spacing: float = 0.2) -> np.ndarray:
    points = points_on_mesh(mesh.vertices, mesh.faces, spacing)
    return points[thin_points(points, spacing)]


def test_planes_a_millimetre_apart_are_a_millimetre_apart() -> None:
    result, _ = mesh_chamfer(square(1.0), SurfaceReference(thinned(square(0.0), 0.05)))
    assert result.accuracy == pytest.approx(1.0, abs=2e-3)
    assert result.completeness == pytest.approx(1.0, abs=2e-2)
    assert result.overall == pytest.approx(0.5 * (result.accuracy + result.completeness))
    assert result.accuracy >= 1.0 and result.completeness >= 1.0
    assert result.num_mesh_points == result.num_mesh_points_counted


def test_a_surface_is_not_away_from_itself() -> None:
    points = thinned(square(0.0))
    result, _ = mesh_chamfer(square(0.0), SurfaceReference(points))
    assert (result.accuracy, result.completeness, result.overall) == (0.0, 0.0, 0.0)
    assert result.num_mesh_points == len(points) > 1000


@pytest.mark.parametrize("radius", [4.0, 5.5])
def test_a_sphere_of_the_wrong_radius_is_off_by_the_difference(radius: float) -> None:
    truth, mesh = (trimesh.creation.icosphere(subdivisions=5, radius=r) for r in (5.0, radius))
    result, _ = mesh_chamfer(mesh, SurfaceReference(thinned(truth)))
    assert result.overall == pytest.approx(abs(radius - 5.0), rel=0.02)


def test_points_beyond_twenty_millimetres_do_not_count() -> None:
    reference = SurfaceReference(np.array([[0.0, 0, 0], [100.0, 0, 0]]))
    points = np.array([[0.0, 0, 3.0], [0, 0, -5.0], [0, 0, 20.5], [60.0, 0, 0]])
    result, (of_points, of_reference) = points_chamfer(points, reference)
    assert result.accuracy == pytest.approx(4.0) and result.num_mesh_points_counted == 2
    assert result.completeness == pytest.approx(3.0) and result.num_reference_points_counted == 1
    assert np.array_equal(np.isinf(of_points.distances), [False, False, True, True])
    assert np.array_equal(np.isinf(of_reference.distances), [False, True])
    assert points_chamfer(points, reference, DTUChamferSettings(max_distance=50.0))[0].num_mesh_points_counted == 4


def test_only_observed_places_count_for_accuracy_and_only_what_is_above_the_plane_for_completeness() -> None:
    mask = np.zeros((11, 11, 11), dtype=bool)
    mask[:6] = True  # x up to 5.5
    volume = ObservedVolume(mask, np.array([[0.0, 0, 0], [10.0, 10, 10]]), 1.0)
    reference = SurfaceReference(
        np.array([[2.0, 2, 5], [8.0, 2, 5], [2.0, 2, 0.5]]), volume, np.array([0.0, 0, 1.0, -1.0])
    )
    # In turn: observed; not observed, but it completes the second reference point; beyond the margin, never seen.
    points = np.array([[2.0, 2, 6], [8.0, 2, 7], [8.0, -61.0, 5]])
    result, (of_points, of_reference) = points_chamfer(points, reference)
    assert result.num_mesh_points_observed == 1 and result.accuracy == pytest.approx(1.0)
    assert result.num_reference_points == 2 and result.completeness == pytest.approx(1.5)
    assert np.array_equal(np.isnan(of_points.distances), [False, True, True])
    assert np.array_equal(np.isnan(of_reference.distances), [False, False, True])


def test_the_box_is_extended_by_the_margin_below_and_twice_that_above() -> None:
    volume = ObservedVolume(np.ones((2, 2, 2), dtype=bool), np.array([[0.0, 0, 0], [1.0, 1, 1]]), 1.0)
    points = np.array([[-60.0, 0, 0], [-60.1, 0, 0], [120.9, 0, 0], [121.0, 0, 0]])
    assert np.array_equal(volume.within_margins(points, 60.0), [True, False, True, False])


def test_voxels_are_centred_on_their_index() -> None:
    mask = np.zeros((3, 1, 1), dtype=bool)
    mask[1] = True
    volume = ObservedVolume(mask, np.array([[10.0, 0, 0], [14.0, 0, 0]]), 2.0)
    points = np.array([[11.1, 0, 0], [12.9, 0, 0], [10.9, 0, 0], [13.1, 0, 0], [8.9, 0, 0], [12.0, 3.0, 0]])
    assert np.array_equal(volume.observed(points), [True, True, False, False, False, False])


def test_an_empty_mesh_is_never_perfect(capsys: pytest.CaptureFixture[str]) -> None:
    result, _ = mesh_chamfer(trimesh.Trimesh(), SurfaceReference(np.zeros((5, 3))))
    assert result.accuracy == result.completeness == result.overall == float("inf")
    assert "empty" in capsys.readouterr().out


def test_error_clouds_tell_near_far_and_excluded_by_colour(tmp_path: Path) -> None:
    cloud = ErrorCloud(np.arange(15.0).reshape(5, 3), np.array([0.0, 5.0, 12.0, np.inf, np.nan]))
    colors = [[255, 255, 255], [255, 128, 128], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert cloud.colors().tolist() == colors
    write_error_cloud(tmp_path / "new" / "accuracy.ply", cloud)
    loaded = trimesh.load(tmp_path / "new" / "accuracy.ply")
    assert np.allclose(loaded.vertices, cloud.points)
    assert np.asarray(loaded.colors)[:, :3].tolist() == colors


def test_wrong_settings_are_named() -> None:
    with pytest.raises(InputError, match="positive spacing"):
        DTUChamferSettings(spacing=0.0)
