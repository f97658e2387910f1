"""Losses of IDR (Yariv et al., NeurIPS 2020, Eq. 6-9). All are sums over some rays divided by the number of all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def surface_color_loss(predicted: Tensor, target: Tensor, on_surface: Tensor) -> Tensor:
    """L1 colour error of the rays on the surface, summed over channels, divided by the number of all rays.

    Args:
        predicted: RGB ``(R, 3)`` in [0, 1].
        target: RGB ``(R, 3)`` in [0, 1].
        on_surface: bool ``(R,)``: hit, and in the mask.

    Returns:
        Scalar, in the original's colour range [-1, 1], which is twice as wide; 0 without such rays.
    """
    errors = 2 * (predicted - target).abs().sum(-1)
    return torch.where(on_surface, errors, 0.0).sum() / len(on_surface)


def silhouette_loss(signed_distance: Tensor, in_mask: Tensor, on_surface: Tensor, alpha: float) -> Tensor:
    """Cross entropy between the mask and ``sigmoid(-alpha * s)``, s the least distance along the ray.

    Args:
        signed_distance: Of the point of each ray that is deepest inside or nearest to the surface, ``(R, 1)``.
        in_mask: bool ``(R,)``.
        on_surface: bool ``(R,)``; these rays take no part.
        alpha: Sharpness, per scene unit.

    Returns:
        Scalar, divided by alpha and the number of all rays.
    """
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        -alpha * signed_distance[:, 0], in_mask.to(signed_distance.dtype), reduction="none"
    )
    return torch.where(on_surface, 0.0, entropy).sum() / (alpha * len(in_mask))


def silhouette_sharpness(step: int, start: float, milestones: Sequence[int], factor: float) -> float:
    """The alpha of :func:`silhouette_loss` at a step: multiplied by ``factor`` from each milestone on."""
    return start * factor ** sum(step >= milestone for milestone in milestones)
