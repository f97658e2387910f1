"""A run that is broken off and taken up again goes on as if it had not, also where a stage ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from monocular_scene import write_monocular_scene
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from dataparsers.nsff import NSFFDataParserConfig
from method_configs.nsff import nsff_tiny
from nf_plugins.fields.scene_flow_field import SceneFlowFieldConfig

STAGE = 6
"""Steps D; not less than the frames."""
LAST = 3 * STAGE
FIELD = SceneFlowFieldConfig(num_layers=2, hidden_dim=8, skip_layer=1, num_position_frequencies=2)


class Break(NamedTuple):
    """What a checkpoint holds before a step."""

    weights: dict[str, Any]
    optimizer: dict[str, Any]
    random_state: torch.Tensor


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_monocular_scene(tmp_path_factory.mktemp("scenes") / "monocular", height=9, width=12, num_held_out=0)


def make_run(scene: Path, seed: int) -> tuple[VanillaPipeline, torch.optim.Adam]:
    torch.manual_seed(seed)
    config: Any = nsff_tiny.config.pipeline
    datamanager = replace(
        config.datamanager, data=scene, dataparser=NSFFDataParserConfig(data=scene), train_num_rays_per_batch=8
    )
    model = replace(config.model, field=FIELD, num_samples=6, steps_per_decay=1, decay_iteration=STAGE)
    pipeline = replace(config, datamanager=datamanager, model=model).setup(device="cpu", test_mode="test")
    return pipeline, torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=1e-2)


def train(pipeline: VanillaPipeline, optimizer: torch.optim.Adam, step: int) -> dict[str, float]:
    """One step; its losses."""
    callbacks = pipeline.get_training_callbacks(SimpleNamespace(pipeline=pipeline))  # type: ignore[arg-type]
    for callback in callbacks:
        callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
    _, losses, metrics = pipeline.get_train_loss_dict(step)
    optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    return {name: float(value) for name, value in (losses | metrics).items()}


@pytest.fixture(scope="module")
def whole(scene: Path) -> tuple[list[dict[str, float]], dict[int, Break]]:
    """Losses of every step of a run without a break, and what it had before each."""
    pipeline, optimizer = make_run(scene, seed=0)
    losses, breaks = [], {}
    for step in range(LAST):
        weights = {
            key: value.clone() if torch.is_tensor(value) else value
            for key, value in pipeline.model.state_dict().items()
        }
        state = optimizer.state_dict()
        moments = {
            index: {key: value.clone() for key, value in values.items()} for index, values in state["state"].items()
        }
        breaks[step] = Break(weights, {**state, "state": moments}, torch.get_rng_state())
        losses.append(train(pipeline, optimizer, step))
    return losses, breaks


@pytest.mark.parametrize("broken_before", [STAGE - 1, STAGE, STAGE + 1, 2 * STAGE - 1, 2 * STAGE, 2 * STAGE + 1])
def test_losses_after_a_break_are_those_without_it(
    scene: Path, whole: tuple[list[dict[str, float]], dict[int, Break]], broken_before: int
) -> None:
    losses, breaks = whole
    pipeline, optimizer = make_run(scene, seed=1)
    before = breaks[broken_before]
    pipeline.model.load_state_dict(before.weights)
    optimizer.load_state_dict(before.optimizer)
    torch.set_rng_state(before.random_state)
    for step in range(broken_before, min(broken_before + STAGE, LAST)):
        assert train(pipeline, optimizer, step) == losses[step], step


def test_the_run_has_three_stages(whole: tuple[list[dict[str, float]], dict[int, Break]]) -> None:
    """Else the breaks above would be none."""
    losses = whole[0]
    rays = [step["field_evaluations"] for step in losses]
    assert min(rays[:STAGE]) > max(rays[STAGE : 2 * STAGE])
    assert not any("chained_loss" in step for step in losses[: 2 * STAGE])
    assert any("chained_loss" in step for step in losses[2 * STAGE :])
    assert len({tuple(step.items()) for step in losses}) == LAST
