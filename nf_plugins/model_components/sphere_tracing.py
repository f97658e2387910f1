"""Where rays meet the zero set of a signed distance.

Sphere tracing (Hart 1996): the distance at a point is the radius of a ball without surface, so a ray may move on by it.
Learned distances are not exact, so here a ray counts as a hit only where the sign changes; the steps can be shortened;
rays that have not arrived after the allowed steps go on in equal steps to the end of their interval; and the place of
the sign change is refined by the Illinois variant of the secant method, which keeps the change bracketed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SignedDistance = Callable[[Tensor, Tensor], Tensor]
"""Points ``(K, 3)`` and the indices ``(K,)`` of the rays that they lie on, to signed distances ``(K,)``."""


@dataclass(frozen=True)
class SphereTracingSettings:
    """How carefully rays are traced."""

    max_steps: int = 128
    """Steps that the distance itself decides."""
    step_scale: float = 1.0
    """Share of the distance that a step covers; below 1 for distances that are steeper than 1."""
    least_step: float = 1e-4
    """Shortest step, in the unit of the distance: surfaces thinner than this can be missed."""
    num_search_steps: int = 64
    """Equal steps in which the rest of an undecided ray is searched."""
    num_refinements: int = 8
    """Evaluations that narrow down a found sign change."""


@dataclass(frozen=True)
class SurfaceHits:
    """What N rays met."""

    hit: Tensor
    """bool ``(N,)``: the sign of the distance changes within the ray's interval."""
    distance: Tensor
    """``(N,)``: along the ray, to the first sign change; the end of the interval where there is none."""
    from_inside: Tensor
    """bool ``(N,)``: the ray starts at a negative distance, so that a hit is where it leaves the solid."""
    least_value: Tensor
    """``(N,)``: least absolute distance at the points looked at before the sign change; inf for empty intervals."""
    least_distance: Tensor
    """``(N,)``: along the ray, to that point: about where a ray that misses passes closest."""


@torch.no_grad()
def trace_rays(
    signed_distance: SignedDistance,
    origins: Tensor,
    directions: Tensor,
    *,
    near: Tensor,
    far: Tensor,
    settings: SphereTracingSettings | None = None,
) -> SurfaceHits:
    """First sign change of a signed distance along rays. No gradients flow.

    Args:
        signed_distance: Asked only about rays that are still on their way.
        origins: ``(N, 3)``.
        directions: Unit vectors ``(N, 3)``.
        near: Where each ray starts ``(N,)``.
        far: Where it ends ``(N,)``; rays with ``far <= near`` miss without being looked at.
        settings: How carefully.
    """
    settings = settings or SphereTracingSettings()

    def value_at(rays: Tensor, distance: Tensor) -> Tensor:
        return signed_distance(origins[rays] + distance[:, None] * directions[rays], rays)

    rays = (far > near).nonzero()[:, 0]
    side = torch.ones_like(near)
    if not len(rays):
        nothing = torch.zeros_like(near, dtype=torch.bool)
        return SurfaceHits(nothing, far.clone(), nothing, torch.full_like(near, torch.inf), far.clone())
    distance = near[rays].clone()
    value = value_at(rays, distance)
    side[rays] = torch.where(value < 0, -1.0, 1.0).to(near.dtype)
    value = value.abs()
    least_value = torch.full_like(near, torch.inf).index_copy(0, rays, value)
    least_distance = far.clone().index_copy(0, rays, distance)
    # Per ray: last place before and first place behind the sign change, and the values there.
    bracket = torch.zeros(4, *near.shape, dtype=near.dtype, device=near.device)
    hit = torch.zeros_like(near, dtype=torch.bool)
    search_step = torch.zeros_like(near)
    for step_index in range(settings.max_steps + settings.num_search_steps):
        if not len(rays):
            break
        if step_index == settings.max_steps:
            search_step[rays] = (far[rays] - distance) / settings.num_search_steps
        searching = step_index >= settings.max_steps
        step = search_step[rays] if searching else (settings.step_scale * value).clamp(min=settings.least_step)
        next_distance = torch.minimum(distance + step, far[rays])
        next_value = side[rays] * value_at(rays, next_distance)
        crossed = next_value < 0
        hit[rays[crossed]] = True
        bracket[:, rays[crossed]] = torch.stack([distance, next_distance, value, next_value])[:, crossed]
        going_on = ~crossed & (next_distance < far[rays])
        nearer = ~crossed & (next_value < least_value[rays])
        least_value[rays[nearer]] = next_value[nearer]
        least_distance[rays[nearer]] = next_distance[nearer]
        rays, distance, value = rays[going_on], next_distance[going_on], next_value[going_on]
    found = hit.nonzero()[:, 0]
    refined = refine_crossing(
        lambda places: side[found] * value_at(found, places), bracket[:, found], settings.num_refinements
    )
    return SurfaceHits(hit, far.index_copy(0, found, refined), side < 0, least_value, least_distance)


def refine_crossing(function: Callable[[Tensor], Tensor], bracket: Tensor, num_evaluations: int) -> Tensor:
    """Narrow down where a function falls through zero, by the Illinois method.

    Args:
        function: Places ``(K,)`` to values ``(K,)``.
        bracket: ``(4, K)``: lower place, upper place, value there >= 0, value there < 0.
        num_evaluations: How often to evaluate.

    Returns:
        The places ``(K,)``, within the bracket.
    """
    lower, upper, lower_value, upper_value = bracket.clone()
    if not len(lower):
        return lower
    last_side = torch.zeros_like(lower)
    for _ in range(num_evaluations):
        middle = _secant(lower, upper, lower_value, upper_value)
        value = function(middle)
        below = value >= 0
        # An end that stays twice in a row is weighted half, or the other would creep.
        stuck_upper, stuck_lower = below & (last_side > 0), ~below & (last_side < 0)
        upper_value = torch.where(stuck_upper, upper_value / 2, upper_value)
        lower_value = torch.where(stuck_lower, lower_value / 2, lower_value)
        lower, lower_value = torch.where(below, middle, lower), torch.where(below, value, lower_value)
        upper, upper_value = torch.where(below, upper, middle), torch.where(below, upper_value, value)
        last_side = torch.where(below, 1.0, -1.0)
    return _secant(lower, upper, lower_value, upper_value)


def _secant(lower: Tensor, upper: Tensor, lower_value: Tensor, upper_value: Tensor) -> Tensor:
    """Zero of the line through both ends; within them."""
    share = lower_value / (lower_value - upper_value).clamp(min=torch.finfo(lower.dtype).tiny)
    return lower + share.clamp(0, 1) * (upper - lower)
