"""Where the loss on the silhouette looks: rays that pass, miss the sphere, or hit outside the mask."""

from __future__ import annotations

import torch
from torch import Tensor

from nf_plugins.data.synthetic.analytic_shapes import Sphere, pinhole_rays
from nf_plugins.model_components.bidirectional_tracing import trace_bidirectionally
from nf_plugins.model_components.signed_distance_on_rays import SignedDistanceOnRays
from nf_plugins.model_components.silhouette_points import closest_approach, least_distance_places
from nf_plugins.model_components.sphere_intersection import intersect_sphere

BALL = Sphere(0.5)


def trace(object_mask: Tensor, seed: int = 0):  # noqa: ANN201
    origins, directions = (value.float() for value in pinhole_rays(64, 80.0, 3.0))
    return origins, directions, trace_bidirectionally(
        BALL.signed_distance, origins, directions, object_mask=object_mask,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def test_places_of_an_empty_mask() -> None:
    origins, directions, traced = trace(torch.zeros(4096, dtype=torch.bool))
    values = BALL.signed_distance(origins + traced.distance[:, None] * directions)
    closest = -(origins * directions).sum(-1)
    entry = BALL.entry_distance(origins, directions)
    assert torch.equal(traced.hit, entry.isfinite()) and int(traced.hit.sum()) == 577
    # Through the object: beyond the surface, inside of it.
    assert (traced.distance.double() > entry - 1e-4)[traced.hit].all()
    assert abs(float(values[traced.hit].mean()) + 0.164) < 0.002
    # Past the object: near the closest approach. Past the sphere: exactly there.
    past = traced.crosses_sphere & ~traced.hit
    assert (traced.distance - closest)[past].abs().max() < 0.03
    assert torch.equal(traced.distance[~traced.crosses_sphere], closest[~traced.crosses_sphere])
    assert 2509 <= int(traced.crosses_sphere.sum()) <= 2521


def test_rays_on_the_object_keep_their_surface_and_the_others_do_not() -> None:
    half = torch.zeros(64, 64, dtype=torch.bool)
    half[:, :32] = True
    _, _, whole = trace(torch.ones(4096, dtype=torch.bool))
    origins, directions, traced = trace(half.flatten())
    on_object = traced.hit & half.flatten()
    assert torch.equal(traced.hit, whole.hit)
    assert torch.equal(traced.distance[on_object], whole.distance[on_object])
    through = traced.hit & ~half.flatten()
    # Looked at are places between the surface and the far end of the sphere, the same shares on each ray; only rays
    # that the tracer has searched have others.
    _, far, _ = (value[through] for value in intersect_sphere(origins, directions))
    surface = whole.distance[through]
    shares = (traced.distance[through] - surface) / (far - surface)
    offsets = torch.rand(100, generator=torch.Generator().manual_seed(0))
    one_of_them = (shares[:, None] - offsets).abs().amin(dim=1) < 1e-5
    assert len(surface) > 250 and one_of_them.double().mean() > 0.65


def test_one_vector_of_offsets_serves_all_rays_and_repeats_with_the_seed() -> None:
    mask = torch.zeros(4096, dtype=torch.bool)
    distances = [trace(mask, seed)[2].distance for seed in (3, 3, 4)]
    assert torch.equal(distances[0], distances[1]) and not torch.equal(distances[0], distances[2])
    torch.manual_seed(3)
    origins, directions = (value.float() for value in pinhole_rays(64, 80.0, 3.0))
    by_default = trace_bidirectionally(BALL.signed_distance, origins, directions, object_mask=mask)
    assert torch.equal(by_default.distance, distances[0])
    after = torch.rand(1)
    torch.manual_seed(3)
    torch.rand(100)
    assert torch.equal(torch.rand(1), after)


def test_the_least_of_the_places_looked_at() -> None:
    origins, directions = torch.zeros(3, 3), torch.tensor([[1.0, 0, 0]]).repeat(3, 1)
    distances = SignedDistanceOnRays(lambda points: (points[:, 0] - 0.6).abs(), origins, directions)
    offsets = torch.tensor([0.1, 0.9, 0.5])
    near, far = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0])
    places = least_distance_places(distances, torch.tensor([0, 2]), near=near, far=far, offsets=offsets)
    torch.testing.assert_close(places, torch.tensor([0.5, 1.2]))


def test_what_lies_behind_is_approached_no_closer_than_at_the_origin() -> None:
    origins = torch.tensor([[0.0, 2.0, -1.0], [0.0, 2.0, 1.0]])
    assert closest_approach(origins, torch.tensor([[0.0, 0.0, 1.0]] * 2)).tolist() == [1, 0]
