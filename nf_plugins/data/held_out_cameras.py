"""Which views of other cameras evaluate a method that was trained on a monocular video.

The NVIDIA Dynamic Scene set (Yoon et al., CVPR 2020) has twelve standing cameras, and its "monocular" training video
takes frame t from camera t modulo 12, so that every camera's pose is that of a training frame. Where the filming
camera moves on a path of its own, the held-out cameras' poses lie in ``mv_poses_bounds.npy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.monocular_files import HeldOutView
from nf_plugins.data.poses_bounds import read_poses_bounds
from nf_plugins.errors import InputError

EvalProtocol = Literal["auto", "nsff", "dynamic-nerf", "held-out-frames", "training-frames"]
HELD_OUT_POSES = "mv_poses_bounds.npy"
DYNAMIC_NERF_FRAMES = 12
LARGEST_FOCAL_ERROR = 1e-3
"""By which part the focal length of held-out cameras may differ from the video's."""


class EvaluationViews(NamedTuple):
    """Views of other cameras, with their poses in world units."""

    views: list[HeldOutView]
    poses: NDArray[np.float64]
    """(M, 3, 4), OpenGL axes."""
    num_rig_cameras: int
    """Standing cameras that the training frames come from in turns; 0 where the filming camera is another one."""
    note: str


def choose_views(
    root: Path,
    views: Sequence[HeldOutView],
    poses: NDArray[np.float64],
    start: int,
    protocol: EvalProtocol,
    *,
    relative_focal: float,
) -> EvaluationViews:
    """Applies a published protocol to the views that there are.

    "nsff" (Li et al., CVPR 2021): at every selected frame all cameras but the one that was trained on there.
    "dynamic-nerf" (Gao et al., ICCV 2021): the first camera at the first twelve selected frames.

    Args:
        root: Folder of the scene.
        views: All views at the selected frames.
        poses: (N, 3, 4) of the selected frames, world units.
        start: Number of the first selected frame.
        protocol: "nsff", "dynamic-nerf", or "auto" for the former.
        relative_focal: Focal length of the video over its height; the views are rendered with it.

    Raises:
        InputError: No view is left, or the file of poses does not fit the views or is of another lens.
    """
    file = root / HELD_OUT_POSES
    num_cameras = len({view.camera for view in views})
    if file.is_file():
        held_out = read_poses_bounds(file)
        of_camera = held_out.camera_to_worlds
        if abs(held_out.focal / held_out.height / relative_focal - 1) > LARGEST_FOCAL_ERROR:
            raise InputError(
                f"{file} has a focal length of {held_out.focal / held_out.height:.5g} times the height, but the video "
                f"{relative_focal:.5g}, expected the same lens: resize and crop the views of mv_images to the video's."
            )
        if len(of_camera) <= max(view.camera for view in views):
            raise InputError(
                f"{file} has {len(of_camera)} rows, but {root / 'mv_images'} has camera "
                f"{max(view.camera for view in views) + 1}, expected one row per camera."
            )
        kept, what, num_rig = list(views), "all held-out cameras", 0
        kept_poses = {view.camera: of_camera[view.camera] for view in kept}
    else:
        # A camera's pose is that of the first selected frame that it took.
        kept_poses = {
            camera: poses[frame] for frame in reversed(range(len(poses))) for camera in [(start + frame) % num_cameras]
        }
        kept = [view for view in views if view.camera in kept_poses]
        what, num_rig = "cameras", num_cameras
    if protocol == "dynamic-nerf":
        kept = [view for view in kept if view.camera == 0 and view.frame < start + DYNAMIC_NERF_FRAMES]
        note = f"DynamicNeRF's protocol: the first camera at {len(kept)} frames from frame {start} on"
    else:
        if num_rig:
            kept = [view for view in kept if view.camera != view.frame % num_rig]
            what = f"{num_rig} cameras, without the one that was trained on"
        note = f"NSFF's protocol: {what}, at all {len(poses)} frames, {len(kept)} images"
    if not kept:
        raise InputError(
            f"No view of {root / 'mv_images'} is left to evaluate on with --eval-protocol {protocol} at the frames "
            f"from {start} to {start + len(poses) - 1}: select more frames, or give --eval-protocol training-frames."
        )
    return EvaluationViews(kept, np.stack([kept_poses[view.camera] for view in kept]), num_rig, note)


def camera_names(views: EvaluationViews | None) -> list[str]:
    """What the cameras are called, by ``camera_id``; the filming one is "video" unless it is one of a rig."""
    if views is None:
        return ["video"]
    if views.num_rig_cameras:
        return [f"cam{camera + 1:02d}" for camera in range(views.num_rig_cameras)]
    last = max(view.camera for view in views.views)
    return ["video", *(f"cam{camera + 1:02d}" for camera in range(last + 1))]
