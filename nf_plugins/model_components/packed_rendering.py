"""Compositing of rays that have different numbers of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.model_components.occupied_march import PackedSamples

OPAQUE = 100.0
"""Optical depth beyond which more makes no difference."""
SAMPLES_PER_WAVE = 16
"""Samples of each ray whose density is asked before the next are looked at."""

PointFunction = Callable[[Tensor, Tensor], Tensor]
"""Values ``(N, C)`` of points ``(N, 3)`` and the rows of their rays ``(N,)``."""


class PackedImage(NamedTuple):
    """What rays see."""

    rgb: Tensor
    """On the background ``(R, 3)``."""
    accumulation: Tensor
    """Opacity ``(R, 1)``: what of the colour is not the background's."""
    depth: Tensor
    """Expected ray distance over the opacity ``(R, 1)``, 0 where nothing is."""
    median_depth: Tensor
    """Ray distance at which a ray is half opaque ``(R, 1)``; 0 where it never is."""
    num_samples: int
    """Points at which the density was asked."""
    num_shaded: int
    """Points at which a colour was computed."""


def packed_weights(densities: Tensor, lengths: Tensor, ray_ids: Tensor, num_rays: int) -> Tensor:
    """Share of the light of its ray that stems from each sample ``(K,)``.

    Args:
        densities: Per unit of distance ``(K,)``.
        lengths: ``(K,)``.
        ray_ids: Rows of the rays, rising ``(K,)``.
        num_rays: R.
    """
    optical = (densities * lengths).clamp(0, OPAQUE)
    passed = torch.exp(-_before_on_ray(optical, ray_ids, num_rays)).to(optical)
    return passed * -torch.expm1(-optical)


def _before_on_ray(values: Tensor, ray_ids: Tensor, num_rays: int) -> Tensor:
    """Sum of the values before each on its ray, float64 ``(K,)``: one running sum, less what it was at the ray."""
    if not len(values):
        return values.double()
    running = values.double().cumsum(0) - values
    first = ray_starts(ray_ids, num_rays).clamp(max=len(values) - 1)
    return (running - running[first[ray_ids]]).clamp(min=0)


def ray_starts(ray_ids: Tensor, num_rays: int) -> Tensor:
    """Where each ray's samples begin, int64 ``(R,)``."""
    counts = torch.bincount(ray_ids, minlength=num_rays)
    return counts.cumsum(0) - counts


@torch.no_grad()
def render_packed(
    samples: PackedSamples,
    origins: Tensor,
    directions: Tensor,
    density_function: PointFunction,
    color_function: PointFunction,
    *,
    background: Tensor,
    weight_threshold: float = 0.01,
    renormalise: bool = True,
    early_stop: float = 1e-3,
    points_per_chunk: int = 1 << 16,
) -> PackedImage:
    """Renders rays from samples; colours are computed only where they show.

    Args:
        samples: K samples of R rays.
        origins: ``(R, 3)``.
        directions: Unit vectors ``(R, 3)``.
        density_function: Per unit of distance ``(N, 1)``.
        color_function: In [0, 1], ``(N, 3)``.
        background: ``(3,)`` or ``(R, 3)``.
        weight_threshold: Samples of less weight get no colour (published: 0.01).
        renormalise: Give their weight to the others of the ray; the published code gives it to the background.
        early_stop: Rays more opaque than 1 minus this look no further; 0 looks at everything.
        points_per_chunk: Points of one call of a function.
    """
    num_rays = len(origins)

    def values_of(function: PointFunction, chosen: Tensor) -> Tensor:
        parts = []
        for chunk in chosen.split(points_per_chunk):
            rows = samples.ray_ids[chunk]
            points = origins[rows] + samples.middles[chunk, None] * directions[rows]
            parts.append(function(points, rows).to(origins))
        return torch.cat(parts)

    densities, asked = _densities(samples, num_rays, early_stop, lambda rows: values_of(density_function, rows)[:, 0])
    weights = packed_weights(densities, samples.lengths, samples.ray_ids, num_rays)
    accumulation = _sum(weights[:, None], samples.ray_ids, num_rays)
    shown = (weights >= weight_threshold if weight_threshold > 0 else weights > 0).nonzero()[:, 0]
    rgb, covered = origins.new_zeros(num_rays, 3), origins.new_zeros(num_rays, 1)
    if len(shown):
        shares = weights[shown, None]
        covered = _sum(shares, samples.ray_ids[shown], num_rays)
        rgb = _sum(shares * values_of(color_function, shown), samples.ray_ids[shown], num_rays)
        if renormalise:
            rgb = rgb * accumulation / covered.clamp(min=1e-8)
            covered = torch.where(covered > 0, accumulation, 0.0)
    depth = _sum((weights * samples.middles)[:, None], samples.ray_ids, num_rays) / accumulation.clamp(min=1e-6)
    return PackedImage(
        rgb + (1 - covered) * background,
        covered,
        torch.where(covered > 0, depth, 0.0),
        _median_depth(weights, samples, num_rays),
        asked,
        len(shown),
    )


def _densities(
    samples: PackedSamples, num_rays: int, early_stop: float, density_of: Callable[[Tensor], Tensor]
) -> tuple[Tensor, int]:
    """Density of each sample ``(K,)``, 0 where a ray was opaque before, and how many were asked."""
    densities = torch.zeros_like(samples.starts)
    if not len(densities):
        return densities, 0
    if early_stop <= 0:
        return density_of(torch.arange(len(densities), device=densities.device)), len(densities)
    rank = torch.arange(len(densities), device=densities.device)
    rank = rank - ray_starts(samples.ray_ids, num_rays)[samples.ray_ids]
    optical = torch.zeros(num_rays, dtype=torch.float64, device=densities.device)
    limit, asked = -torch.log(torch.tensor(early_stop, dtype=torch.float64)).item(), 0
    for first in range(0, int(rank.max()) + 1, SAMPLES_PER_WAVE):
        in_wave = (rank >= first) & (rank < first + SAMPLES_PER_WAVE) & (optical < limit)[samples.ray_ids]
        chosen = in_wave.nonzero()[:, 0]
        if not len(chosen):
            break
        densities[chosen] = density_of(chosen)
        asked += len(chosen)
        depth = (densities[chosen] * samples.lengths[chosen]).clamp(0, OPAQUE)
        optical.index_add_(0, samples.ray_ids[chosen], depth.double())
    return densities, asked


def _median_depth(weights: Tensor, samples: PackedSamples, num_rays: int) -> Tensor:
    """Start of the interval within which a ray becomes half opaque ``(R, 1)``; 0 where it does not."""
    cumulated = _before_on_ray(weights, samples.ray_ids, num_rays) + weights
    half = (cumulated >= 0.5).nonzero()[:, 0]
    depths = samples.starts.new_full((num_rays,), float("inf"))
    depths.scatter_reduce_(0, samples.ray_ids[half], samples.starts[half], "amin")
    return torch.where(depths.isfinite(), depths, 0.0)[:, None]


def _sum(values: Tensor, ray_ids: Tensor, num_rays: int) -> Tensor:
    """Sums of values ``(K, C)`` by ray ``(R, C)``."""
    return values.new_zeros(num_rays, values.shape[1]).index_add_(0, ray_ids, values)
