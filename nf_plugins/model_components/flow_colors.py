"""Displacements in an image as colours: the direction is the hue, the length the saturation, rest is white."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def flow_colors(flow: Tensor, longest: float) -> Tensor:
    """Colours on a wheel: right is red, down yellow-green, left cyan, up violet.

    Args:
        flow: ``(*batch, 2)``, to the right and downwards, any unit.
        longest: Length that has full saturation, same unit; what is longer looks the same.

    Returns:
        ``(*batch, 3)`` in [0, 1].
    """
    saturation = (flow.norm(dim=-1, keepdim=True) / longest).clamp(max=1)
    hue = torch.atan2(flow[..., 1:], flow[..., :1]) * (3 / math.pi)
    offsets = hue.new_tensor([0.0, 4.0, 2.0])
    pure = ((hue + offsets).remainder(6) - 3).abs().sub(1).clamp(0, 1)
    return 1 - saturation * (1 - pure)
