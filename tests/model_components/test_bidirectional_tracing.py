"""The bidirectional tracer against exact shapes, against a plain version of itself, and in corner cases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nf_plugins.data.synthetic.analytic_shapes import Box, Posed, Shape, Sphere, Torus, Union, pinhole_rays
from nf_plugins.model_components.bidirectional_tracing import (
    BidirectionalTracingSettings,
    TracedRays,
    search_first_crossing,
    trace_bidirectionally,
)
from nf_plugins.model_components.signed_distance_on_rays import SignedDistanceOnRays
from nf_plugins.model_components.sphere_intersection import intersect_sphere

BALL = Sphere(0.5)
TWO_BALLS = Union((Posed(Sphere(0.25), centre=(-0.2, 0.0, -0.3)), Posed(Sphere(0.3), centre=(0.25, 0.1, 0.3))))
TORUS = Posed(Torus(0.5, 0.2), turn=(0.9, 0.4))
BOX = Posed(Box((0.5, 0.3, 0.4)), turn=(0.5, 0.7))


def camera_rays(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    origins, directions = pinhole_rays(64, 80.0, 3.0)
    return origins.to(dtype), directions.to(dtype)


def trace(shape: Shape, slope: float = 1.0, dtype: torch.dtype = torch.float32, **options) -> TracedRays:  # noqa: ANN003
    return trace_bidirectionally(lambda at: slope * shape.signed_distance(at), *camera_rays(dtype), **options)


@pytest.mark.parametrize(
    ("shape", "slope", "hits", "exact_hits", "sampled", "evaluations", "error"),
    [
        (BALL, 1.0, 577, 577, 204, 10.77, 8.6e-5),
        (BALL, 0.39, 577, 577, 845, 30.68, 5e-6),
        (BALL, 2.0, 545, 577, 52, 6.79, 8e-5),
        (TWO_BALLS, 1.0, 329, 329, 132, 8.10, 1e-4),
        (TORUS, 1.0, 753, 753, 334, 14.99, 1e-4),
        (BOX, 1.0, 726, 727, 486, 19.10, 1e-4),
    ],
    ids=["sphere", "flat sphere", "steep sphere", "two spheres", "torus", "box"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_shapes(
    *, shape: Shape, slope: float, hits: int, exact_hits: int, sampled: int, evaluations: float, error: float,
    dtype: torch.dtype,
) -> None:  # fmt: skip
    """The box's missing hit is a corner that is cut by less than the spacing of the search."""
    exact = shape.entry_distance(*camera_rays())
    traced = trace(shape, slope, dtype)
    assert traced.distance.dtype == dtype
    assert (int(traced.hit.sum()), int(exact.isfinite().sum())) == (hits, exact_hits)
    assert not (traced.hit & ~exact.isfinite()).any()
    assert (traced.distance.double() - exact)[traced.hit].abs().max() <= error
    assert traced.num_sampled == sampled
    assert traced.num_evaluations / 4096 == pytest.approx(evaluations, abs=0.03)
    origins, directions = camera_rays(dtype)
    points = origins + traced.distance[:, None] * directions
    assert (slope * shape.signed_distance(points))[traced.hit].abs().max() <= 5e-5


def test_shorter_steps_bring_back_what_steep_distances_step_through() -> None:
    expected = BALL.entry_distance(*camera_rays()).isfinite()
    for settings in (BidirectionalTracingSettings(step_scale=0.5), BidirectionalTracingSettings(max_step=0.15)):
        assert torch.equal(trace(BALL, 2.0, settings=settings).hit, expected)


def test_three_retreats_save_steps_six_times_too_long() -> None:
    """Before a wall a step of six times the gap comes to rest at 6/8 of it, so that the gap shrinks to a quarter."""
    origins, directions = torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    settings = [BidirectionalTracingSettings(num_line_search_steps=number) for number in (3, 2)]
    traced = [trace_bidirectionally(lambda at: -6 * at[:, 2], origins, directions, settings=each) for each in settings]
    assert traced[0].hit.all() and traced[0].distance.item() == pytest.approx(3.0, abs=2e-5)
    assert traced[0].num_sampled == 0
    assert traced[1].distance.item() == pytest.approx(3.5)


def test_evaluations_in_training() -> None:
    """The loss on the silhouette looks at 100 places of most rays that miss: it is most of the cost."""
    mask = BALL.entry_distance(*camera_rays()).isfinite()
    for slope, evaluations in ((1.0, 57.3), (0.39, 71.45)):
        traced = trace(BALL, slope, object_mask=mask, generator=torch.Generator().manual_seed(0))
        # Twelve rays touch the bounding sphere: looking at 100 places of each makes 0.3 per ray.
        assert traced.num_evaluations / 4096 == pytest.approx(evaluations, abs=0.2)
        assert torch.equal(traced.distance[mask], trace(BALL, slope).distance[mask])


def plain_tracer(
    function: Callable[[Tensor], Tensor], origins: Tensor, directions: Tensor, object_mask: Tensor | None
) -> tuple[Tensor, Tensor, int]:
    """The tracer as published, one ray at a time: hits, distances before the silhouette's, and searched rays."""

    def value(ray: int, place: float) -> float:
        return float(function((origins[ray] + place * directions[ray])[None]))

    near, far, crosses = intersect_sphere(origins, directions)
    hits, results, searched = [], [], 0
    for ray in range(len(origins)):
        place, sense = [float(near[ray]), float(far[ray])], (1, -1)
        alive = [bool(crosses[ray])] * 2
        values = [value(ray, at) if alive[0] else 0.0 for at in place]
        for step_index in range(11):
            alive = [a and v > 5e-5 for a, v in zip(alive, values, strict=True)]
            if step_index == 10 or not any(alive):
                break
            for end in (0, 1):
                if alive[end]:
                    step = sense[end] * values[end]
                    place[end] += step
                    values[end] = value(ray, place[end])
                    for share in (0.5, 0.25, 0.125):
                        if values[end] < 0:
                            place[end] -= share * step
                            values[end] = value(ray, place[end])
            alive = [a and place[0] < place[1] for a in alive]
        hit, result = place[0] < place[1], place[0]
        if alive[0]:
            searched += 1
            places = [place[0] + index / 99 * (place[1] - place[0]) for index in range(100)]
            samples = [value(ray, at) for at in places]
            first = next((index for index, sample in enumerate(samples) if sample < 0), None)
            hit = first is not None
            if first is None or (object_mask is not None and not object_mask[ray]):
                result = places[samples.index(min(samples))]
            else:
                low, high, s_low, s_high = places[first - 1], places[first], samples[first - 1], samples[first]
                for _ in range(60):
                    middle = (low + high) / 2
                    low, high = (middle, high) if value(ray, middle) > 0 else (low, middle)
                assert s_low >= 0 > s_high
                result = low
        hits.append(hit)
        results.append(result)
    return torch.tensor(hits), torch.tensor(results, dtype=origins.dtype), searched


def bumps(points: Tensor) -> Tensor:
    """Far from a distance: slopes from 0 to about 3, thin parts, several layers."""
    waves = torch.sin(11 * points[:, 0]) * torch.sin(9 * points[:, 1] + 1) * torch.sin(12 * points[:, 2])
    return 1.4 * (points.norm(dim=-1) - 0.55) + 0.13 * waves


@pytest.mark.parametrize("masked", [False, True])
def test_the_batch_does_what_a_loop_over_rays_does(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    origins = 2 * torch.nn.functional.normalize(torch.randn(150, 3, generator=generator, dtype=torch.float64), dim=-1)
    origins[:20] *= 0.4  # inside the sphere, some of them inside the surface
    targets = 1.6 * torch.rand(150, 3, generator=generator, dtype=torch.float64) - 0.8
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    mask = torch.rand(150, generator=generator) < 0.7 if masked else None
    hits, results, searched = plain_tracer(bumps, origins, directions, mask)
    traced = trace_bidirectionally(bumps, origins, directions, object_mask=mask)
    assert torch.equal(traced.hit, hits) and 20 < int(hits.sum()) < 140
    assert traced.num_sampled == searched >= 10
    compared = torch.ones_like(hits) if mask is None else hits & mask
    torch.testing.assert_close(traced.distance[compared], results[compared], atol=2e-6, rtol=0)


def test_searched_rays_off_the_object_get_their_least_sample() -> None:
    origins, directions = camera_rays(torch.float64)
    rays = torch.tensor([32 * 64 + 32, 32 * 64 + 36, 32 * 64 + 60])
    near, far = torch.tensor([2.0, 2.0, 2.0]).double(), torch.tensor([4.0, 4.0, 4.0]).double()
    distances = SignedDistanceOnRays(BALL.signed_distance, origins, directions)
    settings = BidirectionalTracingSettings(num_samples=101)
    wanted = torch.tensor([True, False, True])
    found, place = search_first_crossing(distances, rays, near, far, wanted=wanted, settings=settings)
    assert found.tolist() == [True, True, False]
    closest = -(origins * directions).sum(-1)[rays]
    assert place[0].item() == pytest.approx(2.5, abs=1e-9)
    assert (place - closest)[1:].abs().max() <= 0.01
    # Only the ray with a crossing of use is refined.
    assert distances.num_evaluations == 3 * 101 + 8


def test_a_search_that_starts_inside_ends_at_its_start() -> None:
    """There is no sign change before the first place: nothing is refined, least of all towards the last place."""
    origins, directions = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])
    distances = SignedDistanceOnRays(BALL.signed_distance, origins, directions)
    found, place = search_first_crossing(
        distances, torch.tensor([0]), torch.tensor([0.1]), torch.tensor([0.9]),
        wanted=None, settings=BidirectionalTracingSettings(),
    )  # fmt: skip
    assert found.tolist() == [True] and place.tolist() == pytest.approx([0.1])
    assert distances.num_evaluations == 100


def test_cameras_in_the_sphere_and_in_the_solid() -> None:
    origins = torch.tensor([[0.0, 0.0, -0.8], [0.0, 0.0, 0.1], [0.0, 0.0, 0.8], [0.0, 0.0, 2.0]])
    directions = torch.tensor([[0.0, 0.0, 1.0]] * 4)
    traced = trace_bidirectionally(BALL.signed_distance, origins, directions)
    assert traced.hit.tolist() == [True, True, False, False]
    torch.testing.assert_close(traced.distance[:2], torch.tensor([0.3, 0.0]), atol=1e-4, rtol=0)
    assert traced.crosses_sphere.tolist() == [True, True, True, False]
    trained = trace_bidirectionally(
        BALL.signed_distance, origins, directions, object_mask=torch.tensor([True, True, False, False])
    )
    torch.testing.assert_close(trained.distance[:2], traced.distance[:2])
    assert trained.distance[2] < 0.02 and trained.distance[3] == 0


@pytest.mark.parametrize("masked", [False, True])
def test_no_ray_hits(masked: bool) -> None:
    mask = torch.ones(4096, dtype=torch.bool) if masked else None
    traced = trace_bidirectionally(lambda at: torch.ones_like(at[:, 0]), *camera_rays(), object_mask=mask)
    assert not traced.hit.any() and traced.distance.isfinite().all() and traced.num_sampled == 0


@pytest.mark.parametrize("masked", [False, True])
def test_a_distance_is_never_asked_about_nothing(masked: bool) -> None:
    def never(points: Tensor) -> Tensor:
        raise AssertionError("asked")

    nothing = torch.zeros(0, 3)
    mask = torch.zeros(0, dtype=torch.bool) if masked else None
    empty = trace_bidirectionally(never, nothing, nothing, object_mask=mask)
    assert empty.hit.shape == empty.distance.shape == empty.crosses_sphere.shape == (0,)
    passing, forwards = torch.tensor([[0.0, 3.0, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    traced = trace_bidirectionally(
        never, passing, forwards, object_mask=torch.ones(1, dtype=torch.bool) if masked else None
    )
    assert not traced.hit.any() and traced.num_evaluations == 0
    assert traced.distance.tolist() == [1.0 if masked else 0.0]


def test_every_evaluation_is_counted_and_chunks_change_nothing() -> None:
    sizes: list[int] = []

    def recorded(points: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        sizes.append(len(points))
        return BALL.signed_distance(points)

    origins, directions = camera_rays()
    whole = trace_bidirectionally(recorded, origins.requires_grad_(), directions)
    # Both ends of a ray are in one call, and later calls hold the rays on their way only.
    assert sum(sizes) == whole.num_evaluations and sizes[0] == 2 * int(whole.crosses_sphere.sum())
    assert not whole.distance.requires_grad and len(sizes) <= 1 + 10 * 4 + 1 + 8
    settings = BidirectionalTracingSettings(chunk_size=999)
    chunked = trace_bidirectionally(recorded, origins, directions, settings=settings)
    assert torch.equal(chunked.hit, whole.hit)
    torch.testing.assert_close(chunked.distance, whole.distance)


def test_mixed_precision_is_off_while_tracing() -> None:
    weight = torch.eye(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        traced = trace_bidirectionally(lambda at: (at @ weight).norm(dim=-1, keepdim=True) - 0.5, *camera_rays())
    assert torch.equal(traced.distance, trace(BALL).distance)
