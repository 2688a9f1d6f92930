"""The events of a run, and how to stop it by a signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from vaekit.tasks.trained import Trained


@dataclass(frozen=True)
class Logged:
    """A row of the log: means over the steps since the last row (split "train"), or over held-out
    data (split "val")."""

    row: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """The run has ended. `why` is "done", "stopped" (by the user), "time" or "patience"."""

    why: str
    trained: Trained


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM end a run after the present step; a second one aborts it.

    Yields a function that says whether a signal came. Outside the main thread it is always False.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
