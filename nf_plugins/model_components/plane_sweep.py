"""Source features seen on planes of constant depth before a target camera, and how much they disagree there.

Cost volumes as in MVSNet (Yao et al., ECCV 2018) and ENeRF (Lin et al., SIGGRAPH Asia 2022, Sec. 3.1).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from nf_plugins.model_components.source_projection import project_to_sources, sample_sources

DepthMode = Literal["linear", "inverse"]
"""Planes at equal steps of depth, or of its inverse."""


def plane_fractions(num_planes: int, offset: float | Tensor = 0.0, device: torch.device | str = "cpu") -> Tensor:
    """Where planes lie between the nearest (0) and the farthest (1) depth, ``(D,)``.

    Args:
        num_planes: D.
        offset: Added to all of them, in training at random, at most ``1 / D``.
        device: Where the result is wanted.
    """
    return torch.linspace(0, 1, num_planes, device=device) + offset


def depth_at(fractions: Tensor, near: Tensor, far: Tensor, mode: DepthMode) -> Tensor:
    """Depth at fractions of a range; shapes broadcast. With mode "inverse" equal steps are equal in 1 / depth."""
    if mode == "inverse":
        return 1 / (1 / near + fractions * (1 / far - 1 / near))
    return near + fractions * (far - near)


def fraction_at(depth: Tensor, near: Tensor, far: Tensor, mode: DepthMode) -> Tensor:
    """The inverse of :func:`depth_at`; where the range is empty, 0."""
    if mode == "inverse":
        depth, near, far = 1 / depth, 1 / near, 1 / far
    width = far - near
    return torch.where(width.abs() > 1e-12, (depth - near) / torch.where(width.abs() > 1e-12, width, 1.0), 0.0)


def plane_depths(z_range: Tensor, num_planes: int, mode: DepthMode = "linear", offset: float | Tensor = 0.0) -> Tensor:
    """Depths of the planes, along the target camera's axis.

    Args:
        z_range: Nearest and farthest depth ``(2,)``, or by pixel ``(2, h, w)``.
        num_planes: D.
        mode: See :data:`DepthMode`.
        offset: See :func:`plane_fractions`.

    Returns:
        ``(D,)`` or ``(D, h, w)``.
    """
    fractions = plane_fractions(num_planes, offset, z_range.device)
    fractions = fractions.reshape(-1, *[1] * (z_range.dim() - 1))
    return depth_at(fractions, z_range[0], z_range[1], mode)


def scaled_intrinsics(intrinsics: Tensor, scale: float) -> Tensor:
    """Intrinsics ``(*batch, 3, 3)`` of images whose pixel i lies on pixel ``i / scale`` of the original."""
    factors = intrinsics.new_tensor([scale, scale, 1.0])
    return intrinsics * factors[:, None]


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width of such an image that covers the original's pixels but for the last ``1 / scale - 1``."""
    return math.ceil(size[0] * scale), math.ceil(size[1] * scale)


def pixel_grid(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Column and row of every pixel, ``(h, w, 2)``."""
    rows, columns = torch.meshgrid(
        torch.arange(size[0], device=device, dtype=torch.float32),
        torch.arange(size[1], device=device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack([columns, rows], dim=-1)


def plane_points(intrinsics: Tensor, world_to_camera: Tensor, depths: Tensor) -> Tensor:
    """Points that a camera sees at depths.

    Args:
        intrinsics: Of the camera ``(3, 3)``; the centre of the first pixel is (0, 0).
        world_to_camera: ``(3, 4)``, OpenCV's axes.
        depths: Along its axis, for every pixel ``(D, h, w)``.

    Returns:
        ``(D, h, w, 3)``, scene units.
    """
    with torch.autocast(depths.device.type, enabled=False):
        size = (int(depths.shape[-2]), int(depths.shape[-1]))
        pixels = pixel_grid(size, depths.device)
        focal = torch.stack([intrinsics[0, 0], intrinsics[1, 1]])
        rays = torch.cat([(pixels - intrinsics[:2, 2]) / focal, torch.ones_like(pixels[..., :1])], dim=-1)
        local = rays * depths.float()[..., None] - world_to_camera[:, 3]
        return local @ world_to_camera[:, :3]


def warp_to_planes(features: Tensor, intrinsics: Tensor, world_to_cameras: Tensor, points: Tensor) -> Tensor:
    """What sources show at every pixel and plane of the target; the border's values outside.

    Args:
        features: Of the sources ``(S, C, h', w')``.
        intrinsics: Of these maps ``(S, 3, 3)``.
        world_to_cameras: ``(S, 3, 4)``.
        points: Of :func:`plane_points` ``(D, h, w, 3)``.

    Returns:
        ``(S, C, D, h, w)``.
    """
    uv, _ = project_to_sources(points.reshape(-1, 3), intrinsics, world_to_cameras)
    return sample_sources(features, uv).transpose(1, 2).unflatten(2, points.shape[:3])


def variance_volume(warped: Tensor) -> Tensor:
    """Variance over the sources (the mean of squared deviations): ``(S, C, D, h, w)`` -> ``(C, D, h, w)``."""
    return (warped - warped.mean(dim=0)).square().mean(dim=0)
