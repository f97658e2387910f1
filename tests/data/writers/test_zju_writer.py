from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image

from nf_plugins.data.restricted_pickle import load_restricted
from nf_plugins.data.synthetic.cameras import ring_cameras, swap_opengl_opencv
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.writers.zju_writer import ZjuCamera, ZjuFrame, ZjuImage, write_zju_scene

WORLD_FROM_SCENE = np.array([[1.3, 0, 0, 0.4], [0, 1.3, 0, -0.2], [0, 0, 1.3, 1.0], [0, 0, 0, 1]])
MATRIX = np.array([[9.0, 0, 4.5], [0, 8.0, 2.5], [0, 0, 1]])
LENS = np.array([-0.1, 0.05, 0.002, -0.001, 0.01])
POSES = swap_opengl_opencv(ring_cameras(2, 3.0, np.array([0.0, 0.0, 1.0])))
CAMERAS = [ZjuCamera("Camera_B1", MATRIX, POSES[0]), ZjuCamera("Camera_B2", MATRIX, POSES[1], LENS)]


def _frames(fail: bool = False):
    box = trimesh.creation.box(extents=[0.5, 0.4, 0.3])
    for index in range(3):
        if fail and index == 2:
            raise RuntimeError("disk full")
        vertices = np.array(box.vertices) + [0.1 * index, 0.0, 0.0]
        rng = np.random.default_rng(index)
        images = [ZjuImage(rng.integers(1, 256, (5, 8, 3), dtype=np.uint8), rng.random((5, 8)) < 0.5) for _ in CAMERAS]
        yield ZjuFrame(ColouredMesh(vertices, np.array(box.faces), np.full((len(vertices), 3), 0.5)), images)


def _write(folder: Path, fail: bool = False) -> Path:
    write_zju_scene(folder, CAMERAS, _frames(fail), world_from_scene=WORLD_FROM_SCENE, request={"seed": 0})
    return folder


def test_opencv_images_a_scene_point_where_the_camera_does(tmp_path):
    cams = load_restricted(_write(tmp_path / "scene") / "annots.npy")["cams"]
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    world = points @ WORLD_FROM_SCENE[:3, :3].T + WORLD_FROM_SCENE[:3, 3]
    for index, camera in enumerate(CAMERAS):
        matrix, rotation, translation, lens = (np.array(cams[key][index]) for key in ("K", "R", "T", "D"))
        assert matrix.shape == rotation.shape == (3, 3) and translation.shape == (3, 1) and lens.shape == (5, 1)
        # World in millimetres, as T is.
        pixels, _ = cv2.projectPoints(1000 * world, cv2.Rodrigues(rotation)[0], translation, matrix, camera.distortion)
        np.testing.assert_allclose(lens[:, 0], camera.distortion)
        local = (points - camera.camera_to_world[:3, 3]) @ camera.camera_to_world[:3, :3]
        plane = cv2.projectPoints(local, np.zeros(3), np.zeros(3), np.eye(3), camera.distortion)[0][:, 0]
        # OpenCV counts from the centre of the first pixel, we from its corner.
        expected = plane @ MATRIX[:2, :2].T + MATRIX[:2, 2] - 0.5
        np.testing.assert_allclose(pixels[:, 0], expected, atol=1e-9)


def test_files_are_where_the_annotations_say(tmp_path):
    folder = _write(tmp_path / "scene")
    listed = load_restricted(folder / "annots.npy")["ims"]
    assert [entry["ims"] for entry in listed][2] == ["Camera_B1/000002.png", "Camera_B2/000002.png"]
    for frame, entry in zip(_frames(), listed, strict=True):
        for path, image in zip(entry["ims"], frame.images, strict=True):
            mask = np.array(Image.open(folder / "mask_cihp" / path))
            np.testing.assert_array_equal(mask, image.mask.astype(np.uint8))
            np.testing.assert_array_equal(np.array(Image.open(folder / path)), image.rgb * mask[..., None])
    vertices = np.load(folder / "vertices/000002.npy")
    mesh = next(frame.mesh for index, frame in enumerate(_frames()) if index == 2)
    np.testing.assert_allclose(vertices, 1.3 * mesh.vertices + [0.4, -0.2, 1.0], atol=1e-6)
    loaded = trimesh.load(folder / "mesh/000002.ply", process=False)
    np.testing.assert_allclose(loaded.vertices, vertices, atol=1e-6)
    assert json.loads((folder / "synth.json").read_text())["layout"] == "zju"


def test_numpy_reads_what_was_written(tmp_path):
    annotations = np.load(_write(tmp_path / "scene") / "annots.npy", allow_pickle=True).item()
    assert set(annotations) == {"cams", "ims"} and len(annotations["ims"]) == 3


def test_same_scene_gives_the_same_bytes(tmp_path):
    first, second = _write(tmp_path / "a"), _write(tmp_path / "b")
    assert (first / "annots.npy").read_bytes() == (second / "annots.npy").read_bytes()


def test_failure_midway_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="disk full"):
        _write(tmp_path / "scene", fail=True)
    assert os.listdir(tmp_path) == []
