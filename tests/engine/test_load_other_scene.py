"""Opening a run on a scene that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rig_scene import write_ball_rig

from dataparsers.easyvolcap import EasyVolcapDataParserConfig
from method_configs.enerf import enerf_tiny
from nf_plugins.engine import checkpoints
from nf_plugins.engine.load_run import load_run
from nf_plugins.errors import InputError


def write_run(folder: Path, config: Any) -> Path:
    """A run that was trained for no step."""
    torch.manual_seed(0)
    pipeline = config.pipeline.setup(device="cpu", test_mode="inference")
    folder.mkdir()
    (folder / "config.yml").write_text(yaml.dump(config))
    state = {"step": 3, "pipeline": pipeline.state_dict(), "optimizers": {}, "scalers": {}}
    checkpoints.save_checkpoint_atomically(state, folder / config.relative_model_dir / "step-000000003.ckpt")
    return folder


def enerf_config(scene: Path) -> Any:
    config: Any = deepcopy(enerf_tiny.config)
    config.machine.device_type = "cpu"
    datamanager = replace(
        config.pipeline.datamanager, data=scene, dataparser=EasyVolcapDataParserConfig(data=scene), prefetch_batches=0
    )
    config.pipeline = replace(config.pipeline, datamanager=datamanager)
    return config


def test_a_method_without_a_scene_renders_another(tmp_path: Path) -> None:
    first = write_ball_rig(tmp_path / "first", num_cameras=5, num_frames=2)
    other = write_ball_rig(tmp_path / "other", num_cameras=6, num_frames=3)
    run_dir = write_run(tmp_path / "run", enerf_config(first))
    own, there = load_run(run_dir, device="cpu"), load_run(run_dir, device="cpu", data=other)
    assert own.config.pipeline.datamanager.data == first and there.config.pipeline.datamanager.data == other
    datamanager: Any = there.pipeline.datamanager
    assert there.step == 3 and datamanager.train_dataset.image_filenames[0].is_relative_to(other)
    for name, value in own.pipeline.model.named_parameters():
        assert torch.equal(value, there.pipeline.model.get_parameter(name))
    camera = datamanager.eval_dataset.cameras[2:3]
    with torch.no_grad():
        outputs = there.pipeline.model.get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == (32, 40, 3) and bool(outputs["rgb"].isfinite().all())
    with pytest.raises(InputError, match="--data .*nowhere does not exist"):
        load_run(run_dir, device="cpu", data=tmp_path / "nowhere")


def test_a_method_with_a_scene_refuses(
    tiny_config: Callable[..., Any], tiny_owlii_scene: Path, tmp_path: Path, owlii_scene: Callable[..., Path]
) -> None:
    run_dir = write_run(tmp_path / "run", tiny_config())
    assert load_run(run_dir, device="cpu").step == 3
    with pytest.raises(InputError, match="--data .*: a checkpoint of resfields-tnerf-tiny is of the one scene"):
        load_run(run_dir, device="cpu", data=owlii_scene("other"))
