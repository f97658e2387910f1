"""Losses of the dynamic surface methods (ResFields, Sec. 4; weights in the method configs)."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_OPACITY = 1e-3


def foreground_l1_loss(predicted: Tensor, target: Tensor, fg_mask: Tensor) -> Tensor:
    """Mean absolute colour error over the foreground, weighted by the mask.

    Args:
        predicted: RGB ``(R, 3)``.
        target: RGB ``(R, 3)``.
        fg_mask: Foreground mask in [0, 1], ``(R, 1)``.

    Returns:
        Scalar; 0 for a batch without foreground.
    """
    return (fg_mask * (predicted - target).abs()).sum() / (3 * fg_mask.sum()).clamp(min=1e-6)


def mask_cross_entropy_loss(opacity: Tensor, fg_mask: Tensor) -> Tensor:
    """Binary cross entropy between rendered opacity, clipped to [1e-3, 1 - 1e-3], and the thresholded mask.

    Args:
        opacity: ``(R, 1)``.
        fg_mask: Foreground mask in [0, 1], ``(R, 1)``.
    """
    clipped = opacity.clamp(SMALLEST_OPACITY, 1 - SMALLEST_OPACITY)
    return torch.nn.functional.binary_cross_entropy(clipped, (fg_mask > 0.5).to(clipped.dtype))


def eikonal_loss(gradient: Tensor) -> Tensor:
    """Mean squared deviation of the gradient norm from 1; ``gradient`` is ``(*batch, 3)``."""
    return ((gradient.norm(dim=-1) - 1) ** 2).mean()


def free_space_loss(signed_distance: Tensor, is_free: Tensor) -> Tensor:
    """How far points that are known to be empty lie inside the surface.

    Stands in for the background rays that skipping of empty space leaves without samples.

    Args:
        signed_distance: ``(*batch, 1)``, scene units, negative inside.
        is_free: Which points are known to be empty, bool ``(*batch)``.

    Returns:
        Mean of ``max(-signed_distance, 0)`` over those points; 0 without any.
    """
    free = is_free.to(signed_distance.dtype)
    return (free * torch.relu(-signed_distance[..., 0])).sum() / free.sum().clamp(min=1)


def depth_l1_loss(predicted: Tensor, target: Tensor, fg_mask: Tensor | None) -> Tensor:
    """Mean absolute error of the ray distance where both distances are positive and the ray is foreground.

    Args:
        predicted: Rendered ray distance ``(R, 1)``, scene units.
        target: Measured ray distance ``(R, 1)``, scene units; 0 means not measured.
        fg_mask: Foreground mask ``(R, 1)``; None counts every ray.

    Returns:
        Scalar; 0 for a batch without a valid ray.
    """
    valid = (target > 0) & (predicted > 0)
    if fg_mask is not None:
        valid = valid & (fg_mask > 0)
    weight = valid.to(predicted.dtype)
    return (weight * (predicted - target).abs()).sum() / weight.sum().clamp(min=1)


def sparsity_loss(on_rays: Tensor, in_space: Tensor) -> Tensor:
    """Pushes surfaces away from where nothing asks for them (SparseNeuS, Long et al. 2022, with ResFields' weights).

    Args:
        on_rays: Signed distances at ray samples, any shape.
        in_space: Signed distances at uniform random points, any shape.

    Returns:
        ``(mean exp(-1000 |s|) + mean exp(-100 |s|)) / 2`` of the two, a scalar.
    """
    return 0.5 * (torch.exp(-1000 * on_rays.abs()).mean() + torch.exp(-100 * in_space.abs()).mean())


def elastic_loss(jacobian: Tensor, scale: float = 0.03) -> Tensor:
    """How far a warp is from a rigid motion (Park et al., Nerfies, Sec. 3.3, Eqs. 5 and 6).

    Squared logarithms of the singular values, under the Geman-McClure function, so that a few points may stretch.

    Args:
        jacobian: Derivative of the warped by the observed points, ``(*batch, 3, 3)``.
        scale: Where the function starts to level off.

    Returns:
        Mean over the points, a scalar in [0, 2); 0 for rigid motions. Its gradient is finite for equal singular values.
    """
    singular_values = torch.linalg.svdvals(jacobian.flatten(0, -3)).clamp(min=1e-6)
    squared = (singular_values.log() ** 2).sum(-1) / scale**2
    return (2 * squared / (squared + 4)).mean()


def code_loss(codes: Tensor) -> Tensor:
    """Mean squared length of per-frame codes ``(T, code_dim)``."""
    return (codes**2).sum(-1).mean()
