"""How much each interval of a ray adds to its colour."""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST_INTERVAL = 1e-6
"""Intervals up to this length add nothing."""
TRANSMITTANCE_EPSILON = 1e-10


def interval_weights(edges: Tensor, densities: Tensor) -> Tensor:
    """Share of the light that stems from each interval, ``(R, n)``.

    The opacity of an interval is ``1 - exp(-length * density)``; intervals of at most 1e-6 have none.

    Args:
        edges: Ray distances between the intervals ``(R, n + 1)``, increasing.
        densities: Per unit of distance ``(R, n)``.
    """
    lengths = edges[:, 1:] - edges[:, :-1]
    opacity = torch.where(lengths > SHORTEST_INTERVAL, 1 - torch.exp(-lengths * densities), 0.0)
    passed = torch.cumprod(1 - opacity + TRANSMITTANCE_EPSILON, dim=-1)
    transmittance = torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], dim=-1)
    return opacity * transmittance


def median_depth(edges: Tensor, weights: Tensor) -> Tensor:
    """Start of the interval within which the ray becomes half opaque, ``(R,)``; 0 for rays that stay more transparent.

    Args:
        edges: ``(R, n + 1)``.
        weights: ``(R, n)``.
    """
    reached = weights.cumsum(-1) >= 0.5
    first = reached.to(torch.int8).argmax(-1, keepdim=True)
    return torch.where(reached.any(-1), edges.gather(1, first)[:, 0], 0.0)
