"""Where points are in source images, what these show there, and how differently they look at it.

Geometry is computed in float32 whatever autocast says: half precision moves projections by a tenth of a pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEAREST_DEPTH = 1e-6
"""Depths (scene units) are at least so much when they divide; points nearer than this are not seen."""
DIRECTION_EPS = 1e-6
"""Added to lengths before they divide."""


def project_to_sources(points: Tensor, intrinsics: Tensor, world_to_cameras: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of points in every source image.

    Args:
        points: Scene units ``(N, 3)``.
        intrinsics: Of the sources ``(S, 3, 3)``; the centre of the first pixel is (0, 0).
        world_to_cameras: OpenCV's axes ``(S, 3, 4)``.

    Returns:
        Column and row ``(S, N, 2)`` and depth along the camera's axis ``(S, N)``, which is not positive for points
        behind a camera; their pixels mean nothing.
    """
    with torch.autocast(points.device.type, enabled=False):
        matrices = intrinsics.float() @ world_to_cameras.float()
        projected = points.float() @ matrices[..., :3].transpose(-1, -2) + matrices[..., None, :, 3]
        depth = projected[..., 2]
        return projected[..., :2] / depth[..., None].clamp(min=NEAREST_DEPTH), depth


def inside_sources(uv: Tensor, depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether points are in front of a source and within its image, bool ``(S, N)``.

    Args:
        uv: Column and row ``(S, N, 2)``.
        depth: ``(S, N)``.
        size: Height and width of the images.
    """
    last = uv.new_tensor([size[1] - 1, size[0] - 1])
    return ((uv >= 0) & (uv <= last)).all(dim=-1) & (depth >= NEAREST_DEPTH)


def sample_sources(maps: Tensor, uv: Tensor) -> Tensor:
    """Bilinear values of maps at pixels, those of the border outside.

    Args:
        maps: ``(S, C, h, w)``.
        uv: Column and row in these maps ``(S, N, 2)``.

    Returns:
        ``(S, N, C)``.
    """
    with torch.autocast(maps.device.type, enabled=False):
        height, width = maps.shape[-2:]
        last = uv.new_tensor([max(width - 1, 1), max(height - 1, 1)])
        grid = (2 * uv.float() / last - 1)[:, None]
        values = F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=True)
        return values[:, :, 0].transpose(1, 2)


def direction_code(points: Tensor, target_center: Tensor, source_centers: Tensor) -> Tensor:
    """How the directions towards the sources differ from that towards the target.

    With unit directions q to the target and s to a source: ``[(q - s) / |q - s|, q . s]``.

    Args:
        points: Scene units ``(N, 3)``.
        target_center: Position of the target camera ``(3,)``, or one for each point ``(N, 3)``.
        source_centers: Positions of the source cameras ``(S, 3)``.

    Returns:
        ``(S, N, 4)``.
    """
    with torch.autocast(points.device.type, enabled=False):
        points = points.float()
        to_target = F.normalize(target_center.float() - points, dim=-1)
        to_sources = source_centers.float()[:, None] - points
        to_sources = to_sources / (to_sources.norm(dim=-1, keepdim=True) + DIRECTION_EPS)
        difference = to_target - to_sources
        # The length of a zero vector has no gradient: a source in the target's place would spoil that of the points.
        length = (difference.square().sum(dim=-1, keepdim=True) + DIRECTION_EPS**4).sqrt()
        difference = difference / (length + DIRECTION_EPS)
        return torch.cat([difference, (to_target * to_sources).sum(dim=-1, keepdim=True)], dim=-1)
