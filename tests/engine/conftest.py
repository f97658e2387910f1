"""Tiny trainings for the trainer's tests."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nf_plugins.engine.dynamic_trainer import DynamicTrainer, DynamicTrainerConfig


class Killed(Exception):
    """Stands for the end of a process in the middle of a step."""


class RecordingTrainer(DynamicTrainer):
    """Keeps the loss of every step, and may be killed at one of them."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.losses: dict[int, float] = {}
        self.kill_at: int | None = None

    def train_iteration(self, step: int) -> Any:
        if step == self.kill_at:
            raise Killed
        result = super().train_iteration(step)
        self.losses[step] = float(result[0])
        return result


@pytest.fixture(autouse=True)
def _fresh_writers() -> Iterator[None]:
    yield
    from nerfstudio.utils import writer  # cannot be nerfstudio's first module to be imported

    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    writer.GLOBAL_BUFFER.clear()


@pytest.fixture
def tiny_config(tmp_path: Path, tiny_owlii_scene: Path) -> Callable[..., DynamicTrainerConfig]:
    """Factory of training configs of a tiny scene on the CPU; keywords replace fields of the config."""
    from method_configs.resfields import resfields_tnerf_tiny

    def make(**fields: Any) -> DynamicTrainerConfig:
        config: Any = copy.deepcopy(resfields_tnerf_tiny.config)
        config._target = RecordingTrainer
        config.machine.device_type = "cpu"
        config.pipeline.datamanager.data = tiny_owlii_scene
        config.pipeline.datamanager.train_num_rays_per_batch = 32
        config.output_dir = tmp_path / "outputs"
        config.experiment_name = "tiny"
        config.vis = "tensorboard"
        config.logging.local_writer.enable = False
        config.logging.profiler = "none"
        config.max_num_iterations = 12
        config.steps_per_save = 4
        config.steps_per_eval_batch = 3
        config.steps_per_eval_image = 1000
        config.steps_per_eval_all_images = 1000
        config.evaluate_after_training = False
        for name, value in fields.items():
            assert hasattr(config, name)
            setattr(config, name, value)
        return config

    return make


@pytest.fixture
def start() -> Callable[..., RecordingTrainer]:
    """What ns-train does after it has read its command line, up to the first step."""

    def run(config: DynamicTrainerConfig, kill_at: int | None = None) -> RecordingTrainer:
        config.set_timestamp()
        config.save_config()
        random.seed(config.machine.seed)
        np.random.seed(config.machine.seed)  # noqa: NPY002
        torch.manual_seed(config.machine.seed)
        trainer = config.setup()
        trainer.kill_at = kill_at
        trainer.setup()
        return trainer

    return run


@pytest.fixture
def train(start: Callable[..., RecordingTrainer]) -> Callable[..., RecordingTrainer]:
    """Run ns-train; with ``kill_at`` the process ends in the middle of that step."""

    def run(config: DynamicTrainerConfig, kill_at: int | None = None) -> RecordingTrainer:
        trainer = start(config, kill_at)
        if kill_at is None:
            trainer.train()
        else:
            with pytest.raises(Killed):
                trainer.train()
        return trainer

    return run
