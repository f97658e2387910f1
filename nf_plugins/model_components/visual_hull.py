"""Carving empty space from foreground masks."""

from __future__ import annotations

import math

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.model_components.lens_distortion import distort, largest_magnification, largest_squared_radius


def project_points(camera: Cameras, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel coordinates of scene points in one perspective camera (OpenGL axes, half-pixel centres), with its
    distortion where it has one.

    Args:
        camera: A single camera (batch shape ``()``).
        points: ``(N, 3)``, scene units.

    Returns:
        Columns x, rows y (both ``(N,)``, pixels) and the depth along the viewing axis ``(N,)``; x and y mean nothing
        where the depth is not positive. Points beyond what the distortion describes get the depth -1.
    """
    rotation, position = camera.camera_to_worlds[:3, :3], camera.camera_to_worlds[:3, 3]
    local = (points - position) @ rotation
    depth = -local[:, 2]
    safe_depth = depth.clamp(min=1e-6)
    plane = torch.stack([local[:, 0] / safe_depth, -local[:, 1] / safe_depth], dim=-1)
    if camera.distortion_params is not None:
        beyond = (plane**2).sum(-1) > largest_squared_radius(camera.distortion_params)
        depth = torch.where(beyond, -torch.ones_like(depth), depth)
        plane = distort(plane, camera.distortion_params)
    return camera.fx * plane[:, 0] + camera.cx, camera.fy * plane[:, 1] + camera.cy, depth


def cells_inside_silhouette(
    camera: Cameras, mask: Tensor, centers: Tensor, radius: float, beyond_border: bool = True
) -> Tensor:
    """Which cells may touch the silhouette of one view; cells that the view does not see may.

    The mask is dilated by the pixels that the nearest cell's radius covers, so a cell is excluded only when all of it
    projects to background.

    Args:
        camera: A single camera (batch shape ``()``).
        mask: Foreground mask ``(H, W)``, bool.
        centers: Cell centres ``(N, 3)``, scene units.
        radius: Half diagonal of a cell, scene units.
        beyond_border: Whether what lies beyond the image's border may be foreground; cells at the border touch it.

    Returns:
        bool ``(N,)``.
    """
    height, width = mask.shape
    x, y, depth = project_points(camera, centers)
    column, row = x.floor().long(), y.floor().long()
    seen = (depth > 2 * radius) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    if not bool(seen.any()):
        return torch.ones_like(seen)
    # Half the width of a sphere's image; it grows away from the optical axis.
    squared_radius = ((x - camera.cx) / camera.fx) ** 2 + ((y - camera.cy) / camera.fy) ** 2
    extent = torch.maximum(camera.fx, camera.fy) * radius / (depth - radius) * (1 + squared_radius).sqrt()
    if camera.distortion_params is not None:
        extent = extent * largest_magnification(squared_radius, camera.distortion_params)
    dilation = min(math.ceil(float(extent[seen].max())), max(height, width))
    # What lies beyond the border is not seen, so it may be foreground.
    dilated = torch.nn.functional.pad(mask[None, None].float(), [dilation] * 4, value=float(beyond_border))
    for kernel in ((2 * dilation + 1, 1), (1, 2 * dilation + 1)):
        dilated = torch.nn.functional.max_pool2d(dilated, kernel, stride=1)
    inside = dilated[0, 0][row.clamp(0, height - 1), column.clamp(0, width - 1)] > 0
    return inside | ~seen
