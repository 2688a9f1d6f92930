"""Work over many files on threads. Threads help because Pillow releases Python's lock while it decodes."""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vaekit.data.dataset import Progress

In = TypeVar("In")
Out = TypeVar("Out")
BATCH = 16


def silent(what: str, done: int, total: int) -> None:
    """The progress hook that does nothing."""


def ordered(
    function: Callable[[In], Out], items: Sequence[In], what: str, progress: Progress
) -> Generator[Out, None, None]:
    """`function` of each item, in order, on threads. Only a few batches are in work at a time, to limit memory."""
    workers = min(32, os.cpu_count() or 1)
    waiting: deque[Future[list[Out]]] = deque()
    report = _Reporter(what, len(items), progress)
    pool = ThreadPoolExecutor(workers)
    try:
        for start in range(0, len(items), BATCH):
            waiting.append(pool.submit(_each, function, items[start : start + BATCH]))
            if len(waiting) > 4 * workers:
                yield from report.counted(waiting.popleft().result())
        while waiting:
            yield from report.counted(waiting.popleft().result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _each(function: Callable[[In], Out], items: Sequence[In]) -> list[Out]:
    return [function(item) for item in items]


class _Reporter:
    """Calls `progress` at most ten times a second, and at the end."""

    def __init__(self, what: str, total: int, progress: Progress) -> None:
        self.what, self.total, self.progress = what, total, progress
        self.done, self.last = 0, 0.0

    def counted(self, batch: list[Out]) -> list[Out]:
        self.done += len(batch)
        now = time.monotonic()
        if self.done == self.total or now - self.last > 0.1:
            self.last = now
            self.progress(self.what, self.done, self.total)
        return batch
