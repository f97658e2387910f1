"""Where the person of a ZJU-MoCap or EasyMocap capture is: a box around vertices, a visual hull or joints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from nf_plugins.data.camera_conventions import flip_camera_axes
from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.data.parallel import threaded_map
from nf_plugins.data.subject_box import box_around, hull_box
from nf_plugins.data.triangulation import FloatArray
from nf_plugins.data.zju_capture import ZjuCapture
from nf_plugins.data.zju_files import find_masks, find_vertices
from nf_plugins.errors import InputError

HULL_FRAMES, HULL_CAMERAS = 12, 12
"""At most so many frames and cameras, evenly spread, are carved for the box."""
KEYPOINT_PADDING = 0.2
"""Metres around joints, which lie inside the body, and about the head and the hands, which have few."""

BoxSource = Literal["auto", "vertices", "masks", "keypoints"]


def find_subject(
    *,
    root: Path,
    capture: ZjuCapture,
    cameras: Sequence[int],
    frames: Sequence[int],
    keypoints: FloatArray | None,
    mask_folder: str,
    source: BoxSource,
    padding: float,
) -> Tensor:
    """The box (2, 3) around the subject in all frames, metres.

    Args:
        root: Folder of the scene.
        capture: Its calibration and images.
        cameras: The training cameras: a box must not depend on what evaluates.
        frames: The frames that are loaded.
        keypoints: (T, J, 3) joints, metres; None where there are none.
        mask_folder: As the dataparser's option.
        source: "auto" takes the first of vertices, masks and keypoints that gives a box.
        padding: Metres added on every side.

    Raises:
        InputError: No source gives a box, or a file cannot be used.
    """
    finders: dict[str, Callable[[], Tensor | None]] = {
        "vertices": lambda: _box_of_vertices(find_vertices(root, len(capture.images), frames)),
        "masks": lambda: _box_of_masks(root, capture, cameras, frames, mask_folder),
        "keypoints": lambda: _box_of_keypoints(keypoints),
    }
    sources = list(finders) if source == "auto" else [source]
    for name in sources:
        box = finders[name]()
        if box is not None:
            return box_around(box, padding)
    raise InputError(
        f"The subject of {root} cannot be found from {' or '.join(sources)} ({len(cameras)} training cameras), "
        "expected masks of at least two, joints seen by two (kpts2d), or vertices/: give its box with --scene-box xmin "
        "ymin zmin xmax ymax zmax in metres."
    )


def world_cameras(capture: ZjuCapture, used: Sequence[int], sizes: Tensor, factor: int) -> Cameras:
    """Cameras (C) of a capture in metres, with their lenses.

    Args:
        used: Which cameras.
        sizes: (C, 2) height and width of their reduced images.
        factor: By how much the images are reduced.
    """
    world_to_cameras = capture.world_to_cameras[list(used)]
    rotations = world_to_cameras[:, :, :3].transpose(0, 2, 1)
    centres = -rotations @ world_to_cameras[:, :, 3:]
    matrices = torch.from_numpy(capture.intrinsics[list(used)] / factor).float()
    k1, k2, p1, p2, k3 = torch.from_numpy(capture.distortions[list(used)]).float().unbind(-1)
    distortion = torch.stack([k1, k2, k3, torch.zeros_like(k1), p1, p2], dim=-1)
    return Cameras(
        camera_to_worlds=torch.from_numpy(flip_camera_axes(np.concatenate([rotations, centres], axis=-1))).float(),
        fx=matrices[:, 0, 0:1],
        fy=matrices[:, 1, 1:2],
        cx=matrices[:, 0, 2:3],
        cy=matrices[:, 1, 2:3],
        height=sizes[:, 0:1],
        width=sizes[:, 1:2],
        distortion_params=distortion if bool((distortion != 0).any()) else None,
        camera_type=CameraType.PERSPECTIVE,
    )


def _box_of_keypoints(keypoints: FloatArray | None) -> Tensor | None:
    if keypoints is None or not np.isfinite(keypoints).any():
        return None
    return box_around(torch.from_numpy(keypoints).float(), KEYPOINT_PADDING)


def _box_of_vertices(files: Sequence[Path]) -> Tensor | None:
    corners = []
    for file in files:
        try:
            vertices = np.asarray(np.load(file, allow_pickle=False), dtype=np.float32)
            corners.append(box_around(torch.from_numpy(vertices), 0.0))
        except (OSError, ValueError, EOFError, RuntimeError) as error:
            raise InputError(f"{file} cannot be read ({error}), expected (V, 3) vertices in metres.") from error
    return box_around(torch.stack(corners), 0.0) if corners else None


def _box_of_masks(
    root: Path, capture: ZjuCapture, cameras: Sequence[int], frames: Sequence[int], mask_folder: str
) -> Tensor | None:
    cameras, frames = _spread(cameras, HULL_CAMERAS), _spread(frames, HULL_FRAMES)
    files, rule = find_masks(root, mask_folder, capture, cameras, frames)
    if not files or len(cameras) < 2:
        return None
    masks = threaded_map(lambda file: read_mask(file, rule)[..., 0] > 0, files, "Reading masks")
    sizes = torch.tensor([mask.shape for mask in masks[:: len(frames)]])
    rows = torch.arange(len(cameras)).repeat_interleave(len(frames))
    return hull_box(world_cameras(capture, cameras, sizes, 1)[rows], masks, frames * len(cameras))


def _spread(values: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of some values, evenly spread, first and last included."""
    return [values[int(index)] for index in np.unique(np.linspace(0, len(values) - 1, count).round())]
