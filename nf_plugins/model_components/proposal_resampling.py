"""Where along a ray a field is asked: evenly at first, then where a coarser field found something.

Edges between samples are in ray coordinates, 0 at the near and 1 at the far end of a ray. The scheme is that of
Mip-NeRF 360 (Barron et al., CVPR 2022, Sec. 3) with the published constants of Im4D.
"""

from __future__ import annotations

import torch
from torch import Tensor

ANNEAL_SLOPE = 10.0


def uniform_edges(
    num_rays: int,
    num_bins: int,
    *,
    jitter: bool,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Evenly spaced edges ``(num_rays, num_bins + 1)``.

    Args:
        num_rays: R.
        num_bins: n.
        jitter: Moves every edge by a uniform random part of a bin, so that the last may lie beyond 1.
        device: Where to.
        generator: Of the jitter; None is torch's own.
    """
    edges = torch.linspace(0, 1, num_bins + 1, device=device).expand(num_rays, -1)
    if jitter:
        return edges + torch.rand(edges.shape, device=device, generator=generator) / num_bins
    return edges.contiguous()


def resample_edges(
    edges: Tensor,
    weights: Tensor,
    num_bins: int,
    *,
    jitter: bool,
    half_bin: bool,
    padding: float = 0.01,
    eps: float = 1e-5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Edges that divide the weights of a ray about evenly, ``(R, num_bins + 1)``, without gradient.

    Args:
        edges: Of the weighted bins ``(R, n + 1)``.
        weights: ``(R, n)``.
        num_bins: Bins wanted.
        jitter: Moves every edge by a uniform random part of its share.
        half_bin: Without jitter, moves them by half of it. The published code does not, and never looks at the last
            share of a ray.
        padding: Added to every weight, so that no part of a ray is never looked at.
        eps: Smallest sum of weights.
        generator: Of the jitter; None is torch's own.
    """
    edges, padded = edges.detach(), weights.detach() + padding
    total = padded.sum(-1, keepdim=True)
    missing = torch.relu(eps - total)
    shares = (padded + missing / padded.shape[-1]) / (total + missing)
    cumulated = shares.cumsum(-1).clamp(max=1)
    cumulated = torch.cat([torch.zeros_like(cumulated[:, :1]), cumulated], dim=-1)
    count = num_bins + 1
    wanted = torch.linspace(0, 1 - 1 / count, count, dtype=edges.dtype, device=edges.device).expand(len(edges), -1)
    if jitter:
        wanted = wanted + torch.rand(wanted.shape, dtype=edges.dtype, device=edges.device, generator=generator) / count
    elif half_bin:
        wanted = wanted + 0.5 / count
    above = torch.searchsorted(cumulated, wanted.contiguous(), right=True).clamp(max=edges.shape[-1] - 1)
    below = (above - 1).clamp(min=0)
    start, end = cumulated.gather(-1, below), cumulated.gather(-1, above)
    position = torch.nan_to_num((wanted - start) / (end - start), nan=0.0, posinf=0.0, neginf=0.0).clamp(0, 1)
    return torch.lerp(edges.gather(-1, below), edges.gather(-1, above), position)


def anneal_exponent(step: int, steps: int = 1000) -> float:
    """What the weights are raised to before resampling: 0 (even) at step 0, 1 from ``steps`` on, rising fast at first.

    Args:
        step: Training step.
        steps: Length of the annealing; 0 is no annealing.
    """
    progress = 1.0 if steps <= 0 else min(max(step / steps, 0.0), 1.0)
    return ANNEAL_SLOPE * progress / ((ANNEAL_SLOPE - 1) * progress + 1)
