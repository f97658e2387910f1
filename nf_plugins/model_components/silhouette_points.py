"""Where on a ray the silhouette loss looks at the signed distance (IDR: Yariv et al. 2020, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.model_components.signed_distance_on_rays import SignedDistanceOnRays


def least_distance_places(
    distances: SignedDistanceOnRays,
    rays: Tensor,
    *,
    near: Tensor,
    far: Tensor,
    offsets: Tensor,
) -> Tensor:
    """Where the signed distance is least among random places on each ray.

    Args:
        distances: The signed distance on all rays.
        rays: Indices ``(K,)`` of the rays to look at.
        near: Where their intervals start ``(K,)``.
        far: Where they end ``(K,)``.
        offsets: Shares of the interval ``(S,)`` in [0, 1], the same for all rays.

    Returns:
        Distances along the rays ``(K,)``.
    """
    places = near[:, None] + offsets * (far - near)[:, None]
    least = distances.values(rays, places).argmin(dim=-1, keepdim=True)
    return places.gather(1, least)[:, 0]


def closest_approach(origins: Tensor, directions: Tensor) -> Tensor:
    """Distance ``(*batch,)`` along rays ``(*batch, 3)``, unit directions, to their point nearest to the origin."""
    return -(origins * directions).sum(-1).clamp(max=0)


def silhouette_places(
    distances: SignedDistanceOnRays,
    traced: Tensor,
    *,
    hit: Tensor,
    searched: Tensor,
    object_mask: Tensor,
    interval: tuple[Tensor, Tensor, Tensor],
    offsets: Tensor,
) -> Tensor:
    """Distances along rays at which the loss on the silhouette is taken; those of rays on the object are kept.

    The rays outside the mask, and those in it that hit nothing, get the place of the least signed distance found: in
    the whole bounding sphere, or behind the surface where a ray outside the mask has hit one. Rays that miss the sphere
    get their point nearest to the origin. Rays that the tracer searched have the least sample of their search already.

    Args:
        distances: The signed distance on all N rays.
        traced: Distances ``(N,)`` that the tracer found.
        hit: bool ``(N,)``: the tracer found a surface.
        searched: bool ``(N,)``: the tracer searched the ray in equal steps.
        object_mask: bool ``(N,)``: the pixel shows the object.
        interval: Near, far ``(N,)`` and whether there is one, of the bounding sphere.
        offsets: Shares of an interval ``(S,)`` in [0, 1] to look at.

    Returns:
        ``(N,)``.
    """
    near, far, crosses = interval
    needed = ~searched & ~(object_mask & hit)
    passing = closest_approach(distances.origins, distances.directions)
    result = torch.where(needed & ~crosses, passing, traced)
    rays = (needed & crosses).nonzero()[:, 0]
    if not len(rays):
        return result
    start = torch.where(hit, traced, near)[rays]
    return result.index_copy(
        0, rays, least_distance_places(distances, rays, near=start, far=far[rays], offsets=offsets)
    )
