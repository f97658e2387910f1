"""Where a surface may be, by a probability for every plane of a cost volume (ENeRF, SIGGRAPH Asia 2022, Sec. 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

VARIANCE_FLOOR = 1e-10
"""Variances of the depth, in fractions of its range squared, are at least this."""


@dataclass(frozen=True)
class DepthInterval:
    """Within which fractions of the range of depths the surface lies, by pixel; all ``(h, w)``."""

    low: Tensor
    """Mean less standard deviation, at least 0."""
    high: Tensor
    """Mean plus standard deviation, at most 1."""
    mean: Tensor
    """Expected fraction."""
    std: Tensor
    """Its standard deviation."""


def plane_probabilities(logits: Tensor) -> Tensor:
    """Probability of every plane, ``(D, h, w)``: a softmax of what the ReLU leaves of the logits."""
    return F.relu(logits).softmax(dim=0)


def depth_interval(logits: Tensor, fractions: Tensor, variance_floor: float = VARIANCE_FLOOR) -> DepthInterval:
    """One standard deviation around the expected depth.

    Args:
        logits: ``(D, h, w)``.
        fractions: Of the planes, of the range of depths ``(D,)``.
        variance_floor: See ``VARIANCE_FLOOR``; the standard deviation is the root of the larger of both.
    """
    probabilities, planes = plane_probabilities(logits), fractions[:, None, None]
    mean = (probabilities * planes).sum(dim=0)
    variance = (probabilities * (planes - mean).square()).sum(dim=0)
    std = variance.clamp(min=variance_floor).sqrt()
    return DepthInterval((mean - std).clamp(0, 1), (mean + std).clamp(0, 1), mean, std)


def lookup(maps: Tensor, picture_uv: Tensor, scale: float) -> Tensor:
    """Bilinear values of a camera's maps at positions in its picture, the border's outside.

    Args:
        maps: ``(C, h, w)``, whose pixel i lies on pixel ``i / scale`` of the picture.
        picture_uv: Column and row in the picture, the first pixel's centre is (0, 0), ``(N, 2)``.
        scale: Of the maps.

    Returns:
        ``(N, C)``.
    """
    height, width = maps.shape[-2:]
    last = picture_uv.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = (2 * picture_uv * scale / last - 1)[None, :, None]
    values = F.grid_sample(maps.float()[None], grid.float(), padding_mode="border", align_corners=True)
    return values[0, :, :, 0].T


def lookup_volume(volume: Tensor, picture_uv: Tensor, fractions: Tensor, scale: float) -> Tensor:
    """Trilinear values of a volume ``(C, D, h, w)``, whose planes lie at equal steps from fraction 0 to 1.

    Args:
        volume: ``(C, D, h, w)``.
        picture_uv: As in :func:`lookup`, ``(N, 2)``.
        fractions: Of the range of depths ``(N,)``.
        scale: Of the volume's planes.

    Returns:
        ``(N, C)``.
    """
    height, width = volume.shape[-2:]
    last = picture_uv.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    flat = 2 * picture_uv * scale / last - 1
    grid = torch.cat([flat, 2 * fractions[:, None] - 1], dim=-1)[None, :, None, None]
    values = F.grid_sample(volume.float()[None], grid.float(), padding_mode="border", align_corners=True)
    return values[0, :, :, 0, 0].T
