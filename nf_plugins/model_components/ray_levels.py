"""Rays cut into intervals, coarser and finer, and what fields find in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nf_plugins.model_components.interval_weights import interval_weights, median_depth
from nf_plugins.model_components.proposal_resampling import resample_edges, uniform_edges

DensityFunction = Callable[[Tensor, Tensor], Tensor]
"""Density per scene unit ``(N, 1)`` of points ``(N, 3)`` and times ``(N,)``."""


class RaySpan(NamedTuple):
    """Rays between two distances."""

    origins: Tensor
    """``(R, 3)``."""
    directions: Tensor
    """Unit vectors ``(R, 3)``."""
    nears: Tensor
    """Ray distances ``(R, 1)``."""
    fars: Tensor
    """Ray distances ``(R, 1)``; those of rays that are to be empty equal ``nears``."""
    times: Tensor
    """In [0, 1], ``(R,)``."""

    def edges(self, coordinates: Tensor) -> Tensor:
        """Ray distances of ray coordinates ``(R, n)``, which are 0 at the near and 1 at the far end."""
        return self.nears + (self.fars - self.nears) * coordinates

    def midpoints(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Points in the middle of intervals and their times.

        Args:
            edges: Ray distances ``(R, n + 1)``.

        Returns:
            ``(R * n, 3)`` and ``(R * n,)``, ray by ray.
        """
        distances = (edges[:, 1:] + edges[:, :-1]) / 2
        points = self.origins[:, None] + distances[..., None] * self.directions[:, None]
        return points.flatten(0, 1), self.times[:, None].expand_as(distances).flatten()

    def rows(self, chosen: Tensor) -> RaySpan:
        """Some of the rays."""
        return RaySpan(*(value[chosen] for value in self))


class RayLevel(NamedTuple):
    """Intervals of rays with their shares of the light."""

    coordinates: Tensor
    """Of the edges, 0 at the near and 1 at the far end of a ray, ``(R, n + 1)``."""
    edges: Tensor
    """Ray distances ``(R, n + 1)``."""
    weights: Tensor
    """``(R, n)``."""

    @classmethod
    def of(cls, coordinates: Tensor, edges: Tensor, densities: Tensor) -> RayLevel:
        """A level from densities of its intervals, in any shape of R * n numbers."""
        densities = densities.float().reshape(len(edges), -1)
        return cls(coordinates, edges, interval_weights(edges, densities))

    @property
    def accumulation(self) -> Tensor:
        """Opacity of the rays ``(R, 1)``."""
        return self.weights.sum(-1, keepdim=True)

    @property
    def depth(self) -> Tensor:
        """Expected ray distance times the opacity ``(R, 1)``."""
        return (self.weights * (self.edges[:, 1:] + self.edges[:, :-1]) / 2).sum(-1, keepdim=True)

    @property
    def median_depth(self) -> Tensor:
        """Ray distance at which a ray becomes half opaque ``(R, 1)``; 0 where it does not."""
        return median_depth(self.edges, self.weights)[:, None]


class LevelSampling(NamedTuple):
    """How intervals are chosen."""

    jitter: bool
    """At random, as in training."""
    half_bin: bool = True
    """See :func:`~nf_plugins.model_components.proposal_resampling.resample_edges`."""
    exponent: float = 1.0
    """What weights are raised to before the next level is placed by them."""


def proposal_levels(
    span: RaySpan, densities: Sequence[DensityFunction], counts: Sequence[int], sampling: LevelSampling
) -> list[RayLevel]:
    """One level for each proposal density: even intervals for the first, each other placed by the one before.

    Args:
        span: R rays.
        densities: From coarse to fine.
        counts: Intervals of each.
        sampling: How they are placed.
    """
    levels: list[RayLevel] = []
    for density, count in zip(densities, counts, strict=True):
        coordinates = next_coordinates(span, levels, count, sampling)
        edges = span.edges(coordinates)
        levels.append(RayLevel.of(coordinates, edges, density(*span.midpoints(edges))))
    return levels


def next_coordinates(span: RaySpan, levels: Sequence[RayLevel], count: int, sampling: LevelSampling) -> Tensor:
    """Edges ``(R, count + 1)``, in ray coordinates and without gradient, of the level that follows others."""
    if not levels:
        return uniform_edges(len(span.origins), count, jitter=sampling.jitter, device=span.origins.device)
    last = levels[-1]
    return resample_edges(
        last.coordinates, last.weights.detach() ** sampling.exponent, count,
        jitter=sampling.jitter, half_bin=sampling.half_bin,
    )  # fmt: skip


def scatter_rows(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Values ``(K, C)`` of some rows in a tensor ``(count, C)`` of zeros."""
    return torch.zeros(count, values.shape[-1], dtype=values.dtype, device=values.device).index_copy(0, rows, values)
