from __future__ import annotations

import copy
import re
from dataclasses import replace
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from typing import Any

import pytest
import torch
import tyro
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


# Last frame (exclusive), steps of a stage in thousands as configured and in effect; weights of depth, flow and flow
# sparsity, as published; rows; thousands of steps in which the learning rate falls to a tenth.
PUBLISHED = {
    "kid-running": (30, 30, 30, 0.04, 0.02, 0.1, 288, 300),
    "balloon1-2": (24, 25, 25, 0.02, 0.01, 0.1, 288, 300),
    "balloon2-2": (24, 25, 25, 0.02, 0.01, 0.1, 288, 300),
    "playground": (24, 25, 25, 0.02, 0.01, 0.1, 288, 300),
    "skating-2": (24, 25, 25, 0.04, 0.02, 0.1, 288, 300),
    "truck2": (24, 25, 25, 0.04, 0.02, 0.1, 288, 300),
    "umbrella": (24, 25, 25, 0.04, 0.02, 0.1, 288, 300),
    "dynamicface-2": (24, 25, 25, 0.04, 0.02, 0.01, 288, 300),
    "jumping": (24, 48, 48, 0.04, 0.02, 0.01, 288, 300),
    "broom": (196, 150, 196, 0.04, 0.02, 0.1, 480, 500),
    "curls": (56, 60, 60, 0.04, 0.02, 0.1, 480, 500),
}


def scene_entry_points() -> dict[str, EntryPoint]:
    """The registered methods of the scenes, by scene."""
    names = distribution("nf-plugins").entry_points.select(group="nerfstudio.method_configs")
    return {entry.name.removeprefix("nsff-"): entry for entry in names if ":scenes." in entry.value}


def test_every_scene_is_a_method() -> None:
    assert scene_entry_points().keys() == PUBLISHED.keys() == SCENES.keys()


@pytest.mark.parametrize("scene", PUBLISHED)
def test_the_method_of_a_scene_has_its_published_values(scene: str) -> None:
    end_frame, decay, effective, depth, flow, sparsity, height, decay_steps = PUBLISHED[scene]
    method = scene_entry_points()[scene].load()
    config, model = method.config, method.config.pipeline.model
    datamanager = config.pipeline.datamanager
    assert config.method_name == f"nsff-{scene}" and config.max_num_iterations == max(360_000, 3000 * effective)
    assert (datamanager.dataparser.start_frame, datamanager.dataparser.end_frame) == (0, end_frame)
    assert (model.decay_iteration, effective_decay(model.decay_iteration, end_frame)) == (decay, effective)
    # By default the sparsity loss is measured otherwise than published, and weighs a tenth.
    own = {"depth": depth, "flow": flow, "sparsity": sparsity / 10}
    common = {"disocclusion": 0.1, "cycle": 1.0, "entropy": 1e-3, "spatial": 0.1, "temporal": 0.1}
    assert {name: model.loss_coefficients[name] for name in own | common} == pytest.approx(own | common)
    assert model.loss_coefficients.keys() == nsff.config.pipeline.model.loss_coefficients.keys()
    assert config.optimizers["fields"]["scheduler"].decay_steps == 1000 * decay_steps
    assert (model.num_samples, model.field.hidden_dim, model.density_noise_std) == (128, 256, 1.0)
    assert (datamanager.train_num_rays_per_batch, datamanager.pixel_sampler.num_extra_rays) == (1024, 512)
    assert f"images of {height} rows" in method.description
    published = scene_trainer(scene, published_model()).pipeline.model.loss_coefficients
    assert published["sparsity"] == pytest.approx(sparsity)


def test_the_methods_of_scenes_share_nothing_with_each_other() -> None:
    configs = [entry.load().config for entry in scene_entry_points().values()]
    for part in ("dataparser", "pixel_sampler"):
        assert len({id(getattr(config.pipeline.datamanager, part)) for config in configs}) == len(configs)
    assert len({id(config.pipeline.model.loss_coefficients) for config in configs}) == len(configs)
    assert nsff.config.pipeline.model.decay_iteration == 25
    assert nsff.config.pipeline.datamanager.dataparser.end_frame is None


def test_options_keep_what_a_scene_sets() -> None:
    """Naming the dataparser does not fall back to its own defaults."""
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    for arguments, end_frame in (("nsff-data", 196), ("nsff-data --downscale-factor 2 --end-frame 50", 50)):
        config: Any = tyro.cli(AnnotatedBaseConfigUnion, args=["nsff-broom", *arguments.split()])
        assert config.method_name == "nsff-broom" and config.pipeline.model.decay_iteration == 150
        assert config.pipeline.datamanager.dataparser.end_frame == end_frame


@pytest.mark.parametrize(
    ("model", "scene", "name", "weights", "decay"),
    [
        (None, "playground", "nsff-playground", [0.02, 0.01, 0.01], 25),
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
    shown = {name: row for row in rows for name in re.findall("`nsff-([^`]+)`", row[1])}
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
