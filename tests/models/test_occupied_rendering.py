"""Occupancy, learnt in training or cached, in the volume-rendered surface methods."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from test_neus_surface import CENTRE, RADIUS, batch_of, make_model, rays, true_model
from test_resfields import make_pipeline

from nf_plugins.errors import InputError
from nf_plugins.exporters.occupancy_baking import GridOptions, bake_field, density_threshold
from nf_plugins.model_components.occupancy_cache import OccupancyCache
from nf_plugins.models.occupancy_schedule import TrainingOccupancyConfig

OPTIONS = GridOptions(resolution=(24, 24, 24))


def baked(model: Any, frames: list[int], resolution: int = 24) -> OccupancyCache:
    options = GridOptions((resolution,) * 3)  # type: ignore[arg-type]
    return bake_field(model, frames, options, density_threshold(model, options.resolution), tag="test")


def test_the_density_of_neus_is_what_a_ray_straight_inwards_meets() -> None:
    model = true_model()
    start, length = RADIUS + 0.2, 0.0005
    distances = torch.arange(0, 0.35, length)
    points = CENTRE + torch.tensor([[0.0, 0.0, -1.0]]) * (start - distances[:, None])
    optical = (model.density_at(points)[:, 0] * length).sum()
    sharpness = model.variance.get_variance()
    ends = torch.sigmoid(sharpness * torch.tensor([0.2, 0.2 - 0.35]))
    assert float(torch.exp(-optical)) == pytest.approx(float(ends[1] / ends[0]), rel=0.05)


def test_neus_renders_the_same_with_a_cache_and_asks_less() -> None:
    model, bundle = true_model(), rays(400)
    without = model.get_outputs(bundle)
    cache = baked(model, [0])
    assert 0.02 < cache.occupied_shares()[0] < 0.4
    model.use_occupancy_cache(cache)
    cached = model.get_outputs(rays(400))
    for name in ("rgb", "accumulation", "depth"):
        assert (cached[name] - without[name]).abs().mean() < 0.01, name
    assert cache.counts.rays == 400 and cache.counts.samples < 0.7 * 400 * (32 + 64)
    model.use_occupancy_cache(OccupancyCache.from_grids(torch.zeros(1, 2, 2, 2).bool(), model.scene_aabb[None], [0]))
    empty = model.get_outputs(rays(400))
    assert torch.allclose(empty["rgb"], model.background_color.expand(400, 3)) and not empty["depth"].any()
    model.use_occupancy_cache(None)
    assert torch.equal(model.get_outputs(rays(400))["rgb"], without["rgb"])


def test_neus_learns_where_something_is_and_is_cut_to_it() -> None:
    occupancy = TrainingOccupancyConfig(enabled=True, resolution=16, start_step=4, update_interval=2, exploration=0.0)
    model = make_model(occupancy=occupancy).train()
    assert model.occupancy is not None and model.occupancy_schedule is not None
    datamanager = SimpleNamespace(train_dataset=SimpleNamespace(metadata={}))
    callbacks = model.get_training_callbacks(SimpleNamespace(pipeline=SimpleNamespace(datamanager=datamanager)))  # type: ignore[arg-type]
    for step, is_looked_at in ((0, False), (4, True)):
        for callback in callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        assert (model.occupancy.occupied_fraction() < 1) == is_looked_at
    seen: list[torch.Tensor] = []
    original = model._sample
    model._sample = lambda bundle: seen.append(bundle.fars - bundle.nears) or original(bundle)  # type: ignore[method-assign, func-returns-value]
    bundle = rays(64)
    losses = model.get_loss_dict(model.get_outputs(bundle), batch_of(bundle))
    torch.stack(list(losses.values())).sum().backward()
    assert 0 < len(seen[0]) <= 64 and seen[0].mean() < 1.5, "of chords that are 2 long in the middle"
    assert "occupancy.states" in model.state_dict() and "occupancy.states" not in make_model().state_dict()


def test_resfields_renders_the_same_with_a_cache_between_frames_too(tiny_owlii_scene: Path) -> None:
    pipeline: Any = make_pipeline(tiny_owlii_scene, num_eval_samples=256)
    model = pipeline.model.eval()
    with torch.no_grad():
        model.field.laplace_density.raw_beta.fill_(0.01)
    cache = baked(model, list(range(6)))
    assert max(cache.occupied_shares()) < 0.7
    camera = pipeline.datamanager.eval_dataset.cameras[2:3]
    for time in (float(model.frame_times[2]), 0.3):
        camera.times = torch.full((1, 1), time)
        model.use_occupancy_cache(None)
        without = model.get_outputs_for_camera(camera)
        model.use_occupancy_cache(cache)
        cached = model.get_outputs_for_camera(camera)
        for name in ("rgb", "accumulation"):
            assert (cached[name] - without[name]).abs().mean() < 5e-3, name
    assert without["accumulation"].mean() > 0.05
    few = baked(model, [0], resolution=4)
    model.use_occupancy_cache(few)
    with pytest.raises(InputError, match="frame"):
        model.get_outputs_for_camera(camera)
    assert not any("cache" in name for name in model.state_dict())


def test_methods_without_a_density_refuse_a_cache() -> None:
    from nf_plugins.models.checked_model import CheckedModel

    model = make_model()
    with pytest.raises(InputError, match="NeuSSurfaceModel has no volume density"):
        CheckedModel.density_at(model, torch.zeros(1, 3), 0.0)
