"""The ENeRF methods on images of a tiny scene: they train, render, and their checkpoints render another scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import method_configs.enerf as methods
from dataparsers.owlii import OwliiDataParserConfig

METHODS = ("enerf", "enerf_cascade", "enerf_tiny", "enerf_cascade_tiny")


def pipeline_of(scene: Path, name: str) -> Any:
    torch.manual_seed(0)
    config = getattr(methods, name).config.pipeline
    datamanager = replace(
        config.datamanager, data=scene, dataparser=OwliiDataParserConfig(data=scene), pixels_per_image=64,
        eval_num_rays_per_batch=64, train_source_counts=(2,), train_source_probabilities=(1.0,), test_source_count=2,
        prefetch_batches=0,
    )  # fmt: skip
    model = replace(config.model, test_source_count=2)
    return replace(config, datamanager=datamanager, model=model).setup(
        device="cpu", test_mode="val", world_size=1, local_rank=0
    )


@pytest.mark.parametrize("name", METHODS)
def test_names_and_groups_fit(name: str) -> None:
    config = getattr(methods, name).config
    assert config.method_name == name.replace("_", "-")
    assert set(config.optimizers) == {"networks"}
    datamanager = config.pipeline.datamanager
    assert datamanager.images_per_batch == 1 and not datamanager.crop_sources
    assert config.pipeline.model.test_source_count == datamanager.test_source_count
    assert config.pipeline.model.source_canvas == "whole"


@pytest.mark.parametrize("name", ["enerf_tiny", "enerf_cascade_tiny"])
def test_a_method_trains_and_its_checkpoint_renders_another_scene(
    name: str, tiny_owlii_scene: Path, owlii_scene: Any
) -> None:
    pipeline = pipeline_of(tiny_owlii_scene, name)
    optimiser = torch.optim.Adam(pipeline.model.get_param_groups()["networks"], lr=2e-3)
    before = pipeline.model.pyramid.top.weight.detach().clone()
    for step in range(3):
        pipeline.model.update_to_step(step)
        _, loss_dict, metrics = pipeline.get_train_loss_dict(step)
        loss = torch.stack(list(loss_dict.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert bool(loss.isfinite())
    assert not torch.equal(pipeline.model.pyramid.top.weight, before)
    assert {"psnr", "depth_std", "blend_entropy"} <= set(metrics)
    pipeline.eval()
    held_out = pipeline.get_eval_loss_dict(0)[1]
    assert set(held_out) == {"rgb_loss"} and bool(held_out["rgb_loss"].isfinite())

    other = pipeline_of(owlii_scene(num_frames=3, resolution=20, num_train_cameras=4), name)
    other.load_pipeline(pipeline.state_dict(), 20)
    image = other.eval().model.get_outputs_for_camera(other.datamanager.eval_dataset.cameras[1:2])
    assert image["rgb"].shape == (20, 20, 3) and image["rgb"].isfinite().all()
    assert len(other.model.frame_times) == 3
    torch.testing.assert_close(other.model.pyramid.top.weight, pipeline.model.pyramid.top.weight)
