"""Snapshots while training: none is lost or doubled, and the run does not notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nf_plugins.engine.dynamic_trainer import DynamicTrainerConfig
from nf_plugins.engine.snapshot_callback import training_undisturbed
from nf_plugins.errors import InputError
from nf_plugins.exporters import snapshots
from nf_plugins.exporters.snapshots import read_snapshots

Config = Callable[..., DynamicTrainerConfig]
Run = Callable[..., Any]
FIELDS = {"resume": True, "steps_per_snapshot": 5, "snapshot_downscale": 4.0, "snapshot_mesh_resolution": 16}


@pytest.fixture
def rolls_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing asks chance, as a model may that samples at random."""
    original = snapshots.write_snapshot

    def roll_then_write(*arguments: Any) -> Any:
        torch.rand(7)
        return original(*arguments)

    monkeypatch.setattr(snapshots, "write_snapshot", roll_then_write)


@pytest.mark.usefixtures("rolls_dice")
def test_a_run_with_snapshots_has_the_losses_of_one_without_and_a_resumed_one_all_snapshots(
    tiny_config: Config, train: Run
) -> None:
    plain = train(tiny_config(experiment_name="plain"))
    assert not (plain.base_dir / "snapshots").exists()
    drawn = train(tiny_config(experiment_name="drawn", **FIELDS))
    assert drawn.losses == plain.losses
    assert [snapshot.step for snapshot in read_snapshots(drawn.base_dir / "snapshots")] == [0, 5, 10, 11]
    assert all(len(snapshot.pictures) == 3 for snapshot in read_snapshots(drawn.base_dir / "snapshots"))

    # Checkpoints at 4 and 8: step 5 and its snapshot are made twice.
    killed = train(tiny_config(experiment_name="killed", **FIELDS), kill_at=7)
    resumed = train(tiny_config(experiment_name="killed", **FIELDS))
    assert {**killed.losses, **resumed.losses} == plain.losses
    whole, again = (sorted((trainer.base_dir / "snapshots").iterdir()) for trainer in (drawn, resumed))
    assert [path.name for path in whole] == [path.name for path in again]
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in again]


def test_a_snapshot_that_fails_is_told_and_training_goes_on(
    tiny_config: Config, train: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(snapshots, "write_snapshot", fail)
    trainer = train(tiny_config(max_num_iterations=2, **FIELDS))
    assert sorted(trainer.losses) == [0, 1]
    assert "No snapshot at step 0, training goes on: the disk is full" in " ".join(capsys.readouterr().out.split())


def test_modes_and_chance_are_as_before() -> None:
    pipeline = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout()).train()
    pipeline[1].eval()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with pytest.raises(RuntimeError), training_undisturbed(pipeline):
        assert not pipeline.training and not pipeline[0].training
        torch.rand(5)
        raise RuntimeError
    assert [module.training for module in (pipeline, *pipeline)] == [True, True, False]
    assert torch.equal(torch.rand(3), expected)


def test_bad_options_end_the_command(tiny_config: Config, start: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--steps-per-snapshot is -1"):
        start(tiny_config(steps_per_snapshot=-1))
    assert not (tmp_path / "outputs").exists()
    with pytest.raises(InputError, match="--snapshot-image is 1000, expected 0 to 17"):
        start(tiny_config(steps_per_snapshot=5, snapshot_image=1000))


def test_a_run_that_begins_anew_removes_the_snapshots_of_the_one_before(tiny_config: Config, train: Run) -> None:
    first = train(tiny_config(**{**FIELDS, "snapshot_mesh_resolution": 0}))
    for checkpoint in first.checkpoint_dir.iterdir():
        checkpoint.unlink()
    other = {**FIELDS, "snapshot_mesh_resolution": 0, "steps_per_snapshot": 8, "max_num_iterations": 9}
    second = train(tiny_config(**other, timestamp=first.base_dir.name))
    assert second.base_dir == first.base_dir and sorted(second.losses)[0] == 0
    assert [snapshot.step for snapshot in read_snapshots(second.base_dir / "snapshots")] == [0, 8]
