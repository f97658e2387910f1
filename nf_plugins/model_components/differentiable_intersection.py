"""The surface point of a ray as a function of the network, the camera's centre and the ray's direction."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_SLOPE = 1e-2
"""Least size of the signed distance's slope along a ray, so that grazing rays keep finite gradients."""


def differentiable_intersection(
    origins: Tensor,
    directions: Tensor,
    distance: Tensor,
    signed_distance: Tensor,
    gradient: Tensor,
    *,
    least_slope: float = LEAST_SLOPE,
) -> Tensor:
    """A traced surface point with the derivatives of the true intersection (IDR: Yariv et al. 2020, equation 3).

    One Newton step along the ray from the traced point, whose correction is zero but whose derivative is that of the
    implicit function: exact in first order for rays that are not grazing.

    Args:
        origins: Camera centres ``(N, 3)``, with their graph where cameras are learnt.
        directions: Unit directions ``(N, 3)``, likewise.
        distance: Traced distances along the rays ``(N,)``; taken as constants.
        signed_distance: ``(N,)`` or ``(N, 1)``, at ``origins + distance * directions`` computed with the graph of all
            three, so that it depends on the network and on the cameras.
        gradient: Of the signed distance by the point there ``(N, 3)``; taken as constant.
        least_slope: Smaller slopes along the ray are enlarged to this, keeping their sign.

    Returns:
        Points ``(N, 3)``, in value ``origins + distance * directions``.
    """
    distance = distance.detach()
    signed_distance = signed_distance.reshape(distance.shape)
    slope = (gradient.detach() * directions.detach()).sum(-1)
    slope = torch.where(slope > 0, slope.clamp(min=least_slope), slope.clamp(max=-least_slope))
    moved = distance - (signed_distance - signed_distance.detach()) / slope
    return origins + moved[:, None] * directions
