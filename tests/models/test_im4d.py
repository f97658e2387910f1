"""Im4D on its datamanager over a tiny scene: gradients by step, groups, sources, caching, checkpoints."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from dataparsers.owlii import OwliiDataParserConfig
from method_configs.im4d import im4d, im4d_published, im4d_tiny
from nf_plugins.errors import InputError
from nf_plugins.models.im4d import Im4DModel


def make_pipeline(scene: Path, spec=im4d_tiny, datamanager_fields: dict[str, Any] | None = None, **model_fields):
    torch.manual_seed(0)
    config = spec.config.pipeline
    datamanager = replace(
        config.datamanager, data=scene, dataparser=OwliiDataParserConfig(data=scene), prefetch_batches=0,
        **(datamanager_fields or {}),
    )  # fmt: skip
    return replace(config, datamanager=datamanager, model=replace(config.model, **model_fields)).setup(
        device="cpu", test_mode="val"
    )


def run_callbacks(pipeline: VanillaPipeline, step: int) -> None:
    for callback in pipeline.get_training_callbacks(SimpleNamespace(pipeline=pipeline)):
        callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)


def step_losses(pipeline: VanillaPipeline, step: int) -> dict[str, torch.Tensor]:
    pipeline.train()
    run_callbacks(pipeline, step)
    pipeline.model.zero_grad()
    return pipeline.get_train_loss_dict(step)[1]


def has_gradient(module: torch.nn.Module) -> bool:
    return any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in module.parameters())


@pytest.fixture
def rig(owlii_scene: Callable[..., Path]) -> Path:
    return owlii_scene("rig", num_train_cameras=5)


@pytest.fixture
def pipeline(rig: Path) -> VanillaPipeline:
    return make_pipeline(rig)


def train_steps(pipeline: VanillaPipeline, steps: int) -> list[float]:
    rates = {"planes": 1e-2, "networks": 1e-3, "features": 1e-3}
    groups = pipeline.get_param_groups()
    optimizer = torch.optim.Adam([{"params": groups[name], "lr": rate} for name, rate in rates.items()])
    losses = []
    for step in range(steps):
        loss_dict = step_losses(pipeline, step)
        loss = torch.stack(list(loss_dict.values())).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss_dict["rgb_loss"].item())
    return losses


def test_a_few_steps_lower_the_loss(rig: Path) -> None:
    losses = train_steps(make_pipeline(rig, datamanager_fields={"pixels_per_image": 64}), 24)
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])


def test_levels_of_a_step(pipeline: VanillaPipeline) -> None:
    pipeline.train()
    rays, batch = pipeline.datamanager.next_train(0)
    outputs = pipeline.model(rays)
    assert outputs["level"].weights.shape == (256, 16) and outputs["level"].edges.shape == (256, 17)
    assert outputs["proposals"][0].weights.shape == (256, 32)
    assert not outputs["level"].coordinates.requires_grad
    assert 0.9 < float(outputs["blend_entropy"]) <= 1.001
    metrics = pipeline.model.get_metrics_dict(outputs, batch)
    assert set(metrics) == {"psnr", "blend_entropy"}


def test_who_learns_from_what(pipeline: VanillaPipeline) -> None:
    model: Im4DModel = pipeline.model
    losses = step_losses(pipeline, 0)
    losses["rgb_loss"].backward(retain_graph=True)
    assert not has_gradient(model.proposals) and has_gradient(model.field) and has_gradient(model.appearance.blending)
    model.zero_grad()
    losses["envelope_loss"].backward(retain_graph=True)
    assert has_gradient(model.proposals) and not has_gradient(model.field)
    model.zero_grad()
    losses["proposal_mask_loss"].backward()
    assert has_gradient(model.proposals) and not has_gradient(model.field)


def test_published_envelope_pulls_at_the_density(rig: Path) -> None:
    pipeline = make_pipeline(rig, detach_envelope=False)
    step_losses(pipeline, 0)["envelope_loss"].backward()
    assert has_gradient(pipeline.model.field)


@pytest.mark.parametrize("step, learns", [(0, True), (4999, True), (5001, False), (5020, True), (5019, False)])
def test_when_the_feature_network_learns(pipeline: VanillaPipeline, step: int, learns: bool) -> None:
    torch.stack(list(step_losses(pipeline, step).values())).sum().backward()
    assert has_gradient(pipeline.model.appearance.pyramid) is learns
    assert has_gradient(pipeline.model.appearance.blending)


def test_terms_on_planes_are_always_there_and_count_every_fifth_step(pipeline: VanillaPipeline) -> None:
    names = {"plane_tv_loss", "proposal_plane_tv_loss", "time_smooth_loss", "proposal_time_smooth_loss"}
    every = {step: step_losses(pipeline, step) for step in (5, 6)}
    assert every[5].keys() == every[6].keys() and names <= every[5].keys()
    assert all(every[5][name] > 0 for name in names) and all(every[6][name] == 0 for name in names)
    ratio = every[5]["time_smooth_loss"] / every[5]["proposal_time_smooth_loss"]
    assert ratio > 30, "the proposal's weight is a hundredth"


def test_parameter_groups_are_complete_and_by_module(pipeline: VanillaPipeline) -> None:
    model: Im4DModel = pipeline.model
    groups = model.get_param_groups()
    grouped = [id(parameter) for group in groups.values() for parameter in group]
    everything = {id(parameter) for parameter in model.parameters()} - {id(model.device_indicator_param)}
    assert len(grouped) == len(set(grouped)) and set(grouped) == everything
    planes = {id(parameter) for encoding in model.encodings for parameter in encoding.parameters()}
    assert {id(parameter) for parameter in groups["planes"]} == planes
    assert set(groups) == set(im4d.config.optimizers)


def test_an_image_has_all_outputs_and_background_outside_the_box(pipeline: VanillaPipeline) -> None:
    model = pipeline.model.eval()
    cameras = pipeline.datamanager.eval_dataset.cameras
    outputs = model.get_outputs_for_camera(cameras[0:1])
    for name, channels in {"rgb": 3, "accumulation": 1, "depth": 1, "median_depth": 1}.items():
        assert outputs[name].shape == (24, 24, channels) and torch.isfinite(outputs[name]).all(), name
    away = cameras[0:1].generate_rays(camera_indices=0, keep_shape=False)
    away.directions = -away.directions
    lost = model(away[:7])
    assert torch.equal(lost["rgb"], model.background_color.expand(7, 3)) and not lost["accumulation"].any()


def test_chunks_and_mixed_times_change_nothing(pipeline: VanillaPipeline) -> None:
    model = pipeline.model.eval()
    cameras = pipeline.datamanager.eval_dataset.cameras
    bundles = [cameras[i : i + 1].generate_rays(camera_indices=0, keep_shape=False)[200:260] for i in (0, 3)]
    alone = torch.cat([model(bundle)["rgb"] for bundle in bundles])
    names = ("origins", "directions", "pixel_area", "times")
    mixed = RayBundle(**{name: torch.cat([getattr(bundle, name) for bundle in bundles]) for name in names})
    with torch.no_grad():
        assert torch.allclose(model(mixed)["rgb"], alone, atol=1e-5)
    image = model.get_outputs_for_camera(cameras[0:1])["rgb"]
    model.config = replace(model.config, eval_num_rays_per_chunk=100)
    assert torch.allclose(model.get_outputs_for_camera(cameras[0:1])["rgb"], image, atol=1e-5)


def test_a_view_takes_the_nearest_sources_of_its_frame_but_not_itself(pipeline: VanillaPipeline) -> None:
    from nf_plugins.model_components.ray_groups import group_rays

    model, views = pipeline.model.eval(), pipeline.datamanager.source_views
    camera = pipeline.datamanager.train_dataset.cameras[7:8]
    rays = camera.generate_rays(camera_indices=0, keep_shape=False)[:5]
    (group,) = group_rays(rays, rays.times)
    chosen = model.sources_of(group)
    assert len(chosen) == 3 and 7 not in chosen
    assert {int(views.frame_ids[index]) for index in chosen} == {int(views.frame_ids[7])}


def test_features_are_kept_for_a_camera_and_forgotten_when_they_change(pipeline: VanillaPipeline) -> None:
    model, calls = pipeline.model.eval(), []
    original: Callable[..., Any] = model.encode_sources
    model.encode_sources = lambda batch: calls.append(batch.ids) or original(batch)
    model.config = replace(model.config, eval_num_rays_per_chunk=100)
    camera = pipeline.datamanager.eval_dataset.cameras[0:1]
    model.get_outputs_for_camera(camera)
    model.get_outputs_for_camera(camera)
    assert len(calls) == 1
    model.train()
    model.eval()
    model.get_outputs_for_camera(camera)
    assert len(calls) == 2
    model.load_state_dict(model.state_dict())
    model.get_outputs_for_camera(camera)
    assert len(calls) == 3


def test_bounds_of_the_image(rig: Path) -> None:
    pipeline = make_pipeline(rig, ray_bounds="image")
    pipeline.train()
    rays, _ = pipeline.datamanager.next_train(0)
    near, far, _ = pipeline.model.ray_bounds(rays)
    z_range, norm = rays.metadata["z_range"], rays.metadata["directions_norm"]
    assert torch.allclose(near / norm, z_range[:, :1]) and torch.allclose(far / norm, z_range[:, 1:])
    pipeline.eval()
    camera = pipeline.datamanager.eval_dataset.cameras[0:1]
    assert torch.isfinite(pipeline.model.get_outputs_for_camera(camera)["rgb"]).all()
    with pytest.raises(InputError, match="ray-bounds box"):
        pipeline.model(camera.generate_rays(camera_indices=0, keep_shape=False)[:5])
    tight = make_pipeline(rig).model.ray_bounds(rays)
    assert bool((tight[0] >= near - 1e-3).all()) and bool((tight[1] <= torch.maximum(far, tight[0]) + 1e-3).all())


def test_a_random_background_needs_masks_and_shows_in_the_target(rig: Path) -> None:
    pipeline = make_pipeline(rig, random_background=True)
    pipeline.train()
    rays, batch = pipeline.datamanager.next_train(0)
    outputs = pipeline.model(rays)
    assert outputs["background"].std() > 0.2
    transparent = {**outputs, "rgb": outputs["background"]}
    empty = {"image": pipeline.model.background_color.expand(256, 3), "fg_mask": torch.zeros(256, 1)}
    assert pipeline.model.get_loss_dict(transparent, empty)["rgb_loss"] < 1e-10


def test_density_for_others_is_that_of_the_field(pipeline: VanillaPipeline) -> None:
    model, points = pipeline.model, torch.rand(9, 3) - 0.5
    assert torch.equal(model.density_at(points, 0.25), model.field.density(points, 0.25))
    world_from_scene = pipeline.datamanager.train_dataset.metadata["world_from_scene"]
    assert model.metres_per_unit == pytest.approx(float(world_from_scene[0, 0]))


@pytest.mark.parametrize("method", ["im4d-tiny", "im4d-kplanes-tiny"])
def test_a_cache_of_everything_renders_the_same_and_one_of_nothing_background(rig: Path, method: str) -> None:
    from method_configs.kplanes import im4d_kplanes_tiny
    from nf_plugins.model_components.occupancy_cache import OccupancyCache

    spec = im4d_tiny if method == "im4d-tiny" else im4d_kplanes_tiny
    pipeline = make_pipeline(rig, spec, num_samples=96, cached_samples=256, cached_weight_threshold=0.0)
    model = pipeline.model.eval()
    with torch.no_grad():
        # About as opaque as a body of smoke, so that neither placement of samples is too coarse.
        model.field.network.head.bias.fill_(1.0)
    camera = pipeline.datamanager.eval_dataset.cameras[0:1]
    uncached = model.get_outputs_for_camera(camera)
    boxes = model.scene_aabb.expand(6, 2, 3)
    full = OccupancyCache.from_grids(torch.ones(6, 4, 4, 4, dtype=torch.bool), boxes, range(6))
    model.use_occupancy_cache(full)
    cached = model.get_outputs_for_camera(camera)
    assert uncached["accumulation"].max() > 0.5 and full.counts.samples > full.counts.rays
    for name in ("rgb", "accumulation"):
        assert (cached[name] - uncached[name]).abs().mean() < 0.01, name
    seen = uncached["accumulation"] > 0.3
    assert (cached["depth"] - uncached["depth"])[seen].abs().mean() < 0.03
    model.use_occupancy_cache(OccupancyCache.from_grids(torch.zeros(6, 4, 4, 4, dtype=torch.bool), boxes, range(6)))
    empty = model.get_outputs_for_camera(camera)
    assert torch.allclose(empty["rgb"], model.background_color.expand(24, 24, 3)) and not empty["depth"].any()
    model.use_occupancy_cache(None)
    assert torch.equal(model.get_outputs_for_camera(camera)["rgb"], uncached["rgb"])


def test_batches_of_other_datamanagers_and_unknown_losses(rig: Path) -> None:
    pipeline = make_pipeline(rig)
    metadata = {key: value for key, value in pipeline.model.metadata.items() if key != "source_views"}
    with pytest.raises(InputError, match="SourceViewDataManager"):
        im4d_tiny.config.pipeline.model.setup(
            scene_box=pipeline.model.scene_box, num_train_data=1, metadata=metadata, device="cpu"
        )
    with pytest.raises(InputError, match="eikonal"):
        make_pipeline(rig, loss_coefficients={"rgb": 1.0, "eikonal": 0.1})
    with pytest.raises(InputError, match="num-samples"):
        make_pipeline(rig, num_samples=0)


def test_a_checkpoint_of_multiplied_planes_is_another_method(rig: Path) -> None:
    added = im4d_tiny.config.pipeline.model.density
    first = make_pipeline(rig, density=replace(added, reduce="sum")).model
    second = make_pipeline(rig, density=replace(added, reduce="product")).model
    with pytest.raises(InputError, match="reduce"):
        second.load_state_dict(first.state_dict())


def test_published_options() -> None:
    model, datamanager = im4d.config.pipeline.model, im4d.config.pipeline.datamanager
    assert (model.num_proposal_samples, model.num_samples, model.test_source_count) == (64, 32, 4)
    assert (datamanager.images_per_batch, datamanager.pixels_per_image) == (2, 3072)
    assert datamanager.train_num_rays_per_batch * model.num_proposal_samples == 393_216
    assert datamanager.train_num_rays_per_batch * model.num_samples == 196_608
    weights = {"rgb": 1, "mask": 0.1, "envelope": 1, "plane_tv": 2e-4, "time_smooth": 1e-3, "distortion": 0}
    assert weights.items() <= dict(model.loss_coefficients).items()
    rates = {name: group["optimizer"].lr for name, group in im4d.config.optimizers.items()}
    assert rates == {"planes": 1e-2, "networks": 1e-3, "features": 1e-3}
    slips = im4d_published.config.pipeline.model
    assert slips.ray_bounds == "image" and slips.skip_nearest_source and slips.density.temporal_resolution == 150
    assert not slips.detach_envelope and not slips.resample_half_bin
    assert im4d_published.config.pipeline.datamanager.skip_nearest_source
