"""Prepared ahead or not, a step gets the same."""

from __future__ import annotations

import threading

import pytest

from nf_plugins.data.source_prefetch import Prefetcher


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_any_order_of_steps(depth: int) -> None:
    prefetcher = Prefetcher(lambda step: step * step, depth)
    assert [prefetcher.get(step) for step in (0, 1, 2, 7, 8, 3, 3)] == [0, 1, 4, 49, 64, 9, 9]
    prefetcher.close()
    assert prefetcher.get(5) == 25


def test_the_next_step_is_made_in_another_thread() -> None:
    made: dict[int, str] = {}
    prefetcher = Prefetcher(lambda step: made.setdefault(step, threading.current_thread().name), 1)
    assert prefetcher.get(0) == threading.current_thread().name
    assert prefetcher.get(1).startswith("source-views")
    prefetcher.close()
    assert {0, 1} <= set(made) <= {0, 1, 2}


def test_what_fails_ahead_fails_when_it_is_asked_for() -> None:
    def prepare(step: int) -> int:
        return 1 // (1 - step)

    prefetcher = Prefetcher(prepare, 1)
    assert prefetcher.get(0) == 1
    with pytest.raises(ZeroDivisionError):
        prefetcher.get(1)
    prefetcher.close()
