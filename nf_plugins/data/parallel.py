"""Threads with a progress bar that appears only when the work takes long enough to make a user wonder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from nerfstudio.utils.rich_utils import CONSOLE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BEFORE_PROGRESS = 2.0
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def late_progress(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Yields a function to be called once per finished item; a progress bar appears after two seconds."""
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=CONSOLE
    )
    task = progress.add_task(description, total=total)
    begin = time.monotonic()
    shown = False

    def advance() -> None:
        nonlocal shown
        if not shown and time.monotonic() - begin > SECONDS_BEFORE_PROGRESS:
            progress.start()
            shown = True
        progress.advance(task)

    try:
        yield advance
    finally:
        if shown:
            progress.stop()


def threaded_map(function: Callable[[Item], Result], items: Sequence[Item], description: str) -> list[Result]:
    """``[function(item) for item in items]`` in threads, for work that releases the interpreter (decoding, reading).

    Raises:
        Whatever ``function`` raises for the first item, in order, that fails; work not yet begun is dropped.
    """
    results: list[Result] = []
    with (
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
        late_progress(description, len(items)) as advance,
    ):
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                results.append(future.result())
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results
