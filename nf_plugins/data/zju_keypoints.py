"""Joints of a person from two-dimensional detections: where they are, and how well the cameras agree on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nf_plugins.data.triangulation import FloatArray, plane_coordinates, reprojection_errors, triangulate
from nf_plugins.data.zju_capture import ZjuCapture

LEAST_CONFIDENCE = 0.3
LARGEST_ERROR = 0.03
"""Joints whose triangulation misses a detection by more than this part of the focal length are left out."""

LARGEST_REACH = 1.4
"""Metres from the median of a frame's joints beyond which one is no joint of that person."""


def triangulated_keypoints(capture: ZjuCapture, cameras: Sequence[int], frames: Sequence[int]) -> FloatArray | None:
    """Joints (T, J, 3) in metres from the detections of some cameras, NaN where they do not suffice or disagree.

    Args:
        capture: With keypoints; without, None is returned.
        cameras: Those that are believed, the training cameras.
        frames: T frames.
    """
    if capture.keypoints is None or len(cameras) < 2:
        return None
    detections = capture.keypoints[list(frames)][:, :, list(cameras)]
    intrinsics, distortions = capture.intrinsics[list(cameras)], capture.distortions[list(cameras)]
    poses = capture.world_to_cameras[list(cameras)]
    confidence = np.where(detections[..., 2] >= LEAST_CONFIDENCE, detections[..., 2], 0.0)
    points = triangulate(plane_coordinates(detections[..., :2], intrinsics, distortions), confidence, poses)
    errors = reprojection_errors(points, detections[..., :2], poses, intrinsics, distortions)
    errors = np.where(confidence > 0, errors / intrinsics[:, 0, 0], 0.0)
    points[~(errors.max(axis=-1) < LARGEST_ERROR)] = np.nan
    found = np.isfinite(points[..., 0])
    for frame in np.flatnonzero(found.any(axis=1)):
        distances = np.linalg.norm(points[frame] - np.median(points[frame][found[frame]], axis=0), axis=-1)
        points[frame][distances > LARGEST_REACH] = np.nan
    return points


def keypoint_errors(capture: ZjuCapture, points: FloatArray, frames: Sequence[int]) -> FloatArray:
    """Median distance in pixels (C,) of every camera's detections from the images of the joints; NaN without any.

    Args:
        points: (T, J, 3), metres.
        frames: T frames.
    """
    assert capture.keypoints is not None
    detections = capture.keypoints[list(frames)]
    errors = reprojection_errors(
        points, detections[..., :2], capture.world_to_cameras, capture.intrinsics, capture.distortions
    )
    counts = (detections[..., 2] >= LEAST_CONFIDENCE) & np.isfinite(errors)
    return np.array(
        [
            np.median(errors[..., camera][counts[..., camera]]) if counts[..., camera].any() else np.nan
            for camera in range(len(capture.camera_names))
        ]
    )


def keypoint_note(capture: ZjuCapture, points: FloatArray, train_cameras: Sequence[int], frames: Sequence[int]) -> str:
    """A sentence on how far each camera's detections lie from the joints that the training cameras agree on."""
    errors = keypoint_errors(capture, points, frames)
    parts = [
        f"{name} {error:.1f}{'' if camera in train_cameras else ' (not used)'}"
        for camera, (name, error) in enumerate(zip(capture.camera_names, errors, strict=True))
    ]
    return f"joints triangulated from the training cameras miss the detections by, median pixels: {', '.join(parts)}"
