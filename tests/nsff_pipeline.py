"""A small NSFF whose stages follow each other within thirty steps, on a monocular scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from dataparsers.nsff import NSFFDataParserConfig
from method_configs.nsff import nsff_tiny
from nf_plugins.fields.scene_flow_field import SceneFlowFieldConfig
from nf_plugins.models.nsff import NSFFModel

FIELD = SceneFlowFieldConfig(num_layers=3, hidden_dim=32, skip_layer=2, num_position_frequencies=4)


def make_pipeline(scene: Path, **model_fields: Any) -> VanillaPipeline:
    """A pipeline in training mode; the weights are always the same."""
    torch.manual_seed(0)
    config: Any = nsff_tiny.config.pipeline
    datamanager = replace(
        config.datamanager, data=scene, dataparser=NSFFDataParserConfig(data=scene), train_num_rays_per_batch=48
    )
    model = replace(
        config.model, **{"field": FIELD, "num_samples": 12, "steps_per_decay": 1, "decay_iteration": 10} | model_fields
    )
    return replace(config, datamanager=datamanager, model=model).setup(device="cpu", test_mode="test")


def model_of(pipeline: VanillaPipeline) -> NSFFModel:
    """Its model."""
    model = pipeline.model
    assert isinstance(model, NSFFModel)
    return model
