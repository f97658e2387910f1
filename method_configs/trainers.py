"""The trainer config that all methods share, and the one of the ResFields methods."""

from __future__ import annotations

from typing import Any

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.data.datamanagers.base_datamanager import DataManagerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

from nf_plugins.engine.devices import default_machine_config
from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.engine.schedulers import CosineToFinalSchedulerConfig


def method_trainer(
    method_name: str,
    datamanager: DataManagerConfig,
    model: ModelConfig,
    optimizers: dict[str, Any],
    *,
    steps: int,
    steps_per_save: int,
    viewer: ViewerConfig,
    validations: int = 40,
) -> DynamicTrainerConfig:
    """What the trainer configs of all methods have in common: fp32, on what the machine has, steps in all.

    Args:
        method_name: Name on the command line.
        datamanager: Where batches come from.
        model: The method.
        optimizers: By parameter group, ``{"optimizer": ..., "scheduler": ...}``.
        steps: Training steps in all.
        steps_per_save: Steps between checkpoints.
        viewer: Viewer settings.
        validations: How often the evaluation images are looked at during training.
    """
    steps_per_validation = max(steps // validations, 1)
    return DynamicTrainerConfig(
        method_name=method_name,
        machine=default_machine_config(),
        max_num_iterations=steps,
        steps_per_save=steps_per_save,
        steps_per_eval_image=steps_per_validation,
        steps_per_eval_batch=steps_per_validation,
        steps_per_eval_all_images=steps,
        mixed_precision=False,
        pipeline=VanillaPipelineConfig(datamanager=datamanager, model=model),
        optimizers=optimizers,
        viewer=viewer,
        vis="viewer",
    )


def single_group_trainer(
    method_name: str,
    datamanager: DataManagerConfig,
    model: ModelConfig,
    *,
    steps: int,
    steps_per_save: int,
    validations: int,
    learning_rate: float,
    viewer: ViewerConfig,
    eps: float = 1e-8,
) -> DynamicTrainerConfig:
    """Adam on one parameter group, one cosine to a tenth of the learning rate over all steps, fp32.

    Args:
        method_name: Name on the command line.
        datamanager: Where batches come from.
        model: The method.
        steps: Training steps in all.
        steps_per_save: Steps between checkpoints.
        validations: How often the evaluation images are looked at during training.
        learning_rate: Adam's, at the start.
        viewer: Viewer settings.
        eps: Adam's.
    """
    group = {
        "optimizer": AdamOptimizerConfig(lr=learning_rate, eps=eps),
        "scheduler": CosineToFinalSchedulerConfig(lr_final=learning_rate / 10, max_steps=steps),
    }
    return method_trainer(
        method_name, datamanager, model, {"fields": group}, steps=steps, steps_per_save=steps_per_save, viewer=viewer,
        validations=validations,
    )  # fmt: skip
