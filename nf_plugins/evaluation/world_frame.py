"""From the scene that a model has learnt to the world, where the training poses were not the true ones.

With trained poses the scene may drift as a whole, and no image tells. Where the true poses are known, the similarity
that aligns the learnt cameras with them brings meshes into the world.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.evaluation.camera_accuracy import CameraErrors, camera_errors, poses_in_world

SMALLEST_SCALE = 1e-6
"""Of an alignment, below which all cameras would be brought to one place."""


def compare_cameras(dataset: Any, refined: Cameras) -> dict[str, CameraErrors] | None:
    """Errors of the training cameras in world units ``before`` and ``after`` training.

    None where the poses were the true ones; also, with a printed line, where there are fewer than two cameras or no
    similarity aligns them.
    """
    true = dataset.metadata.get("true_camera_to_worlds")
    if true is None:
        return None
    matrix = world_from_scene(dataset.metadata)
    truth = poses_in_world(_as_array(true), matrix)
    result, not_compared = {}, "The cameras are not compared with the true ones: "
    for name, cameras in (("before", dataset.cameras), ("after", refined)):
        poses = poses_in_world(_as_array(cameras.camera_to_worlds), matrix)
        if len(poses) < 2 or not np.isfinite(poses).all():
            what = "there are fewer than two" if len(poses) < 2 else f"some are not finite {name} training"
            CONSOLE.print(f"{not_compared}{what}.", soft_wrap=True)
            return None
        result[name] = camera_errors(poses, truth)
        alignment = result[name].alignment
        if not np.isfinite(alignment.matrix()).all() or alignment.scale < SMALLEST_SCALE:
            CONSOLE.print(f"{not_compared}no similarity aligns them {name} training.", soft_wrap=True)
            return None
    return result


def world_from_learnt_scene(metadata: dict[str, Any], accuracy: dict[str, CameraErrors] | None) -> np.ndarray:
    """(4, 4) from the scene as it was learnt to the world; ``accuracy`` is that of :func:`compare_cameras`."""
    matrix = world_from_scene(metadata)
    return matrix if accuracy is None else accuracy["after"].alignment.matrix() @ matrix


def held_out_cameras(dataset: Any, accuracy: dict[str, CameraErrors] | None) -> Cameras:
    """Held-out cameras in the frame of the trained ones: where poses were not the true ones, that frame is known by
    the alignment of the training cameras, and the true held-out poses are brought there."""
    if accuracy is None:
        return dataset.cameras
    matrix = world_from_scene(dataset.metadata)
    true = dataset.metadata.get("true_camera_to_worlds", dataset.cameras.camera_to_worlds)
    trained_from_world = np.linalg.inv(world_from_learnt_scene(dataset.metadata, accuracy))
    poses = poses_in_world(poses_in_world(_as_array(true), matrix), trained_from_world)
    cameras = dataset.cameras[torch.arange(len(dataset.cameras))]
    cameras.camera_to_worlds = torch.from_numpy(poses).to(dataset.cameras.camera_to_worlds)
    return cameras


def differ(first: Cameras, second: Cameras) -> bool:
    """Whether any pose differs."""
    return not torch.equal(first.camera_to_worlds, second.camera_to_worlds)


def world_from_scene(metadata: dict[str, Any]) -> np.ndarray:
    """(4, 4) of a dataset's metadata; the identity where they do not say."""
    matrix = metadata.get("world_from_scene")
    return np.eye(4) if matrix is None else _as_array(matrix)


def _as_array(value: Any) -> np.ndarray:
    value = value.detach().cpu() if isinstance(value, Tensor) else value
    return np.asarray(value, dtype=np.float64)
