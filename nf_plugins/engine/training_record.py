"""How long a run has trained: ``training.json`` in its folder, carried on over restarts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nf_plugins.atomic_files import write_json

RECORD_NAME = "training.json"


@dataclass(frozen=True)
class StepInterval:
    """Consecutive training steps and the time they took."""

    first_step: int
    last_step: int
    seconds: float


class StepClock:
    """Measures training steps, and nothing between them: no evaluation, no checkpoint, no pause in the viewer.

    A GPU works on after a step's last call has returned. The clock waits for it only when it is read, so that it slows
    nothing down; work that an evaluation in between had to wait for is not counted.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._seconds = 0.0
        self._first_step: int | None = None
        self._last_step: int | None = None
        self._started = 0.0

    def begin(self, step: int) -> None:
        """A step begins."""
        if self._first_step is None:
            self._first_step = step
        self._started = time.perf_counter()

    def end(self, step: int) -> None:
        """The step has ended; one that never ends is not counted."""
        self._seconds += time.perf_counter() - self._started
        self._last_step = step

    def take(self) -> StepInterval | None:
        """The steps since the last reading, None if there was none; the clock starts anew."""
        if self._first_step is None or self._last_step is None:
            return None
        if torch.cuda.is_available():
            started = time.perf_counter()
            torch.cuda.synchronize()
            self._seconds += time.perf_counter() - started
        interval = StepInterval(self._first_step, self._last_step, self._seconds)
        self._reset()
        return interval


def update_training_record(path: Path, interval: StepInterval, *, machine: str, num_parameters: int) -> None:
    """Add the steps that led to a checkpoint to a run's record; written whole or not at all.

    Steps that an earlier process took beyond the checkpoint that this one continued from are taken out again, so that
    no step counts twice.

    Args:
        path: The run's ``training.json``; made if it is not there.
        interval: The steps between the checkpoint before and this one.
        machine: Where they were taken.
        num_parameters: Trainable numbers of the model.
    """
    stored = read_training_record(path) or {}
    intervals = [entry for entry in stored.get("intervals", []) if entry["last_step"] < interval.first_step]
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    intervals.append(
        {
            "first_step": interval.first_step,
            "last_step": interval.last_step,
            "seconds": round(interval.seconds, 4),
            "machine": machine,
            "peak_gpu_bytes": peak,
        }
    )
    peaks = [entry["peak_gpu_bytes"] for entry in intervals if entry["peak_gpu_bytes"] is not None]
    content = {
        "steps": interval.last_step + 1,
        "seconds": round(sum(entry["seconds"] for entry in intervals), 3),
        "timed_steps": sum(entry["last_step"] - entry["first_step"] + 1 for entry in intervals),
        "num_parameters": num_parameters,
        "machine": ", ".join(dict.fromkeys(entry["machine"] for entry in intervals)),
        "peak_gpu_bytes": max(peaks, default=None),
        "note": (
            "seconds are of training steps alone, over all restarts, without evaluations and checkpoints; steps that "
            "were lost with a killed process are not counted. timed_steps are fewer than steps where the run went on "
            "from a checkpoint of another run, or of a release that kept no time."
        ),
        "intervals": intervals,
    }
    write_json(path, content)


def read_training_record(path: Path) -> dict[str, Any] | None:
    """The record of a run, given its file or the run's folder; None without one, or if it cannot be read."""
    path = path / RECORD_NAME if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("intervals"), list) else None


def count_parameters(model: torch.nn.Module) -> int:
    """Trainable numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
