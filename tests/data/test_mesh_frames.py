"""Mesh sequences: which files, in which order, in which units, and which frames are held out."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import trimesh

from nf_plugins.data.anime import write_anime
from nf_plugins.data.mesh_frames import Mesh, MeshFrames, hold_out, normalise, read_meshes
from nf_plugins.errors import InputError

ALL = slice(None)


def write_boxes(folder: Path, names: list[str]) -> Path:
    """One box per name, the i-th moved by i along x."""
    folder.mkdir()
    for index, name in enumerate(names):
        box = trimesh.creation.box()
        box.apply_translation([index, 0, 0])
        box.export(folder / name)
    return folder


def test_folder_is_read_in_natural_order_and_other_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_boxes(tmp_path / "boxes", ["mesh_1.ply", "mesh_2.obj", "mesh_10.off"])
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.ply").write_text("x")
    (folder / "more").mkdir()
    meshes = read_meshes(folder, ALL, None)
    assert [Path(mesh.name).name for mesh in meshes] == ["mesh_1.ply", "mesh_2.obj", "mesh_10.off"]
    assert [float(mesh.vertices[:, 0].mean()) for mesh in meshes] == pytest.approx([0, 1, 2])
    assert "Passed over 1 other files" in capsys.readouterr().out


def test_frames_are_selected_first_and_counted_after(tmp_path: Path) -> None:
    folder = write_boxes(tmp_path / "boxes", [f"{index}.ply" for index in range(8)])
    chosen = read_meshes(folder, slice(1, None, 2), 3)
    assert [float(mesh.vertices[:, 0].mean()) for mesh in chosen] == pytest.approx([1, 3, 5])
    with pytest.raises(InputError, match="gives 1 frame after --drop-first-frame"):
        read_meshes(folder, slice(0, None, 8), None)


def test_anime_is_read_from_the_file_and_from_its_folder(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    vertices = np.stack([box.vertices + [shift, 0, 0] for shift in range(4)])
    (tmp_path / "walk").mkdir()
    write_anime(tmp_path / "walk" / "walk.anime", vertices, box.faces)
    for data in (tmp_path / "walk", tmp_path / "walk" / "walk.anime"):
        meshes = read_meshes(data, slice(1, None, 1), None)
        assert len(meshes) == 3 and meshes[0].name.endswith("walk.anime (frame 1)")
        np.testing.assert_allclose(meshes[2].vertices, vertices[3])
    write_anime(tmp_path / "walk" / "run.anime", vertices, box.faces)
    with pytest.raises(InputError, match=r"holds 2 \.anime files.*run\.anime"):
        read_meshes(tmp_path / "walk", ALL, None)


def test_what_is_no_sequence_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_text("x")
    with pytest.raises(InputError, match="is empty"):
        read_meshes(tmp_path / "empty", ALL, None)
    with pytest.raises(InputError, match=r"holds no mesh \(\.obj, \.ply, \.off\) and no \.anime file"):
        read_meshes(tmp_path / "other", ALL, None)
    with pytest.raises(InputError, match=r"a\.png is no \.anime file"):
        read_meshes(tmp_path / "other" / "a.png", ALL, None)
    broken = write_boxes(tmp_path / "broken", ["0.ply", "1.ply"])
    (broken / "1.ply").write_bytes((broken / "1.ply").read_bytes()[:150])
    with pytest.raises(InputError, match=r"1\.ply: cannot be read"):
        read_meshes(broken, ALL, None)


def mesh(*coordinates: float) -> Mesh:
    points = np.array(coordinates, dtype=np.float32).reshape(-1, 3)
    return Mesh(points, np.array([[0, 1, 2]], np.int32), "m")


def test_one_minimum_and_one_maximum_over_everything_become_minus_one_and_one() -> None:
    meshes = [mesh(0, 0, 0, 1, 2, 0.5, 0, 1, 0), mesh(3.99, 0, 0, 1, 0, -0.99, 0, 0, 0)]
    scaled, world_from_scene = normalise(meshes, "min_max", 0.01)
    # -1 ... 4 after widening: scene = (x - 1.5) / 2.5 for every axis.
    np.testing.assert_allclose(scaled[0].vertices, (meshes[0].vertices - 1.5) / 2.5, atol=1e-6)
    assert scaled[1].vertices.max() == pytest.approx(0.996) and scaled[1].vertices.min() == pytest.approx(-0.996)
    for before, after in zip(meshes, scaled, strict=True):
        homogeneous = np.concatenate([after.vertices, np.ones((len(after.vertices), 1))], axis=1)
        np.testing.assert_allclose((homogeneous @ world_from_scene.T)[:, :3], before.vertices, atol=1e-6)


def test_without_normalisation_the_data_must_lie_in_the_cube() -> None:
    inside = [mesh(-1, 0, 0, 1, 1, 1, 0, 0.5, 0)] * 2
    same, world_from_scene = normalise(inside, "none", 0.01)
    assert same == inside and (world_from_scene == np.eye(4)).all()
    with pytest.raises(InputError, match=r"from -1 to 1\.5, expected \[-1, 1\] with --normalisation none"):
        normalise([*inside, mesh(0, 0, 1.5, 0, 0, 0, 0, 0, 0)], "none", 0.01)
    with pytest.raises(InputError, match="All coordinates of all meshes are 2"):
        normalise([mesh(*[2.0] * 9)] * 2, "min_max", 0.0)
    with pytest.raises(InputError, match="--normalisation-margin is -1"):
        normalise(inside, "min_max", -1.0)


def test_every_kth_frame_is_held_out_but_never_an_end() -> None:
    assert hold_out(4, None) == (False,) * 4
    assert [frame for frame, out in enumerate(hold_out(10, 3)) if out] == [2, 5, 8]
    assert [frame for frame, out in enumerate(hold_out(9, 3)) if out] == [2, 5]
    assert [frame for frame, out in enumerate(hold_out(6, 2)) if out] == [1, 3]
    for wrong, match in (((10, 1), "--test-every is 1"), ((4, 5), "holds 0 out"), ((2, 2), "holds 0 out")):
        with pytest.raises(InputError, match=match):
            hold_out(*wrong)


def test_a_sequence_is_shared_not_copied() -> None:
    frames = MeshFrames((mesh(*range(9)), mesh(*range(1, 10)), mesh(*range(9))), (False, True, False), np.eye(4))
    assert copy.deepcopy({"a": frames})["a"] is frames
    assert len(frames) == 3 and frames.times.tolist() == [0, 0.5, 1]
    assert frames.frames(held_out=True) == [1] and frames.frames(held_out=False) == [0, 2]
    centre, radius = frames.bounding_sphere()
    np.testing.assert_allclose(centre, [3.5, 4.5, 5.5])
    assert radius == pytest.approx(3.5 * 3**0.5)
