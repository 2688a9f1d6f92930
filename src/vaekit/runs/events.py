"""What a run tells as it goes, and how it is asked to stop."""

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
    """Means over the steps since the last such event (split "train"), or over held-out data (split "val")."""

    row: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """The run is over. `why`: "done", "stopped" (by the user), "time" or "patience"."""

    why: str
    trained: Trained


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask to stop after the step; a second Ctrl-C aborts. Yields whether that was asked."""
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
