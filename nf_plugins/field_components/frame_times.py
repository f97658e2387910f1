"""The one place where times become frames."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_ids_from_times(times: Tensor, frame_times: Tensor) -> Tensor:
    """Index of the frame whose time is nearest.

    Args:
        times: Times in [0, 1], any shape.
        frame_times: The sorted distinct training times, shape (T,).

    Returns:
        int64 frame ids in [0, T), same shape as ``times``. Half-way times take the later frame.
    """
    if len(frame_times) == 1:
        return torch.zeros_like(times, dtype=torch.long)
    midpoints = (frame_times[1:] + frame_times[:-1]) / 2
    return torch.bucketize(times.contiguous(), midpoints, right=True)


def frame_coordinates(times: Tensor, frame_times: Tensor) -> Tensor:
    """Fractional frame index of a time: piecewise linear, equal to the frame id at a frame's own time.

    Args:
        times: Times in [0, 1], any shape; clamped to the range of ``frame_times``.
        frame_times: The sorted distinct training times, shape (T,).

    Returns:
        Frame coordinates in [0, T - 1], same shape and dtype as ``times``.
    """
    if len(frame_times) == 1:
        return torch.zeros_like(times)
    clamped = times.clamp(frame_times[0], frame_times[-1]).contiguous()
    upper = torch.bucketize(clamped, frame_times, right=True).clamp(1, len(frame_times) - 1)
    lower_time, upper_time = frame_times[upper - 1], frame_times[upper]
    return (upper - 1).to(times.dtype) + (clamped - lower_time) / (upper_time - lower_time)
