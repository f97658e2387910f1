"""A tiny untrained model of scene flow on a monocular scene, as a run would load it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from dataparsers.nsff import NSFFDataParserConfig
from method_configs.nsff import nsff_tiny
from nf_plugins.fields.scene_flow_field import SceneFlowFieldConfig

FIELD = SceneFlowFieldConfig(num_layers=2, hidden_dim=8, skip_layer=1, num_position_frequencies=2)


def monocular_config(scene: Path, num_samples: int = 6, **dataparser_fields: Any) -> TrainerConfig:
    """A run's config."""
    method: Any = nsff_tiny.config
    pipeline = replace(
        method.pipeline,
        datamanager=replace(
            method.pipeline.datamanager,
            data=scene,
            dataparser=NSFFDataParserConfig(data=scene, **dataparser_fields),
            train_num_rays_per_batch=8,
        ),
        model=replace(method.pipeline.model, field=FIELD, num_samples=num_samples),
    )
    return replace(method, pipeline=pipeline)


def monocular_pipeline(config: Any) -> VanillaPipeline:
    """Its pipeline, in evaluation mode; the weights are always the same."""
    torch.manual_seed(0)
    return config.pipeline.setup(device="cpu", test_mode="test").eval()
