"""Opening a trained run from anywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nf_plugins.engine import checkpoints
from nf_plugins.engine.load_run import load_run
from nf_plugins.errors import InputError


@pytest.fixture
def run_dir(tiny_config: Callable[..., Any], train: Callable[..., Any]) -> Path:
    return train(tiny_config(max_num_iterations=6)).base_dir


def test_a_run_is_opened_from_its_config_or_its_folder(run_dir: Path) -> None:
    run = load_run(run_dir / "config.yml", device="cpu")
    assert run.step == 5
    assert run.checkpoint_path == run_dir / "nerfstudio_models" / "step-000000005.ckpt"
    assert run.base_dir == run_dir
    assert not run.pipeline.training
    stored = checkpoints.load_checkpoint(run.checkpoint_path)["pipeline"]
    for name, value in run.pipeline.state_dict().items():
        assert torch.equal(value, stored[name]) if isinstance(value, torch.Tensor) else value == stored[name], name
    config, pipeline, path, step = load_run(run_dir, test_mode="inference", device="cpu")
    assert (path, step) == (run.checkpoint_path, 5)


def test_a_moved_run_is_opened_from_another_working_directory(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(run_dir, tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = load_run(Path("../moved"), device="cpu")
    assert run.step == 5
    assert run.base_dir.resolve() == (tmp_path / "moved").resolve()


def test_a_relative_data_path_is_found_from_a_folder_above_the_run(
    tiny_owlii_scene: Path,
    tiny_config: Callable[..., Any],
    train: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = tmp_path / "project"
    shutil.copytree(tiny_owlii_scene, project / "data" / "scene")
    monkeypatch.chdir(project)
    config = tiny_config(max_num_iterations=1, output_dir=Path("outputs"))
    config.pipeline.datamanager.data = Path("data/scene")
    base_dir = train(config).base_dir.absolute()
    monkeypatch.chdir(os.sep)
    run = load_run(base_dir, device="cpu")
    assert run.config.pipeline.datamanager.data == project / "data" / "scene"
    shutil.move(project / "data", project / "gone")
    with pytest.raises(InputError, match=r"is not at data/scene .*edit the data path"):
        load_run(base_dir, device="cpu")


def test_a_truncated_newest_checkpoint_is_passed_over(run_dir: Path) -> None:
    (run_dir / "nerfstudio_models" / "step-000000005.ckpt").write_bytes(b"truncated")
    assert load_run(run_dir, device="cpu").step == 4


def test_missing_parts_get_their_sentence(run_dir: Path) -> None:
    with pytest.raises(InputError, match=r"there is no .*absent/config\.yml|there is no .*absent"):
        load_run(run_dir / "absent")
    shutil.rmtree(run_dir / "nerfstudio_models")
    with pytest.raises(InputError, match="holds no readable checkpoint"):
        load_run(run_dir)
    (run_dir / "config.yml").unlink()
    with pytest.raises(InputError, match=r"there is no .*config\.yml"):
        load_run(run_dir)


def test_a_checkpoint_of_another_method_gets_its_sentence(run_dir: Path) -> None:
    path = run_dir / "nerfstudio_models" / "step-000000005.ckpt"
    state = checkpoints.load_checkpoint(path)
    state["pipeline"] = {name: value for name, value in state["pipeline"].items() if "frame_times" not in name}
    torch.save(state, path)
    with pytest.raises(InputError, match="another method"):
        load_run(run_dir, device="cpu")
