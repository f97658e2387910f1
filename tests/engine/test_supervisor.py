"""Processes that fail in chosen ways, and what becomes of their runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from nf_plugins.engine.retry_policy import Limits
from nf_plugins.engine.supervisor import CHUNK, LOG_NAME, RAYS, config_number, run_process, steps_taken, supervise

FAKE_TRAINER = str(Path(__file__).with_name("fake_trainer.py"))
LIMITS = Limits(max_retries=2, min_rays=128, min_chunk=512, delay=0.0)


def run(run_dir: Path, *plan: str, record: dict[str, Any] | None = None, evaluate: str = "") -> dict[str, Any]:
    """Supervise a fake training with 1024 rays per batch, and an evaluation by a line of Python."""
    record = record or {"final_step": 0, "halved": {}, "completed": {}, "attempts": []}
    commands: dict[Any, Any] = {
        "train": lambda halved: [sys.executable, FAKE_TRAINER, str(run_dir), str(halved.get(RAYS, 1024)), *plan]
    }
    if evaluate:
        commands["evaluate"] = lambda halved: [sys.executable, "-c", evaluate, str(run_dir)]
    supervise(run_dir, commands, record, LIMITS, lambda line: None)
    return record


def outcomes(record: dict[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in record["attempts"]]


def test_out_of_memory_then_fine(tmp_path: Path) -> None:
    record = run(tmp_path, "train")
    assert record["state"] == "done" and record["final_step"] == 100
    assert outcomes(record) == ["memory", "memory", "complete"]
    assert [attempt["rays"] for attempt in record["attempts"]] == [1024, 512, 256]
    assert record["halved"] == {RAYS: 256}
    log = (tmp_path / LOG_NAME).read_text()
    assert log.count("$ ") == 3 and "MemoryError: 512 rays" in log


def test_an_error_that_would_come_again_ends_the_run(tmp_path: Path) -> None:
    record = run(tmp_path, "error")
    assert record["state"] == "failed" and outcomes(record) == ["error", "error"]
    assert record["reason"] == "twice the same error after 0 steps: ValueError: always the same"


def test_a_sentence_for_the_user_ends_the_run_at_once(tmp_path: Path) -> None:
    record = run(tmp_path, "input")
    assert (record["state"], record["reason"]) == ("failed", "The scene has no images, expected some.")
    assert outcomes(record) == ["input"]


def test_killed_by_the_system_goes_on_with_fewer_rays_from_the_newest_checkpoint(tmp_path: Path) -> None:
    record = run(tmp_path, "progress", "kill", "kill", "train")
    assert record["state"] == "done" and outcomes(record) == ["error", "memory", "memory", "complete"]
    assert [attempt["first_step"] for attempt in record["attempts"]] == [0, 50, 50, 50]
    assert record["halved"] == {RAYS: 256}


def test_a_clean_end_before_the_last_step_is_tried_again_a_few_times(tmp_path: Path) -> None:
    record = run(tmp_path, "nothing")
    assert record["state"] == "failed" and outcomes(record) == ["stopped"] * 3
    assert "3 failures without a new checkpoint" in record["reason"]


def test_killed_before_it_wrote_how_many_rays_it_takes_the_run_is_given_up_in_the_end(tmp_path: Path) -> None:
    record = run(tmp_path, "progress", "early")
    assert record["state"] == "failed" and "out of memory with 128 rays" in record["reason"]
    assert [attempt["rays"] for attempt in record["attempts"][:5]] == [1024, 1024, 512, 256, 128]
    assert record["halved"] == {RAYS: 128, CHUNK: 512}


def test_killed_after_the_last_step_a_run_keeps_its_rays(tmp_path: Path) -> None:
    record = run(tmp_path, "kill_at_the_end", "nothing")
    assert record["state"] == "done" and outcomes(record) == ["memory", "complete"]
    assert record["halved"] == {CHUNK: 1024}


def test_what_is_complete_is_not_done_again(tmp_path: Path) -> None:
    record = run(tmp_path, "kill", "kill", "train")
    starts = len((tmp_path / "starts").read_text())
    assert run(tmp_path, "kill", "kill", "train", record=record)["state"] == "done"
    assert len((tmp_path / "starts").read_text()) == starts
    run(tmp_path, "kill", "kill", "train", "train", record=record)  # another command
    assert len((tmp_path / "starts").read_text()) == starts + 1
    next(tmp_path.glob("*/*.ckpt")).unlink()
    run(tmp_path, "kill", "kill", "train", "train", record=record)
    assert steps_taken(tmp_path) == 100


def test_an_evaluation_out_of_memory_gets_a_smaller_chunk_by_way_of_the_trainer(tmp_path: Path) -> None:
    program = "import sys, pathlib\nrun = pathlib.Path(sys.argv[1])\nif len((run/'starts').read_text()) < 4: 1/0"
    program = program.replace("1/0", "raise MemoryError")
    record = run(tmp_path, "train", evaluate=program)
    assert record["state"] == "done" and record["halved"] == {RAYS: 256, CHUNK: 1024}
    stages = [attempt["stage"] for attempt in record["attempts"]]
    assert stages == ["train"] * 3 + ["evaluate", "train", "evaluate"]
    assert run(tmp_path, "train", evaluate=program, record=record)["attempts"] == record["attempts"]
    run(tmp_path, "train", evaluate="pass", record=record)
    assert [attempt["stage"] for attempt in record["attempts"]] == [*stages, "evaluate"]


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_process_first(tmp_path: Path) -> None:
    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while not (tmp_path / "sleeps").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_process([sys.executable, FAKE_TRAINER, str(tmp_path), "1", "sleep"], tmp_path / "run" / "log.log")
    assert (tmp_path / "ended").exists()


def test_numbers_of_a_config_are_found_without_loading_it(tmp_path: Path) -> None:
    assert config_number(tmp_path, RAYS) is None
    text = "!!python/object:nowhere.Config\nmax_num_iterations: 7\na:\n    num_rays_per_batch: 9\n    eval_x: null\n"
    (tmp_path / "config.yml").write_text(text)
    assert config_number(tmp_path, "max_num_iterations") == 7
    assert config_number(tmp_path, RAYS) is None and config_number(tmp_path, "eval_x") is None
