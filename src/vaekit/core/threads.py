"""One thread for each piece of work.

Small products gain nothing from more threads, and results are the same with any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")


@contextmanager
def one_thread() -> Iterator[int]:
    """Run the block with one thread per torch operation.

    Yields the number before, and restores it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def spread(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """The results of `function` for all items, in order.

    As many items run at once as torch has threads, each on one thread.
    """
    items = list(items)
    with one_thread() as threads:
        if min(threads, len(items)) <= 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
