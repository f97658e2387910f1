"""Samples of rays at parameters that all rays of a camera share, so that equal ones lie on one plane or shell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nf_plugins.errors import InputError

LAST_LENGTH = 1e10
"""Length of the last interval: whatever density is there stops the rest of the light."""


@dataclass(frozen=True)
class PlaneSamples:
    """Samples on R rays, K on each, from near to far."""

    points: Tensor
    """Sample coordinates ``(R, K, 3)``."""
    view_directions: Tensor
    """Unit directions of the rays in the world ``(R, 3)``."""
    ray_parameters: Tensor
    """From 0, where sampling begins, to 1, infinity, ``(R, K)``."""
    lengths: Tensor
    """Lengths of the intervals that begin at the samples ``(R, K)``, the last one practically infinite. 0 on rays that
    the coordinates cannot hold, so that nothing on them is opaque."""

    @property
    def looks_ahead(self) -> Tensor:
        """Whether rays meet the planes at all ``(R,)``."""
        return self.lengths[:, -1] > 0


def plane_parameters(num_rays: int, num_samples: int, like: Tensor, jitter: bool) -> Tensor:
    """Ray parameters ``(num_rays, num_samples)`` in [0, 1], evenly spaced, which is linear in disparity.

    Args:
        num_rays: Rays R.
        num_samples: Samples K of each, at least 2.
        like: Gives device and precision.
        jitter: Draw each sample from the stretch that is nearest to it (stratified sampling), for each ray anew.

    Raises:
        InputError: Fewer than two samples.
    """
    if num_samples < 2:
        raise InputError(f"--pipeline.model.num-samples is {num_samples}, expected at least 2.")
    planes = torch.linspace(0, 1, num_samples, device=like.device, dtype=like.dtype)
    if not jitter:
        return planes.expand(num_rays, num_samples)
    middles = (planes[1:] + planes[:-1]) / 2
    lower, upper = torch.cat([planes[:1], middles]), torch.cat([middles, planes[-1:]])
    return lower + (upper - lower) * torch.rand(num_rays, num_samples, device=like.device, dtype=like.dtype)


def sample_lengths(ray_parameters: Tensor, directions: Tensor) -> Tensor:
    """Lengths of the intervals that begin at the samples, ``(*batch, K)``, the last one practically infinite.

    Args:
        ray_parameters: ``(*batch, K)``, increasing.
        directions: ``(*batch, 3)``, whose length is that of one unit of the parameter.
    """
    last = torch.full_like(ray_parameters[..., :1], LAST_LENGTH)
    return torch.cat([ray_parameters.diff(dim=-1), last], dim=-1) * directions.norm(dim=-1, keepdim=True)
