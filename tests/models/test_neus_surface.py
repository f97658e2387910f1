"""NeuS on surface fields: an analytic ball, gradients, annealing, losses, modes of evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.field_components.point_encoding import PointEncodingConfig
from nf_plugins.fields.surface_field import SurfaceFieldConfig, SurfaceGeometry
from nf_plugins.models.neus_surface import NeuSSurfaceModel, NeuSSurfaceModelConfig, composite

RADIUS = 0.5
CENTRE = torch.tensor([0.1, 0.0, -0.05])
HASH = PointEncodingConfig(kind="hash", num_levels=3, log2_table_size=10, base_resolution=4, finest_resolution=16)
SMALL = SurfaceFieldConfig(
    encoding=HASH, num_layers=2, hidden_dim=32, skip_layer=1, feature_dim=8, color_num_layers=1, color_hidden_dim=16
)


def make_model(**options: Any) -> NeuSSurfaceModel:
    torch.manual_seed(0)
    config = NeuSSurfaceModelConfig(sdf_field=SMALL, num_samples=16, num_importance_samples=16, num_upsample_steps=2)
    metadata = {"background_color": torch.tensor([0.2, 0.4, 0.6]), "fg_mask_filenames": ["mask.png"]}
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return replace(config, **options).setup(scene_box=box, num_train_data=2, metadata=metadata)


def rays(num_rays: int = 64, *, spread: float = 1.6, z: float = -3.0) -> RayBundle:
    """Parallel rays along z in a square of this width."""
    side = round(num_rays**0.5)
    offsets = spread * (torch.arange(side) / max(side - 1, 1) - 0.5)
    x, y = torch.meshgrid(offsets, offsets, indexing="xy")
    origins = torch.stack([x, y, torch.full_like(x, z)], -1).view(-1, 3)
    directions = torch.tensor([0.0, 0.0, 1.0]).expand_as(origins).clone()
    indices = torch.zeros(len(origins), 1, dtype=torch.long)
    return RayBundle(origins, directions, torch.full_like(origins[:, :1], 1e-4), camera_indices=indices)


def batch_of(bundle: RayBundle) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inside = (bundle.origins[:, :2].norm(dim=-1, keepdim=True) < RADIUS).float()
    return {"image": torch.rand(len(bundle), 3, generator=generator), "fg_mask": inside}


class Ball(torch.nn.Module):
    """The truth in place of the field: coloured by its normals."""

    def signed_distance(self, points: Tensor) -> Tensor:
        return (points - CENTRE).norm(dim=-1, keepdim=True) - RADIUS

    def geometry_and_gradient(self, points: Tensor) -> SurfaceGeometry:
        gradient = torch.nn.functional.normalize(points - CENTRE, dim=-1)
        return SurfaceGeometry(self.signed_distance(points), points[:, :0], gradient, None)

    def color(self, points: Tensor, view_directions: Tensor, normals: Tensor, feature: Tensor) -> Tensor:
        assert torch.allclose(view_directions[:, 2], torch.ones(()))
        return 0.5 + 0.5 * normals

    def cached_weights(self) -> Any:
        return torch.no_grad()


def true_model(sharpness: float = 0.75) -> NeuSSurfaceModel:
    model = make_model(initial_variance=sharpness, num_samples=32, num_importance_samples=64, num_upsample_steps=4)
    model.field = Ball()  # type: ignore[assignment]
    return model.eval()


def test_an_analytic_ball_is_seen_where_it_is() -> None:
    bundle = rays(256)
    outputs = true_model().get_outputs(bundle)
    offset = bundle.origins - CENTRE
    height = RADIUS**2 - offset[:, :2].square().sum(-1)
    surely_hit, surely_missed = height > 0.03, height < -0.03
    assert int(surely_hit.sum()) > 40 and int(surely_missed.sum()) > 40
    torch.testing.assert_close(
        outputs["accumulation"][surely_hit], torch.ones(int(surely_hit.sum()), 1), atol=0.01, rtol=0
    )
    assert float(outputs["accumulation"][surely_missed].max()) < 0.01
    depth = (-offset[:, 2] - height.clamp(min=0).sqrt())[surely_hit]
    torch.testing.assert_close(outputs["depth"][surely_hit, 0], depth, atol=0.01, rtol=0)
    normal = (offset[surely_hit] + depth[:, None] * bundle.directions[surely_hit]) / RADIUS
    torch.testing.assert_close(outputs["normal"][surely_hit], normal, atol=0.02, rtol=0)
    torch.testing.assert_close(outputs["rgb"][surely_hit], 0.5 + 0.5 * normal, atol=0.02, rtol=0)
    background = torch.tensor([0.2, 0.4, 0.6])
    torch.testing.assert_close(
        outputs["rgb"][surely_missed], background.expand(int(surely_missed.sum()), 3), atol=0.01, rtol=0
    )


def test_step_zero_is_finite_and_gradients_reach_table_networks_and_sharpness() -> None:
    model = make_model(loss_coefficients={"rgb": 1.0, "eikonal": 0.1, "mask": 0.1, "curvature": 5e-4}).train()
    model.update_to_step(0)
    groups = model.get_param_groups()
    assert set(groups) == {"fields", "encodings"}
    assert any(parameter is model.variance.variance for parameter in groups["fields"])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    # The first step opens the columns behind the table, which the starting sphere keeps shut.
    for _ in range(2):
        optimizer.zero_grad()
        outputs = model.get_outputs(rays())
        losses = model.get_loss_dict(outputs, batch_of(rays()))
        assert set(losses) == {"rgb_loss", "eikonal_loss", "mask_loss", "curvature_loss"}
        sum(losses.values()).backward()  # type: ignore[union-attr]
        for parameter in (*groups["fields"], *groups["encodings"]):
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all()
        optimizer.step()
    for parameter in (*groups["encodings"], model.variance.variance):
        assert float(parameter.grad.abs().max()) > 0  # type: ignore[union-attr]
    metrics = make_model().get_metrics_dict(outputs, batch_of(rays()))
    assert float(metrics["sharpness"]) == pytest.approx(20.0855, abs=1e-3)
    assert {"psnr", "psnr_fg", "mask_iou"} <= set(metrics)


@pytest.mark.parametrize("gradient", ["analytic", "numerical"])
def test_a_few_steps_lower_the_loss(gradient: Any) -> None:
    model = make_model(sdf_field=replace(SMALL, gradient=gradient)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    bundle, history = rays(49), []
    batch = batch_of(bundle)
    batch["image"] = torch.where(batch["fg_mask"] > 0, torch.tensor([0.9, 0.1, 0.3]), model.background_color)
    for _ in range(15):
        loss = sum(model.get_loss_dict(model.get_outputs(rays(49)), batch).values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        history.append(float(loss))  # type: ignore[arg-type]
    assert history[-1] < 0.7 * history[0]


def test_a_batch_that_misses_the_sphere_costs_nothing_and_has_a_gradient() -> None:
    model = make_model().train()
    bundle = rays(16)
    bundle.origins = bundle.origins + torch.tensor([5.0, 0.0, 0.0])
    outputs = model.get_outputs(bundle)
    torch.testing.assert_close(outputs["rgb"], model.background_color.expand(16, 3))
    loss = sum(model.get_loss_dict(outputs, batch_of(bundle)).values())
    loss.backward()  # type: ignore[union-attr]
    assert any(float(p.grad.abs().max()) > 0 for p in model.parameters() if p.grad is not None)
    assert "eikonal_gradient" not in model.eval().get_outputs(bundle)


def test_rays_that_miss_the_sphere_are_not_asked_about_and_are_in_their_place() -> None:
    model = true_model()
    bundle = rays(64)
    alone = model.get_outputs(bundle)
    mixed_origins = torch.cat([bundle.origins, bundle.origins + 7.0])[
        torch.randperm(128, generator=torch.manual_seed(3))
    ]
    mixed = rays(64)[torch.zeros(128, dtype=torch.long)]
    mixed.origins = mixed_origins
    outputs = model.get_outputs(mixed)
    for index, origin in enumerate(mixed_origins):
        same = (bundle.origins == origin).all(-1).nonzero()
        for name in ("rgb", "depth", "normal"):
            wanted = alone[name][int(same[0, 0])] if len(same) else (model.background_color if name == "rgb" else 0.0)
            torch.testing.assert_close(outputs[name][index], torch.as_tensor(wanted).expand_as(outputs[name][index]))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("gradient", ["analytic", "numerical"])
def test_evaluation_needs_no_graph_and_repeats_itself(mode: Any, gradient: Any) -> None:
    model = make_model(sdf_field=replace(SMALL, gradient=gradient)).eval()
    with mode():
        first, second = model.get_outputs(rays()), model.get_outputs(rays())
    assert set(first) == {"rgb", "accumulation", "depth", "normal", "normal_rgb"}
    for name, value in first.items():
        assert not value.requires_grad and torch.equal(value, second[name])
    assert first["rgb"].shape == (64, 3) and first["accumulation"].shape == first["depth"].shape == (64, 1)
    assert float(first["accumulation"].max()) > 0.5


def test_without_the_mask_loss_no_masks_are_needed_and_all_pixels_count() -> None:
    weights = {"rgb": 1.0, "eikonal": 0.0, "mask": 0.0}
    model = make_model(loss_coefficients=weights).train()
    bundle = rays(16)
    batch = batch_of(bundle)
    del batch["fg_mask"]
    outputs = model.get_outputs(bundle)
    losses = model.get_loss_dict(outputs, batch)
    assert set(losses) == {"rgb_loss"} and model.required_inputs() == []
    torch.testing.assert_close(losses["rgb_loss"], (outputs["rgb"] - batch["image"]).abs().sum(-1).mean())
    assert "mask_iou" not in model.get_metrics_dict(outputs, batch)
    with_masks = make_model()
    with_masks.metadata = {"dataparser_name": "bare-data"}
    with pytest.raises(InputError, match=r"foreground masks.*loss-coefficients.mask 0"):
        with_masks.get_training_callbacks(None)  # type: ignore[arg-type]


def test_annealing_follows_from_the_step_alone() -> None:
    model = make_model(cosine_annealing_steps=100)
    assert model.cosine_ratio == 0.0
    for step, ratio in ((50, 0.5), (100, 1.0), (1000, 1.0)):
        model.update_to_step(step)
        assert model.cosine_ratio == ratio
    assert make_model().cosine_ratio == 1.0


def test_refined_cameras_receive_gradients() -> None:
    options = replace(NeuSSurfaceModelConfig().camera_optimizer, mode="SO3xR3")
    model = make_model(camera_optimizer=options).train()
    bundle = rays(25)
    sum(model.get_loss_dict(model.get_outputs(bundle), batch_of(bundle)).values()).backward()  # type: ignore[union-attr]
    (adjustment,) = model.get_param_groups()["camera_opt"]
    # All rays look along z, about which turning them changes nothing.
    assert adjustment.grad is not None and float(adjustment.grad[0, :5].abs().min()) > 0


def test_a_checkpoint_keeps_the_sharpness() -> None:
    model, other = make_model(), make_model(initial_variance=0.5)
    other.load_state_dict(model.state_dict())
    assert float(other.variance.get_variance()) == pytest.approx(20.0855, abs=1e-3)


def test_composited_rays_without_weight_are_empty() -> None:
    weights = torch.tensor([[0.25, 0.75], [0.0, 0.0], [0.5, 0.0]])
    colors = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]]).expand(3, 2, 3)
    gradients = torch.tensor([[[0, 0, 2.0], [0, 0, 2.0]]]).expand(3, 2, 3)
    opacity, rgb, depth, normal = composite(weights, colors, torch.tensor([[1.0, 2.0]]).expand(3, 2), gradients)
    assert opacity[:, 0].tolist() == [1.0, 0.0, 0.5]
    assert rgb.tolist() == [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]
    assert depth[:, 0].tolist() == [1.75, 0.0, 1.0]
    assert normal.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.5]]
