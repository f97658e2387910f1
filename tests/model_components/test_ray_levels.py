"""Intervals of rays: published values of resampling, weights and the envelope, and what they are made of."""

import pytest
import torch
from nerfstudio.model_components.ray_samplers import PDFSampler

from nf_plugins.model_components.feature_cache import FeatureCache
from nf_plugins.model_components.interval_weights import interval_weights, median_depth
from nf_plugins.model_components.proposal_resampling import anneal_exponent, resample_edges, uniform_edges
from nf_plugins.model_components.ray_levels import LevelSampling, RayLevel, RaySpan, proposal_levels, scatter_rows
from nf_plugins.models.im4d_losses import envelope_loss

WEIGHTS = torch.tensor([[0, 0.05, 0.1, 0.5, 0.2, 0.1, 0, 0]])
EIGHTHS = torch.linspace(0, 1, 9)[None]


def test_published_resampling() -> None:
    four = resample_edges(EIGHTHS, WEIGHTS, 4, jitter=False, half_bin=False)
    assert torch.allclose(four, torch.tensor([[0, 0.381373, 0.431863, 0.482353, 0.579762]]), atol=2e-6)
    eight = resample_edges(EIGHTHS, WEIGHTS, 8, jitter=False, half_bin=False)
    published = [0, 0.300505, 0.386983, 0.415033, 0.443083, 0.471133, 0.499183, 0.566138, 0.642677]
    assert torch.allclose(eight, torch.tensor([published]), atol=2e-6)


def test_half_a_bin_on_is_what_nerfstudio_samples() -> None:
    from nerfstudio.cameras.rays import Frustums, RayBundle, RaySamples

    origins = torch.zeros(1, 8, 3)
    starts, ends = EIGHTHS[:, :-1, None], EIGHTHS[:, 1:, None]
    frustums = Frustums(origins, origins + 1, starts, ends, torch.ones(1, 8, 1))
    samples = RaySamples(
        frustums, spacing_starts=starts, spacing_ends=ends, spacing_to_euclidean_fn=lambda value: value
    )
    bundle = RayBundle(torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1, 1))
    sampler = PDFSampler(include_original=False, histogram_padding=0.01).eval()
    theirs = sampler(bundle, samples, WEIGHTS[..., None], num_samples=4)
    edges = torch.cat([theirs.spacing_starts[0, :, 0], theirs.spacing_ends[0, -1:, 0]])
    assert torch.allclose(resample_edges(EIGHTHS, WEIGHTS, 4, jitter=False, half_bin=True)[0], edges, atol=1e-5)


def test_resampling_follows_the_weights_and_survives_extremes() -> None:
    generator = torch.Generator().manual_seed(0)
    peak = torch.zeros(1, 8)
    peak[0, 5] = 1.0
    edges = resample_edges(EIGHTHS, peak, 64, jitter=True, half_bin=True, generator=generator)
    assert bool((edges[:, 1:] >= edges[:, :-1]).all())
    assert ((edges > 5 / 8) & (edges < 6 / 8)).float().mean() > 0.85
    even = resample_edges(EIGHTHS, torch.zeros(1, 8), 8, jitter=False, half_bin=False, padding=0.0)
    assert torch.isfinite(even).all() and float(even.max()) <= 1
    assert not resample_edges(EIGHTHS, WEIGHTS.clone().requires_grad_(), 4, jitter=False, half_bin=True).requires_grad


def test_even_edges() -> None:
    assert torch.allclose(uniform_edges(2, 4, jitter=False)[1], torch.tensor([0, 0.25, 0.5, 0.75, 1.0]))
    moved = uniform_edges(500, 4, jitter=True, generator=torch.Generator().manual_seed(0)) - uniform_edges(
        500, 4, jitter=False
    )
    assert float(moved.min()) >= 0 and 0.2 < float(moved.max()) <= 0.25
    assert float(moved.std(dim=1).mean()) > 0.03, "edges of a ray move independently"


def test_published_annealing() -> None:
    for step, exponent in {0: 0, 10: 0.091743, 100: 0.526316, 500: 0.909091, 1000: 1, 5000: 1}.items():
        assert anneal_exponent(step) == pytest.approx(exponent, abs=1e-6)
    assert anneal_exponent(0, 0) == 1


def test_published_weights_and_median() -> None:
    norm = torch.tensor([0.1, -0.2, 1.0]).norm()
    depths = torch.tensor([[1, 1.1, 1.25, 1.3, 1.5, 1.6]])
    densities = torch.exp(torch.tensor([[-1.0, 0, 2, 4, 1]]) - 1)
    weights = interval_weights(depths * norm, densities)
    assert torch.allclose(weights, torch.tensor([[0.013772, 0.054219, 0.121168, 0.797621, 0.001288]]), atol=1e-6)
    assert weights.sum().item() == pytest.approx(0.988067, abs=1e-6)
    assert median_depth(depths, weights).item() == pytest.approx(1.3)
    assert median_depth(depths, 0.4 * weights).item() == 0


def test_empty_intervals_add_nothing_and_have_finite_gradients() -> None:
    edges = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    densities = torch.full((1, 3), 1e8, requires_grad=True)
    weights = interval_weights(edges, densities)
    weights.sum().backward()
    assert not weights.any() and torch.isfinite(densities.grad).all()
    opaque = interval_weights(torch.tensor([[0.0, 1, 2]]), torch.full((1, 2), 1e8, requires_grad=True))
    assert opaque[0, 0] == 1 and opaque[0, 1] < 1e-9


def level_of(weights: list[float]) -> RayLevel:
    edges = torch.linspace(0, 1, len(weights) + 1)[None]
    return RayLevel(edges, edges, torch.tensor([weights]).requires_grad_())


def test_published_envelope() -> None:
    fine = level_of([0.1, 0.4, 0.3, 0.1])
    coarse = level_of([0.02, 0.05, 0.1, 0.2, 0.2, 0.1, 0.05, 0.02])
    loss = envelope_loss(fine, coarse)
    assert loss.item() == pytest.approx(0.00225, abs=1e-6)
    loss.backward()
    assert fine.weights.grad is None and coarse.weights.grad is not None
    envelope_loss(fine, coarse, detach=False).backward()
    assert fine.weights.grad is not None and bool(fine.weights.grad.any())


def slab_span(num_rays: int) -> RaySpan:
    directions = torch.zeros(num_rays, 3)
    directions[:, 2] = 1
    return RaySpan(
        torch.zeros(num_rays, 3), directions, torch.full((num_rays, 1), 1.0), torch.full((num_rays, 1), 3.0),
        torch.zeros(num_rays),
    )  # fmt: skip


def test_levels_find_a_slab() -> None:
    def slab(points: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        return 200.0 * ((points[:, 2:] > 2.0) & (points[:, 2:] < 2.1)).float()

    span = slab_span(3)
    levels = proposal_levels(span, [slab, slab], [64, 32], LevelSampling(jitter=False))
    assert levels[0].weights.shape == (3, 64) and levels[1].edges.shape == (3, 33)
    inside = (levels[1].edges > 1.95) & (levels[1].edges < 2.15)
    assert inside.float().mean() > 0.5
    assert torch.allclose(levels[1].accumulation, torch.ones(3, 1), atol=1e-3)
    assert torch.allclose(levels[1].depth, torch.full((3, 1), 2.0), atol=0.03)
    assert torch.allclose(levels[1].median_depth, torch.full((3, 1), 2.0), atol=0.03)
    flat = proposal_levels(span, [slab, slab], [64, 32], LevelSampling(jitter=False, exponent=0.0))
    assert torch.allclose(flat[1].edges.diff(dim=1), torch.full((3, 32), 2 / 33), atol=1e-3)


def test_midpoints_belong_to_their_rays() -> None:
    span = slab_span(2)._replace(times=torch.tensor([0.2, 0.8]))
    points, times = span.midpoints(span.edges(torch.tensor([[0, 0.5, 1.0]]).expand(2, 3)))
    assert torch.allclose(points[:, 2], torch.tensor([1.5, 2.5, 1.5, 2.5]))
    assert torch.allclose(times, torch.tensor([0.2, 0.2, 0.8, 0.8]))
    assert span.rows(torch.tensor([1])).times.tolist() == pytest.approx([0.8])
    assert scatter_rows(torch.ones(1, 2), torch.tensor([1]), 3).tolist() == [[0, 0], [1, 1], [0, 0]]


class Block:
    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes


def test_the_cache_forgets_what_was_not_asked_for_the_longest() -> None:
    cache: FeatureCache[Block] = FeatureCache(20)
    first = cache.get("a", lambda: Block(10))
    cache.get("b", lambda: Block(10))
    assert cache.get("a", lambda: Block(10)) is first
    cache.get("c", lambda: Block(10))
    assert len(cache) == 2 and cache.get("a", lambda: Block(10)) is first
    huge = cache.get("huge", lambda: Block(1000))
    assert len(cache) == 1 and cache.get("huge", lambda: Block(1)) is huge
    cache.clear()
    assert len(cache) == 0
