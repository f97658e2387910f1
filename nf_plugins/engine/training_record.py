"""How long a run has trained: ``training.json`` in its folder, carried on over restarts."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nf_plugins.atomic_files import write_json

RECORD_NAME = "training.json"


@dataclass(frozen=True)
class StepInterval:
    """Consecutive training steps and what they took."""

    first_step: int
    last_step: int
    seconds: float
    peak_gpu_bytes: int | None = None
    """The most that the process has had allocated on its GPU so far, evaluations included; None without a GPU."""


class StepClock:
    """Measures training steps, and nothing between them: no evaluation, no checkpoint, no pause in the viewer.

    A GPU works on after a step's last call has returned. The clock waits for it only when it is read, so that it slows
    nothing down; work that an evaluation in between had to wait for is not counted.

    Args:
        device: Where the steps are taken.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
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
        peak = None
        if self._device.type == "cuda":
            started = time.perf_counter()
            torch.cuda.synchronize(self._device)
            self._seconds += time.perf_counter() - started
            peak = torch.cuda.max_memory_allocated(self._device)
        interval = StepInterval(self._first_step, self._last_step, self._seconds, peak)
        self._reset()
        return interval


def update_training_record(path: Path, interval: StepInterval, *, machine: str, num_parameters: int) -> None:
    """Add the steps that led to a checkpoint to a run's record; written whole or not at all.

    Steps that an earlier process took beyond the checkpoint that this one continued from are taken out again, so that
    no step counts twice. So are entries of the record that something has damaged.

    Args:
        path: The run's ``training.json``; made if it is not there.
        interval: The steps between the checkpoint before and this one.
        machine: Where they were taken.
        num_parameters: Trainable numbers of the model.
    """
    stored = read_training_record(path) or {}
    intervals = [entry for entry in stored.get("intervals", []) if entry["last_step"] < interval.first_step]
    intervals.append(
        {
            "first_step": interval.first_step,
            "last_step": interval.last_step,
            "seconds": round(interval.seconds, 4),
            "machine": machine,
            "peak_gpu_bytes": interval.peak_gpu_bytes,
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
    """The record of a run, given its file or the run's folder; None without one, or if it cannot be read.

    Its ``intervals`` are those entries that can be read.
    """
    path = path / RECORD_NAME if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("intervals"), list):
        return None
    return content | {"intervals": [_with_peak(entry) for entry in content["intervals"] if _is_interval(entry)]}


def _is_interval(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("machine"), str):
        return False
    first, last, seconds = (entry.get(key) for key in ("first_step", "last_step", "seconds"))
    return (
        isinstance(first, int)
        and isinstance(last, int)
        and 0 <= first <= last
        and isinstance(seconds, (int, float))
        and math.isfinite(seconds)
        and seconds >= 0
    )


def _with_peak(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose peak memory is a number or None."""
    peak = entry.get("peak_gpu_bytes")
    return entry | {"peak_gpu_bytes": peak if isinstance(peak, int) else None}
