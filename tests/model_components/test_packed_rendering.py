"""Packed compositing equals compositing of whole rays."""

from typing import Any

import pytest
import torch

from nf_plugins.model_components.interval_weights import interval_weights, median_depth
from nf_plugins.model_components.occupied_march import PackedSamples
from nf_plugins.model_components.packed_rendering import PackedImage, packed_weights, render_packed

NUM_RAYS, NUM_BINS = 30, 40


def scene(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Edges (R, n + 1), densities (R, n), 0 where nothing is occupied, and which are."""
    generator = torch.Generator().manual_seed(seed)
    edges = 1 + torch.rand(NUM_RAYS, 1, generator=generator) + torch.linspace(0, 2, NUM_BINS + 1)
    occupied = torch.rand(NUM_RAYS, NUM_BINS, generator=generator) < 0.4
    occupied[3] = False
    densities = 4 * torch.rand(NUM_RAYS, NUM_BINS, generator=generator) ** 3 * occupied
    directions = torch.nn.functional.normalize(torch.randn(NUM_RAYS, 3, generator=generator), dim=-1)
    return edges, densities, occupied, directions


def packed() -> tuple[PackedSamples, torch.Tensor]:
    edges, densities, occupied, _ = scene()
    rows, columns = occupied.nonzero(as_tuple=True)
    return PackedSamples(rows, edges[rows, columns], edges[rows, columns + 1]), densities[rows, columns]


def color(points: torch.Tensor, ray_ids: torch.Tensor) -> torch.Tensor:
    return 0.5 + 0.5 * torch.sin(5 * points)


def rendered(factor: float = 1.0, **options: Any) -> PackedImage:
    samples, _ = packed()
    edges, densities, _, directions = scene()
    origins = torch.zeros(NUM_RAYS, 3)

    def density(points: torch.Tensor, ray_ids: torch.Tensor) -> torch.Tensor:
        assert torch.allclose(torch.nn.functional.normalize(points, dim=-1), directions[ray_ids], atol=1e-5)
        bins = ((points.norm(dim=-1) - edges[ray_ids, 0]) / (2 / NUM_BINS)).long()
        return factor * densities[ray_ids, bins][:, None]

    background = torch.tensor([0.2, 0.4, 0.8])
    return render_packed(samples, origins, directions, density, color, background=background, **options)


def dense(threshold: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Weights, middles, colours where the weight is not below a threshold, and edges of whole rays."""
    edges, densities, _, directions = scene()
    weights = interval_weights(edges, densities)
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    colors = color(middles[..., None] * directions[:, None], torch.empty(0))
    return weights, middles, torch.where((weights >= threshold)[..., None], colors, 0.0), edges


def test_weights_are_those_of_whole_rays() -> None:
    samples, densities = packed()
    weights = torch.zeros(NUM_RAYS, NUM_BINS)
    weights[scene()[2]] = packed_weights(densities, samples.lengths, samples.ray_ids, NUM_RAYS)
    assert torch.allclose(weights, dense()[0], atol=1e-6)


def test_no_density_is_too_large_and_no_sample_too_few() -> None:
    ids = torch.tensor([0, 0, 2])
    weights = packed_weights(torch.tensor([1e30, float("inf"), 1.0]), torch.tensor([0.1, 0.1, 1.0]), ids, 3)
    assert torch.allclose(weights, torch.tensor([1.0, 0.0, 0.6321206]), atol=1e-6)
    assert len(packed_weights(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.long), 4)) == 0


def test_everything_shown_equals_whole_rays() -> None:
    image = rendered(weight_threshold=0.0, early_stop=0.0, points_per_chunk=13)
    weights, middles, colors, edges = dense()
    opacity = weights.sum(1, keepdim=True)
    background = torch.tensor([0.2, 0.4, 0.8])
    assert torch.allclose(image.rgb, (weights[..., None] * colors).sum(1) + (1 - opacity) * background, atol=1e-5)
    assert torch.allclose(image.accumulation, opacity, atol=1e-5)
    expected = (weights * middles).sum(1, keepdim=True) / opacity.clamp(min=1e-6)
    assert torch.allclose(image.depth, expected, atol=1e-4)
    assert torch.allclose(image.median_depth[:, 0], median_depth(edges, weights), atol=1e-5)
    assert image.num_samples == int(scene()[2].sum()) >= image.num_shaded > 0
    assert torch.equal(image.rgb[3], background) and image.accumulation[3] == image.depth[3] == 0


def test_culled_weight_goes_to_the_background_or_to_the_others() -> None:
    weights, _, colors, _ = dense(0.03)
    background = torch.tensor([0.2, 0.4, 0.8])
    shown = (weights * (weights >= 0.03)).sum(1, keepdim=True)
    foreground = (weights[..., None] * colors).sum(1)
    published = rendered(weight_threshold=0.03, renormalise=False, early_stop=0.0)
    assert torch.allclose(published.rgb, foreground + (1 - shown) * background, atol=1e-5)
    assert torch.allclose(published.accumulation, shown, atol=1e-5)
    renormalised = rendered(weight_threshold=0.03, early_stop=0.0)
    opacity = weights.sum(1, keepdim=True)
    expected = foreground * opacity / shown.clamp(min=1e-8) + (1 - opacity) * background
    assert torch.allclose(renormalised.rgb, torch.where(shown > 0, expected, background), atol=1e-5)
    assert published.num_shaded == renormalised.num_shaded == int((weights >= 0.03).sum()) < int(scene()[2].sum())
    assert not torch.allclose(published.rgb, renormalised.rgb, atol=1e-3)


@pytest.mark.parametrize("early_stop", [1e-3, 0.1])
def test_opaque_rays_look_no_further(early_stop: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from nf_plugins.model_components import packed_rendering

    monkeypatch.setattr(packed_rendering, "SAMPLES_PER_WAVE", 2)
    full = rendered(20.0, weight_threshold=0.0, early_stop=0.0)
    stopped = rendered(20.0, weight_threshold=0.0, early_stop=early_stop)
    assert stopped.num_samples < 0.7 * full.num_samples
    assert (full.rgb - stopped.rgb).abs().max() <= early_stop + 1e-6
