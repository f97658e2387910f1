from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rig_scene import centre_of, write_ball_rig

from nf_plugins.data.easymocap import read_easymocap_cameras
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.writers.easymocap_writer import write_easymocap_scene, write_mask
from nf_plugins.data.writers.zju_writer import ZjuCamera, ZjuFrame, ZjuImage
from nf_plugins.errors import InputError


def test_opencv_projects_points_to_written_pixels(tmp_path: Path) -> None:
    """Scene units become metres, pixels lose the half, and the distortion is as given."""
    world_from_scene = np.diag([2.0, 2.0, 2.0, 1.0])
    world_from_scene[:3, 3] = (0.5, -1.0, 3.0)
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.2, -0.4, 0.1]))[0]
    pose[:3, 3] = (0.3, -0.2, -4.0)
    intrinsics, distortion = np.array([[50.0, 0, 20.5], [0, 51.0, 15.5], [0, 0, 1]]), np.array([0.1, -0.02, 0, 0, 0])
    image = ZjuImage(np.zeros((32, 40, 3), np.uint8), np.zeros((32, 40), bool))
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 3))
    frame = ZjuFrame(ColouredMesh(points, np.array([[0, 1, 2]]), np.full((3, 3), 0.5)), [image])
    write_easymocap_scene(
        tmp_path / "scene", [ZjuCamera("07", intrinsics, pose, distortion)], [frame, frame],
        world_from_scene=world_from_scene, request={"a": 1}, vertices_pattern="{}.npy", boxes=True,
    )  # fmt: skip
    (camera,) = read_easymocap_cameras(tmp_path / "scene")
    assert (camera.name, camera.width, camera.height) == ("07", 40, 32)
    vertices = np.load(tmp_path / "scene/vertices/1.npy").astype(np.float64)
    pixels, _ = cv2.projectPoints(
        vertices, cv2.Rodrigues(camera.rotation)[0], camera.translation, camera.intrinsics, camera.distortion
    )
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    expected, _ = cv2.projectPoints(local, np.zeros(3), np.zeros(3), intrinsics, distortion)
    np.testing.assert_allclose(pixels + 0.5, expected, atol=1e-4)
    box = np.load(tmp_path / "scene/vhull/000000.npy")
    np.testing.assert_allclose(box, [vertices.min(0), vertices.max(0)], atol=1e-6)
    assert json.loads((tmp_path / "scene/synth.json").read_text())["layout"] == "easyvolcap"


def test_kinds_of_masks(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[4:16, 5:12] = True
    read = {kind: np.asarray(Image.open(write_mask(tmp_path / kind, mask, kind))) for kind in ("png", "schp", "jpg")}  # type: ignore[arg-type]
    np.testing.assert_array_equal(read["png"], 255 * mask)
    np.testing.assert_array_equal(read["schp"] > 0, mask)
    assert len(np.unique(read["schp"])) == 3
    np.testing.assert_array_equal(read["jpg"] > 127, mask)


def test_a_whole_scene(tmp_path: Path) -> None:
    root = write_ball_rig(tmp_path / "ball", num_cameras=2, num_frames=3, masks="schp")
    assert sorted(path.name for path in root.iterdir()) == [
        "extri.yml", "images", "intri.yml", "mesh", "schp", "synth.json", "vertices"
    ]  # fmt: skip
    vertices = np.load(root / "vertices/000002.npy")
    np.testing.assert_allclose(vertices.mean(0), centre_of(2, 3), atol=1e-3)
    assert vertices.dtype == np.float32
    with pytest.raises(InputError, match="already holds a scene"):
        write_ball_rig(root, num_cameras=2)
