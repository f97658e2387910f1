"""K-Planes over a tiny scene: decoders, counts, proposals, losses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_im4d import has_gradient, make_pipeline, run_callbacks, step_losses

from method_configs.kplanes import (
    im4d_kplanes,
    im4d_kplanes_explicit,
    im4d_kplanes_explicit_tiny,
    im4d_kplanes_hybrid,
    im4d_kplanes_hybrid_tiny,
    im4d_kplanes_tiny,
)
from nf_plugins.errors import InputError
from nf_plugins.fields.plane_density_field import PlaneDensityFieldConfig
from nf_plugins.fields.plane_radiance_field import PlaneRadianceField
from nf_plugins.models.occupancy_schedule import TrainingOccupancyConfig

BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
TINY = {"trunk": im4d_kplanes_tiny, "hybrid": im4d_kplanes_hybrid_tiny, "explicit": im4d_kplanes_explicit_tiny}


@pytest.mark.parametrize("decoder", TINY)
def test_a_few_steps_lower_the_loss_and_reach_everything(tiny_owlii_scene: Path, decoder: str) -> None:
    pipeline = make_pipeline(tiny_owlii_scene, TINY[decoder], {"pixels_per_image": 64})
    optimizer = torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=1e-2)
    losses = []
    for step in range(20):
        loss_dict = step_losses(pipeline, step)
        torch.stack(list(loss_dict.values())).sum().backward()
        if step == 0:
            silent = [name for name, value in pipeline.model.named_parameters() if value.grad is None]
            assert silent == ["device_indicator_param"] and has_gradient(pipeline.model.field.color)
        optimizer.step()
        losses.append(loss_dict["rgb_loss"].item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    model = pipeline.model.eval()
    outputs = model.get_outputs_for_camera(pipeline.datamanager.eval_dataset.cameras[0:1])
    assert outputs["rgb"].shape == (24, 24, 3) and torch.isfinite(outputs["rgb"]).all()
    # Colours depend on the view, densities do not.
    points, times = torch.rand(5, 3) - 0.5, torch.rand(5)
    _, hidden = model.field.density_and_hidden(points, times)
    ahead, aside = torch.tensor([[0.0, 0, 1]]).expand(5, 3), torch.tensor([[0.0, 1, 0]]).expand(5, 3)
    assert not torch.allclose(model.field.colors(hidden, ahead), model.field.colors(hidden, aside))


def test_published_head_and_decoders() -> None:
    def numbers(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    config = PlaneDensityFieldConfig(scales=(4,))
    trunk = PlaneRadianceField(config, BOX, 2, 1.0)
    assert numbers(trunk.color) == 13_251
    product = replace(config, reduce="product", channels=32)
    explicit = PlaneRadianceField(product, BOX, 2, 1.0, "explicit")
    assert numbers(explicit.network) == 32 and numbers(explicit.color) == 3 * 128 + 128 + 128 * 96 + 96
    hybrid = PlaneRadianceField(product, BOX, 2, 1.0, "hybrid")
    assert numbers(hybrid.network) == 32 * 64 + 64 + 64 * 16 + 16
    assert numbers(hybrid.color) == (16 + 15) * 64 + 64 + 64 * 64 + 64 + 64 * 3 + 3


def test_options_of_the_published_variants() -> None:
    hybrid, explicit = (spec.config.pipeline.model for spec in (im4d_kplanes_hybrid, im4d_kplanes_explicit))
    assert hybrid.density.channels == 16 and explicit.density.channels == 32
    assert hybrid.num_proposal_samples == (256, 128) and hybrid.num_samples == 48
    assert hybrid.loss_coefficients["plane_tv"] == 2e-4 and explicit.loss_coefficients["plane_tv"] == 1e-4
    assert hybrid.loss_coefficients["time_planes"] == 1e-4 and hybrid.average_variation
    compared = im4d_kplanes.config.pipeline
    assert compared.datamanager.train_num_rays_per_batch == 8192 and compared.model.density.reduce == "concat"
    assert {group["optimizer"].lr for group in im4d_kplanes.config.optimizers.values()} == {1e-2}


def test_proposals_one_by_one(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene, im4d_kplanes_hybrid_tiny)
    assert [proposal.encoding.scales for proposal in pipeline.model.proposal_fields] == [(16,), (32,)]
    pipeline.train()
    outputs = pipeline.model(pipeline.datamanager.next_train(0)[0])
    assert [level.weights.shape[1] for level in outputs["proposals"]] == [32, 24]
    with pytest.raises(InputError, match="num-proposal-samples"):
        make_pipeline(tiny_owlii_scene, im4d_kplanes_hybrid_tiny, num_proposal_samples=(32, 24, 8))


def test_masks_are_needed_only_where_their_loss_counts(tiny_owlii_scene: Path) -> None:
    assert make_pipeline(tiny_owlii_scene, im4d_kplanes_tiny).model.required_inputs() == ["fg_mask_filenames"]
    assert make_pipeline(tiny_owlii_scene, im4d_kplanes_hybrid_tiny).model.required_inputs() == []


def test_rays_are_cut_to_what_training_found_occupied(tiny_owlii_scene: Path) -> None:
    occupancy = TrainingOccupancyConfig(
        enabled=True, resolution=8, start_step=4, update_interval=2, frames_per_update=6, exploration=0.0
    )
    pipeline: Any = make_pipeline(tiny_owlii_scene, im4d_kplanes_tiny, occupancy=occupancy)
    model = pipeline.model
    low, high = model.scene_aabb[0, 0], model.scene_aabb[1, 0]
    middle = (low + high) / 2
    model.density_at = lambda points, time: 1000.0 * (points[:, :1] > middle)
    spans: list[Any] = []
    original = model._train
    model._train = lambda span, context: spans.append(span) or original(span, context)
    for step, share in ((2, 1.0), (4, 5 / 8)):
        losses = step_losses(pipeline, step)
        assert float(model.occupancy.occupied_fraction()) == pytest.approx(share, abs=1e-3), "and a neighbour"
    torch.stack(list(losses.values())).sum().backward()
    assert has_gradient(model.field)
    span = spans[-1]
    crosses = (span.fars > span.nears)[:, 0]
    ends = [(span.origins + distance * span.directions)[crosses, 0] for distance in (span.nears, span.fars)]
    assert len(ends[0]) > 20
    edge = middle - (high - low) / 8
    assert all((end > edge - 0.1 * (high - low)).all() for end in ends)
    whole = spans[0]
    assert (span.fars - span.nears).sum() < 0.9 * (whole.fars - whole.nears).sum()
    run_callbacks(pipeline, 6)
    images = model.eval().get_outputs_for_camera(pipeline.datamanager.eval_dataset.cameras[0:1])
    assert torch.isfinite(images["rgb"]).all()
    assert "occupancy.states" in model.state_dict()
    assert "occupancy.states" not in make_pipeline(tiny_owlii_scene, im4d_kplanes_tiny).model.state_dict()
