from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nf_plugins.data.zju_capture import ZjuCapture
from nf_plugins.data.zju_keypoints import keypoint_errors, keypoint_note, triangulated_keypoints

NUM_JOINTS, FRAMES = 12, [0, 1, 2]


def joints() -> np.ndarray:
    """(T, J, 3), metres."""
    return np.random.default_rng(0).uniform(-0.4, 0.4, (3, NUM_JOINTS, 3))


def capture() -> ZjuCapture:
    """Four cameras around the origin that detect every joint exactly."""
    poses = []
    for angle in (0.0, 1.5, 3.0, 4.5):
        rotation = cv2.Rodrigues(np.array([0.0, angle, 0.0]))[0]
        poses.append(np.concatenate([rotation, [[0.0], [0.0], [3.0]]], axis=1))
    matrix = np.array([[300.0, 0, 100], [0, 300, 120], [0, 0, 1]])
    lens = np.array([-0.1, 0.02, 0.001, 0.0, 0.0])
    detections = np.ones((3, NUM_JOINTS, 4, 3))
    for camera, pose in enumerate(poses):
        pixels = cv2.projectPoints(joints().reshape(-1, 3), cv2.Rodrigues(pose[:, :3])[0], pose[:, 3], matrix, lens)[0]
        detections[:, :, camera, :2] = pixels.reshape(3, NUM_JOINTS, 2)
    names = [f"cam{index}" for index in range(4)]
    images = [[Path(f"{name}/{frame}.jpg") for name in names] for frame in FRAMES]
    return ZjuCapture(
        names, np.stack([matrix] * 4), np.stack([lens] * 4), np.stack(poses), images, detections, Path("annots.npy")
    )


def test_exact_detections_give_the_joints():
    points = triangulated_keypoints(capture(), [0, 1, 2], FRAMES)
    assert points is not None
    np.testing.assert_allclose(points, joints(), atol=1e-6)
    np.testing.assert_allclose(keypoint_errors(capture(), points, FRAMES), 0, atol=1e-4)
    chosen = triangulated_keypoints(capture(), [3, 0], [2])
    assert chosen is not None
    np.testing.assert_allclose(chosen[0], joints()[2], atol=1e-6)


def test_detections_that_contradict_each_other_give_no_joint():
    scene = capture()
    assert scene.keypoints is not None
    scene.keypoints[1, 3, 1, 1] += 40
    points = triangulated_keypoints(scene, [0, 1, 2], FRAMES)
    assert points is not None
    assert np.isnan(points[1, 3]).all()
    assert np.isnan(points).sum() == 3


def test_two_cameras_that_agree_on_a_far_place_give_no_joint():
    """Both see another person: no reprojection error tells, but nobody's hand is two metres from the hip."""
    scene = capture()
    assert scene.keypoints is not None
    for camera in (0, 1):
        pose = scene.world_to_cameras[camera]
        pixel = cv2.projectPoints(
            np.array([[0.6, 0.1, -1.9]]), cv2.Rodrigues(pose[:, :3])[0], pose[:, 3], scene.intrinsics[camera],
            scene.distortions[camera],
        )[0]  # fmt: skip
        scene.keypoints[0, 7, camera, :2] = pixel[0, 0]
    points = triangulated_keypoints(scene, [0, 1], FRAMES)
    assert points is not None
    assert np.isnan(points[0, 7]).all() and np.isfinite(points[1:, 7]).all()


def test_camera_that_is_off_is_named_with_its_error():
    scene = capture()
    assert scene.keypoints is not None
    scene.keypoints[:, :, 2, 1] += 5.0
    points = triangulated_keypoints(scene, [0, 1, 3], FRAMES)
    assert points is not None
    errors = keypoint_errors(scene, points, FRAMES)
    assert errors[2] == pytest.approx(5.0, abs=1e-3) and errors[[0, 1, 3]].max() < 1e-3
    note = keypoint_note(scene, points, [0, 1, 3], FRAMES)
    assert note.endswith("cam0 0.0, cam1 0.0, cam2 5.0 (not used), cam3 0.0")


def test_nothing_to_triangulate():
    assert triangulated_keypoints(capture()._replace(keypoints=None), [0, 1], FRAMES) is None
    assert triangulated_keypoints(capture(), [0], FRAMES) is None
    scene = capture()
    assert scene.keypoints is not None
    scene.keypoints[..., 2] = 0.1
    points = triangulated_keypoints(scene, [0, 1], FRAMES)
    assert points is not None and np.isnan(points).all()
    assert np.isnan(keypoint_errors(scene, points, FRAMES)).all()
