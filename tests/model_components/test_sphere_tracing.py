"""Sphere tracing against closed forms: sphere, box, torus; grazing rays, inside starts, misses, wrong slopes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.model_components import sphere_tracing
from nf_plugins.model_components.sphere_tracing import SphereTracingSettings, SurfaceHits, refine_crossing

RADIUS = 0.6


def trace_rays(distance, *rays: Tensor, settings: SphereTracingSettings | None = None) -> SurfaceHits:
    origins, directions, near, far = rays
    return sphere_tracing.trace_rays(distance, origins, directions, near=near, far=far, settings=settings)


def sphere(points: Tensor, rays: Tensor) -> Tensor:
    return points.norm(dim=-1) - RADIUS


def box(points: Tensor, rays: Tensor) -> Tensor:
    beyond = points.abs() - points.new_tensor([0.5, 0.3, 0.4])
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)


def torus(points: Tensor, rays: Tensor) -> Tensor:
    return torch.hypot(points[:, :2].norm(dim=-1) - 0.6, points[:, 2]) - 0.2


def rays_towards_the_cube(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Origins on a sphere of radius 3, directions to points of the unit cube, intervals 1 to 5, float64."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1) * 3
    targets = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 2 - 1
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    return origins, directions, torch.full((count,), 1.0).double(), torch.full((count,), 5.0).double()


def first_change(distance, origins: Tensor, directions: Tensor, count: int = 4000) -> tuple[Tensor, Tensor]:
    """Whether and where the sign first changes, by looking everywhere between 1 and 5."""
    places = torch.linspace(1, 5, count, dtype=torch.float64)
    points = origins[:, None] + places[:, None] * directions[:, None]
    inside = distance(points.flatten(0, 1), torch.empty(0)).view(-1, count) < 0
    return inside.any(1), places[inside.double().argmax(1)]


def test_sphere_has_its_closed_form() -> None:
    origins, directions, near, far = rays_towards_the_cube(2000)
    hits = trace_rays(sphere, origins, directions, near, far)
    along = -(origins * directions).sum(-1)
    closest = (origins.square().sum(-1) - along.square()).clamp(min=0).sqrt()
    half = (RADIUS**2 - closest.square()).clamp(min=0).sqrt()
    assert torch.equal(hits.hit, closest < RADIUS) and 0.2 < hits.hit.double().mean() < 0.8
    torch.testing.assert_close(hits.distance[hits.hit], (along - half)[hits.hit], atol=1e-9, rtol=0)
    assert (hits.distance[~hits.hit] == 5).all() and not hits.from_inside.any()
    missed = ~hits.hit & (closest < 0.9)
    torch.testing.assert_close(hits.least_value[missed], closest[missed] - RADIUS, atol=0.03, rtol=0)
    torch.testing.assert_close(hits.least_distance[missed], along[missed], atol=0.2, rtol=0)


@pytest.mark.parametrize("distance", [box, torus])
def test_box_and_torus_are_met_where_a_full_search_meets_them(distance) -> None:
    origins, directions, near, far = rays_towards_the_cube(300, seed=1)
    hits = trace_rays(distance, origins, directions, near, far)
    expected, where = first_change(distance, origins, directions)
    # Chords shorter than the full search's spacing are found here only.
    assert (hits.hit | ~expected).all() and (hits.hit != expected).sum() <= 2
    both = hits.hit & expected
    assert (hits.distance[both] <= where[both] + 1e-9).all()
    assert (where[both] - hits.distance[both]).max() < 4 / 3999 + 1e-9
    points = origins + hits.distance[:, None] * directions
    assert distance(points[hits.hit], torch.empty(0)).abs().max() < 1e-8


def test_grazing_rays_hit_only_when_they_enter() -> None:
    heights = torch.tensor([RADIUS - 1e-4, RADIUS - 1e-5, RADIUS + 1e-5, RADIUS + 1e-4], dtype=torch.float64)
    origins = torch.stack([torch.full_like(heights, -2), heights, torch.zeros_like(heights)], -1)
    directions = torch.tensor([[1.0, 0, 0]], dtype=torch.float64).expand(4, 3)
    near, far = torch.zeros(4).double(), torch.full((4,), 4.0).double()
    settings = SphereTracingSettings(max_steps=2000, least_step=1e-6)
    hits = trace_rays(sphere, origins, directions, near, far, settings=settings)
    assert hits.hit.tolist() == [True, True, False, False]
    half = (RADIUS**2 - heights[:2].square()).sqrt()
    torch.testing.assert_close(hits.distance[:2], 2 - half, atol=1e-6, rtol=0)
    torch.testing.assert_close(hits.least_value[2:], heights[2:] - RADIUS, atol=1e-6, rtol=0.05)
    # Along the face of a box no step is longer than the gap: the search finds the next edge all the same.
    origins = torch.tensor([[-2.0, 0.301, 0.0]], dtype=torch.float64)

    def box_with_wall(points: Tensor, rays: Tensor) -> Tensor:
        return torch.minimum(box(points, rays), 1.0 - points[:, 0])

    hits = trace_rays(box_with_wall, origins, directions[:1], near[:1], far[:1])
    assert hits.hit.all() and hits.distance[0] == pytest.approx(3.0, abs=1e-9)


def test_rays_that_start_inside_are_followed_to_the_exit() -> None:
    origins = torch.tensor([[0.1, 0.0, 0.0], [-2.0, 0.0, 0.0]], dtype=torch.float64)
    directions = torch.tensor([[1.0, 0, 0]] * 2, dtype=torch.float64)
    hits = trace_rays(sphere, origins, directions, torch.zeros(2).double(), torch.full((2,), 3.0).double())
    assert hits.hit.all() and hits.from_inside.tolist() == [True, False]
    torch.testing.assert_close(hits.distance, torch.tensor([RADIUS - 0.1, 2 - RADIUS], dtype=torch.float64))
    short = trace_rays(sphere, origins, directions, torch.zeros(2).double(), torch.full((2,), 0.25).double())
    assert not short.hit.any() and (short.distance == 0.25).all()


def test_empty_intervals_are_misses_that_are_never_asked_about() -> None:
    asked: list[Tensor] = []

    def recorded(points: Tensor, rays: Tensor) -> Tensor:
        asked.append(rays)
        return sphere(points, rays)

    origins, directions, near, far = rays_towards_the_cube(6)
    far[::2] = near[::2]
    hits = trace_rays(recorded, origins, directions, near, far)
    assert set(torch.cat(asked).tolist()) <= {1, 3, 5}
    assert not hits.hit[::2].any() and hits.least_value[::2].isinf().all()
    nothing = trace_rays(sphere, origins[:0], directions[:0], near[:0], far[:0])
    assert nothing.hit.shape == (0,)


def test_only_rays_on_their_way_are_evaluated() -> None:
    counts: list[int] = []

    def counted(points: Tensor, rays: Tensor) -> Tensor:
        counts.append(len(points))
        return sphere(points, rays)

    trace_rays(counted, *rays_towards_the_cube(1000))
    assert counts[0] == 1000 and sum(counts) < 1000 * 40


@pytest.mark.parametrize(("slope", "step_scale"), [(0.3, 1.0), (3.0, 0.3), (1.3, 1.0)])
def test_wrong_slopes_are_survived(slope: float, step_scale: float) -> None:
    """A field whose gradient is not 1: too flat takes more steps, too steep overshoots and is bracketed."""
    origins, directions, near, far = rays_towards_the_cube(500)
    along = -(origins * directions).sum(-1)
    closest = (origins.square().sum(-1) - along.square()).sqrt()
    central = closest < 0.4  # overshooting from afar jumps over short chords
    settings = SphereTracingSettings(step_scale=step_scale)
    hits = trace_rays(
        lambda points, rays: slope * sphere(points, rays), origins, directions, near, far, settings=settings
    )
    expected = along - (RADIUS**2 - closest.square()).clamp(min=0).sqrt()
    chosen = central if slope * step_scale > 1 else closest < RADIUS - 1e-3
    assert hits.hit[chosen].all() and not hits.hit[closest > RADIUS].any()
    if slope * step_scale <= 1:
        torch.testing.assert_close(hits.distance[chosen], expected[chosen], atol=1e-6, rtol=0)


def test_rays_know_who_they_are() -> None:
    radii = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    origins = torch.tensor([[-2.0, 0, 0]] * 3, dtype=torch.float64)
    directions = torch.tensor([[1.0, 0, 0]] * 3, dtype=torch.float64)
    hits = trace_rays(
        lambda points, rays: points.norm(dim=-1) - radii[rays],
        origins, directions, torch.zeros(3).double(), torch.full((3,), 4.0).double(),
    )  # fmt: skip
    torch.testing.assert_close(hits.distance, 2 - radii)


def test_refinement_of_curved_functions_in_single_precision() -> None:
    zeros = torch.tensor([0.1, 0.5, 0.93])

    def function(places: Tensor) -> Tensor:
        return torch.exp(-4 * places) - torch.exp(-4 * zeros)

    lower, upper = torch.zeros(3), torch.ones(3)
    found = refine_crossing(function, torch.stack([lower, upper, function(lower), function(upper)]), 8)
    torch.testing.assert_close(found, zeros, atol=2e-5, rtol=0)


def test_a_distance_is_not_asked_when_no_ray_has_an_interval() -> None:
    def never(points: torch.Tensor, rays: torch.Tensor) -> torch.Tensor:
        raise AssertionError("asked")

    nothing = torch.zeros(3)
    hits = trace_rays(never, torch.zeros(3, 3), torch.ones(3, 3), nothing + 1, nothing)
    assert not hits.hit.any() and torch.equal(hits.distance, nothing)
