from __future__ import annotations

import numpy as np
import pytest
import torch
from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
from scipy.spatial.transform import Rotation

from nf_plugins.data.scene_frame import SceneFrame, dataparser_transform, orientation, rotated_box, scene_frame
from nf_plugins.errors import InputError


def random_poses(number: int = 7) -> np.ndarray:
    rng = np.random.default_rng(3)
    rotations = Rotation.from_euler("xyz", rng.uniform(-1, 1, (number, 3))).as_matrix()
    return np.concatenate([rotations, rng.normal(size=(number, 3, 1)) * 2 + 5], axis=2)


POSES = random_poses()


def frame(poses: np.ndarray = POSES, **options) -> SceneFrame:
    given = {
        "orientation_method": "none",
        "center_method": "none",
        "auto_scale": False,
        "scale_factor": 1.0,
        "box": None,
    }
    return scene_frame(poses, **{**given, **options})


@pytest.mark.parametrize("method", ["up", "vertical", "none"])
@pytest.mark.parametrize("center", ["poses", "focus", "none"])
def test_poses_are_nerfstudios(method: str, center: str):
    square = torch.cat([torch.from_numpy(POSES).float(), torch.tensor([[[0, 0, 0, 1.0]]]).expand(7, 1, 4)], dim=1)
    theirs, _ = auto_orient_and_center_poses(square, method=method, center_method=center)  # type: ignore[arg-type]
    theirs[:, :3, 3] /= theirs[:, :3, 3].abs().max()
    ours = frame(orientation_method=method, center_method=center, auto_scale=True).poses(POSES)
    np.testing.assert_allclose(ours, theirs[:, :3].numpy(), atol=2e-5)


@pytest.mark.parametrize("method", ["pca", "up", "vertical", "none"])
def test_the_way_back_is_exact(method: str):
    scene = frame(orientation_method=method, center_method="focus", auto_scale=True, scale_factor=0.3)
    world = scene.world_from_scene()
    back = world[:3, :3] @ scene.poses(POSES)[:, :, 3:] + world[:3, 3:]
    np.testing.assert_allclose(back, POSES[:, :, 3:], atol=1e-12)
    rotation = scene.rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_what_was_applied_before_saving_is_undone():
    applied = np.eye(4)
    applied[:3] = 2.0 * np.array([[0.0, -1, 0, 3], [1, 0, 0, 4], [0, 0, 1, 5]])
    scene = frame(center_method="poses", auto_scale=True)
    np.testing.assert_allclose(applied @ scene.world_from_scene(applied), scene.world_from_scene(), atol=1e-12)
    transform, scale = dataparser_transform(scene.world_from_scene(applied))
    original = np.linalg.inv(applied) @ np.append(POSES[0, :, 3], 1)
    theirs = scale * (transform.double().numpy() @ original)
    np.testing.assert_allclose(theirs, scene.poses(POSES)[0, :, 3], atol=1e-6)


def test_the_box_becomes_the_unit_sphere():
    box = np.array([[1.0, 2, 3], [3, 3, 7]])
    scene = frame(center_method="box", auto_scale=True, box=box)
    corners = scene.scale * (box + scene.translation)
    np.testing.assert_allclose(np.linalg.norm(corners, axis=1), 1.0)
    np.testing.assert_allclose(corners.mean(axis=0), 0, atol=1e-12)


def test_a_turned_box_holds_the_box():
    box = np.array([[-1.0, 0, 0], [1, 2, 3]])
    rotation = orientation(POSES, "up")
    corners = np.array([[box[i, 0], box[j, 1], box[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ rotation.T
    np.testing.assert_allclose(rotated_box(box, rotation), [corners.min(axis=0), corners.max(axis=0)])


def test_bad_scales():
    with pytest.raises(InputError, match="--scale-factor is -1"):
        frame(scale_factor=-1.0)
    still = np.tile(np.eye(4)[:3], (3, 1, 1))
    with pytest.raises(InputError, match="one place"):
        frame(still, center_method="poses", auto_scale=True)
