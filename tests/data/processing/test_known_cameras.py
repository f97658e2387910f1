from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ball_capture import LENS, OPENCV, colmap_model, ring_poses, write_colmap
from nerfstudio.data.utils import colmap_parsing_utils as colmap

from nf_plugins.data.processing.known_cameras import (
    Calibration,
    find_colmap,
    match_cameras,
    read_calibration,
    read_colmap_views,
)
from nf_plugins.errors import InputError

POSES = ring_poses(3)


def world_to_camera(name: str) -> np.ndarray:
    return np.linalg.inv(POSES[name] @ OPENCV)


def write_transforms(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    frames = [
        {"file_path": f"images/{name}.jpg", "transform_matrix": pose.tolist(), **LENS.to_json()}
        for name, pose in POSES.items()
    ]
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
    return folder


def write_easymocap(folder: Path, with_matrices: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    intrinsics = cv2.FileStorage(str(folder / "intri.yml"), cv2.FILE_STORAGE_WRITE)
    extrinsics = cv2.FileStorage(str(folder / "extri.yml"), cv2.FILE_STORAGE_WRITE)
    for storage in (intrinsics, extrinsics):
        storage.startWriteStruct("names", cv2.FileNode_SEQ)
        for name in POSES:
            storage.write("", name)
        storage.endWriteStruct()
    for name in POSES:
        # OpenCV counts pixels from the centre of the first one.
        matrix = np.array([[LENS.fx, 0, LENS.cx - 0.5], [0, LENS.fy, LENS.cy - 0.5], [0, 0, 1]])
        intrinsics.write(f"K_{name}", matrix)
        intrinsics.write(f"dist_{name}", np.array([[0.1, -0.02, 0.001, 0.002, 0.03]]))
        pose = world_to_camera(name)
        extrinsics.write(f"R_{name}", cv2.Rodrigues(pose[:3, :3])[0])
        if with_matrices:
            extrinsics.write(f"Rot_{name}", pose[:3, :3])
        extrinsics.write(f"T_{name}", pose[:3, 3:])
    intrinsics.release()
    extrinsics.release()
    return folder


def assert_poses(calibration: Calibration) -> None:
    assert [camera.name for camera in calibration.cameras] == list(POSES)
    for camera in calibration.cameras:
        moved = calibration.applied_transform @ POSES[camera.name]
        np.testing.assert_allclose(camera.camera_to_world, moved[:3], atol=1e-6)


def test_transforms_with_an_entry_per_camera(tmp_path: Path):
    calibration = read_calibration(write_transforms(tmp_path))
    assert calibration.source == "transforms"
    assert_poses(calibration)
    assert calibration.cameras[0].lens == LENS


@pytest.mark.parametrize("with_matrices", [True, False])
def test_easymocap(tmp_path: Path, with_matrices: bool):
    calibration = read_calibration(write_easymocap(tmp_path, with_matrices))
    assert_poses(calibration)
    lens = calibration.cameras[1].lens_at(80, 60)
    assert (lens.width, lens.height) == (80, 60)
    np.testing.assert_allclose([lens.fx, lens.fy, lens.cx, lens.cy], [LENS.fx, LENS.fy, LENS.cx, LENS.cy])
    np.testing.assert_allclose(lens.distortion, (0.1, -0.02, 0.03, 0, 0.001, 0.002))


@pytest.mark.parametrize("suffix", [".bin", ".txt"])
def test_colmap_is_turned_so_that_z_is_up(tmp_path: Path, suffix: str):
    write_colmap(tmp_path / "sparse" / "0", suffix)
    calibration = read_calibration(tmp_path)
    assert_poses(calibration)
    up = np.mean([camera.camera_to_world[:, 1] for camera in calibration.cameras], axis=0)
    np.testing.assert_allclose(up / np.linalg.norm(up), [0, 0, 1], atol=1e-6)
    lenses = {camera.name: camera.lens for camera in calibration.cameras}
    assert lenses["cam1"].distortion == (0.0,) * 6 and lenses["cam1"].fy == 60.0
    np.testing.assert_allclose(lenses["cam2"].distortion, (0.1, -0.02, 0, 0, 0.001, 0.002))
    assert calibration.points is not None
    truth = np.stack([point.xyz for point in colmap_model()[2].values()])
    np.testing.assert_allclose(calibration.points, truth @ calibration.applied_transform[:3, :3].T, atol=1e-5)


def test_lens_at_another_size_is_scaled_and_another_shape_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    camera = read_calibration(write_transforms(tmp_path)).cameras[0]
    lens = camera.lens_at(80, 64)
    np.testing.assert_allclose([lens.fx, lens.fy, lens.cx, lens.cy], np.array([60.0, 62, 20.6, 15.7]) * 2)
    assert "intrinsics are scaled" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(InputError, match="cam1 are 32x40 pixels, but it was calibrated at 40x32"):
        camera.lens_at(32, 40)


def test_videos_and_cameras_are_matched_by_name_or_folder(tmp_path: Path):
    cameras = read_calibration(write_transforms(tmp_path)).cameras
    matched = match_cameras(cameras, ["cam2", "cam1", "cam3"], (), "videos")
    assert [camera.name for camera in matched] == ["cam1", "cam2", "cam3"]
    np.testing.assert_array_equal(matched[1].camera_to_world, cameras[1].camera_to_world)
    assert [camera.name for camera in match_cameras(cameras, ["cam1", "cam2"], ("cam2",), "videos")] == ["cam2"]
    with pytest.raises(InputError, match="The video gopro of videos has no camera, .*cam1, cam2, cam3"):
        match_cameras(cameras, ["cam1", "cam2", "cam3", "gopro"], (), "videos")
    with pytest.raises(InputError, match="The camera cam3 has no video in videos"):
        match_cameras(cameras, ["cam1", "cam2"], (), "videos")
    with pytest.raises(InputError, match="--only names cam9"):
        match_cameras(cameras, ["cam1"], ("cam9",), "videos")


def test_colmap_images_in_folders_are_called_by_them(tmp_path: Path):
    cameras, images, points = colmap_model()
    for image_id, image in images.items():
        images[image_id] = image._replace(name=image.name.replace(".png", "/000000.png"))
    colmap.write_cameras_binary(cameras, str(tmp_path / "cameras.bin"))
    colmap.write_images_binary(images, str(tmp_path / "images.bin"))
    colmap.write_points3D_binary(points, str(tmp_path / "points3D.bin"))
    assert [camera.name for camera in read_calibration(tmp_path).cameras] == list(POSES)


def edit_transforms(folder: Path, change: Any) -> None:
    contents = json.loads((folder / "transforms.json").read_text())
    change(contents)
    (folder / "transforms.json").write_text(json.dumps(contents))


def test_bad_calibrations_get_their_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere does not exist, expected transforms.json, intri.yml"):
        read_calibration(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no cameras"):
        read_calibration(tmp_path / "empty")
    folder = write_transforms(tmp_path / "twice")
    edit_transforms(
        folder, lambda contents: contents["frames"].append({**contents["frames"][0], "file_path": "x/cam1.jpg"})
    )
    with pytest.raises(InputError, match="has 2 entries of camera cam1"):
        read_calibration(folder)
    folder = write_transforms(tmp_path / "nosize")
    edit_transforms(folder, lambda contents: contents["frames"][1].pop("w"))
    with pytest.raises(InputError, match="frame 1 of .* has no w and h"):
        read_calibration(folder)
    folder = write_easymocap(tmp_path / "mocap")
    text = (folder / "extri.yml").read_text().replace("T_cam2", "T_cam7")
    (folder / "extri.yml").write_text(text)
    with pytest.raises(InputError, match="extri.yml has no T_cam2"):
        read_calibration(folder)
    (folder / "intri.yml").write_text("%YAML:1.0\n---\nnames: [")
    with pytest.raises(InputError, match="intri.yml"):
        read_calibration(folder)
    folder = write_colmap(tmp_path / "colmap", ".bin")
    whole = (folder / "images.bin").read_bytes()
    (folder / "images.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="images.bin cannot be read"):
        read_calibration(folder)


def test_colmap_lens_that_nerfstudio_does_not_know_is_said(tmp_path: Path):
    folder = write_colmap(tmp_path, ".txt")
    text = (folder / "cameras.txt").read_text().replace("SIMPLE_PINHOLE 40 32 60.0", "FOV 40 32 60.0 60.0")
    (folder / "cameras.txt").write_text(text.replace("15.7\n", "15.7 0.9\n", 1) if "FOV" in text else text)
    with pytest.raises(InputError, match="camera . of .* cannot be used"):
        read_calibration(folder)


def test_real_easymocap_files(shared_data: Path):
    calibration = read_calibration(shared_data / "zju" / "walker")
    assert [camera.name for camera in calibration.cameras] == ["cam01", "cam02", "cam03", "cam04"]
    # The first column of a projection of a world point by the file's own numbers.
    camera = calibration.cameras[0]
    world_to_camera = np.linalg.inv(np.concatenate([camera.camera_to_world, [[0, 0, 0, 1]]]) @ OPENCV)
    np.testing.assert_allclose(world_to_camera[:3, 3], [0.321105, 0.956332, 2.890713], atol=1e-5)
    assert camera.lens_at(270, 480).cx == pytest.approx(133.368423, abs=1e-5)


def test_colmap_views_keep_their_names_and_axes(tmp_path: Path):
    folder = write_colmap(tmp_path / "sparse" / "0", ".bin")
    assert find_colmap(tmp_path) == (folder, ".bin") and find_colmap(tmp_path / "sparse") is None
    views = read_colmap_views(folder, ".bin")
    assert [view.name for view in views.cameras] == [f"{name}.png" for name in POSES]
    for view, pose in zip(views.cameras, POSES.values(), strict=True):
        np.testing.assert_allclose(view.camera_to_world, pose[:3], atol=1e-6)
    np.testing.assert_array_equal(views.applied_transform, np.eye(4))
