"""Opacities of ray intervals from a signed distance (Wang et al., *NeuS*, NeurIPS 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def annealed_slope(cosine: Tensor, ratio: float) -> Tensor:
    """Slope of the distance along a ray that the opacity is computed with, never positive.

    A ray that leaves the surface has no opacity, thus no gradient either. At the start of training, when the surface
    may face anywhere, slopes are therefore halved and shifted, so that all but those straight outwards count.

    Args:
        cosine: Gradient of the distance times unit ray direction, any shape.
        ratio: 0 counts rays that leave, 1 is the exact ``min(cosine, 0)``; between them linear.
    """
    return -((1 - ratio) * torch.relu(0.5 - 0.5 * cosine) + ratio * torch.relu(-cosine))


def neus_alpha(signed_distance: Tensor, slope: Tensor, length: Tensor, sharpness: Tensor | float) -> Tensor:
    """Opacity of intervals on rays: ``1 - S(f_end) / S(f_start)`` with the sigmoid ``S(x) = 1 / (1 + exp(-kx))``.

    This is Eq. 13 of the paper with the distances ``f`` at both ends of an interval extrapolated from its middle. Where
    the slope is constant, the weights of the intervals of a ray are differences of ``S``, with their maximum at the
    surface whatever the sharpness: rendering is unbiased to first order. The quotient is taken of logarithms, which
    needs no small constants and stays exact for any sharpness.

    Args:
        signed_distance: In the middle of the intervals, scene units, any shape.
        slope: Change of the distance per scene unit along the ray, never positive; same shape.
        length: Of the intervals, scene units; same shape.
        sharpness: The paper's ``s``, here ``k``, per scene unit: inverse standard deviation of the logistic density.

    Returns:
        Opacity in [0, 1], same shape.
    """
    half_change = 0.5 * slope * length
    at_start = logsigmoid(sharpness * (signed_distance - half_change))
    at_end = logsigmoid(sharpness * (signed_distance + half_change))
    return -torch.expm1(at_end - at_start)
