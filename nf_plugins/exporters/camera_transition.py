"""A camera that goes from one dataset camera to another: the prediction video of the original ResFields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.trajectories import distinct_cameras, look_at_point, perspective_cameras, times_between

Easing = Literal["sine", "linear"]


def eased_progress(num_frames: int, easing: Easing = "sine") -> Tensor:
    """How far the camera is at every frame (num_frames,), float64, from 0 to 1.

    "sine" starts and stops gently: ``1/2 sin((u - 1/2) pi) + 1/2`` for u from 0 to 1. The reference divides the frame
    by their number, so that its last frame falls just short of the second camera; here both ends are reached.
    """
    progress = torch.linspace(0.0, 1.0, num_frames, dtype=torch.float64)
    return 0.5 * torch.sin((progress - 0.5) * math.pi) + 0.5 if easing == "sine" else progress


def forward_and_backward_times(first: float, last: float, num_frames: int, option: str = "--time-range") -> Tensor:
    """Times (num_frames,) from the first to the last and back to the first, each end shown once.

    Raises:
        InputError: if an end lies outside [0, 1] or there is no frame; the sentence names ``option``.
    """
    num_forward = (num_frames + 1) // 2 if num_frames > 1 else num_frames
    forward = times_between(first, last, num_forward, option)
    backward = torch.linspace(last, first, num_frames - num_forward + 1)[1:]
    return torch.cat([forward, backward])


def transition_cameras(cameras: Cameras, start: int, end: int, times: Tensor, easing: Easing = "sine") -> Cameras:
    """A camera that goes from one dataset camera to another.

    Rotations by slerp. Positions as the reference interpolates them, linearly in the camera's own axes
    (world-to-camera): two cameras that look at the same point from the same distance are joined by an arc around that
    point, on which it stays in the middle of the image. (Camera-to-world positions would cut through on the chord and
    approach the subject.) The reference takes the scene's origin for that point, as its scenes are centred; here it is
    the point that all cameras look at, which does not depend on where the origin lies.

    Args:
        cameras: Dataset cameras, which also tell where the subject is.
        start: Index of the camera to start at; its intrinsics hold for the whole way.
        end: Index of the camera to end at.
        times: (N,); their number is the number of poses.
        easing: See :func:`eased_progress`.
    """
    from scipy.spatial.transform import Rotation, Slerp

    pivot = look_at_point(cameras.camera_to_worlds.double().cpu()).numpy()
    poses = cameras.camera_to_worlds[torch.tensor([start, end])].double().cpu().numpy()
    progress = eased_progress(len(times), easing).numpy()
    # The pivot in the axes of either camera.
    seen = np.einsum("nji,nj->ni", poses[:, :, :3], pivot - poses[:, :, 3])
    rotations = Slerp([0.0, 1.0], Rotation.from_matrix(poses[:, :, :3]))(progress).as_matrix()
    seen = seen[0] + progress[:, None] * (seen[1] - seen[0])
    positions = pivot - np.einsum("nij,nj->ni", rotations, seen)
    moved = np.concatenate([rotations, positions[:, :, None]], axis=-1)
    return perspective_cameras(cameras[start : start + 1], torch.from_numpy(moved).float(), times)


def camera_index(cameras: Cameras, wanted: str, names: Sequence[str] | None = None) -> int:
    """Index of the first image of a camera.

    Args:
        cameras: Dataset cameras.
        wanted: A name of the dataparser (``cam_train_3``), or the camera's place among the distinct ones, from 0.
        names: The dataparser's names by ``camera_id``.

    Raises:
        InputError: if there is no such camera.
    """
    camera_ids = (cameras.metadata or {}).get("camera_id")
    of_name: dict[str, int] = {}
    if names is not None and camera_ids is not None:
        for index, camera_id in enumerate(camera_ids.flatten().tolist()):
            of_name.setdefault(names[int(camera_id)], index)
    if wanted in of_name:
        return of_name[wanted]
    stations = distinct_cameras(cameras)
    if wanted.isdecimal() and int(wanted) < len(stations):
        pose = stations.camera_to_worlds[int(wanted)]
        same = (cameras.camera_to_worlds == pose).flatten(1).all(dim=1)
        return int(torch.nonzero(same)[0, 0])
    known = f" or {', '.join(of_name)}" if of_name else ""
    raise InputError(
        f"--between-cameras: this split has no camera {wanted}, expected 0 to {len(stations) - 1}{known}; --split "
        "chooses another split."
    )
