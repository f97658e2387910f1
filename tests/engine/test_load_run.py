"""Opening a trained run from anywhere."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nf_plugins.engine import checkpoints
from nf_plugins.engine.load_run import load_run
from nf_plugins.errors import InputError

OLD_RUN = Path(__file__).parent / "data"


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


def test_a_run_with_numpy_scalars_in_its_checkpoints_is_opened_and_continued(
    tiny_config: Callable[..., Any], train: Callable[..., Any]
) -> None:
    from nerfstudio.engine.schedulers import CosineDecaySchedulerConfig

    def config(steps: int) -> Any:
        made = tiny_config(max_num_iterations=steps, resume=True)
        made.optimizers["fields"]["scheduler"] = CosineDecaySchedulerConfig(warm_up_end=2, max_steps=12)
        return made

    trainer = train(config(6))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(trainer.checkpoint_dir / "step-000000005.ckpt", weights_only=True)
    assert load_run(trainer.base_dir, device="cpu").step == 5
    assert sorted(train(config(8)).losses) == [6, 7]


def test_an_old_run_still_has_its_classes_and_its_parameters(
    tiny_owlii_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config and the names and shapes in the checkpoint of a run of release 0.1.0."""
    run_dir = tmp_path / "outputs" / "scene" / "resfields-tnerf-tiny" / "2026-01-01_000000"
    (run_dir / "nerfstudio_models").mkdir(parents=True)
    shutil.copy(OLD_RUN / "old_run_config.yml", run_dir / "config.yml")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scene").symlink_to(tiny_owlii_scene)
    stored = json.loads((OLD_RUN / "old_run_state.json").read_text())
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"_model.{name}": torch.rand(shape, generator=generator) if isinstance(shape, list) else shape
        for name, shape in stored.items()
    }
    weights["_model.occupancy.states"] = torch.ones(stored["occupancy.states"], dtype=torch.int8)
    state = {"step": 299, "pipeline": weights, "optimizers": {}, "scalers": {}}
    checkpoints.save_checkpoint_atomically(state, run_dir / "nerfstudio_models" / "step-000000299.ckpt")
    monkeypatch.chdir(tmp_path)
    run = load_run(run_dir, test_mode="inference", device="cpu")
    assert run.config.method_name == "resfields-tnerf-tiny" and run.step == 299
    name = "field.sdf_network.layers.1.basis"
    assert torch.equal(run.pipeline.model.state_dict()[name], weights[f"_model.{name}"])
    with torch.no_grad():
        outputs = run.pipeline.model.get_outputs_for_camera(run.pipeline.datamanager.train_dataset.cameras[:1])
    assert outputs["rgb"].shape == (24, 24, 3) and bool(outputs["rgb"].isfinite().all())


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
