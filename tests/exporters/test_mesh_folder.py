"""Folders of meshes: written one by one, read back in order of time, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from nf_plugins.errors import InputError
from nf_plugins.exporters.mesh_folder import INDEX, MeshFolderWriter, read_mesh_folder, world_from_scene_of


def box() -> trimesh.Trimesh:
    return trimesh.creation.box()


def test_every_mesh_is_listed_as_soon_as_it_is_written(tmp_path: Path) -> None:
    writer = MeshFolderWriter(tmp_path / "m", {"units": "world", "world_from_scene": np.eye(4).tolist()})
    writer.add("frame_000000.ply", 0.0, trimesh.Trimesh(), 0)
    assert not (tmp_path / "m").exists()  # nothing but an empty mesh so far
    writer.add("frame_000003.ply", 0.75, box(), 3)
    assert not (tmp_path / "m" / INDEX).exists()  # not complete
    files, _ = read_mesh_folder(tmp_path / "m")
    assert [file.number for file in files] == [0, 3]
    writer.add_failure(0.5, MemoryError(), 2)
    writer.add("frame_000001.ply", 0.25, box(), 1)
    writer.finish()
    assert len(json.loads((tmp_path / "m" / INDEX).read_text())["meshes"]) == 4
    assert sorted(path.name for path in (tmp_path / "m").glob("*.json")) == [INDEX]
    files, header = read_mesh_folder(tmp_path / "m")
    assert [file.time for file in files] == [0.0, 0.25, 0.5, 0.75]
    assert [file.path.name if file.path else None for file in files] == [
        None, "frame_000001.ply", None, "frame_000003.ply",
    ]  # fmt: skip
    assert [file.number for file in files] == [0, 1, 2, 3]
    assert [entry["error"] for entry in writer.failures] == ["MemoryError"]
    assert header["units"] == "world" and np.array_equal(world_from_scene_of(header), np.eye(4))


def test_without_a_list_the_numbers_in_the_names_give_the_order(tmp_path: Path) -> None:
    for name in ("step10_f.ply", "step9_f.ply", "step100_f.ply"):
        box().export(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a mesh")
    files, header = read_mesh_folder(tmp_path)
    assert [file.number for file in files] == [9, 10, 100] and header == {}
    assert files[0].time is None and world_from_scene_of(header) is None


def test_times_in_names_are_numbers_with_a_point(tmp_path: Path) -> None:
    for name in ("time_1.000000.ply", "time_0.500000.ply"):
        box().export(tmp_path / name)
    files, _ = read_mesh_folder(tmp_path)
    assert [file.path.name for file in files if file.path] == ["time_0.500000.ply", "time_1.000000.ply"]
    assert [file.number for file in files] == [None, None]


def test_unclear_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder"):
        read_mesh_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no meshes"):
        read_mesh_folder(tmp_path)
    box().export(tmp_path / "frame_1.ply")
    box().export(tmp_path / "time_0.5.ply")
    with pytest.raises(InputError, match=r"change from frame_1\.ply to time_0\.5\.ply"):
        read_mesh_folder(tmp_path)
    (tmp_path / INDEX).write_text('{"meshes": [{"file": "frame_1.ply", "time": 0}, {"file": "gone.ply", "time": 1}]}')
    with pytest.raises(InputError, match=r"lists gone\.ply, which is not there \(1 of 2"):
        read_mesh_folder(tmp_path)
    for content in ("{", "[]", '{"meshes": [{"time": 1}]}'):
        (tmp_path / INDEX).write_text(content)
        with pytest.raises(InputError, match="is not a list of meshes"):
            read_mesh_folder(tmp_path)
    (tmp_path / INDEX).write_text('{"meshes": [{"file": null, "time": 0}]}')
    with pytest.raises(InputError, match="holds no meshes"):
        read_mesh_folder(tmp_path)
