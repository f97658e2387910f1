from __future__ import annotations

import json
import os

import numpy as np
import pytest
import trimesh
from PIL import Image

from nf_plugins.data.synthetic.cameras import ring_cameras
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.writers.dnerf_writer import DnerfFrame, DnerfView, write_dnerf_scene

POSES = ring_cameras(4, 3.0, np.array([0.0, 0.0, 1.0]))


def _frames(fail: bool = False):
    box = trimesh.creation.box(extents=[0.5, 0.5, 0.5])
    mesh = ColouredMesh(np.array(box.vertices), np.array(box.faces), np.full((len(box.vertices), 3), 0.5))
    for index, time in enumerate((0.0, 0.5, 1.0)):
        if fail and index == 2:
            raise RuntimeError("disk full")
        rgba = np.random.default_rng(index).integers(0, 256, (6, 8, 4), dtype=np.uint8)
        views = [DnerfView("train", rgba, POSES[index])]
        if index == 1:
            views += [DnerfView("val", rgba[::-1].copy(), POSES[3]), DnerfView("test", rgba, POSES[0])]
        yield DnerfFrame(time, mesh, views)


def _write(folder, fail=False):
    write_dnerf_scene(folder, _frames(fail), camera_angle_x=0.7, world_from_scene=np.eye(4), request={"seed": 0})


def test_scene_comes_back(tmp_path):
    folder = tmp_path / "scene"
    _write(folder)
    truth = {"train": [], "val": [], "test": []}
    for frame in _frames():
        for view in frame.views:
            truth[view.split].append((frame.time, view))
    for split, views in truth.items():
        content = json.loads((folder / f"transforms_{split}.json").read_text())
        assert content["camera_angle_x"] == 0.7 and len(content["frames"]) == len(views)
        for entry, (time, view) in zip(content["frames"], views, strict=True):
            assert entry["time"] == time
            np.testing.assert_array_equal(entry["transform_matrix"], view.camera_to_world)
            np.testing.assert_array_equal(np.array(Image.open(folder / f"{entry['file_path']}.png")), view.rgba)
    meshes = json.loads((folder / "mesh_frames.json").read_text())["frames"]
    assert [entry["time"] for entry in meshes] == [0.0, 0.5, 1.0]
    for entry in meshes:
        assert len(trimesh.load(folder / entry["file_path"], process=False).faces) == 12


def test_failure_midway_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="disk full"):
        _write(tmp_path / "scene", fail=True)
    assert os.listdir(tmp_path) == []
