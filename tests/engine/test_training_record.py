"""Training time is kept over restarts, and no step counts twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nf_plugins.engine import checkpoints, dynamic_trainer, training_record
from nf_plugins.engine.training_record import (
    RECORD_NAME,
    StepClock,
    StepInterval,
    read_training_record,
    update_training_record,
)
from nf_plugins.run_facts import count_parameters


@pytest.fixture
def clock_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands until it is moved."""
    now = [100.0]
    monkeypatch.setattr(training_record.time, "perf_counter", lambda: now[0])

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


GOOD = {"first_step": 0, "last_step": 3, "seconds": 2.0, "machine": "cpu: a", "peak_gpu_bytes": None}


@pytest.mark.parametrize(
    "entry",
    [
        {key: value for key, value in GOOD.items() if key != "last_step"},
        {key: value for key, value in GOOD.items() if key != "machine"},
        GOOD | {"seconds": "long"},
        GOOD | {"seconds": float("nan")},
        GOOD | {"first_step": 4.5},
        GOOD | {"last_step": -1},
        [0, 3],
        None,
    ],
)
def test_damaged_entries_of_a_record_are_left_out(tmp_path: Path, entry: Any) -> None:
    path = tmp_path / RECORD_NAME
    later = GOOD | {"first_step": 4, "last_step": 5, "seconds": 1.0}
    path.write_text(json.dumps({"steps": 6, "intervals": [entry, later]}))
    update(path, 6, 9, 4.0)
    record = read_training_record(path)
    assert record is not None
    assert (record["steps"], record["timed_steps"], record["seconds"]) == (10, 6, 5.0)


def test_an_entry_without_peak_memory_counts(tmp_path: Path) -> None:
    path = tmp_path / RECORD_NAME
    entries = [{key: value for key, value in GOOD.items() if key != "peak_gpu_bytes"} | more for more in
               ({}, {"first_step": 4, "last_step": 5, "peak_gpu_bytes": 700})]  # fmt: skip
    path.write_text(json.dumps({"steps": 4, "intervals": entries}))
    update(path, 6, 9, 4.0)
    record = read_training_record(path) or {}
    assert (record["timed_steps"], record["peak_gpu_bytes"]) == (10, 700)


def test_only_a_run_on_a_gpu_waits_for_it_and_asks_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: asked.append(device))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: asked.append(device) or 123)
    peaks = {}
    for device in ("cpu", "cuda:1"):
        clock = StepClock(device)
        clock.begin(0)
        clock.end(0)
        interval = clock.take()
        assert interval is not None
        peaks[device] = interval.peak_gpu_bytes
    assert peaks == {"cpu": None, "cuda:1": 123}
    assert asked == [torch.device("cuda:1")] * 2


def test_the_clock_is_read_before_the_checkpoint_and_the_record_written_after_it(
    tiny_config: Callable[..., Any], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def noting(owner: Any, name: str) -> None:
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: events.append(name) or original(*args, **kwargs))

    noting(StepClock, "take")
    noting(checkpoints, "save_checkpoint_atomically")
    noting(dynamic_trainer, "update_training_record")
    train(tiny_config(max_num_iterations=2))
    assert events[:3] == ["take", "save_checkpoint_atomically", "update_training_record"]


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
