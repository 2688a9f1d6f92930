"""One thread a piece of work: small products gain nothing by more, and results are the same with any number."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

A = TypeVar("A")
B = TypeVar("B")


@contextmanager
def one_thread() -> Iterator[int]:
    """Run the block with one thread a torch operation; yields how many there were, and puts them back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def spread(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """`function` of every item, in order: as many items at once as torch has threads, each on one."""
    with one_thread() as threads:
        if threads == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))


class _Own(threading.local):
    """What a thread keeps for itself."""

    def __init__(self) -> None:
        self.products: dict[int, Tensor] = {}  # by how many columns


_own = _Own()


def products(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, where this thread's next products of as many columns are written: to ask for so much memory anew
    each time takes longer than to multiply."""
    rows, columns = len(a), b.shape[1]
    kept = _own.products.get(columns)
    if kept is None or len(kept) < rows:
        kept = _own.products[columns] = a.new_empty(rows, columns)
    return torch.mm(a, b, out=kept[:rows])
