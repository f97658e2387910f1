"""The scene's own frame: turned, centred and scaled, with the exact way back."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.errors import InputError

OrientationMethod = Literal["pca", "up", "vertical", "none"]
CenterMethod = Literal["box", "poses", "focus", "none"]


class SceneFrame(NamedTuple):
    """A similarity, float64: ``scene = scale * (rotation @ world + translation)``."""

    rotation: NDArray[np.float64]
    """(3, 3)."""
    translation: NDArray[np.float64]
    """(3,), before scaling."""
    scale: float

    def poses(self, camera_to_worlds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Camera-to-world matrices (N, 3, 4) in scene units."""
        positions = self.scale * (camera_to_worlds[:, :, 3] @ self.rotation.T + self.translation)
        return np.concatenate([self.rotation @ camera_to_worlds[:, :, :3], positions[:, :, None]], axis=2)

    def world_from_scene(self, saved_from_world: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(4, 4), scene to world units.

        Args:
            saved_from_world: (4, 4) similarity that somebody applied to the data before they were saved; undone too.
        """
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation.T / self.scale
        matrix[:3, 3] = -self.rotation.T @ self.translation
        return matrix if saved_from_world is None else np.linalg.inv(saved_from_world) @ matrix


def scene_frame(
    camera_to_worlds: NDArray[np.float64],
    *,
    orientation_method: OrientationMethod,
    center_method: CenterMethod,
    auto_scale: bool,
    scale_factor: float,
    box: NDArray[np.float64] | None,
) -> SceneFrame:
    """The frame by nerfstudio's rules, or by the box of what is to be seen.

    Args:
        camera_to_worlds: (N, 3, 4), OpenGL axes, of all splits, so that all get the same frame.
        center_method: "box": the middle of the box becomes the origin. The others are nerfstudio's.
        auto_scale: With "box" its corners come to lie on the unit sphere; otherwise the largest coordinate of a camera
            becomes 1.
        scale_factor: On top of it.
        box: (2, 3), in axes turned by ``orientation``; only "box" needs it.

    Raises:
        InputError: ``scale_factor`` is not positive, or all cameras stand in one place and are to be scaled by.
    """
    if not (np.isfinite(scale_factor) and scale_factor > 0):
        raise InputError(f"--scale-factor is {scale_factor}, expected a positive number.")
    rotation = orientation(camera_to_worlds, orientation_method)
    if center_method == "box":
        assert box is not None
        translation, reach = -box.mean(axis=0), float(np.linalg.norm(box[1] - box[0])) / 2
    else:
        poses = _float_poses(camera_to_worlds)
        _, transform = auto_orient_and_center_poses(poses, method="none", center_method=center_method)
        translation = rotation @ transform[:, 3].double().numpy()
        reach = float(np.abs(camera_to_worlds[:, :, 3] @ rotation.T + translation).max())
    if auto_scale and reach < 1e-9:
        raise InputError("All cameras stand in one place, which sets no scale: use --center-method box.")
    return SceneFrame(rotation, translation, scale_factor * (1 / reach if auto_scale else 1.0))


def orientation(camera_to_worlds: NDArray[np.float64], method: OrientationMethod) -> NDArray[np.float64]:
    """The rotation (3, 3) that nerfstudio's method turns the cameras by, made exactly orthonormal."""
    if method == "none":
        return np.eye(3)
    _, transform = auto_orient_and_center_poses(_float_poses(camera_to_worlds), method=method, center_method="none")
    left, _, right = np.linalg.svd(transform[:, :3].double().numpy())
    return left @ right


def dataparser_transform(world_from_scene: NDArray[np.float64]) -> tuple[Tensor, float]:
    """nerfstudio's ``dataparser_transform`` (3, 4) and ``dataparser_scale`` of a (4, 4) similarity."""
    scale = float(np.cbrt(np.linalg.det(world_from_scene[:3, :3])))
    rotation = world_from_scene[:3, :3] / scale
    transform = np.concatenate([rotation.T, -rotation.T @ world_from_scene[:3, 3:]], axis=1)
    return torch.from_numpy(transform).float(), 1 / scale


def rotated_box(box: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The box (2, 3) along the new axes around a box (2, 3) that was turned."""
    middle, half = rotation @ box.mean(axis=0), np.abs(rotation) @ ((box[1] - box[0]) / 2)
    return np.stack([middle - half, middle + half])


def _float_poses(camera_to_worlds: NDArray[np.float64]) -> Tensor:
    bottom = np.tile(np.array([[[0.0, 0.0, 0.0, 1.0]]]), (len(camera_to_worlds), 1, 1))
    return torch.from_numpy(np.concatenate([camera_to_worlds, bottom], axis=1)).float()
