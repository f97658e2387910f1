"""NSFF without its dynamic network, a static NeRF, and the optical flow that a model amounts to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monocular_pipeline import FIELD, monocular_config, monocular_pipeline
from monocular_scene import write_monocular_scene

from nf_plugins.errors import InputError
from nf_plugins.evaluation.flow_accuracy import flow_accuracy
from nf_plugins.run_facts import count_parameters


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_monocular_scene(tmp_path_factory.mktemp("scenes") / "monocular")


def pipeline_of(scene: Path, **model_fields: Any) -> Any:
    config: Any = monocular_config(scene)
    model = replace(config.pipeline.model, **model_fields)
    return monocular_pipeline(replace(config, pipeline=replace(config.pipeline, model=model)))


def test_a_static_model_shows_all_frames_one_time(scene: Path) -> None:
    pipeline = pipeline_of(scene, field=replace(FIELD, static_only=True))
    camera = pipeline.datamanager.train_dataset.cameras[0:1]
    later = pipeline.datamanager.train_dataset.cameras[0:1]
    later.times = torch.ones_like(later.times)
    first, last = (pipeline.model.get_outputs_for_camera(view) for view in (camera, later))
    torch.testing.assert_close(first["rgb"], last["rgb"])
    assert float(first["dynamicness"].max()) == 0


def test_a_static_model_learns_from_colours_alone_and_asks_for_no_neighbours(scene: Path) -> None:
    pipeline = pipeline_of(scene, field=replace(FIELD, static_only=True)).train()
    bundle, batch = pipeline.datamanager.next_train(0)
    outputs = pipeline.model(bundle)
    losses = pipeline.model.get_loss_dict(outputs, batch)
    assert list(losses) == ["combined_loss"]
    evaluations = pipeline.model.get_metrics_dict(outputs, batch)["field_evaluations"]
    assert float(evaluations) == outputs["rendered"].reference.samples.ray_parameters.numel()
    losses["combined_loss"].backward()
    field = pipeline.model.field
    learns = {name for name, parameter in field.named_parameters() if parameter.grad is not None}
    assert learns == {name for name, _ in field.named_parameters() if name.startswith(("static_trunk", "static_rad"))}
    static = (*field.static_trunk.parameters(), *field.static_radiance.parameters())
    assert count_parameters(field) == sum(parameter.numel() for parameter in static)


def test_a_static_model_needs_neither_depth_nor_flow(tmp_path: Path) -> None:
    bare = write_monocular_scene(tmp_path / "bare", priors=False, motion_masks=False, num_held_out=0)
    model = pipeline_of(bare, field=replace(FIELD, static_only=True)).model
    model.get_training_callbacks(SimpleNamespace(pipeline=SimpleNamespace()))
    with pytest.raises(InputError, match="disparity"):
        pipeline_of(bare).model.get_training_callbacks(SimpleNamespace(pipeline=SimpleNamespace()))


def test_a_static_model_has_no_additive_blending(scene: Path) -> None:
    with pytest.raises(InputError, match="static-only .*additive"):
        pipeline_of(scene, field=replace(FIELD, static_only=True), blend_mode="additive")


def test_the_optical_flow_of_a_model_is_measured_at_both_neighbours(scene: Path) -> None:
    pipeline = pipeline_of(scene)
    dataset = pipeline.datamanager.train_dataset
    flow = pipeline.model.optical_flow(dataset.cameras[1:2], 1)
    assert flow.shape == (*dataset.get_data(1)["image"].shape[:2], 2)
    result = flow_accuracy(pipeline)
    assert result is not None
    assert len(result["rows"]) == 2 * len(dataset) - 2
    assert {row["direction"] for row in result["rows"] if row["image_index"] == 0} == {"forward"}
    assert 0 < result["mean"]["epe"] < 100 and 0 < result["mean"]["epe_dynamic"] < 100


def test_a_flow_that_is_the_truth_has_no_error(scene: Path) -> None:
    pipeline = pipeline_of(scene)
    dataset = pipeline.datamanager.train_dataset

    def truth(camera: Any, direction: int) -> torch.Tensor:
        index = int((dataset.cameras.times - camera.times).abs().argmin())
        return dataset.get_data(index)["optical_flow_forward" if direction > 0 else "optical_flow_backward"]

    pipeline.model.optical_flow = truth
    result = flow_accuracy(pipeline)
    assert result is not None and result["mean"] == {"epe": 0.0, "epe_dynamic": 0.0}
