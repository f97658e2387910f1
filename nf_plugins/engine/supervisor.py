"""Trainings and evaluations as processes that are started again after a failure, with less memory where that helps."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nf_plugins.engine.checkpoints import checkpoint_step, list_checkpoints
from nf_plugins.engine.retry_policy import (
    Attempt,
    Done,
    GiveUp,
    HalveChunk,
    HalveRays,
    Limits,
    Retry,
    Stage,
    classify,
    next_action,
)
from nf_plugins.engine.run_folder import CONFIG_NAME

RAYS, CHUNK = "train_num_rays_per_batch", "eval_num_rays_per_chunk"
LOG_NAME = "supervisor.log"
_STDERR_BYTES = 1 << 16

Commands = dict[Stage, Callable[[dict[str, int]], list[str]]]
"""By stage, in order: from the options ``RAYS`` and ``CHUNK`` that were halved to a command."""


def steps_taken(run_dir: Path) -> int:
    """Steps that the newest checkpoint of a run has seen, by its name; 0 without one."""
    newest = list_checkpoints(run_dir / "nerfstudio_models")
    return (checkpoint_step(newest[0]) or 0) + 1 if newest else 0


def config_number(run_dir: Path, name: str) -> int | None:
    """A whole number of a run's config.yml by its last name; None if it is not there. Loads no method for it."""
    path = run_dir / CONFIG_NAME
    found = re.search(rf"^ *{name}: (\d+)$", path.read_text("utf8"), re.MULTILINE) if path.is_file() else None
    return int(found.group(1)) if found else None


def run_process(command: Sequence[str], log: Path) -> tuple[int, str]:
    """Run a command to its end; what it says is appended to a file.

    If this process is interrupted meanwhile, the command and its children are ended first: asked to, then made to.

    Returns:
        Exit status, negative for a signal, and the end of what it wrote to stderr.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    errors = log.with_suffix(".stderr")
    with log.open("ab") as output, errors.open("wb") as error_output:
        output.write(f"\n$ {shlex.join(command)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=error_output, start_new_session=True
        )
        try:
            process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            end = _end_of(errors)
            output.write(end)
            errors.unlink()
    return process.returncode, end.decode("utf8", "replace")


def _end_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, _STDERR_BYTES), os.SEEK_END)
        return file.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    if not hasattr(os, "killpg"):  # Windows
        process.kill()
        process.wait()
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=20)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
        except ProcessLookupError:
            return


def supervise(
    run_dir: Path,
    commands: Commands,
    record: dict[str, Any],
    limits: Limits,
    on_change: Callable[[str], None],
) -> None:
    """Take a run through its stages that are not complete, until they are or there is no hope.

    Args:
        run_dir: The folder of the run.
        commands: What to start.
        record: What is known of the run. ``state``, ``reason``, ``final_step``, ``attempts``, ``completed`` (the
            commands of complete stages) and ``halved`` are kept up to date.
        limits: When to give up.
        on_change: Called with one line whenever something has happened.
    """
    histories: dict[Stage, list[Attempt]] = {stage: [] for stage in commands}
    pending = pending_stages(run_dir, commands, record)
    while pending:
        stage = pending[0]
        record.update(state="running", reason="")
        on_change(f"{stage}: attempt {len(histories[stage]) + 1}, from step {steps_taken(run_dir)}")
        attempt = _attempt(run_dir, stage, commands[stage], record["halved"])
        histories[stage].append(attempt)
        record["attempts"].append(asdict(attempt))
        record["final_step"] = attempt.last_step
        action = next_action(histories[stage], limits)
        if isinstance(action, Done):
            record["completed"][stage] = commands[stage]({})
            pending.pop(0)
        elif isinstance(action, GiveUp):
            record.update(state="failed", reason=action.reason)
            on_change(f"given up: {action.reason}")
            return
        else:
            on_change(f"{attempt.message or attempt.outcome}; next: {action}")
            if isinstance(action, HalveRays):
                record["halved"][RAYS] = action.rays
            elif isinstance(action, HalveChunk):
                record["halved"][CHUNK] = action.chunk
                # An evaluation reads config.yml, and the trainer writes it, complete or not.
                pending = stages_from(commands, "train")
            time.sleep(action.delay if isinstance(action, Retry) else limits.delay)
    record.update(state="done", reason="", final_step=steps_taken(run_dir))
    on_change(f"done, {record['final_step']} steps")


def pending_stages(run_dir: Path, commands: Commands, record: dict[str, Any]) -> list[Stage]:
    """The stages that no earlier call has completed with the same command; all, if the checkpoints are gone."""
    gone = steps_taken(run_dir) < record["final_step"]
    for stage, command in commands.items():
        if gone or record["completed"].get(stage) != command({}):
            return stages_from(commands, stage)
    return []


def stages_from(commands: Commands, first: Stage) -> list[Stage]:
    """A stage and those after it."""
    stages = list(commands)
    return stages[stages.index(first) :]


def _attempt(
    run_dir: Path, stage: Stage, command: Callable[[dict[str, int]], list[str]], halved: dict[str, int]
) -> Attempt:
    first_step, started = steps_taken(run_dir), time.monotonic()
    status, stderr = run_process(command(halved), run_dir / LOG_NAME)
    wanted = config_number(run_dir, "max_num_iterations")
    complete = stage == "evaluate" or wanted is None or steps_taken(run_dir) >= wanted
    return Attempt(
        stage=stage,
        first_step=first_step,
        last_step=steps_taken(run_dir),
        total_steps=wanted,
        # A process that ended early has not written its config.yml yet: there the number before it was halved stands.
        rays=halved.get(RAYS) or config_number(run_dir, RAYS),
        chunk=halved.get(CHUNK) or config_number(run_dir, CHUNK),
        seconds=round(time.monotonic() - started, 1),
        **classify(status, stderr, complete),
    )
