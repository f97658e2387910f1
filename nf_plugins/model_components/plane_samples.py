"""Samples of rays in normalised device coordinates, where equal ray parameters lie on one plane."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.blended_rendering import sample_lengths
from nf_plugins.model_components.ndc import NDCFrame, forward_directions, ndc_rays


@dataclass(frozen=True)
class PlaneSamples:
    """Samples on R rays, K on each, from near to far."""

    points: Tensor
    """NDC ``(R, K, 3)``."""
    view_directions: Tensor
    """Unit directions of the rays in the world ``(R, 3)``."""
    ray_parameters: Tensor
    """From 0, the near plane, to 1, infinity, ``(R, K)``."""
    lengths: Tensor
    """Lengths of the intervals that begin at the samples ``(R, K)``, NDC, the last one practically infinite. 0
    on rays that do not look ahead, so that nothing on them is opaque."""

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


def place_samples(origins: Tensor, directions: Tensor, frame: NDCFrame, num_samples: int, jitter: bool) -> PlaneSamples:
    """Samples of world rays.

    What looks sideways or back (a camera that was turned round in the viewer) meets no plane: such rays see nothing.

    Args:
        origins: ``(R, 3)``, world.
        directions: ``(R, 3)``, world, unit length.
        frame: The frustum.
        num_samples: Samples of each ray.
        jitter: See :func:`plane_parameters`.
    """
    possible, ahead = forward_directions(directions)
    ndc_origins, ndc_directions = ndc_rays(origins, possible, frame)
    parameters = plane_parameters(len(origins), num_samples, origins, jitter)
    points = ndc_origins[:, None] + parameters[..., None] * ndc_directions[:, None]
    lengths = sample_lengths(parameters, ndc_directions) * ahead[:, None]
    return PlaneSamples(points, directions, parameters, lengths)
