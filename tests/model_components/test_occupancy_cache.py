"""Caches: frames, bits, lookups between frames, rendering."""

import pytest
import torch
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.cached_rendering import render_cached
from nf_plugins.model_components.density_lattice import occupied_cells
from nf_plugins.model_components.occupancy_cache import KEPT_GRIDS, OccupancyCache
from nf_plugins.model_components.ray_levels import RaySpan

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def small_cache(num_frames: int = 6, frame_ids: list[int] | None = None) -> tuple[OccupancyCache, Tensor]:
    grids = torch.rand(num_frames, 3, 5, 2, generator=torch.Generator().manual_seed(0)) < 0.4
    boxes = torch.stack([BOX + 0.1 * frame for frame in range(num_frames)])
    return OccupancyCache.from_grids(grids, boxes, frame_ids or list(range(num_frames)), tag="test"), grids


def test_grids_come_back_and_few_are_kept() -> None:
    cache, grids = small_cache()
    assert cache.bits.shape == (6, 4) and cache.num_bytes == 24 and cache.resolution == (3, 5, 2)
    for frame in (0, 5, 2, 3, 1, 0, 4):
        assert torch.equal(cache.grid(frame), grids[frame])
        assert len(cache._grids) <= KEPT_GRIDS
    assert cache.grid(4) is cache.grid(4)
    assert cache.occupied_shares() == pytest.approx(grids.flatten(1).float().mean(1).tolist())


def test_a_frame_that_is_not_in_the_cache_is_named() -> None:
    cache, grids = small_cache(3, [2, 4, 6])
    assert torch.equal(cache.grid(4), grids[1])
    with pytest.raises(InputError, match="'test' has 3 frames from 2 to 6, and not frame 3.*--frames"):
        cache.grid(3)
    with pytest.raises(InputError, match="not frame 3"):
        cache.at(2.5)


def test_between_frames_both_count() -> None:
    cache, grids = small_cache()
    points = 3 * torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) - 1.5
    both = cache.at(1.4).lookup(points)
    assert torch.equal(both, cache.lookup(points, 1) | cache.lookup(points, 2))
    assert torch.equal(cache.at(2.0002).lookup(points), cache.lookup(points, 2)), "rounded times are the frame's"
    assert 0 < both.sum() < 500


def test_segments_of_rays_at_different_times() -> None:
    cache, _ = small_cache()
    generator = torch.Generator().manual_seed(2)
    origins = torch.tensor([0.0, 0.0, -3.0]) + 0.6 * torch.randn(40, 3, generator=generator)
    directions = torch.tensor([0.0, 0.0, 1.0]).expand(40, 3)
    nears, fars = torch.full((40, 1), 1.5), torch.full((40, 1), 5.0)
    coordinates = torch.tensor([0.0, 1.0, 2.5, 5.0]).repeat(10)
    together = cache.segments(origins, directions, nears, fars, coordinates=coordinates, num_segments=16)
    for coordinate in (0.0, 1.0, 2.5, 5.0):
        rows = coordinates == coordinate
        alone = cache.at(coordinate).segments(origins[rows], directions[rows], nears[rows], fars[rows], 16)
        assert torch.equal(together[rows], alone)
    assert together.any()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        OccupancyCache(torch.zeros(2, 3, dtype=torch.uint8), (3, 3, 3), torch.zeros(2, 2, 3), torch.arange(2))


def ball_density(points: Tensor, times: Tensor) -> Tensor:
    """A fuzzy ball that moves along x."""
    centres = torch.stack([0.6 * (times - 0.5), torch.zeros_like(times), torch.zeros_like(times)], dim=-1)
    return 60 * torch.sigmoid((0.4 - (points - centres).norm(dim=-1, keepdim=True)) / 0.02)


def ball_color(points: Tensor, times: Tensor, ray_ids: Tensor) -> Tensor:
    return 0.5 + 0.4 * torch.sin(6 * points)


def render(cache: OccupancyCache, threshold: float) -> dict[str, Tensor]:
    side = torch.linspace(-0.95, 0.95, 24)
    x, y = torch.meshgrid(side, side, indexing="ij")
    origins = torch.stack([x, y, torch.full_like(x, -3)], dim=-1).view(-1, 3).repeat(2, 1)
    directions = torch.tensor([0.0, 0.0, 1.0]).expand_as(origins)
    times = torch.tensor([0.0, 1.0]).repeat_interleave(24 * 24)
    nears, fars = torch.full_like(origins[:, :1], 1.5), torch.full_like(origins[:, :1], 4.5)
    return render_cached(
        cache, RaySpan(origins, directions, nears, fars, times), 2 * times, torch.ones_like(times).bool(),
        torch.ones_like(nears), density=ball_density, color=ball_color, background=torch.ones(3),
        num_samples=400, weight_threshold=threshold, renormalise=True,
    )  # fmt: skip


def test_rendering_with_a_cache_equals_rendering_everything_with_less_work() -> None:
    resolution = (16, 20, 24)
    grids = [
        occupied_cells(lambda x, t=t: ball_density(x, torch.full_like(x[:, 0], t)), BOX, resolution, 0.5)
        for t in (0.0, 0.5, 1.0)
    ]
    boxes = BOX.expand(3, 2, 3)
    cache = OccupancyCache.from_grids(torch.stack(grids), boxes, [0, 1, 2])
    full = OccupancyCache.from_grids(torch.ones(3, *resolution).bool(), boxes, [0, 1, 2])
    cached, everywhere = render(cache, 1e-3), render(full, 0.0)
    for name, tolerance in (("rgb", 0.03), ("accumulation", 0.03)):
        assert (cached[name] - everywhere[name]).abs().max() < tolerance, name
    solid = everywhere["accumulation"] > 0.5
    assert (cached["depth"] - everywhere["depth"])[solid].abs().max() < 0.01
    assert (cached["rgb"][: 24 * 24] - cached["rgb"][24 * 24 :]).abs().max() > 0.3, "the ball has moved"
    assert cache.counts.rays == full.counts.rays == 2 * 24 * 24
    assert cache.counts.samples < 0.3 * full.counts.samples
    assert cache.counts.shaded < 0.7 * cache.counts.samples


def test_a_cache_without_the_frame_stops_rendering() -> None:
    cache = OccupancyCache.from_grids(torch.ones(1, 2, 2, 2).bool(), BOX[None], [0])
    with pytest.raises(InputError, match="not frame 2"):
        render(cache, 0.01)
