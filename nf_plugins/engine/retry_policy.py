"""What to do after a process has ended: a pure function of what happened so far."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["train", "evaluate"]
_MEMORY = re.compile(
    r"out of memory|MemoryError|(?:can't|cannot) allocate memory|std::bad_alloc|_ALLOC_FAILED|by signal: Killed", re.I
)
_SAME = ("outcome", "message", "last_step", "rays", "chunk")
_SIGKILL = 9
_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Limits:
    """When to give up."""

    max_retries: int = 3
    """Retries without a new checkpoint in between."""
    min_rays: int = 128
    """Fewest rays per batch."""
    min_chunk: int = 512
    """Fewest rays at once when rendering."""
    delay: float = 10.0
    """Seconds before the first retry; doubled for each further one, up to five minutes."""


@dataclass(frozen=True)
class Attempt:
    """One process, from its start to its end."""

    stage: Stage
    outcome: Literal["complete", "input", "memory", "stopped", "error"]
    """input: a sentence without a traceback; stopped: a signal, or an end before the last step; error: a traceback."""
    message: str = ""
    """The sentence, or the line that names the exception."""
    place: Literal["training", "rendering", "unknown"] = "unknown"
    """Where the memory ran out."""
    first_step: int = 0
    """Steps in the newest checkpoint when it started."""
    last_step: int = 0
    """The same when it had ended."""
    rays: int | None = None
    """Rays per batch; None where the run's config.yml does not say."""
    chunk: int | None = None
    """Rays at once when rendering; None likewise."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def made_progress(self) -> bool:
        """Whether it wrote a new checkpoint."""
        return self.last_step > self.first_step


@dataclass(frozen=True)
class Done:
    """The stage is complete."""


@dataclass(frozen=True)
class GiveUp:
    """Another attempt would fail as well."""

    reason: str


@dataclass(frozen=True)
class Retry:
    """The same again, after so many seconds."""

    delay: float


@dataclass(frozen=True)
class HalveRays:
    """Again with so many rays per batch."""

    rays: int


@dataclass(frozen=True)
class HalveChunk:
    """Again with so many rays at once when rendering."""

    chunk: int


Action = Done | GiveUp | Retry | HalveRays | HalveChunk


def next_action(history: Sequence[Attempt], limits: Limits) -> Action:
    """What to do after the last of a stage's attempts (at least one).

    - Out of memory: half the rays where it ran out in training or nobody knows where, half the chunk where it ran out
      in rendering. At the smallest values a process that got further is started again: it has its memory back.
    - An error that a user has to mend, or the same error twice in a row at the same checkpoint: give up.
    - Anything else: again, a bounded number of times; a new checkpoint starts the count anew.
    """
    last = history[-1]
    if last.outcome == "complete":
        return Done()
    smaller = _halved(last, limits) if last.outcome == "memory" else None
    if smaller is not None:
        return smaller
    failures = _failures_without_progress(history)
    reason = _reason_to_give_up(history, failures, limits)
    return Retry(min(limits.delay * 2 ** max(failures - 1, 0), 300.0)) if reason is None else GiveUp(reason)


def _reason_to_give_up(history: Sequence[Attempt], failures: int, limits: Limits) -> str | None:
    last = history[-1]
    if last.outcome == "input":
        return last.message
    if last.outcome == "memory" and not last.made_progress and (last.rays or last.chunk):
        return f"out of memory with {last.rays} rays per batch and {last.chunk} per chunk: {last.message}"
    if len(history) > 1 and _same_error(history[-2], last):
        return f"twice the same error after {last.last_step} steps: {last.message}"
    if failures > limits.max_retries:
        return f"{failures} failures without a new checkpoint, the last: {last.message}"
    return None


def _failures_without_progress(history: Sequence[Attempt]) -> int:
    """Failures since the last new checkpoint, the process that wrote it included; those that led to less memory not."""
    failures = 0
    for attempt in reversed(history):
        failures += attempt.outcome != "memory" or not (attempt.rays or attempt.chunk)
        if attempt.made_progress:
            break
    return failures


def _halved(last: Attempt, limits: Limits) -> HalveRays | HalveChunk | None:
    in_training = last.stage == "train" and last.place != "rendering"
    if in_training and last.rays is not None and last.rays // 2 >= limits.min_rays:
        return HalveRays(last.rays // 2)
    in_rendering = last.stage == "evaluate" or last.place != "training"
    if in_rendering and last.chunk is not None and last.chunk // 2 >= limits.min_chunk:
        return HalveChunk(last.chunk // 2)
    return None


def _same_error(one: Attempt, other: Attempt) -> bool:
    if other.outcome not in ("error", "memory"):
        return False
    return all(getattr(one, name) == getattr(other, name) for name in _SAME)


def classify(status: int, stderr: str, complete: bool) -> dict[str, Any]:
    """Outcome, message and place of an attempt, from its exit status, the end of what it said, and what it left."""
    if status == 0:
        return {"outcome": "complete"} if complete else {"outcome": "stopped", "message": "ended before the last step"}
    _, found, traceback = stderr.rpartition(_TRACEBACK)
    said = _lines(stderr) or [f"exit status {status}"]
    if not found and status in (1, 2):  # what SystemExit and the option parser leave; the latter prints a box
        box = stderr.find("╭")
        return {"outcome": "input", "message": said[-1] if box < 0 else " ".join(_lines(stderr[box:]))[:200]}
    # The line that names the exception is the first that is not indented; its text may have more lines.
    named = (line for line in traceback.splitlines()[1:] if line[:1].strip())
    message = next(named, said[-1])[:400]
    if status in (-_SIGKILL, 128 + _SIGKILL):  # what Linux does to the process that takes too much
        return {"outcome": "memory", "message": "killed, as the system does when memory runs out"}
    if _MEMORY.search(traceback or stderr):
        rendering, training = "get_outputs_for_camera" in traceback, "train_iteration" in traceback
        place = "rendering" if rendering else "training" if training else "unknown"
        return {"outcome": "memory", "message": message, "place": place}
    if status < 0 or not found:
        return {"outcome": "stopped", "message": f"exit status {status}: {message}"}
    return {"outcome": "error", "message": message}


def _lines(text: str) -> list[str]:
    """The lines that hold words, without frames."""
    stripped = [line.strip(" │╭╮╰╯─") for line in text.splitlines()]
    return [line for line in stripped if re.search(r"\w", line)]
