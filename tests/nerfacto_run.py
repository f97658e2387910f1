"""nerfstudio's nerfacto on the data of a monocular video: a static method to compare with, tiny and untrained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.models.nerfacto import NerfactoModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from torchmetrics.image import lpip

from dataparsers.nsff import NSFFDataParserConfig

PROPOSALS = {"hidden_dim": 4, "log2_hashmap_size": 4, "num_levels": 1, "max_res": 4, "use_linear": False}


def nerfacto_config(scene: Path, camera_res_scale_factor: float = 1.0, **dataparser_fields: Any) -> TrainerConfig:
    """A run's config, with the datamanager and the dataset that other methods of nerfstudio have."""
    model = NerfactoModelConfig(
        implementation="torch", num_levels=2, base_res=2, max_res=8, log2_hashmap_size=6, hidden_dim=8,
        hidden_dim_color=8, num_proposal_iterations=1, proposal_net_args_list=[PROPOSALS],
        num_proposal_samples_per_ray=(8,), num_nerf_samples_per_ray=4, eval_num_rays_per_chunk=4096,
    )  # fmt: skip
    datamanager = VanillaDataManagerConfig(
        data=scene, dataparser=NSFFDataParserConfig(data=scene, **dataparser_fields), train_num_rays_per_batch=16,
        eval_num_rays_per_batch=16, camera_res_scale_factor=camera_res_scale_factor,
    )  # fmt: skip
    config = TrainerConfig(method_name="nerfacto", pipeline=VanillaPipelineConfig(datamanager=datamanager, model=model))
    return replace(config, experiment_name="static")


def nerfacto_pipeline(config: TrainerConfig, monkeypatch: pytest.MonkeyPatch) -> VanillaPipeline:
    """Its pipeline on the CPU; nerfacto fetches weights of LPIPS from the network, which are left out."""
    monkeypatch.setattr(lpip, "LearnedPerceptualImagePatchSimilarity", lambda **_: torch.nn.Identity())
    torch.manual_seed(0)
    return config.pipeline.setup(device="cpu", test_mode="test")
