"""Camera paths of NSFF (Li et al., CVPR 2021): small loops beside the recording camera, and the way it took itself.

Poses are camera-to-world (3, 4), OpenGL axes, in the scene units of the normalised device coordinates, whose near plane
is ``near`` units from the origin. Frame coordinates count training frames from 0 and may lie between two; they are kept
within the recording, as networks only extrapolate beyond it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nf_plugins.errors import InputError

WANDER_FRAMES = 60
"""Poses of one round of the wander."""
WANDER_PIXELS = 48.0
"""Pixels that something on the near plane moves to either side while the camera wanders."""
ELLIPSE_FRAMES = 40
"""Poses of one round of the ellipse."""
ELLIPSE_PIXELS = 32.0
"""Likewise of the ellipse."""


def wander_offsets(
    focal: float, num_frames: int = WANDER_FRAMES, near: float = 1.0, amplitude: float = WANDER_PIXELS
) -> Tensor:
    """A tilted closed loop ``(num_frames, 3)``, float64, in the camera's axes and scene units.

    Sideways by a sine, up and forward together by a third of the cosine.

    Args:
        focal: Focal length in pixels.
        num_frames: Poses of one round.
        near: Distance of the near plane, scene units.
        amplitude: Pixels that something on the near plane moves to either side.
    """
    angles = _angles(num_frames, num_frames)
    extent = amplitude * near / focal
    along = extent * torch.cos(angles) / 3
    return -torch.stack([extent * torch.sin(angles), along, along], dim=-1)


def ellipse_offsets(
    focal: float,
    num_frames: int,
    period: int = ELLIPSE_FRAMES,
    near: float = 1.0,
    amplitude: float = ELLIPSE_PIXELS,
) -> Tensor:
    """Rounds of an ellipse in the image plane, twice as wide as high, ``(num_frames, 3)``; see :func:`wander_offsets`.

    Args:
        focal: Focal length in pixels.
        num_frames: Poses in all.
        period: Poses of one round.
        near: Distance of the near plane, scene units.
        amplitude: Pixels that something on the near plane moves to either side.
    """
    angles = _angles(num_frames, period)
    extent = amplitude * near / focal
    return -torch.stack([extent * torch.sin(angles), extent * torch.cos(angles) / 2, torch.zeros_like(angles)], dim=-1)


def shifted_poses(poses: Tensor, offsets: Tensor) -> Tensor:
    """Poses ``(*batch, 3, 4)`` moved by offsets in the camera's own axes, ``(*batch, 3)``; both batches broadcast."""
    rotations, centres = poses[..., :3, :3], poses[..., :3, 3:]
    offsets = offsets.to(poses)
    moved = centres + rotations @ offsets[..., None]
    return torch.cat([rotations.expand(*moved.shape[:-2], 3, 3), moved], dim=-1)


def interpolated_poses(poses: Tensor, frame_coordinates: Tensor) -> Tensor:
    """Where the recording camera was between its frames: centres linearly, rotations the shortest way round.

    Args:
        poses: Of all training frames ``(N, 3, 4)``.
        frame_coordinates: ``(M,)``; clamped to [0, N - 1].

    Returns:
        ``(M, 3, 4)``, dtype and device of ``poses``.
    """
    from scipy.spatial.transform import Rotation, Slerp

    matrices = poses.detach().double().cpu().numpy()
    frames = np.arange(len(matrices))
    where = frame_coordinates.detach().double().cpu().numpy().clip(0, len(matrices) - 1)
    centres = np.stack([np.interp(where, frames, matrices[:, axis, 3]) for axis in range(3)], axis=-1)
    if len(matrices) == 1:  # Slerp wants two
        rotations = np.repeat(matrices[:, :3, :3], len(where), axis=0)
    else:
        rotations = Slerp(frames, Rotation.from_matrix(matrices[:, :3, :3]))(where).as_matrix()
    return torch.from_numpy(np.concatenate([rotations, centres[:, :, None]], axis=-1)).to(poses)


def bullet_poses(poses: Tensor, frame_coordinates: Tensor, focal: float, near: float = 1.0) -> Tensor:
    """The recording camera's way with the ellipse on top, ``(M, 3, 4)``: moving time and moving view.

    Args:
        poses: Of all training frames ``(N, 3, 4)``.
        frame_coordinates: ``(M,)``; clamped to [0, N - 1].
        focal: Focal length in pixels.
        near: Distance of the near plane, scene units.
    """
    offsets = ellipse_offsets(focal, len(frame_coordinates), near=near)
    return shifted_poses(interpolated_poses(poses, frame_coordinates), offsets)


def frames_around(target: float, num_frames: int, reach: float = 8.0, steps_per_frame: int = 10) -> Tensor:
    """Frame coordinates from ``reach`` frames before a frame to as many after it, float64, both ends included.

    Those outside the recording are left out, so that no part of the video stands still.

    Args:
        target: Frame in the middle; 161 coordinates around it where the recording is long enough.
        num_frames: Frames of the recording.
        reach: Frames to either side.
        steps_per_frame: Coordinates per frame.

    Raises:
        InputError: The target is not a frame of the recording.
    """
    if not 0 <= target <= num_frames - 1:
        raise InputError(
            f"--frame {target:g} is outside the recording, expected 0 to {num_frames - 1}: it has {num_frames} frames."
        )
    steps = round(reach * steps_per_frame)
    coordinates = target + torch.arange(-steps, steps + 1, dtype=torch.float64) / steps_per_frame
    # Sums of tenths miss whole frames by the last digit, and a whole frame takes one key time instead of two.
    coordinates = torch.where((coordinates - coordinates.round()).abs() < 1e-6, coordinates.round(), coordinates)
    return coordinates[(coordinates >= 0) & (coordinates <= num_frames - 1)]


def key_frames_and_fraction(frame_coordinate: float, num_frames: int) -> tuple[int, int, float]:
    """Key frames before and after a frame coordinate, and how far it is from the one to the other.

    Coordinates are clamped to [0, num_frames - 1] and those within a millionth of a frame taken for it. At a frame, and
    so at the last one, both key frames are that frame and the fraction is 0.
    """
    clamped = min(max(frame_coordinate, 0.0), num_frames - 1.0)
    if abs(clamped - round(clamped)) < 1e-6:
        return round(clamped), round(clamped), 0.0
    before = math.floor(clamped)
    return before, before + 1, clamped - before


def times_of_frames(frame_coordinates: Tensor, frame_times: Tensor) -> Tensor:
    """Times in [0, 1] of frame coordinates ``(M,)``, linear between training frames; float32 ``(M,)``.

    The inverse of ``frame_times.frame_coordinates``, clamped like it.

    Args:
        frame_coordinates: ``(M,)``.
        frame_times: The sorted distinct training times ``(N,)``.
    """
    coordinates = frame_coordinates.detach().double().cpu().numpy()
    times = np.interp(coordinates, np.arange(len(frame_times)), frame_times.detach().double().cpu().numpy())
    return torch.from_numpy(times).to(frame_times)


def _angles(num_frames: int, period: int) -> Tensor:
    return 2 * math.pi * torch.arange(num_frames, dtype=torch.float64) / period
