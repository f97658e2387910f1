"""ENeRF on a plane whose images are known in closed form: depth, colours, caches, checkpoints, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from plane_world import BOX, CAMERA_Z, PLANE, POSITIONS, camera_at, picture_at, plane_model, training_rays
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.models.enerf import EnerfModel, EnerfModelConfig
from nf_plugins.models.enerf_levels import CostVolumeLevelConfig, activated

SINGLE = EnerfModelConfig(levels=(CostVolumeLevelConfig(num_planes=17),), test_source_count=3)
CASCADE = EnerfModelConfig(
    levels=(
        CostVolumeLevelConfig(
            scale=0.25, num_planes=16, depth_mode="inverse", blend_level=2, num_samples=4, loss_weight=0.1,
            volume_features=True, direction_pooling=True, density_activation="softplus",
        ),
        CostVolumeLevelConfig(
            scale=0.5, num_planes=8, feature_level=1, volume_features=True, direction_pooling=True,
            density_activation="softplus",
        ),
    ),
    test_source_count=3,
)  # fmt: skip
BETWEEN = torch.tensor([0.02, 0.02])
CONFIGS = pytest.mark.parametrize("config", [SINGLE, CASCADE], ids=["single", "cascade"])


class BestMatch(nn.Module):
    """A regulariser that trusts the variance: the planes where the sources agree are sure."""

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        variance = volume.sum(dim=0)
        return -100 * variance / variance.mean(dim=0).clamp(min=1e-9) + 100, volume[:8]


class Colours(nn.Module):
    """A pyramid that gives the images' own colours at all resolutions."""

    def forward(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        def level(step: int, channels: int) -> Tensor:
            few = images[..., ::step, ::step]
            return few.repeat(1, channels // 3 + 1, 1, 1)[:, :channels]

        return level(1, 8), level(2, 16), level(4, 32)


def knowing_model(config: EnerfModelConfig) -> EnerfModel:
    """A model that needs no training: it finds depths by agreement, and is opaque."""
    model = plane_model(config)
    model.pyramid = Colours()
    for level in model.cascade.levels:
        level.regulariser = BestMatch()
        level.blending.density.weight.data.zero_()
        level.blending.density.bias.data.fill_(30.0)
    return model.eval()


def render(model: EnerfModel, position: Tensor = BETWEEN, time: float = 0.0) -> dict[str, Tensor]:
    return model.get_outputs_for_camera(camera_at(position, time))


def train_step(model: EnerfModel, target: int = 1, sources: tuple[int, ...] = (0, 2, 3), seed: int = 0) -> Tensor:
    rays, image = training_rays(target, sources, 48, seed)
    outputs = model(rays)
    return torch.stack(list(model.get_loss_dict(outputs, {"image": image}).values())).sum()


def test_number_of_parameters_of_the_published_networks() -> None:
    assert sum(parameter.numel() for parameter in plane_model(SINGLE).parameters()) == 37_136 + 297_432 + 9_011


def test_agreement_of_the_sources_gives_the_planes_depth_and_colours() -> None:
    fine = replace(SINGLE, levels=(replace(SINGLE.levels[0], scale=0.5, feature_level=0),))
    outputs = render(knowing_model(fine))
    inner = (slice(6, -6), slice(8, -8))
    rays = camera_at(BETWEEN).generate_rays(camera_indices=0, keep_shape=True)
    expected = (CAMERA_Z - PLANE) * rays.metadata["directions_norm"]
    torch.testing.assert_close(outputs["depth"][inner], expected[inner], atol=0.03, rtol=0)
    error = (outputs["rgb"] - picture_at(BETWEEN))[inner].abs().mean()
    assert float(error) < 0.02
    assert float(outputs["accumulation"][inner].min()) > 0.99
    assert float(outputs["depth_std"][inner].mean()) < 0.05


@CONFIGS
def test_rendering_in_chunks_encodes_and_sweeps_once(config: EnerfModelConfig) -> None:
    model = plane_model(replace(config, eval_num_rays_per_chunk=300)).eval()
    outputs = render(model)
    assert outputs["rgb"].shape == (32, 40, 3) and outputs["depth_std"].shape == (32, 40, 1)
    assert model.source_views.num_batches == 1 and len(model._volumes) == 1
    whole = render(plane_model(config).eval())
    torch.testing.assert_close(outputs["rgb"], whole["rgb"], atol=1e-5, rtol=0)
    render(model, POSITIONS[0] + 0.05)
    assert len(model._volumes) == 2
    model.load_state_dict(model.state_dict())
    assert len(model._volumes) == 0
    render(model)
    model.train()
    assert len(model._volumes) == 0


def test_colours_are_those_of_sources_or_the_background() -> None:
    outputs = render(plane_model(SINGLE, background=0.0).eval())
    assert float(outputs["rgb"].min()) >= 0 and float(outputs["rgb"].max()) <= 0.9 + 1e-5
    opaque = outputs["rgb"] / outputs["accumulation"]
    assert 0.1 - 1e-3 <= float(opaque.min())


def test_rays_that_miss_the_box_are_background() -> None:
    model = plane_model(SINGLE, box=torch.tensor([[-0.2, -0.9, -0.4], [0.2, 0.9, 0.4]])).eval()
    outputs = render(model)
    assert (outputs["rgb"][:, :4] == 1).all() and (outputs["accumulation"][:, :4] == 0).all()
    assert (outputs["accumulation"][:, 18:22] > 0).all()


@CONFIGS
def test_training_reaches_every_parameter_and_lowers_the_loss(config: EnerfModelConfig) -> None:
    model = plane_model(config).train()
    optimiser = torch.optim.Adam(model.get_param_groups()["networks"], lr=2e-3)
    losses = []
    for step in range(30):
        model.update_to_step(step)
        loss = train_step(model, seed=step)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            assert all(parameter.grad is not None for parameter in model.get_param_groups()["networks"])
        optimiser.step()
        losses.append(float(loss))
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_parts_that_learn_nothing_are_no_trained_parameters() -> None:
    single, cascade = plane_model(SINGLE), plane_model(CASCADE)
    assert not any(parameter.requires_grad for parameter in single.pyramid.smooth1.parameters())
    assert all(parameter.requires_grad for parameter in cascade.pyramid.parameters())
    without_loss = replace(CASCADE, levels=(replace(CASCADE.levels[0], loss_weight=0.0), CASCADE.levels[1]))
    model = plane_model(without_loss).train()
    assert not any(parameter.requires_grad for parameter in model.cascade.levels[0].blending.parameters())
    train_step(model).backward()
    # What it renders has no loss: the first volume learns through the second's range.
    assert all(parameter.grad is not None for parameter in model.cascade.levels[0].regulariser.parameters())


def test_a_level_looks_within_the_interval_of_the_one_before() -> None:
    model = plane_model(CASCADE).eval()
    rays, _ = training_rays(1, (0, 2, 3), 20)
    group_sources = model.encode_sources(model.source_batch([(0, 2, 3)]))[0]
    view = model._swept(model.source_views.target(1), group_sources)
    coarse, fine = view.levels
    assert fine.near.shape == (16, 20) and coarse.low.shape == (8, 10)
    assert float(fine.near.min()) >= float(coarse.low.min()) - 1e-5
    assert float(fine.far.max()) <= float(coarse.high.max()) + 1e-5
    assert (fine.low >= fine.near - 1e-5).all() and (fine.high <= fine.far + 1e-5).all()
    assert len(rays) == 20


def test_losses_of_levels_by_name_and_weight() -> None:
    model = plane_model(CASCADE).train()
    rays, image = training_rays(1, (0, 2), 30)
    outputs = model(rays)
    losses = model.get_loss_dict(outputs, {"image": image})
    assert set(losses) == {"rgb_loss_0", "rgb_loss"}
    expected = 0.1 * (outputs["level_rgb"][0] - image).square().mean()
    torch.testing.assert_close(losses["rgb_loss_0"], expected)
    metrics = model.get_metrics_dict(outputs, {"image": image})
    assert {"psnr", "depth_std", "blend_entropy"} == set(metrics)
    with torch.no_grad():
        assert set(model.eval().get_loss_dict(model(rays), {"image": image})) == {"rgb_loss"}


def test_the_opacity_has_a_loss_where_it_is_asked_for() -> None:
    model = plane_model(replace(SINGLE, loss_coefficients={"rgb": 1.0, "mask": 0.5})).train()
    rays, image = training_rays(1, (0, 2), 30)
    outputs = model(rays)
    losses = model.get_loss_dict(outputs, {"image": image, "fg_mask": torch.ones(30, 1)})
    torch.testing.assert_close(losses["mask_loss"], 0.5 * (1 - outputs["accumulation"]).square().mean())
    assert model.required_inputs() == ["fg_mask_filenames"] and plane_model(SINGLE).required_inputs() == []


def test_an_occupancy_cache_is_refused() -> None:
    model = plane_model(SINGLE)
    model.use_occupancy_cache(None)
    with pytest.raises(InputError, match="render without it"):
        model.use_occupancy_cache(object())


def test_planes_are_shifted_as_the_step_says() -> None:
    model = plane_model(SINGLE).train()
    offsets = []
    for step in (3, 4, 3):
        model.update_to_step(step)
        offsets.append(model._offsets()[0])
    assert offsets[0] == offsets[2] != offsets[1]
    assert 0 <= min(offsets) and max(offsets) <= 1 / 17
    assert model.eval()._offsets() == [0]


def test_two_views_in_one_bundle_are_rendered_each_as_alone() -> None:
    model = plane_model(SINGLE).train()
    first, second = training_rays(1, (0, 2), 10)[0], training_rays(6, (5, 7), 10, seed=4)[0]
    alone = torch.cat([model(first)["rgb"], model(second)["rgb"]])
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    joined = type(first)(
        torch.cat([first.origins, second.origins])[order],
        torch.cat([first.directions, second.directions])[order],
        torch.cat([first.pixel_area, second.pixel_area])[order],
        times=torch.cat([first.times, second.times])[order],
        metadata={key: torch.cat([first.metadata[key], second.metadata[key]])[order] for key in first.metadata},
    )
    torch.testing.assert_close(model(joined)["rgb"], alone[order], atol=1e-5, rtol=0)


def test_held_out_rays_find_their_camera_by_themselves() -> None:
    model = knowing_model(SINGLE)
    whole = render(model, POSITIONS[1])
    rays, _ = training_rays(1, model.sources_of(_group(model)), 40)
    del rays.metadata["target_ids"]
    rows, columns = rays.metadata["picture_uv"].long()[:, [1, 0]].unbind(-1)
    with torch.no_grad():
        outputs = model(rays)
    # The box's range of depths is that of the whole image's corners in both.
    torch.testing.assert_close(outputs["rgb"], whole["rgb"][rows, columns], atol=2e-3, rtol=0)


def _group(model: EnerfModel):  # noqa: ANN202
    from nf_plugins.model_components.ray_groups import group_rays

    rays = camera_at(POSITIONS[1]).generate_rays(camera_indices=0).flatten()
    return group_rays(rays, model.ray_times(rays))[0]


def test_a_checkpoint_renders_another_scene() -> None:
    trained = plane_model(SINGLE)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.01)
    assert not any("frame" in key or "aabb" in key or "background" in key for key in trained.state_dict())
    other = plane_model(SINGLE, num_frames=5, box=2 * BOX, background=0.0)
    other.load_state_dict(trained.state_dict())
    assert len(other.frame_times) == 5
    torch.testing.assert_close(other.scene_aabb, 2 * BOX)
    torch.testing.assert_close(other.pyramid.top.weight, trained.pyramid.top.weight)
    deeper = replace(SINGLE, levels=(replace(SINGLE.levels[0], num_planes=16),))
    with pytest.raises(InputError, match="levels"):
        plane_model(deeper).load_state_dict(trained.state_dict())


def test_rays_of_no_camera_are_refused() -> None:
    model = plane_model(SINGLE).eval()
    rays = camera_at(BETWEEN).generate_rays(camera_indices=0).flatten()
    with pytest.raises(InputError, match="nf-render"):
        model(rays)
    few, _ = training_rays(1, (0, 2), 2)
    del few.metadata["target_ids"]
    with pytest.raises(InputError, match="2 rays"):
        model(few)


def test_options_out_of_range_are_refused() -> None:
    for change in ({"scale": 0.0}, {"num_planes": 1}, {"feature_level": 3}, {"num_samples": 0}):
        with pytest.raises(InputError, match="levels"):
            plane_model(EnerfModelConfig(levels=(CostVolumeLevelConfig(**change),)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="levels is empty"):
        plane_model(EnerfModelConfig(levels=()))


def test_densities() -> None:
    raw = torch.tensor([-2.0, 0.0, 3.0, 500.0])
    exponential = activated(raw, "exp")
    torch.testing.assert_close(exponential[:3], torch.tensor([-1.0, -1.0, 2.0]).exp())
    assert exponential.isfinite().all()
    torch.testing.assert_close(activated(raw, "softplus"), nn.functional.softplus(raw))
