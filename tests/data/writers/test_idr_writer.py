from __future__ import annotations

import json
import os
from pathlib import Path

import ball_scan
import numpy as np
import pytest
import trimesh
from PIL import Image

from dataparsers.dtu import DTUDataParserConfig
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.writers.idr_writer import IdrView, projection_matrices, write_idr_scene, write_idr_views

POSES = ball_scan.scan_poses(3)
# Pixels counted from the corner of the first one.
INTRINSICS = ball_scan.integer_pixel_intrinsics(12) + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def views(with_masks: bool = True, fail: bool = False):
    for index, pose in enumerate(POSES):
        if fail and index == 2:
            raise RuntimeError("disk full")
        rng = np.random.default_rng(index)
        mask = rng.random((10, 12)) < 0.5 if with_masks else None
        yield IdrView(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8), mask, INTRINSICS, pose)


def write(folder: Path, **options) -> Path:
    box = trimesh.creation.box(extents=[0.5, 0.4, 0.3])
    mesh = ColouredMesh(np.array(box.vertices), np.array(box.faces), np.full((8, 3), 0.5))
    write_idr_scene(folder, views(**options), world_from_scene=ball_scan.scale_mat(), request={"seed": 0}, mesh=mesh)
    return folder


def test_matrices_are_those_composed_by_hand():
    matrices = projection_matrices([INTRINSICS] * 3, list(POSES), ball_scan.scale_mat())
    assert len(matrices) == 6
    for view, pose in enumerate(POSES):
        expected = ball_scan.world_mat(pose, ball_scan.integer_pixel_intrinsics(12))
        np.testing.assert_allclose(matrices[f"world_mat_{view}"], expected, rtol=1e-12)
        np.testing.assert_array_equal(matrices[f"scale_mat_{view}"], ball_scan.scale_mat())


def test_what_was_written_is_read_again(tmp_path: Path):
    folder = write(tmp_path / "scene")
    outputs = DTUDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
    poses = outputs.cameras.camera_to_worlds.numpy() * [1, -1, -1, 1]
    np.testing.assert_allclose(poses, POSES[:, :3], atol=1e-6)
    for name, value in (("fx", INTRINSICS[0, 0]), ("fy", INTRINSICS[1, 1]), ("cx", INTRINSICS[0, 2])):
        np.testing.assert_allclose(getattr(outputs.cameras, name).numpy(), value, rtol=1e-6)
    for index, view in enumerate(views()):
        np.testing.assert_array_equal(np.array(Image.open(outputs.image_filenames[index])), view.rgb)
        mask = np.array(Image.open(outputs.metadata["fg_mask_filenames"][index]))
        assert mask.shape == (10, 12, 3) and view.mask is not None
        np.testing.assert_array_equal(mask, np.repeat(255 * view.mask[..., None], 3, axis=-1))
    mesh = trimesh.load(outputs.metadata["mesh_filenames"][0], process=False)
    assert np.asarray(mesh.extents).tolist() == pytest.approx([0.5, 0.4, 0.3])
    facts = json.loads((folder / "synth.json").read_text())
    assert facts["layout"] == "dtu" and facts["world_from_scene"][0][0] == ball_scan.WORLD_SCALE


def test_without_masks_none_are_written(tmp_path: Path):
    assert write_idr_views(tmp_path, views(with_masks=False), ball_scan.scale_mat(), "cameras.npz") == 3
    assert sorted(os.listdir(tmp_path)) == ["cameras.npz", "image"]


def test_failure_midway_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError, match="disk full"):
        write(tmp_path / "scene", fail=True)
    assert os.listdir(tmp_path) == []
