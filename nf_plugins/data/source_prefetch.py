"""The next batches are prepared while the present one is worked on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Prepared = TypeVar("Prepared")


class Prefetcher(Generic[Prepared]):
    """Calls a pure function of the step ahead of time, in one thread.

    Since what it makes depends on the step alone, asking for any step, in any order, gives the same as without it.

    Args:
        prepare: What a step needs.
        depth: Steps ahead; 0 prepares nothing ahead.
    """

    def __init__(self, prepare: Callable[[int], Prepared], depth: int) -> None:
        self._prepare, self._depth = prepare, depth
        self._pending: dict[int, Future[Prepared]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="source-views") if depth > 0 else None

    def get(self, step: int) -> Prepared:
        """What the step needs; the following steps are begun.

        Raises:
            Whatever ``prepare`` raises for this step.
        """
        pending = self._pending.pop(step, None)
        made = self._prepare(step) if pending is None else pending.result()
        wanted = range(step + 1, step + 1 + self._depth)
        for stale in [other for other in self._pending if other not in wanted]:
            self._pending.pop(stale).cancel()
        if self._thread is not None:
            for following in wanted:
                if following not in self._pending:
                    self._pending[following] = self._thread.submit(self._prepare, following)
        return made

    def close(self) -> None:
        """Ends the thread; nothing more is prepared ahead."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread = None
        self._pending.clear()
