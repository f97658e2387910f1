"""Which views of other cameras evaluate a method that was trained on a monocular video.

The NVIDIA Dynamic Scene set (Yoon et al., CVPR 2020) has twelve standing cameras, and its "monocular" training video
takes frame t from camera t modulo 12, so that every camera's pose is that of a training frame. Where the filming
camera moves on a path of its own, the held-out cameras' poses lie in ``mv_poses_bounds.npy``; that a video without this
file comes from a rig is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nf_plugins.data.monocular_files import HeldOutView
from nf_plugins.data.parallel import threaded_map
from nf_plugins.data.poses_bounds import read_poses_bounds
from nf_plugins.errors import InputError

EvalProtocol = Literal["auto", "nsff", "dynamic-nerf", "held-out-frames", "training-frames"]
HELD_OUT_POSES = "mv_poses_bounds.npy"
DYNAMIC_NERF_FRAMES = 12
LARGEST_FOCAL_ERROR = 1e-3
"""By which part the focal length of held-out cameras may differ from the video's."""
LARGEST_SHIFT = 0.1
"""By which part of the distance between the cameras of a rig that are farthest apart each of them may seem to move."""
LARGEST_TURN = 2.0
"""Degrees by which a standing camera may seem to turn."""
COMPARED_SIZE = 128, 72
"""Width and height at which images are compared, so that noise and compression do not count."""
LARGEST_IMAGE_DIFFERENCE = 0.5
"""Of a frame from its own camera's view, as a part of that from the other cameras' views."""


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
    images: Sequence[Path],
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
        images: N, the selected frames.
        relative_focal: Focal length of the video over its height; the views are rendered with it.

    Raises:
        InputError: No view is left, the file of poses does not fit the views or is of another lens, or there is none
            and the video does not come from a rig.
    """
    file = root / HELD_OUT_POSES
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
        num_rig = _num_rig_cameras(root, views)
        first_frames = _first_frames(len(poses), start, num_rig)
        _require_rig(root, views, poses, images, start)
        kept_poses = {camera: poses[frame] for camera, frame in first_frames.items()}
        kept, what = [view for view in views if view.camera in kept_poses], "cameras"
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


def _num_rig_cameras(root: Path, views: Sequence[HeldOutView]) -> int:
    """How many cameras took the frames in turns, if any did."""
    cameras = sorted({view.camera for view in views})
    if cameras != list(range(len(cameras))):
        missing = min(set(range(len(cameras))) - set(cameras))
        raise InputError(
            f"{root / 'mv_images'} has views of the cameras {[camera + 1 for camera in cameras]} without cam"
            f"{missing + 1:02d}, expected cam01, cam02, ... without a gap, because they are taken to film in turns: "
            f"add what is missing, or write the poses of those there are to {HELD_OUT_POSES}."
        )
    return len(cameras)


def _first_frames(num_frames: int, start: int, num_rig: int) -> dict[int, int]:
    """The first selected frame, counted from 0, of every camera that took one: its pose is the camera's."""
    return {(start + frame) % num_rig: frame for frame in reversed(range(num_frames))}


def _require_rig(
    root: Path,
    views: Sequence[HeldOutView],
    poses: NDArray[np.float64],
    images: Sequence[Path],
    start: int,
) -> None:
    """Cameras stand still, in different places; where each took one frame at most, it shows what the view shows."""
    num_rig = len({view.camera for view in views})
    expected = (
        f"expected standing cameras that film in turns, or their poses in mv_poses_bounds.npy: write {HELD_OUT_POSES}, "
        "or give --eval-protocol held-out-frames or training-frames."
    )
    if num_rig == 1:
        raise InputError(f"{root / 'mv_images'} has one camera, and no file says where it stands, {expected}")
    first_frames = _first_frames(len(poses), start, num_rig)
    standing = poses[list(first_frames.values())]
    apart = np.linalg.norm(standing[:, None, :, 3] - standing[None, :, :, 3], axis=-1).max()
    for frame, pose in enumerate(poses):
        first = first_frames[(start + frame) % num_rig]
        shift = np.linalg.norm(pose[:, 3] - poses[first, :, 3])
        cosine = (np.trace(pose[:, :3].T @ poses[first, :, :3]) - 1) / 2
        turn = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
        if frame != first and (shift >= LARGEST_SHIFT * apart or turn > LARGEST_TURN):
            raise InputError(
                f"{root} has mv_images of {num_rig} cameras without poses, and the frames {start + first} and "
                f"{start + frame} of the video, {frame - first} apart, were filmed from different places ({shift:.2g} "
                f"apart, turned by {turn:.2g} degrees; the first frames of the cameras lie up to {apart:.2g} apart), "
                f"{expected}"
            )
    if len(poses) <= num_rig and _image_difference(views, images, start, num_rig) > LARGEST_IMAGE_DIFFERENCE:
        raise InputError(
            f"{root} has mv_images of {num_rig} cameras without poses, and frame t of the video does not show what "
            f"mv_images shows of camera t modulo {num_rig}, {expected}"
        )


def _image_difference(views: Sequence[HeldOutView], images: Sequence[Path], start: int, num_rig: int) -> float:
    """Mean difference of the frames from the views of their cameras, as a part of that from all other views."""
    seen = threaded_map(_thumbnail, [view.image for view in views], "Comparing frames with held-out views")
    frames = threaded_map(_thumbnail, images, "Comparing frames with held-out views")
    own, other = [], []
    for view, thumbnail in zip(views, seen, strict=True):
        difference = np.abs(thumbnail - frames[view.frame - start]).mean()
        (own if view.camera == view.frame % num_rig else other).append(difference)
    return float(np.mean(own) / max(np.mean(other), 1e-6))


def _thumbnail(path: Path) -> NDArray[np.float32]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize(COMPARED_SIZE, Image.Resampling.BOX), dtype=np.float32)
