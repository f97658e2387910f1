"""What is done after a failure, without any process."""

from __future__ import annotations

from typing import Any

import pytest

from nf_plugins.engine.retry_policy import (
    Attempt,
    Done,
    GiveUp,
    HalveChunk,
    HalveRays,
    Limits,
    Retry,
    classify,
    next_action,
)

LIMITS = Limits(max_retries=3, min_rays=128, min_chunk=512, delay=10.0)


def attempt(outcome: Any, first: int = 0, last: int = 0, **fields: Any) -> Attempt:
    return Attempt(**{"stage": "train", "rays": 512, "chunk": 4096, "outcome": outcome, **fields},
                   first_step=first, last_step=last)  # fmt: skip


def test_complete_is_done_and_what_a_user_must_mend_is_not_tried_again() -> None:
    assert next_action([attempt("error", message="a"), attempt("complete")], LIMITS) == Done()
    assert next_action([attempt("input", message="no such data")], LIMITS) == GiveUp("no such data")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, HalveRays(256)),
        ({"place": "training"}, HalveRays(256)),
        ({"place": "rendering"}, HalveChunk(2048)),
        ({"stage": "evaluate"}, HalveChunk(2048)),
        ({"rays": 255}, HalveChunk(2048)),  # the floor: nobody knows where, so the chunk is next
        ({"rays": 256}, HalveRays(128)),
        ({"rays": None}, HalveChunk(2048)),
        ({"rays": 255, "place": "training"}, GiveUp),
        ({"chunk": 1023, "place": "rendering"}, GiveUp),
        ({"rays": 255, "chunk": 1024}, HalveChunk(512)),
        ({"rays": 255, "chunk": 1023}, GiveUp),
        ({"place": "mesh", "stage": "evaluate"}, GiveUp),
        ({"total_steps": 100, "last": 100}, HalveChunk(2048)),  # killed in an image, all steps were taken
        ({"total_steps": 101, "last": 100}, HalveRays(256)),
        ({"rays": 255, "place": "training", "last": 100}, Retry(10.0)),  # a new process has its memory back
    ],
)
def test_out_of_memory_halves_down_to_the_floor(fields: dict[str, Any], expected: Any) -> None:
    action = next_action([attempt("memory", **fields)], LIMITS)
    assert action == expected if not isinstance(expected, type) else isinstance(action, expected)


def test_halving_is_bounded_by_the_floor_and_no_retry() -> None:
    history, rays = [], 1 << 14
    while True:
        history.append(attempt("memory", rays=rays, place="training"))
        action = next_action(history, LIMITS)
        if not isinstance(action, HalveRays):
            break
        rays = action.rays
    assert rays == 128 and isinstance(action, GiveUp) and len(history) == 8
    assert next_action([*history[:-1], attempt("stopped")], LIMITS) == Retry(10.0)


def test_the_same_error_at_the_same_checkpoint_is_not_tried_a_third_time() -> None:
    first = attempt("error", 0, 1000, message="ValueError: nan")
    assert next_action([first], LIMITS) == Retry(10.0)
    again = attempt("error", 1000, 1000, message="ValueError: nan")
    action = next_action([first, again], LIMITS)
    assert isinstance(action, GiveUp) and "after 1000 steps: ValueError: nan" in action.reason
    assert next_action([first, attempt("error", 1000, 1000, message="other")], LIMITS) == Retry(20.0)
    assert next_action([first, attempt("error", 1000, 2000, message="ValueError: nan")], LIMITS) == Retry(10.0)
    stopped = attempt("stopped", message="exit status -15")
    assert next_action([stopped, stopped], LIMITS) == Retry(20.0)  # a signal comes from outside


def test_retries_are_bounded_back_off_and_start_anew_with_progress() -> None:
    errors = [attempt("error", message=f"number {number}") for number in range(4)]
    delays = [next_action(errors[: count + 1], LIMITS) for count in range(4)]
    assert delays[:3] == [Retry(10.0), Retry(20.0), Retry(40.0)]
    assert isinstance(delays[3], GiveUp) and "4 failures" in delays[3].reason
    progress = attempt("error", 0, 500, message="number 4")
    assert next_action([*errors[:3], progress], LIMITS) == Retry(10.0)
    assert next_action([*errors[:3], progress, *errors[:2]], LIMITS) == Retry(40.0)
    assert isinstance(next_action([*errors[:3], progress, *errors[:3]], LIMITS), GiveUp)
    many = Limits(max_retries=100)
    assert next_action([attempt("stopped")] * 50, many) == Retry(300.0)


def test_a_process_killed_twice_before_it_says_how_much_it_takes_is_not_tried_again() -> None:
    killed = attempt("memory", rays=None, chunk=None, message="killed")
    assert next_action([killed], LIMITS) == Retry(10.0)
    assert isinstance(next_action([killed, killed], LIMITS), GiveUp)


def test_a_chunk_is_halved_blindly_twice_at_most() -> None:
    history = [attempt("memory", stage="evaluate", chunk=chunk) for chunk in (4096, 2048, 1024)]
    actions = [next_action(history[: count + 1], LIMITS) for count in range(3)]
    assert actions[:2] == [HalveChunk(2048), HalveChunk(1024)]
    assert isinstance(actions[2], GiveUp) and "--mesh-resolution" in actions[2].reason
    known = [attempt("memory", stage="evaluate", place="rendering", chunk=chunk) for chunk in (4096, 2048, 1024)]
    assert next_action(known, LIMITS) == HalveChunk(512)
    mesh = next_action([attempt("memory", stage="evaluate", place="mesh")], LIMITS)
    assert isinstance(mesh, GiveUp) and "--mesh-resolution" in mesh.reason


def test_halving_that_changes_nothing_is_bounded() -> None:
    same = [attempt("memory", place="training")] * 5
    actions = [next_action(same[: count + 1], LIMITS) for count in range(5)]
    assert actions[:4] == [HalveRays(256)] * 4
    assert isinstance(actions[4], GiveUp)


TRACEBACK = (
    'Traceback (most recent call last):\n  File "a.py", line 1, in {0}\n    call()\n    ^^^^^^\n{1}\nmore text\n'
)


@pytest.mark.parametrize(
    ("status", "stderr", "expected"),
    [
        (1, "a warning\nThe folder x does not exist.\n", ("input", "The folder x does not exist.", "unknown")),
        (2, "warning\n╭ Parsing error ╮\n│ no method x │\n╰────╯", ("input", "Parsing error no method x", None)),
        (1, TRACEBACK.format("train_iteration", "torch.OutOfMemoryError: CUDA out of memory. Tried"),
         ("memory", "torch.OutOfMemoryError: CUDA out of memory. Tried", "training")),
        (1, TRACEBACK.format("get_outputs_for_camera", "RuntimeError: DefaultCPUAllocator: can't allocate memory"),
         ("memory", "RuntimeError: DefaultCPUAllocator: can't allocate memory", "rendering")),
        (1, TRACEBACK.format("f", "MemoryError"), ("memory", "MemoryError", "unknown")),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'", ("memory", None, "unknown")),
        (-9, "", ("memory", None, "unknown")),
        (137, "", ("memory", None, "unknown")),
        (1, TRACEBACK.format("f", "ValueError: 3"), ("error", "ValueError: 3", "unknown")),
        (1, "out of memory, handled\n" + TRACEBACK.format("f", "KeyError: 'a'"), ("error", "KeyError: 'a'", "unknown")),
        # A chain: the memory ran out in a step, and the handler failed as well, or wrapped it.
        (1, TRACEBACK.format("train_iteration", "torch.OutOfMemoryError: CUDA out of memory")
         + "\nDuring handling of the above exception, another exception occurred:\n\n"
         + TRACEBACK.format("clean_up", "KeyError: 'a'"), ("memory", "KeyError: 'a'", "training")),
        (1, TRACEBACK.format("get_outputs_for_camera", "MemoryError")
         + "\nThe above exception was the direct cause of the following exception:\n\n"
         + TRACEBACK.format("f", "RuntimeError: no picture"), ("memory", "RuntimeError: no picture", "rendering")),
        # Not a chain: that one was handled and printed.
        (1, TRACEBACK.format("f", "MemoryError") + "gone on\n" + TRACEBACK.format("f", "KeyError: 'a'"),
         ("error", "KeyError: 'a'", "unknown")),
        # What threads and finalisers say before and after.
        (1, "Exception in thread Thread-1 (f):\n" + TRACEBACK.format("f", "MemoryError").removesuffix("more text\n")
         + "\nDuring handling of the above exception, another exception occurred:\n\n"
         + TRACEBACK.format("f", "MemoryError").removesuffix("more text\n")
         + TRACEBACK.format("f", "ValueError: 3") + "Exception ignored in: <function A.__del__ at 0x7f>\n"
         + TRACEBACK.format("g", "MemoryError").removesuffix("more text\n"), ("error", "ValueError: 3", "unknown")),
        (1, "Exception in thread Thread-1 (f):\n" + TRACEBACK.format("f", "KeyError: 1").removesuffix("more text\n")
         + "The folder x does not exist.\n", ("input", "The folder x does not exist.", "unknown")),
        (1, "No image (CUDA out of memory. Tried 2 GiB).", ("memory", None, "unknown")),
        (1, "The mesh could not be made of a (MemoryError). A smaller --mesh-resolution takes less memory.",
         ("memory", None, "mesh")),
        (1, "The mesh could not be made of a (not finite). A smaller --mesh-resolution takes less memory.",
         ("input", None, "unknown")),
        (1, "The run a is being trained by another process: wait for it.", ("stopped", None, "unknown")),
        (1, "The output folder a is not writable (No space left on device).", ("stopped", None, "unknown")),
        (1, "/a/b.py:3: UserWarning: old\n  warnings.warn(\n", ("stopped", None, "unknown")),
        (1, "[W1203 10:00:00] a thing", ("stopped", None, "unknown")),
        (1, "", ("stopped", "exit status 1", "unknown")),
        (-15, "", ("stopped", None, "unknown")),
        (-11, "Fatal Python error: Segmentation fault", ("stopped", None, "unknown")),
    ],
)  # fmt: skip
def test_what_a_process_leaves_tells_what_happened(status: int, stderr: str, expected: tuple[Any, Any, Any]) -> None:
    outcome, message, place = expected
    found = classify(status, stderr, complete=False)
    assert found["outcome"] == outcome
    assert found.get("place", "unknown") == (place or "unknown")
    assert message is None or found["message"] == message


def test_a_clean_end_before_the_last_step_is_not_complete() -> None:
    # nerfstudio's trainer ends with status 0 when it is interrupted.
    assert classify(0, "", complete=True)["outcome"] == "complete"
    assert classify(0, TRACEBACK.format("f", "KeyboardInterrupt"), complete=False)["outcome"] == "stopped"
