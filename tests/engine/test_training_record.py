"""Training time is kept over restarts, and no step counts twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nf_plugins.engine import training_record
from nf_plugins.engine.training_record import (
    RECORD_NAME,
    StepClock,
    StepInterval,
    count_parameters,
    read_training_record,
    update_training_record,
)


@pytest.fixture
def clock_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands until it is moved."""
    now = [100.0]
    monkeypatch.setattr(training_record.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_only_steps_are_timed_and_an_unfinished_one_is_not(clock_time: Callable[[float], None]) -> None:
    clock = StepClock()
    assert clock.take() is None
    for step in (5, 6):
        clock.begin(step)
        clock_time(2.0)
        clock.end(step)
        clock_time(50.0)  # an evaluation
    clock.begin(7)
    clock_time(3.0)
    assert clock.take() == StepInterval(5, 6, 4.0)
    assert clock.take() is None


def update(path: Path, first: int, last: int, seconds: float, machine: str = "cpu: a") -> None:
    update_training_record(path, StepInterval(first, last, seconds), machine=machine, num_parameters=7)


def test_intervals_add_up_and_retaken_steps_replace_the_lost_ones(tmp_path: Path) -> None:
    path = tmp_path / RECORD_NAME
    update(path, 0, 3, 4.0)
    update(path, 4, 7, 5.0)
    assert (read_training_record(path) or {})["seconds"] == 9.0
    # The newest checkpoint was damaged, so that the run continued at step 4.
    update(path, 4, 9, 1.5, "cpu: b")
    record = read_training_record(tmp_path)
    assert record is not None
    assert (record["steps"], record["timed_steps"], record["seconds"]) == (10, 10, 5.5)
    assert record["machine"] == "cpu: a, cpu: b" and record["num_parameters"] == 7
    assert [entry["first_step"] for entry in record["intervals"]] == [0, 4]
    update(path, 0, 1, 0.5)  # begun anew in the same folder
    assert (read_training_record(path) or {})["seconds"] == 0.5


def test_a_run_from_another_runs_checkpoint_says_how_many_steps_were_timed(tmp_path: Path) -> None:
    update(tmp_path / RECORD_NAME, 100, 149, 5.0)
    record = read_training_record(tmp_path) or {}
    assert (record["steps"], record["timed_steps"], record["seconds"]) == (150, 50, 5.0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"steps": 3}'])
def test_a_damaged_record_is_none_and_is_written_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / RECORD_NAME
    path.write_text(content)
    assert read_training_record(path) is None
    update(path, 0, 1, 1.0)
    assert (read_training_record(path) or {})["steps"] == 2
    assert read_training_record(tmp_path / "nowhere") is None


def test_frozen_parameters_are_not_counted() -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert count_parameters(model) == 6


def test_a_killed_and_resumed_run_has_the_time_of_its_own_steps(
    tiny_config: Callable[..., Any], train: Callable[..., Any]
) -> None:
    killed = train(tiny_config(resume=True), kill_at=7)
    first = json.loads((killed.base_dir / RECORD_NAME).read_text())
    assert first["steps"] == 5 and first["timed_steps"] == 5
    resumed = train(tiny_config(resume=True))
    record = read_training_record(resumed.base_dir)
    assert record is not None
    assert record["steps"] == record["timed_steps"] == 12
    assert [(entry["first_step"], entry["last_step"]) for entry in record["intervals"]] == [(0, 4), (5, 8), (9, 11)]
    assert record["seconds"] > first["seconds"] > 0.0
    assert record["num_parameters"] == count_parameters(resumed.pipeline.model) > 1000
    assert record["machine"].startswith("cpu: ")
