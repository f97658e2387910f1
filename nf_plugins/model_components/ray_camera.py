"""The camera that rays with known picture positions were cast by."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_SPREAD = 1e-6
"""Ratio of singular values below which the positions lie on a line."""


def camera_of_rays(center: Tensor, axis_directions: Tensor, picture_uv: Tensor) -> tuple[Tensor, Tensor] | None:
    """Intrinsics and pose of a pinhole camera from some of its rays, by least squares.

    A ray's direction, with unit depth along the camera's axis, is linear in its picture position.

    Args:
        center: Position of the camera ``(3,)``.
        axis_directions: Directions whose component along the camera's axis is 1 ``(N, 3)``, scene axes.
        picture_uv: Column and row, the first pixel's centre is (0, 0), ``(N, 2)``.

    Returns:
        Intrinsics ``(3, 3)`` and world-to-camera matrix ``(3, 4)``, OpenCV's axes, float32; None where fewer than three
        positions, or positions on a line, do not determine them.
    """
    positions = picture_uv.double()
    middle = positions.mean(dim=0)
    offsets = positions - middle
    if len(positions) < 3:
        return None
    spreads = torch.linalg.svdvals(offsets)
    if bool(spreads[1] <= SMALLEST_SPREAD * spreads[0].clamp(min=1e-12)):
        return None
    design = torch.cat([offsets, torch.ones_like(offsets[:, :1])], dim=1)
    across, down, forward = torch.linalg.lstsq(design, axis_directions.double()).solution
    focal = torch.stack([1 / across.norm(), 1 / down.norm()])
    right, below = across * focal[0], down * focal[1]
    # The direction of the middle is (middle - principal point) / focal in the camera's axes.
    principal = middle - focal * torch.stack([forward @ right, forward @ below])
    rotation = torch.stack([right, below, torch.linalg.cross(right, below)])
    intrinsics = torch.eye(3, dtype=torch.float64, device=center.device)
    intrinsics[0, 0], intrinsics[1, 1], intrinsics[:2, 2] = focal[0], focal[1], principal
    translation = -rotation @ center.double()
    return intrinsics.float(), torch.cat([rotation, translation[:, None]], dim=1).float()
