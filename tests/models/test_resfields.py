"""The model on a real datamanager over a tiny scene: shapes, skipping, losses, times, checkpoints."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from dataparsers.owlii import OwliiDataParserConfig
from method_configs.resfields import resfields_tnerf_tiny, tnerf_sdf_tiny
from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch


def make_pipeline(scene: Path, spec=resfields_tnerf_tiny, **model_fields) -> VanillaPipeline:
    torch.manual_seed(0)
    config = spec.config.pipeline
    datamanager = replace(config.datamanager, data=scene, dataparser=OwliiDataParserConfig(data=scene))
    model = replace(config.model, **model_fields)
    return replace(config, datamanager=datamanager, model=model).setup(device="cpu", test_mode="test")


def run_callbacks(pipeline: VanillaPipeline, step: int) -> None:
    class Attributes:
        pass

    Attributes.pipeline = pipeline
    for callback in pipeline.get_training_callbacks(Attributes):
        callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)


def train_steps(pipeline: VanillaPipeline, steps: int) -> list[float]:
    optimizer = torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=2e-3)
    losses = []
    for step in range(steps):
        run_callbacks(pipeline, step)
        _, loss_dict, _ = pipeline.get_train_loss_dict(step)
        loss = torch.stack(list(loss_dict.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def trained(tiny_owlii_scene: Path) -> VanillaPipeline:
    pipeline = make_pipeline(tiny_owlii_scene)
    train_steps(pipeline, 60)
    pipeline.eval()
    return pipeline


def test_training_lowers_the_loss_and_reaches_every_parameter(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene)
    losses = train_steps(pipeline, 40)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    for name, parameter in pipeline.model.field.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_an_image_has_all_outputs_and_background_where_nothing_is(trained: VanillaPipeline) -> None:
    dataset = trained.datamanager.eval_dataset
    outputs = trained.model.get_outputs_for_camera(dataset.cameras[0:1])
    height, width = dataset.image_size(0)
    channels = {"rgb": 3, "accumulation": 1, "depth": 1, "normal": 3, "normal_rgb": 3}
    for name, count in channels.items():
        assert outputs[name].shape == (height, width, count), name
        assert torch.isfinite(outputs[name]).all(), name
    empty = outputs["accumulation"][..., 0] == 0
    assert empty.any(), "rays outside the hull are skipped"
    assert torch.equal(outputs["rgb"][empty], torch.ones_like(outputs["rgb"][empty]))
    assert (outputs["normal"].norm(dim=-1) <= outputs["accumulation"][..., 0] + 1e-4).all()


def test_two_times_differ(trained: VanillaPipeline) -> None:
    camera = trained.datamanager.eval_dataset.cameras[0:1]
    camera.times = torch.zeros(1, 1)
    first = trained.model.get_outputs_for_camera(camera)["rgb"]
    camera.times = torch.ones(1, 1)
    assert (trained.model.get_outputs_for_camera(camera)["rgb"] - first).abs().max() > 0.1


def test_mixed_times_in_one_bundle_equal_each_time_alone(trained: VanillaPipeline) -> None:
    cameras = trained.datamanager.eval_dataset.cameras
    bundles = [cameras[i : i + 1].generate_rays(camera_indices=0, keep_shape=False) for i in (0, 3)]
    alone = [trained.model(bundle[200:300])["rgb"] for bundle in bundles]
    mixed = RayBundle(
        **{
            name: torch.stack([getattr(bundle[200:300], name) for bundle in bundles], dim=1).flatten(0, 1)
            for name in ("origins", "directions", "pixel_area", "times")
        }
    )
    together = trained.model(mixed)["rgb"].view(100, 2, 3)
    assert torch.allclose(together[:, 0], alone[0], atol=1e-5) and torch.allclose(together[:, 1], alone[1], atol=1e-5)


def test_cells_that_the_field_empties_were_invisible(tiny_owlii_scene: Path) -> None:
    """Rendering a sharp surface in the whole box and in its occupied cells gives the same picture."""
    pipeline = make_pipeline(tiny_owlii_scene, num_eval_samples=512)
    model = pipeline.model.eval()
    with torch.no_grad():
        model.field.laplace_density.raw_beta.fill_(0.01)
    camera = pipeline.datamanager.eval_dataset.cameras[2:3]
    everywhere = model.get_outputs_for_camera(camera)
    schedule, grid = model.occupancy_schedule, model.occupancy
    grid.update_frames(torch.arange(6), lambda centers, frame: schedule.may_be_dense(centers, frame, model.field))
    assert grid.occupied_fraction() < 0.6
    occupied = model.get_outputs_for_camera(camera)
    for outputs in (everywhere, occupied):
        outputs["depth"] = outputs["depth"] * outputs["accumulation"]  # the depth of hardly anything says little
    for name in ("accumulation", "rgb", "depth"):
        assert (everywhere[name] - occupied[name]).abs().mean() < 5e-3, name
    assert everywhere["accumulation"].mean() > 0.1


def test_rays_without_time_are_an_error_unless_a_default_is_set(trained: VanillaPipeline) -> None:
    bundle = trained.datamanager.eval_dataset.cameras[0:1].generate_rays(camera_indices=0, keep_shape=False)[:10]
    bundle.times = None
    with pytest.raises(InputError, match="nf-render"):
        trained.model(bundle)
    trained.model.config.default_time = 0.5
    assert trained.model(bundle)["rgb"].shape == (10, 3)
    trained.model.config.default_time = None


def test_a_bundle_that_meets_nothing_is_all_background(trained: VanillaPipeline) -> None:
    bundle = trained.datamanager.eval_dataset.cameras[0:1].generate_rays(camera_indices=0, keep_shape=False)
    carved = trained.model(bundle)["accumulation"][:, 0] == 0
    outputs = trained.model(bundle[carved][:20])
    assert torch.equal(outputs["rgb"], torch.ones(20, 3)) and not outputs["accumulation"].any()


def test_free_space_loss_turns_a_filled_box_outside_in(tiny_owlii_scene: Path) -> None:
    """Space that the masks carved ends up outside the surface although no sample ever lies there."""
    pipeline = make_pipeline(tiny_owlii_scene)
    train_steps(pipeline, 80)
    model = pipeline.model
    carved = model.occupancy.states[0] == 0
    points = model.occupancy.cell_centers()[carved]
    inside = model.field.geometry(points[None], FrameBatch.from_ids(torch.tensor([0])))[0] < 0
    assert inside.float().mean() < 0.02
    assert (model.surface_at(0.0).signed_distance(points) > 0).all()


def test_rays_that_all_miss_still_have_a_gradient(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene)
    run_callbacks(pipeline, 0)
    pipeline.train()
    bundle, batch = pipeline.datamanager.next_train(0)
    bundle.directions = -bundle.directions
    outputs = pipeline.model(bundle)
    loss = sum(pipeline.model.get_loss_dict(outputs, batch).values())
    loss.backward()
    assert torch.isfinite(loss)


def test_annealing_follows_from_the_step_and_survives_a_checkpoint(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene)
    pipeline.model.update_to_step(25)
    assert pipeline.model.field.alpha.item() == 0.5
    other = make_pipeline(tiny_owlii_scene)
    other.load_pipeline(pipeline.state_dict(), 25)
    assert other.model.field.alpha.item() == 0.5


def test_checkpoint_round_trip_with_weights_only(trained: VanillaPipeline, tmp_path: Path) -> None:
    torch.save(trained.state_dict(), tmp_path / "state.ckpt")
    state = torch.load(tmp_path / "state.ckpt", weights_only=True)
    assert state.keys() == trained.state_dict().keys()
    own = trained.state_dict()
    assert state.pop("_model._extra_state") == own.pop("_model._extra_state")
    assert all(torch.equal(value, state[name]) for name, value in own.items())


def test_the_checkpoint_of_another_method_is_refused(trained: VanillaPipeline, tiny_owlii_scene: Path) -> None:
    plain = make_pipeline(tiny_owlii_scene, tnerf_sdf_tiny)
    with pytest.raises(InputError, match="another method or size"):
        plain.load_pipeline(trained.state_dict(), 60)
    with pytest.raises(InputError, match="another method or size"):
        trained.load_pipeline(plain.state_dict(), 60)


def test_coefficient_modes_of_equal_sizes_are_told_apart(tiny_owlii_scene: Path) -> None:
    field = resfields_tnerf_tiny.config.pipeline.model.sdf_field
    lookup = make_pipeline(tiny_owlii_scene)
    blended = make_pipeline(tiny_owlii_scene, sdf_field=replace(field, residual_mode="interpolation"))
    with pytest.raises(InputError, match="interpolation"):
        lookup.load_pipeline(blended.state_dict(), 0)


def test_rgba_undoes_the_background(trained: VanillaPipeline) -> None:
    outputs = trained.model.get_outputs_for_camera(trained.datamanager.eval_dataset.cameras[0:1])
    rgba = trained.model.get_rgba_image(outputs)
    assert torch.allclose(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:], outputs["rgb"], atol=1e-4)


def test_depth_of_a_sharp_surface_is_its_distance(tiny_owlii_scene: Path) -> None:
    """The starting sphere of a field without encodings: expected depth against sphere tracing."""
    model = make_pipeline(tiny_owlii_scene, num_eval_samples=512).model.eval()
    model.field.alpha.zero_()
    with torch.no_grad():
        model.field.laplace_density.raw_beta.fill_(2e-3)
    directions = torch.nn.functional.normalize(torch.tensor([[0.0, 0.0, -1.0], [0.05, 0.0, -1.0]]), dim=-1)
    origins = torch.tensor([[0.0, 0.0, 0.9]]).expand(2, 3) * model.scene_aabb[1].max()
    rays = RayBundle(origins, directions, torch.ones(2, 1), times=torch.full((2, 1), 0.4))
    outputs = model(rays)
    distance, surface = torch.zeros(2, 1), model.surface_at(0.4)
    for _ in range(400):
        distance += 0.3 * surface.signed_distance(origins + distance * directions)
    assert torch.allclose(outputs["depth"], distance, atol=0.02)


def test_masks_and_depth_are_required_by_the_losses_that_need_them(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene)
    for key, loss in (("fg_mask_filenames", "mask"), ("depth_filenames", "depth")):
        pipeline.model.config.loss_coefficients = {"rgb": 1.0, loss: 0.1}
        kept = pipeline.model.metadata.pop(key)
        with pytest.raises(InputError, match=f"{key}.*owlii-data"):
            run_callbacks(pipeline, 0)
        pipeline.model.metadata[key] = kept
        run_callbacks(pipeline, 0)


def test_data_without_times_is_refused_at_once(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene)
    with pytest.raises(InputError, match="time per image.*owlii-data"):
        pipeline.config.model.setup(scene_box=pipeline.model.scene_box, num_train_data=1, metadata={})


def test_depth_and_sparsity_losses_start_at_their_step(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(
        tiny_owlii_scene,
        loss_coefficients={"rgb": 1.0, "mask": 0.1, "eikonal": 0.1, "depth": 0.1, "sparsity": 0.1},
        loss_start_steps={"sparsity": 5},
    )
    pipeline.train()
    run_callbacks(pipeline, 0)
    assert set(pipeline.get_train_loss_dict(0)[1]) == {"rgb_loss", "mask_loss", "eikonal_loss", "depth_loss"}
    run_callbacks(pipeline, 5)
    assert "sparsity_loss" in pipeline.get_train_loss_dict(5)[1]


@pytest.mark.parametrize("background", ["black", "white", "random"])
def test_training_background_is_the_same_for_image_and_render(tiny_owlii_scene: Path, background: str) -> None:
    """A render that equals the true foreground has no colour loss, whatever the background."""
    pipeline = make_pipeline(tiny_owlii_scene, training_background=background)
    pipeline.train()
    _, batch = pipeline.datamanager.next_train(0)
    mask, white = batch["fg_mask"], pipeline.model.background_color
    outputs = {
        "foreground_rgb": batch["image"] - (1 - mask) * white,
        "accumulation": mask,
        "gradient": torch.nn.functional.normalize(torch.randn(4, 3), dim=-1),
    }
    assert pipeline.model.get_loss_dict(outputs, batch)["rgb_loss"].item() < 1e-6


def test_published_settings_render_the_whole_box(tiny_owlii_scene: Path) -> None:
    tiny = resfields_tnerf_tiny.config.pipeline.model
    pipeline = make_pipeline(
        tiny_owlii_scene, occupancy=replace(tiny.occupancy, enabled=False), eikonal_fraction=1.0, num_samples=8
    )
    losses = train_steps(pipeline, 3)
    assert all(math.isfinite(loss) for loss in losses)
    pipeline.train()
    bundle, _ = pipeline.datamanager.next_train(0)
    outputs = pipeline.model(bundle)
    assert outputs["gradient"].shape[:-1].numel() == outputs["signed_distance"].numel(), "padding does not count"


def test_surface_at_a_time_is_the_field_at_that_time(trained: VanillaPipeline) -> None:
    points = torch.rand(20, 3) - 0.5
    first, second = trained.model.surface_at(0.0), trained.model.surface_at(1.0)
    assert first.signed_distance(points).shape == (20, 1) and first.color(points).shape == (20, 3)
    assert not torch.allclose(first.signed_distance(points), second.signed_distance(points), atol=1e-3)
