"""Optical flow followed from frame to frame, and where flow forward and backward agree.

Positions are (column, row) in pixels with the centre of the first pixel at (0, 0): the index grid. Flow is (dx, dy).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

FloatArray = NDArray[np.floating]
RELATIVE_TOLERANCE = 0.5
"""Of the two flows' lengths."""
ABSOLUTE_TOLERANCE = 0.5
"""Pixels."""


def pixel_grid(height: int, width: int) -> NDArray[np.float32]:
    """(H, W, 2) column and row of every pixel."""
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([columns, rows], axis=-1)


def sample_grid(
    values: FloatArray, positions: FloatArray, kernel: Literal["bilinear", "bicubic"]
) -> NDArray[np.float32]:
    """Values (H, W, C) at positions (*batch, 2) -> (*batch, C); everything outside the grid is 0.

    The bicubic kernel (a = -0.75, as OpenCV has it) is sharper, the bilinear one exact on planes.
    """
    height, width = values.shape[:2]
    grid = torch.from_numpy(np.ascontiguousarray(positions, dtype=np.float32)).reshape(1, 1, -1, 2)
    # -1 and 1 are the centres of the first and last pixel; a single row or column has no such scale.
    size = torch.tensor([max(width - 1, 1), max(height - 1, 1)], dtype=torch.float32)
    image = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).permute(2, 0, 1)[None]
    sampled = functional.grid_sample(image, 2 * grid / size - 1, mode=kernel, padding_mode="zeros", align_corners=True)
    return sampled[0, :, 0].T.reshape(*positions.shape[:-1], values.shape[-1]).numpy()


def returned_flow(flow: FloatArray, flow_back: FloatArray) -> NDArray[np.float32]:
    """The way back at the place that each pixel's flow leads to (H, W, 2); 0 outside the other image.

    Args:
        flow: (H, W, 2) from this image to the other.
        flow_back: (H, W, 2) from the other to this one.
    """
    return sample_grid(flow_back, pixel_grid(*flow.shape[:2]) + flow, "bicubic")


def flows_agree(flow: FloatArray, flow_returned: FloatArray) -> NDArray[np.bool_]:
    """Where there and back again ends near the start: ``|f + b| < 0.5 (|f| + |b|) + 0.5`` pixels, as NSFF (Li et al.
    2021) judges it.

    Args:
        flow: (*batch, 2).
        flow_returned: (*batch, 2) the flow back, at the place where ``flow`` ends.
    """
    lengths = np.linalg.norm(flow, axis=-1) + np.linalg.norm(flow_returned, axis=-1)
    error = np.linalg.norm(flow + flow_returned, axis=-1)
    return error < RELATIVE_TOLERANCE * lengths + ABSOLUTE_TOLERANCE


def consistent_pixels(flow: FloatArray, flow_back: FloatArray) -> NDArray[np.bool_]:
    """Where a flow (H, W, 2) is confirmed by the flow back (H, W, 2): :func:`flows_agree` of every pixel (H, W)."""
    return flows_agree(flow, returned_flow(flow, flow_back))


def chain_flow(
    flow: FloatArray, valid: NDArray[np.bool_], next_flow: FloatArray, next_valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow i -> k followed by flow k -> k + 1, for the pixels of frame i.

    Args:
        flow: (H, W, 2).
        valid: (H, W) where it is trusted.
        next_flow: (H, W, 2) of the frame that ``flow`` leads to.
        next_valid: (H, W).

    Returns:
        The sum (H, W, 2), and where both parts are trusted and the place between them lies in the image (H, W).
    """
    height, width = flow.shape[:2]
    between = pixel_grid(height, width) + flow
    stacked = np.concatenate([next_flow, next_valid[..., None].astype(np.float32)], axis=-1)
    step = sample_grid(stacked, between, "bilinear")
    inside = ((between >= 0) & (between <= np.array([width - 1, height - 1]))).all(axis=-1)
    return (flow + step[..., :2]).astype(np.float32), valid & inside & (step[..., 2] > 0.99)


def resize_flow(flow: FloatArray, height: int, width: int) -> NDArray[np.float32]:
    """Flow (h, w, 2) for images of another size (height, width, 2): bilinear, vectors scaled along each axis."""
    old_height, old_width = flow.shape[:2]
    image = torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float32)).permute(2, 0, 1)[None]
    resized = functional.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)
    scale = np.array([width / old_width, height / old_height], dtype=np.float32)
    return resized[0].permute(1, 2, 0).numpy() * scale
