"""A capture without masks: the refusal says how to train all the same, and that way works."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation

from dataparsers.zju_mocap import ZjuMocapDataParserConfig
from method_configs.resfields import resfields_tnerf_tiny
from nf_plugins.data.synthetic.generate import SynthOptions, generate_scene
from nf_plugins.errors import InputError


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of three cameras in ZJU-MoCap's files."""
    return generate_scene(
        SynthOptions(
            output_dir=tmp_path_factory.mktemp("zju") / "scene", layout="zju", num_frames=3, num_train_cameras=2,
            resolution=24,
        )
    )  # fmt: skip


def build(scene: Path, **model: Any) -> Any:
    base = resfields_tnerf_tiny.config.pipeline
    strategy = "uniform" if model else "frame_balanced"
    datamanager = replace(
        base.datamanager,
        dataparser=ZjuMocapDataParserConfig(data=scene, mask_folder="none"),
        pixel_sampler=replace(base.datamanager.pixel_sampler, strategy=strategy),
    )
    return replace(base, datamanager=datamanager, model=replace(base.model, **model)).setup(device="cpu")


def callbacks(pipeline: Any) -> list[Any]:
    return pipeline.get_training_callbacks(
        TrainingCallbackAttributes(optimizers=None, grad_scaler=None, pipeline=pipeline, trainer=None)
    )


def test_refusal_names_the_flags(scene: Path):
    pipeline = build(scene)
    with pytest.raises(InputError, match="needs foreground masks.*zju-mocap-data did not give") as refusal:
        callbacks(pipeline)
    flags = re.findall(r"--(pipeline\.[\w.-]+) (\S+?)[.]?(?= |$)", str(refusal.value))
    assert flags == [
        ("pipeline.model.loss-coefficients.mask", "0"),
        ("pipeline.datamanager.pixel-sampler.strategy", "uniform"),
    ]


def test_training_with_these_flags_changes_the_field(scene: Path):
    torch.manual_seed(0)
    coefficients = dict(resfields_tnerf_tiny.config.pipeline.model.loss_coefficients) | {"mask": 0.0}
    pipeline = build(scene, loss_coefficients=coefficients)
    parameters = pipeline.get_param_groups()["fields"]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for step in range(3):
        for callback in callbacks(pipeline):
            callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        _, losses, _ = pipeline.get_train_loss_dict(step)
        assert "rgb_loss" in losses and "mask_loss" not in losses
        total = torch.stack(list(losses.values())).sum()
        assert bool(torch.isfinite(total))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
