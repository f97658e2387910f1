from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from monocular_pipeline import FIELD
from monocular_scene import write_monocular_scene

from method_configs.nsff import (
    SCENES,
    nsff,
    nsff_paper,
    nsff_published,
    nsff_tiny,
    paper_model,
    published_model,
    scene_trainer,
)
from nf_plugins.engine.schedulers import ExponentialSchedulerConfig
from nf_plugins.errors import InputError
from nf_plugins.model_components.loss_stages import effective_decay
from nf_plugins.models.nsff_options import sparsity_variant

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods" / "nsff.md"


def rate(config: ExponentialSchedulerConfig, step: int, lr: float) -> float:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = config.setup().get_scheduler(optimizer, lr)
    value = lr * schedule.lr_lambdas[0](step)
    assert type(value) is float
    return value


def test_published_learning_rate() -> None:
    group = nsff.config.optimizers["fields"]
    rates = [rate(group["scheduler"], step, group["optimizer"].lr) for step in (0, 100_000, 300_000, 360_000)]
    assert rates == pytest.approx([5e-4, 2.3208e-4, 5e-5, 3.1548e-5], rel=1e-4)
    paper = nsff_paper.config.optimizers["fields"]
    assert rate(paper["scheduler"], 250_000, paper["optimizer"].lr) == pytest.approx(5e-5)
    assert group["optimizer"].eps == 1e-8 and group["optimizer"].max_norm is None


def test_schedule_that_makes_no_sense() -> None:
    with pytest.raises(InputError, match="decay_steps 0"):
        rate(ExponentialSchedulerConfig(decay_steps=0), 0, 1.0)


def test_published_sizes_and_variants() -> None:
    model, datamanager = nsff.config.pipeline.model, nsff.config.pipeline.datamanager
    assert (model.num_samples, model.density_noise_std, datamanager.train_num_rays_per_batch) == (128, 1.0, 1024)
    assert (model.field.num_layers, model.field.hidden_dim, model.field.residual_layers) == (8, 256, ())
    models = [spec.config.pipeline.model for spec in (nsff, nsff_published, nsff_paper)]
    assert [sparsity_variant(model) for model in models] == ["expected", "summed_axes", "all_samples"]
    assert [model.loss_coefficients["sparsity"] for model in models] == [0.01, 0.1, 0.01]
    assert [model.loss_coefficients["entropy"] for model in models] == [1e-3, 1e-3, 0.0]
    assert [model.reference_quirks for model in models] == [False, True, True]
    names = [spec.config.method_name for spec in (nsff, nsff_published, nsff_paper, nsff_tiny)]
    assert names == ["nsff", "nsff-published", "nsff-paper", "nsff-tiny"]


def test_values_by_scene() -> None:
    stages = {
        name: effective_decay(preset.decay_iteration, preset.frames[1] - preset.frames[0])
        for name, preset in SCENES.items()
    }
    assert stages["kid-running"] == 30 and stages["balloon1-2"] == 25 and stages["jumping"] == 48
    assert stages["broom"] == 196 and stages["curls"] == 60
    config = scene_trainer("jumping")
    model = config.pipeline.model
    weights = [model.loss_coefficients[name] for name in ("depth", "flow", "sparsity", "cycle")]
    assert weights == pytest.approx([0.04, 0.02, 0.001, 1.0])
    assert model.decay_iteration == 48 and config.pipeline.datamanager.dataparser.end_frame == 24
    assert scene_trainer("broom").optimizers["fields"]["scheduler"].decay_steps == 500_000
    assert nsff.config.pipeline.model.decay_iteration == 25


@pytest.mark.parametrize(
    ("model", "scene", "name", "weights", "decay"),
    [
        (None, "playground", "nsff", [0.02, 0.01, 0.01], 25),
        (published_model(), "playground", "nsff-published", [0.02, 0.01, 0.1], 25),
        (published_model(), "jumping", "nsff-published", [0.04, 0.02, 0.01], 48),
        (paper_model(), "playground", "nsff-paper", [0.04, 0.02, 0.01], 25),
        (paper_model(), "jumping", "nsff-paper", [0.04, 0.02, 0.01], 25),
        (paper_model(), "kid-running", "nsff-paper", [0.04, 0.02, 0.01], 30),
    ],
)
def test_a_scene_has_the_values_of_its_variant(
    model: Any, scene: str, name: str, weights: list[float], decay: int
) -> None:
    before = copy.deepcopy(model)
    config = scene_trainer(scene, model)
    found = config.pipeline.model
    assert [found.loss_coefficients[key] for key in ("depth", "flow", "sparsity")] == pytest.approx(weights)
    assert found.decay_iteration == decay and config.method_name == name
    paper = name == "nsff-paper"
    assert found.loss_coefficients["entropy"] == (0.0 if paper else 1e-3)
    assert config.max_num_iterations == (500_000 if paper else 360_000)
    assert config.optimizers["fields"]["scheduler"].decay_steps == (250_000 if paper else 300_000)
    assert model == before


def test_the_page_shows_the_same_values() -> None:
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    shown = {name.strip(): row for row in rows for name in row[1].split(",")}
    default = SCENES["umbrella"]
    for name, preset in SCENES.items():
        _, _, frames, model_options, others, *_ = shown[name]
        assert frames.strip() == f"{preset.frames[0]}-{preset.frames[1]}"
        wanted = {
            key: value
            for key, value, usual in (
                ("decay-iteration", preset.decay_iteration, default.decay_iteration),
                ("loss-coefficients.depth", preset.depth, default.depth),
                ("loss-coefficients.flow", preset.flow, default.flow),
                ("loss-coefficients.sparsity", preset.expected_sparsity, default.expected_sparsity),
            )
            if value != usual
        }
        assert {key: float(value) for key, value in re.findall(r"`([\w.-]+) ([\d.]+)`", model_options)} == wanted
        if preset.decay_steps != default.decay_steps and name == "broom":
            assert str(preset.decay_steps) in others and str(preset.height) in others


def train(scene: Path, output_dir: Path, steps: int, *, resume: bool = False) -> Path:
    """Trains on three frames with stages of three steps; returns the newest checkpoint."""
    from nerfstudio.scripts.train import main

    config: Any = copy.deepcopy(nsff_tiny.config)
    config.data, config.output_dir = scene, output_dir
    config.experiment_name, config.timestamp, config.vis = "scene", "run", "tensorboard"
    config.max_num_iterations, config.resume = steps, resume
    config.pipeline.datamanager.train_num_rays_per_batch = 16
    config.pipeline.datamanager.pixel_sampler.num_extra_rays = 8
    config.pipeline.datamanager.dataparser.end_frame = 3
    config.pipeline.model = replace(config.pipeline.model, field=FIELD, num_samples=6)
    config.pipeline.model.decay_iteration, config.pipeline.model.steps_per_decay = 1, 1
    main(config)
    return sorted((config.get_base_dir() / "nerfstudio_models").glob("*.ckpt"))[-1]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    scene = write_monocular_scene(tmp_path / "monocular")
    at_once = torch.load(train(scene, tmp_path / "at-once", 4), weights_only=True)
    train(scene, tmp_path / "resumed", 2)
    resumed = torch.load(train(scene, tmp_path / "resumed", 4, resume=True), weights_only=True)
    assert at_once["step"] == resumed["step"] == 3
    assert at_once["schedulers"]["fields"]["last_epoch"] == resumed["schedulers"]["fields"]["last_epoch"]
    for key, value in at_once["pipeline"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, resumed["pipeline"][key]), key
