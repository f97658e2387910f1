"""Meshes as moving pictures: geometry of the camera, colours, one scale for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from nf_plugins.errors import InputError
from nf_plugins.exporters.mesh_animation import (
    MARGIN,
    MeshSource,
    MeshView,
    PanelPainter,
    common_sphere,
    extreme_vertices,
    load_coloured_mesh,
    matching_truth,
    mesh_order,
)
from nf_plugins.exporters.mesh_folder import MeshFile

SIDE = 64


def ball_file(
    path: Path, centre=(0.0, 0.0, 0.0), radius: float = 1.0, color: tuple[int, int, int] | None = None
) -> MeshFile:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    ball.apply_translation(centre)
    if color is not None:
        ball.visual.vertex_colors = [*color, 255]  # type: ignore[union-attr]
    ball.export(path)
    return MeshFile(path, None, None)


def paint(files: list[MeshFile], index: int = 0, progress: float = 0.0, **view) -> np.ndarray:
    source = MeshSource(files)
    settings = MeshView(resolution=(SIDE, SIDE), **view)
    return PanelPainter(source, settings, common_sphere([source])).paint(index, progress).astype(int)


def covered(picture: np.ndarray) -> np.ndarray:
    return (picture < 250).any(axis=-1)


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_the_sphere_around_all_meshes_fills_the_picture(tmp_path: Path, projection) -> None:
    files = [ball_file(tmp_path / "a.ply", centre=(7.0, -3.0, 2.0), radius=5.0)]
    mask = covered(paint(files, projection=projection))
    expected = SIDE / MARGIN if projection == "orthographic" else None
    width, height = mask.any(axis=0).sum(), mask.any(axis=1).sum()
    assert abs(width - height) <= 1 and mask[SIDE // 2, SIDE // 2]
    assert 0.85 * SIDE < width < SIDE
    if expected is not None:
        assert abs(width - expected) <= 2


def test_one_scale_and_centre_for_the_whole_sequence(tmp_path: Path) -> None:
    files = [
        ball_file(tmp_path / "a.ply", centre=(0.0, 0.0, 0.0), radius=0.5),
        ball_file(tmp_path / "b.ply", centre=(0.0, 0.0, 4.0), radius=0.5),
    ]
    low, high = (covered(paint(files, index)) for index in (0, 1))
    assert low.sum() == pytest.approx(high.sum(), abs=4)
    rows = [np.nonzero(mask)[0].mean() for mask in (low, high)]
    assert rows[0] - rows[1] == pytest.approx(4.0 / (2.5 * MARGIN) * SIDE / 2, abs=1.0)  # z is up in the picture
    centre, radius = common_sphere([MeshSource(files)])
    assert np.allclose(centre, (0, 0, 2)) and radius == pytest.approx(2.5, rel=0.03)


@pytest.mark.parametrize(
    ("view", "direction"),
    [
        ({}, (1.0, -1.0, 0.0)),
        ({"azimuth": 90.0}, (0.0, 1.0, 0.0)),
        ({"azimuth": 0.0, "up": "y"}, (0.0, 0.0, 1.0)),
        ({"azimuth": 0.0, "elevation": 45.0}, (1.0, 0.0, 1.0)),
        ({"azimuth": 0.0, "up": "-z"}, (-1.0, 0.0, 0.0)),
        ({"azimuth": 0.0, "turns": 1.0}, (0.0, 1.0, 0.0)),
    ],
)
def test_the_camera_stands_where_it_is_asked_to(view: dict, direction: tuple[float, float, float]) -> None:
    progress = 0.25 if "turns" in view else 0.0
    _, pose = MeshView(**view).camera(progress)
    expected = np.array(direction) / np.linalg.norm(direction)
    assert np.allclose(pose[:3, 2], expected, atol=1e-9)  # looks back along it
    assert pose[:3, 1] @ MeshView(**view).up_vector > 0.5


def test_colours_are_the_vertices_a_lamp_s_or_the_normals(tmp_path: Path) -> None:
    red = [ball_file(tmp_path / "red.ply", color=(200, 10, 30))]
    plain = [ball_file(tmp_path / "plain.ply")]
    middle = SIDE // 2
    assert paint(red)[middle, middle].tolist() == [200, 10, 30]
    assert paint(red, background="black")[0, 0].tolist() == [0, 0, 0]
    shaded = paint(red, color="shaded")
    assert (shaded[middle, middle] == shaded[middle, middle, 0]).all()
    assert np.array_equal(shaded, paint(plain)) and np.array_equal(shaded, paint(plain, color="vertex"))
    assert shaded[covered(shaded)].std() > 10
    normals = paint(plain, color="normal")[middle, middle]
    expected = 255 * (0.5 + 0.5 * np.array([1.0, -1.0, 0.0]) / np.sqrt(2))
    assert np.abs(normals - expected).max() < 4


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_meshes_of_nf_export_keep_their_colours(tmp_path: Path, suffix: str) -> None:
    from nf_plugins.exporters.mesh import write_mesh

    ball = trimesh.creation.icosphere(subdivisions=1)
    ball.visual.vertex_colors = np.tile([20, 120, 220, 255], (len(ball.vertices), 1))  # type: ignore[union-attr]
    write_mesh(tmp_path / f"ball.{suffix}", ball)
    mesh, has_colors = load_coloured_mesh(tmp_path / f"ball.{suffix}")
    assert has_colors and len(mesh.faces) == len(ball.faces)
    assert np.abs(mesh.colors * 255 - (20, 120, 220)).max() < 1


def test_a_time_without_a_surface_shows_the_background(tmp_path: Path) -> None:
    files = [ball_file(tmp_path / "a.ply"), MeshFile(None, 0.5, 1)]
    assert not covered(paint(files, 1)).any()


def test_what_is_no_mesh_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.ply").write_text("not a mesh")
    trimesh.PointCloud(np.random.default_rng(0).random((5, 3))).export(tmp_path / "points.ply")
    for name in ("bad.ply", "points.ply"):
        with pytest.raises(InputError, match=rf"{name} (cannot be read|holds)"):
            load_coloured_mesh(tmp_path / name)


def test_extreme_vertices_hold_the_box_and_nearly_the_farthest_point() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(5000, 3)) * (1.0, 2.0, 0.5)
    extremes = extreme_vertices(points)
    assert np.array_equal(extremes.min(axis=0), points.min(axis=0))
    assert np.array_equal(extremes.max(axis=0), points.max(axis=0))
    for _ in range(20):
        lone = rng.normal(size=3)
        lone = 10.0 * lone / np.linalg.norm(lone)
        assert np.linalg.norm(extreme_vertices(np.vstack([points, lone])), axis=1).max() > 9.66


def named(*numbers: int | None) -> list[MeshFile]:
    return [MeshFile(Path(f"{number}.ply"), None, number) for number in numbers]


def test_truth_is_matched_by_number_then_by_order() -> None:
    folder = Path("truth")
    assert matching_truth(named(4, 2), named(0, 2, 4), folder) == named(4, 2)
    assert matching_truth(named(None, None), named(8, 9), folder) == named(8, 9)
    with pytest.raises(InputError, match="--truth-dir truth holds 3 meshes for 2"):
        matching_truth(named(1, 7), named(0, 1, 2), folder)


def test_meshes_are_spread_over_the_frames() -> None:
    assert mesh_order(3, None) == [0, 1, 2]
    assert mesh_order(3, 6) == [0, 0, 1, 1, 2, 2]
    assert mesh_order(4, 2) == [0, 2]
    assert mesh_order(1, 3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"elevation": 90.0}, "--elevation 90"),
        ({"resolution": (4, 100)}, "--resolution 4 100"),
        ({"field_of_view": 170.0}, "--field-of-view 170"),
        ({"supersampling": 0}, "--supersampling 0"),
        ({"zoom": 0.0}, "--zoom 0"),
    ],
)
def test_views_out_of_range_are_named(view: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MeshView(**view).check()
