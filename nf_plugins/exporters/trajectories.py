"""Cameras to render along: a camera that stands while time runs, one that moves, and both at once.

Poses are nerfstudio's: camera-to-world (3, 4) with x right, y up and the view along -z, in scene units.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.atomic_files import write_json
from nf_plugins.data.multi_view import point_nearest_to_axes
from nf_plugins.errors import InputError


def times_between(first: float, last: float, num_frames: int, option: str = "--time-range") -> Tensor:
    """Evenly spaced times (num_frames,), both ends included.

    Raises:
        InputError: if an end lies outside [0, 1]; the sentence names ``option``.
    """
    for value in (first, last):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"{option}: time {value:g} is outside the sequence, expected times in [0, 1].")
    if num_frames < 1:
        raise InputError(f"--num-frames must be at least 1, found {num_frames}.")
    return torch.linspace(first, last, num_frames)


def ping_pong(count: int) -> list[int]:
    """Indices 0 … count - 1 and back, without showing either end twice in a loop."""
    return [*range(count), *range(count - 2, 0, -1)]


def with_times(cameras: Cameras, times: Tensor) -> Cameras:
    """The same cameras at other times (N,)."""
    return perspective_cameras(cameras, cameras.camera_to_worlds, times, cameras.metadata)


def standing_camera(cameras: Cameras, index: int, times: Tensor) -> Cameras:
    """One dataset camera, repeated at the times (N,), with its own metadata (camera id, appearance).

    Raises:
        InputError: if there is no camera with this index.
    """
    if not 0 <= index < len(cameras):
        raise InputError(f"--camera-index {index}: the split has {len(cameras)} cameras, expected 0 to its last.")
    indices = torch.full((len(times),), index, dtype=torch.long)
    return with_times(cameras[indices], times)


def distinct_cameras(cameras: Cameras) -> Cameras:
    """One camera per ``camera_id`` where there are several of them, else one per distinct pose, in dataset order."""
    camera_ids = (cameras.metadata or {}).get("camera_id")
    keys: list[Any]
    if camera_ids is not None and len(camera_ids.unique()) > 1:
        keys = camera_ids.flatten().tolist()
    else:
        keys = [tuple(row) for row in cameras.camera_to_worlds.flatten(1).mul(1e5).round().tolist()]
    first_of_key = {key: index for index, key in reversed(list(enumerate(keys)))}
    return cameras[torch.tensor(sorted(first_of_key.values()))]


def interpolated_cameras(cameras: Cameras, times: Tensor) -> Cameras:
    """A camera that visits the distinct cameras in order, rotations by slerp and positions linearly.

    Args:
        cameras: Dataset cameras; at least two distinct ones.
        times: (N,); their number is the number of poses.

    Raises:
        InputError: if there is only one distinct camera.
    """
    from scipy.spatial.transform import Rotation, Slerp

    stations = distinct_cameras(cameras)
    if len(stations) < 2:
        raise InputError("--path dataset needs two distinct cameras, found one; use --path ring or a camera-path file.")
    poses = stations.camera_to_worlds.double().cpu().numpy()
    knots = np.arange(len(stations))
    where = np.linspace(0.0, len(stations) - 1, len(times))
    rotations = Slerp(knots, Rotation.from_matrix(poses[:, :, :3]))(where).as_matrix()
    positions = np.stack([np.interp(where, knots, poses[:, axis, 3]) for axis in range(3)], axis=-1)
    moved = np.concatenate([rotations, positions[:, :, None]], axis=-1)
    return perspective_cameras(stations[:1], torch.from_numpy(moved).float(), times)


def circling_path(cameras: Cameras, times: Tensor, start_index: int = 0, turns: float = 1.0) -> Cameras:
    """A camera that circles the point the dataset's cameras look at.

    The circle's axis is the mean up direction, its height and radius are the cameras' means, it starts beside the
    camera ``start_index`` and has its intrinsics.

    Args:
        cameras: Dataset cameras.
        times: (N,); their number is the number of poses.
        start_index: Camera whose azimuth and intrinsics are taken.
        turns: How many times round; the last pose stops one step short of the end, so that the video loops.
    """
    if not 0 <= start_index < len(cameras):
        raise InputError(f"--camera-index {start_index}: the split has {len(cameras)} cameras.")
    poses = cameras.camera_to_worlds.double().cpu()
    centre, up = look_at_point(poses), _unit(poses[:, :, 1].mean(dim=0))
    offsets = poses[:, :, 3] - centre
    heights = offsets @ up
    radius = float((offsets - heights[:, None] * up).norm(dim=-1).mean())
    start = offsets[start_index] - heights[start_index] * up
    if float(start.norm()) < 1e-6 * max(radius, 1e-6):
        start = torch.linalg.cross(up, torch.eye(3, dtype=up.dtype)[int(up.abs().argmin())])
    first_axis = _unit(start)
    second_axis = torch.linalg.cross(up, first_axis)
    angles = 2.0 * math.pi * turns * torch.arange(len(times), dtype=torch.float64) / len(times)
    circle = torch.cos(angles)[:, None] * first_axis + torch.sin(angles)[:, None] * second_axis
    positions = centre + heights.mean() * up + max(radius, 1e-3) * circle
    ring = torch.stack([look_at_pose(position, centre, up) for position in positions])
    return perspective_cameras(cameras[start_index : start_index + 1], ring.float(), times)


def look_at_point(camera_to_worlds: Tensor) -> Tensor:
    """The point (3,) nearest to all optical axes in least squares, of poses (N, 3, 4).

    Nearly parallel axes meet nowhere: then it is the mean of the points at the cameras' mean distance from the
    origin along each axis.
    """
    origins, forward = camera_to_worlds[:, :, 3], -camera_to_worlds[:, :, 2]
    alignment = float(torch.linalg.eigvalsh(forward.mT @ forward / len(forward))[-1])
    if alignment < 1.0 - 1e-3:
        return point_nearest_to_axes(camera_to_worlds)
    return (origins + forward * origins.norm(dim=-1).mean()).mean(dim=0)


def look_at_pose(position: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Camera-to-world (3, 4) at a position, looking at a target, with ``up`` upwards in the image."""
    backward = _unit(position - target)
    right = torch.linalg.cross(up, backward)
    if float(right.norm()) < 1e-8:  # straight along the axis: any side will do
        right = torch.linalg.cross(torch.eye(3, dtype=up.dtype)[int(backward.abs().argmin())], backward)
    right = _unit(right)
    return torch.stack([right, torch.linalg.cross(backward, right), backward, position], dim=-1)


def load_camera_path(path: Path) -> tuple[Cameras, float]:
    """Read a camera path of nerfstudio's viewer.

    Returns:
        The cameras, with times in [0, 1] where every pose has a ``render_time``, else ``times=None``; and the frames
        per second of the file.

    Raises:
        InputError: if the file is missing, is no camera path, or holds a time outside [0, 1].
    """
    from nerfstudio.cameras.camera_paths import get_path_from_json

    path = Path(path)
    if not path.is_file():
        raise InputError(f"--camera-path {path} is not a file, expected a JSON file written by the viewer.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cameras = get_path_from_json(content)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{path} is not a camera path of the viewer ({type(error).__name__}: {error}); save one there with "
            '"Generate Command".'
        ) from error
    if cameras.times is not None:
        outside = cameras.times[(cameras.times < 0) | (cameras.times > 1)]
        if len(outside):
            raise InputError(f"{path} asks for render_time {float(outside[0]):g}, expected times in [0, 1].")
    for name in ("fx", "fy", "cx", "cy", "camera_to_worlds"):
        setattr(cameras, name, getattr(cameras, name).float())  # nerfstudio's focal lengths come as float64
    return cameras, float(content.get("fps", 24.0))


def save_camera_path(path: Path, cameras: Cameras, fps: float) -> None:
    """Write cameras as a camera-path file that ``ns-render camera-path``, the viewer and ``nf-render`` read.

    The format knows one field of view per pose and a centred principal point.
    """
    width, height = int(cameras.width[0]), int(cameras.height[0])
    poses = []
    for index, pose in enumerate(cameras.camera_to_worlds.double().cpu()):
        matrix = torch.cat([pose, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=pose.dtype)])
        field_of_view = 2.0 * math.atan(0.5 * height / float(cameras.fy[index]))
        entry = {
            "camera_to_world": matrix.flatten().tolist(),
            "fov": math.degrees(field_of_view),
            "aspect": width / height,
        }
        if cameras.times is not None:
            entry["render_time"] = float(cameras.times[index])
        poses.append(entry)
    content = {
        "camera_type": "perspective",
        "render_height": height,
        "render_width": width,
        "fps": fps,
        "seconds": len(poses) / fps,
        "is_cycle": False,
        "smoothness_value": 0.0,
        "keyframes": [],
        "camera_path": poses,
    }
    write_json(path, content)


def perspective_cameras(
    like: Cameras, camera_to_worlds: Tensor, times: Tensor, metadata: dict | None = None
) -> Cameras:
    """Cameras with the intrinsics of ``like`` (N or one), the given poses (N, 3, 4) and times (N,)."""
    count = len(camera_to_worlds)

    def spread(value: Tensor) -> Tensor:
        return value.expand(count, *value.shape[1:]).clone()

    distortion = like.distortion_params
    return Cameras(
        camera_to_worlds=camera_to_worlds.to(like.camera_to_worlds),
        fx=spread(like.fx),
        fy=spread(like.fy),
        cx=spread(like.cx),
        cy=spread(like.cy),
        width=spread(like.width),
        height=spread(like.height),
        distortion_params=None if distortion is None else spread(distortion),
        camera_type=spread(like.camera_type),
        times=times.to(like.camera_to_worlds).view(count, 1),
        metadata=metadata,
    )


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp(min=1e-12)
