"""The model in contracted space: a camera that goes all round what moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orbit_scene as truth
import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from torch import Tensor

from dataparsers.nsff import NSFFDataParserConfig
from method_configs.nsff import nsff_tiny
from nf_plugins.errors import InputError
from nf_plugins.fields.scene_flow_field import SceneFlowFieldConfig
from nf_plugins.model_components.contracted_space import contract
from nf_plugins.models.nsff import NSFFModel
from nf_plugins.models.scene_flow_terms import SceneFlowTerms

FIELD = SceneFlowFieldConfig(num_layers=3, hidden_dim=32, skip_layer=2, num_position_frequencies=4)
BACKWARDS = 0
"""A frame whose camera looks the other way than that of the frame in the middle, after which the scene is turned."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return truth.write_orbit_scene(tmp_path_factory.mktemp("scenes") / "orbit")


def make_pipeline(scene: Path, num_rays: int = 40, **model_fields: Any) -> VanillaPipeline:
    torch.manual_seed(0)
    config: Any = nsff_tiny.config.pipeline
    datamanager = replace(
        config.datamanager,
        data=scene,
        dataparser=NSFFDataParserConfig(data=scene, space="contracted"),
        train_num_rays_per_batch=num_rays,
    )
    model = replace(
        config.model, **{"field": FIELD, "num_samples": 12, "steps_per_decay": 1, "decay_iteration": 10} | model_fields
    )
    return replace(config, datamanager=datamanager, model=model).setup(device="cpu", test_mode="test")


@pytest.fixture(scope="module")
def still(scene: Path) -> VanillaPipeline:
    """A pipeline whose weights no test changes."""
    return make_pipeline(scene, num_rays=200)


def model_of(pipeline: VanillaPipeline) -> NSFFModel:
    assert isinstance(pipeline.model, NSFFModel)
    return pipeline.model


def batch_of_frame(pipeline: VanillaPipeline, frame: int) -> tuple[Any, dict[str, Tensor]]:
    """Uniform rays of a frame."""
    for _ in range(300):
        bundle, batch = pipeline.datamanager.next_train(10**6)
        if int(batch["indices"][0, 0]) == frame:
            return bundle, batch
    raise AssertionError(f"frame {frame} was never drawn")


def scene_points(pipeline: VanillaPipeline, points: np.ndarray, batch: dict[str, Tensor]) -> Tensor:
    """World points (H, W, 3) at the pixels of a batch, in the scene, float64."""
    to_scene = torch.linalg.inv(model_of(pipeline).metadata["world_from_scene"].double())
    world = torch.from_numpy(points[batch["indices"][:, 1].numpy(), batch["indices"][:, 2].numpy()])
    return world @ to_scene[:3, :3].T + to_scene[:3, 3]


def true_terms(pipeline: VanillaPipeline, frame: int) -> tuple[SceneFlowTerms, dict[str, Tensor]]:
    """The losses of a dynamic field that is opaque where the surface is, and moves as that does."""
    model = model_of(pipeline)
    model.update_to_step(0)
    torch.manual_seed(0)
    bundle, batch = batch_of_frame(pipeline, frame)
    rendered = model.training_pass(bundle, frame)
    reference = rendered.reference
    distance = (scene_points(pipeline, truth.surface(frame)[0], batch) - bundle.origins).norm(dim=-1)
    parameter = (1 - model.metadata["near_distance"] / distance).float()
    weights = torch.zeros_like(reference.samples.ray_parameters)
    weights[:, 5] = 1.0
    reference.dynamic_render = reference.dynamic_render._replace(weights=weights, ray_parameter=parameter)
    for offset, neighbour in rendered.neighbours.items():
        moved = scene_points(pipeline, truth.moved_surface(frame, frame + offset), batch)
        points = neighbour.points.detach().clone()
        points[:, 5] = (contract(moved) / 2).float()
        neighbour.points = points
    return model.loss_terms(rendered, batch), batch


@pytest.mark.parametrize("frame", [0, 2, 5, truth.NUM_FRAMES - 1])
def test_true_motion_and_depth_cost_nothing(still: VanillaPipeline, frame: int) -> None:
    terms, batch = true_terms(still, frame)
    assert any(bool((batch[key] > 0).any()) for key in batch if key.startswith("optical_flow") and "valid" in key)
    flow, depth = terms.flow(), terms.depth()
    assert flow is not None and depth is not None
    assert float(flow) < 2e-3  # pixels
    assert float(depth) < 1e-6
    moved = terms.rendered.neighbours[1 if frame == 0 else -1]
    moved.points = moved.points + 0.05
    wrong = terms.flow()
    assert wrong is not None and float(wrong) > 0.1


def test_points_that_flow_takes_behind_the_neighbour_do_not_count(still: VanillaPipeline) -> None:
    terms, batch = true_terms(still, 2)
    pose = model_of(still).frame_camera_to_worlds[3]
    points = terms.rendered.neighbours[1].points.clone()
    points[:10, 5] = contract(pose[:, 3] + 0.8 * pose[:, 2]) / 2
    valid = batch["optical_flow_forward_valid"]
    valid[:10] = 1.0
    terms.rendered.neighbours[1].points = points.requires_grad_()
    loss = terms.flow()
    assert loss is not None and float(loss.detach()) < 2e-3
    loss.backward()
    assert points.grad is not None and bool(points.grad.isfinite().all()) and float(points.grad[:10].abs().max()) == 0


def run_callbacks(pipeline: VanillaPipeline, step: int) -> None:
    for callback in pipeline.get_training_callbacks(SimpleNamespace(pipeline=pipeline)):  # type: ignore[arg-type]
        callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)


def test_training_lowers_the_loss_in_all_stages(scene: Path) -> None:
    pipeline = make_pipeline(scene)
    optimizer = torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=3e-3)
    colours, seen = [], set()
    for step in range(36):
        run_callbacks(pipeline, step)
        _, losses, _ = pipeline.get_train_loss_dict(step)
        assert all(bool(value.isfinite()) for value in losses.values())
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in pipeline.model.parameters())
        optimizer.step()
        colours.append(float(losses["combined_loss"].detach()))
        seen |= set(losses)
    assert sum(colours[-10:]) < 0.8 * sum(colours[:10])
    assert {"chained_loss", "flow_loss", "depth_loss", "temporal_loss", "entropy_loss"} <= seen


def test_a_camera_that_looks_backwards_trains_and_shows(scene: Path) -> None:
    pipeline = make_pipeline(scene)
    model = model_of(pipeline)
    torch.manual_seed(0)
    bundle, batch = batch_of_frame(pipeline, BACKWARDS)
    assert bool((bundle.directions[:, 2] > 0.5).all())
    optimizer = torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=3e-3)
    errors = []
    for _ in range(25):
        losses = model.get_loss_dict(model(bundle), batch)
        assert all(bool(value.isfinite()) for value in losses.values())
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        errors.append(float(losses["combined_loss"].detach()))
    assert errors[-1] < 0.6 * errors[0]
    pipeline.eval()
    image = model.get_outputs_for_camera(camera_at(pipeline, float(BACKWARDS), BACKWARDS))
    assert float(image["accumulation"].min()) > 0.5 and float(image["rgb"].max()) > 0.1


def camera_at(pipeline: VanillaPipeline, coordinate: float, place: int = 0) -> Any:
    camera = pipeline.datamanager.train_dataset.cameras[place : place + 1]
    camera.times = torch.tensor([[coordinate / (truth.NUM_FRAMES - 1)]])
    return camera


@pytest.fixture
def shown(scene: Path) -> VanillaPipeline:
    """In evaluation, with weights far enough from their start that times differ."""
    pipeline = make_pipeline(scene)
    with torch.no_grad():
        for parameter in pipeline.model.field.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return pipeline.eval()


@pytest.mark.parametrize("place", [0, 3])
def test_at_a_frame_the_splatted_image_is_the_ordinary_one(shown: VanillaPipeline, place: int) -> None:
    model = model_of(shown)
    camera = camera_at(shown, 2.0, place)
    ordinary = model.get_outputs_for_camera(camera)
    model.between._select(camera)
    view = model.between._look(camera)
    key_time = model.between.key_time(view, 2)
    splatted = model.between.composite(view, key_time, None, 0.0)
    torch.testing.assert_close(splatted.rgb, ordinary["rgb"], atol=1e-5, rtol=0)
    torch.testing.assert_close(splatted.accumulation, ordinary["accumulation"][..., 0], atol=1e-5, rtol=0)
    # Pushed along a flow of nothing every shell arrives where it was.
    still = key_time._replace(flow_forward=torch.zeros_like(key_time.flow_forward))
    pushed = model.between._moved(view, still, still.flow_forward, 0.7).pixels
    rows, columns = torch.meshgrid(torch.arange(truth.HEIGHT), torch.arange(truth.WIDTH), indexing="ij")
    assert float((pushed - torch.stack([columns, rows], dim=-1) - 0.5).abs().max()) < 0.01


def test_outputs_between_frames_and_distances(shown: VanillaPipeline) -> None:
    model = model_of(shown)
    image = model.get_outputs_for_camera(camera_at(shown, 2.4, 3))
    assert model.between.num_renders == 2
    assert all(bool(value.isfinite().all()) for value in image.values())
    near = float(model.metadata["near_distance"])
    assert near - 1e-5 <= float(image["depth"].min()) and float(image["depth"].max()) <= 200 * near * 1.001


def test_checkpoints_and_options_know_the_space(scene: Path, still: VanillaPipeline) -> None:
    with pytest.raises(InputError, match="reference-quirks True .*--space contracted"):
        make_pipeline(scene, reference_quirks=True)
    make_pipeline(scene, loss_variant="paper")
    state = still.model.state_dict()
    assert state["_extra_state"]["space"] == "contracted"
    state["_extra_state"]["space"] = "ndc"
    with pytest.raises(InputError, match="space = ndc where contracted is expected"):
        still.model.load_state_dict(state)
    metadata = {key: value for key, value in model_of(still).metadata.items() if key != "near_distance"}
    with pytest.raises(InputError, match="near_distance"):
        model_of(still).config.setup(scene_box=still.model.scene_box, num_train_data=8, metadata=metadata)


def test_normalised_device_coordinates_say_what_to_do_instead(scene: Path) -> None:
    with pytest.raises(InputError, match="opposite directions.*--space contracted|Use --space contracted"):
        NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
