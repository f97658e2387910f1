"""Tracing rays to the surface from both ends of the bounding sphere, as IDR does (Yariv et al. 2020, section 3.1 and
supplement).

One marcher starts where a ray enters the sphere, another where it leaves it, and both step by the signed distance
towards each other. They meet on rays that miss the surface. Where the near one has not arrived after the allowed steps,
which happens at silhouettes and with distances that are too flat, the interval between both is searched in equal steps
and a sign change is refined. Rays of training that are not on the object get a point for the loss on the silhouette
instead (``silhouette_points.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nf_plugins.model_components.signed_distance_on_rays import SignedDistance, SignedDistanceOnRays
from nf_plugins.model_components.silhouette_points import silhouette_places
from nf_plugins.model_components.sphere_intersection import intersect_sphere
from nf_plugins.model_components.sphere_tracing import refine_crossing


@dataclass(frozen=True)
class BidirectionalTracingSettings:
    """How carefully rays are traced; the defaults are the published ones."""

    threshold: float = 5e-5
    """Signed distance (scene units) at which a marcher has arrived."""
    line_search_step: float = 0.5
    """Share of a step that remains after the first retreat of a marcher that stepped through the surface."""
    num_line_search_steps: int = 3
    """Retreats at most of a marcher that stepped through the surface, each half as long as the one before."""
    max_steps: int = 10
    """Steps that the signed distance decides."""
    num_samples: int = 100
    """Equal steps in which an undecided ray is searched; also the places looked at for the loss on the silhouette."""
    num_secant_steps: int = 8
    """Evaluations that narrow down a sign change found by the search."""
    step_scale: float = 1.0
    """Share of the signed distance that a step covers; below 1 for distances that are steeper than 1."""
    max_step: float | None = None
    """Longest step, scene units; None for no limit."""
    chunk_size: int = 1 << 17
    """Points at which the signed distance is evaluated at a time."""


@dataclass(frozen=True)
class TracedRays:
    """What N rays met."""

    hit: Tensor
    """bool ``(N,)``: a surface was found."""
    distance: Tensor
    """``(N,)``: along the ray, to the surface of rays that hit. In training only of those in the mask: of all others to
    where the silhouette loss looks. Without a mask, of rays that miss: to where the marchers met or the search found
    the least signed distance; 0 for rays that miss the sphere."""
    crosses_sphere: Tensor
    """bool ``(N,)``: the ray crosses the bounding sphere."""
    num_evaluations: int
    """Points at which the signed distance was evaluated."""
    num_sampled: int
    """Rays that had to be searched in equal steps."""


@torch.no_grad()
def trace_bidirectionally(
    signed_distance: SignedDistance,
    origins: Tensor,
    directions: Tensor,
    *,
    radius: float = 1.0,
    settings: BidirectionalTracingSettings | None = None,
    object_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> TracedRays:
    """First surface on rays, inside the bounding sphere. No gradients flow; mixed precision is off inside.

    Args:
        signed_distance: Points ``(K, 3)`` to signed distances ``(K,)``, negative inside; asked only about rays that
            are still on their way, and never about no points.
        origins: ``(N, 3)``, scene units; may lie inside the sphere.
        directions: Unit vectors ``(N, 3)``.
        radius: Of the bounding sphere about the scene's origin.
        settings: How carefully.
        object_mask: Only in training, bool ``(N,)``: the pixel shows the object. Sign changes are then refined only
            within it, and the other rays' distances lead to points for the loss on the silhouette.
        generator: On the CPU; draws the random places of training, one vector per call. The global generator of the CPU
            by default, so that resumed runs repeat.
    """
    settings = settings or BidirectionalTracingSettings()
    # The threshold is below what half precision can tell apart near 1. On MPS nerfstudio's trainer sets the CPU's.
    with torch.autocast("cuda" if origins.is_cuda else "cpu", enabled=False):
        distances = SignedDistanceOnRays(signed_distance, origins, directions, settings.chunk_size)
        interval = intersect_sphere(origins, directions, radius)
        near, far, undecided = march_from_both_ends(distances, *interval, settings)
        hit, distance = near < far, near
        rays = undecided.nonzero()[:, 0]
        if len(rays):
            wanted = None if object_mask is None else object_mask[rays]
            found, place = search_first_crossing(
                distances, rays, near[rays], far[rays], wanted=wanted, settings=settings
            )
            hit, distance = hit.index_copy(0, rays, found), distance.index_copy(0, rays, place)
        if object_mask is not None:
            # Drawn whether needed or not: what follows in the generator must not depend on the surface.
            offsets = torch.rand(settings.num_samples, generator=generator, dtype=origins.dtype).to(origins.device)
            distance = silhouette_places(
                distances, distance,
                hit=hit, searched=undecided, object_mask=object_mask, interval=interval, offsets=offsets,
            )  # fmt: skip
    return TracedRays(hit, distance, interval[2], distances.num_evaluations, len(rays))


def march_from_both_ends(
    distances: SignedDistanceOnRays,
    near: Tensor,
    far: Tensor,
    crosses: Tensor,
    settings: BidirectionalTracingSettings,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sphere tracing from the near and the far end towards each other.

    Both marchers of all rays are one batch of 2N, of which only those on their way are evaluated.

    Args:
        distances: The signed distance on N rays.
        near: Where the rays' intervals start ``(N,)``.
        far: Where they end ``(N,)``.
        crosses: bool ``(N,)``: the ray has an interval.
        settings: Steps, threshold and line search.

    Returns:
        Where the near and the far marcher stopped ``(N,)``; the former is not before the latter on rays without a
        surface; and bool ``(N,)`` whether the near marcher is still on its way.
    """
    num_rays = len(near)
    ray_of = torch.arange(num_rays, device=near.device).repeat(2)
    place = torch.cat([near, far])
    sense = torch.cat([torch.ones_like(near), -torch.ones_like(far)])
    value = torch.zeros_like(place)
    alive = crosses.repeat(2)
    marchers = alive.nonzero()[:, 0]
    value[marchers] = distances.values(ray_of[marchers], place[marchers])
    for step_index in range(settings.max_steps + 1):
        alive = alive & (value > settings.threshold)
        marchers = alive.nonzero()[:, 0]
        if step_index == settings.max_steps or not len(marchers):
            break
        step = settings.step_scale * value
        step = (step if settings.max_step is None else step.clamp(max=settings.max_step)) * sense
        place[marchers] += step[marchers]
        value[marchers] = distances.values(ray_of[marchers], place[marchers])
        for retreat in range(settings.num_line_search_steps):
            marchers = marchers[value[marchers] < 0]
            if not len(marchers):
                break
            place[marchers] -= (1 - settings.line_search_step) / 2**retreat * step[marchers]
            value[marchers] = distances.values(ray_of[marchers], place[marchers])
        alive = alive & (place[:num_rays] < place[num_rays:]).repeat(2)
    return place[:num_rays], place[num_rays:], alive[:num_rays]


def search_first_crossing(
    distances: SignedDistanceOnRays,
    rays: Tensor,
    near: Tensor,
    far: Tensor,
    *,
    wanted: Tensor | None,
    settings: BidirectionalTracingSettings,
) -> tuple[Tensor, Tensor]:
    """First negative signed distance among equally spaced places, refined to the sign change before it.

    Args:
        distances: The signed distance on all rays.
        rays: Indices ``(K,)`` of the rays to search.
        near: Where to start ``(K,)``.
        far: Where to end ``(K,)``.
        wanted: bool ``(K,)``: rays whose crossing is of use; None for all.
        settings: Number of places and refinements.

    Returns:
        bool ``(K,)`` whether a place is inside, and the distance ``(K,)`` to the crossing; to the place with the least
        signed distance for rays without a crossing or not wanted.
    """
    shares = torch.linspace(0, 1, settings.num_samples, dtype=near.dtype, device=near.device)
    places = near[:, None] + shares * (far - near)[:, None]
    values = distances.values(rays, places)
    inside = values < 0
    found = inside.any(dim=-1)
    to_refine = found if wanted is None else found & wanted
    upper = torch.where(to_refine, inside.to(torch.uint8).argmax(dim=-1), values.argmin(dim=-1))[:, None]
    # A first place that is inside has none before it: then there is no sign change to refine, only the place itself.
    lower = (upper - 1).clamp(min=0)
    ends = torch.stack([source.gather(1, end)[:, 0] for source in (places, values) for end in (lower, upper)])
    crossing = (to_refine & (ends[2] >= 0)).nonzero()[:, 0]
    place = ends[1]
    if len(crossing):
        asked, bracket = rays[crossing], ends[:, crossing]
        refined_place = refine_crossing(
            lambda middle: distances.values(asked, middle), bracket, settings.num_secant_steps
        )
        place = place.index_copy(0, crossing, refined_place)
    return found, place
