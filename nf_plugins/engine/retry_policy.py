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
_PASSING = re.compile(r"is being trained by another process|No space left|disk is full|Disk quota exceeded", re.I)
"""Sentences about what may be over when the process is started again."""
_WARNING = re.compile(r"Warning\b|warnings\.warn|^\s*\[?W(?:ARN|\d)", re.M)
_SAME = ("outcome", "message", "last_step", "rays", "chunk")
_SIGKILL = 9
_MOST_BLIND_HALVINGS = 2
"""Of the chunk, where nobody knows that it ran out of memory in rendering."""
_MESH = " --mesh-resolution"
"""The option that the evaluation names where its mesh took the memory."""

_TRACEBACK = "Traceback (most recent call last)"
_LINKS = ("During handling of the above exception", "The above exception was the direct cause")
_BLOCK = rf"{re.escape(_TRACEBACK)}:?\n(?:[ \t].*\n|\n)*\S.*\n?"
_ASIDE = re.compile(
    rf"^Exception (?:in thread|ignored).*\n{_BLOCK}(?:\n(?:{'|'.join(_LINKS)}).*\n\n{_BLOCK})*", re.MULTILINE
)
"""Errors of threads and finalisers, which end no process."""


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
    place: Literal["training", "rendering", "mesh", "unknown"] = "unknown"
    """Where the memory ran out."""
    first_step: int = 0
    """Steps in the newest checkpoint when it started."""
    last_step: int = 0
    """The same when it had ended."""
    total_steps: int | None = None
    """Steps of the whole training; None where the run's config.yml does not say."""
    rays: int | None = None
    """Rays per batch; None likewise."""
    chunk: int | None = None
    """Rays at once when rendering; None likewise."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def made_progress(self) -> bool:
        """Whether it wrote a new checkpoint."""
        return self.last_step > self.first_step

    @property
    def in_training(self) -> bool:
        """Whether it may have ended in a training step: not after the last one, and not in an image."""
        steps_left = self.total_steps is None or self.last_step < self.total_steps
        return self.stage == "train" and steps_left and self.place in ("training", "unknown")


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
      in rendering. At the smallest values a process that got further is started again: it has its memory back. In the
      mesh of an evaluation neither helps: give up.
    - An error that a user has to mend, or the same error twice in a row at the same checkpoint: give up.
    - Anything else: again, a bounded number of times; a new checkpoint starts the count anew.
    """
    last = history[-1]
    if last.outcome == "complete":
        return Done()
    failures = _failures_without_progress(history)
    smaller = _halved(history, limits) if last.outcome == "memory" else None
    if smaller is not None and failures <= limits.max_retries:
        return smaller
    reason = _reason_to_give_up(history, failures, limits)
    return Retry(min(limits.delay * 2 ** max(failures - 1, 0), 300.0)) if reason is None else GiveUp(reason)


def _reason_to_give_up(history: Sequence[Attempt], failures: int, limits: Limits) -> str | None:
    last = history[-1]
    if last.outcome == "input":
        return last.message
    if last.outcome == "memory" and last.place == "mesh":
        return f"out of memory in the mesh, evaluate with a smaller --mesh-resolution: {last.message}"
    if last.outcome == "memory" and not last.made_progress and (last.rays or last.chunk):
        hint = " (if it is the mesh, evaluate with a smaller --mesh-resolution)" if last.stage == "evaluate" else ""
        return f"out of memory with {last.rays} rays per batch and {last.chunk} per chunk{hint}: {last.message}"
    if len(history) > 1 and _same_error(history[-2], last):
        return f"twice the same error after {last.last_step} steps: {last.message}"
    if failures > limits.max_retries:
        return f"{failures} failures without a new checkpoint, the last: {last.message}"
    return None


def _failures_without_progress(history: Sequence[Attempt]) -> int:
    """Failures since the last new checkpoint, the process that wrote it included; those that led to less memory not."""
    failures = 0
    for attempt, before in zip(reversed(history), (*reversed(history[:-1]), None), strict=True):
        as_before = before is not None and (before.rays, before.chunk) == (attempt.rays, attempt.chunk)
        failures += attempt.outcome != "memory" or as_before or not (attempt.rays or attempt.chunk)
        if attempt.made_progress:
            break
    return failures


def _halved(history: Sequence[Attempt], limits: Limits) -> HalveRays | HalveChunk | None:
    last = history[-1]
    if last.in_training and last.rays is not None and last.rays // 2 >= limits.min_rays:
        return HalveRays(last.rays // 2)
    if last.chunk is None or last.chunk // 2 < limits.min_chunk:
        return None
    # Every blind halving has left a chunk of its own behind, and the last is blind too.
    blind = {attempt.chunk for attempt in history if attempt.outcome == "memory" and attempt.place == "unknown"}
    may_help = last.place == "rendering" or (last.place == "unknown" and len(blind) <= _MOST_BLIND_HALVINGS)
    return HalveChunk(last.chunk // 2) if may_help else None


def _same_error(one: Attempt, other: Attempt) -> bool:
    if other.outcome not in ("error", "memory"):
        return False
    return all(getattr(one, name) == getattr(other, name) for name in _SAME)


def classify(status: int, stderr: str, complete: bool) -> dict[str, Any]:
    """Outcome, message and place of an attempt, from its exit status, the end of what it said, and what it left."""
    if status == 0:
        return {"outcome": "complete"} if complete else {"outcome": "stopped", "message": "ended before the last step"}
    text = _ASIDE.sub("", stderr)
    chain = _last_chain(text)
    said = _lines(text) or [f"exit status {status}"]
    if not chain and status in (1, 2):  # what SystemExit and the option parser leave; the latter prints a box
        return _classify_sentence(text, said)
    # The line that names the exception is the first that is not indented; its text may have more lines.
    named = (line for line in chain[-1].splitlines()[1:] if line[:1].strip()) if chain else iter(())
    message = next(named, said[-1])[:400]
    if status in (-_SIGKILL, 128 + _SIGKILL):  # what Linux does to the process that takes too much
        return {"outcome": "memory", "message": "killed, as the system does when memory runs out"}
    traceback = "".join(chain)
    if _MEMORY.search(traceback or text):
        return {"outcome": "memory", "message": message, "place": _place(traceback)}
    if status < 0 or not chain:
        return {"outcome": "stopped", "message": f"exit status {status}: {message}"}
    return {"outcome": "error", "message": message}


def _classify_sentence(text: str, said: list[str]) -> dict[str, Any]:
    """Of a process that ended with status 1 or 2 and no traceback."""
    box = text.find("╭")
    if box >= 0:
        return {"outcome": "input", "message": " ".join(_lines(text[box:]))[:200]}
    message = said[-1]
    if _MEMORY.search(message):
        return {"outcome": "memory", "message": message[:400], "place": _place(message)}
    lines = [line for line in text.splitlines() if line.strip()]
    # Python prints the line of code that warned below the warning, indented.
    end = "" if not lines else "\n".join(lines[-2:]) if lines[-1][0].isspace() else lines[-1]
    no_sentence = not lines or _WARNING.search(end) is not None
    return {"outcome": "stopped" if no_sentence or _PASSING.search(message) else "input", "message": message}


def _place(text: str) -> Literal["training", "rendering", "mesh", "unknown"]:
    if "get_outputs_for_camera" in text:
        return "rendering"
    if "train_iteration" in text:
        return "training"
    return "mesh" if _MESH in text else "unknown"


def _last_chain(text: str) -> list[str]:
    """What follows the heads of the last tracebacks: of the exception that came last, and before it of those that it
    was raised from or on top of."""
    pieces = text.split(_TRACEBACK)
    chain: list[str] = []
    for before, block in zip(pieces[:-1], pieces[1:], strict=True):
        chain = [*chain, block] if (_lines(before) or [""])[-1].startswith(_LINKS) else [block]
    return chain


def _lines(text: str) -> list[str]:
    """The lines that hold words, without frames."""
    stripped = [line.strip(" │╭╮╰╯─") for line in text.splitlines()]
    return [line for line in stripped if re.search(r"\w", line)]
