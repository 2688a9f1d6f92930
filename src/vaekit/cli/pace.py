"""A hint for runs that train much slower than was forecast."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

SLOW = 3.0
"""A run that takes this many times as long as forecast gets the hint."""

FIRST = 3
"""The first rows of a log are not counted: first steps are slow, above all compiled ones."""

SURE = 5.0
"""The hint needs this many seconds of training: a few steps may be slow by chance."""


class Pace:
    """The pace of training beside the forecast: `expected` data per second, or None if nothing was forecast.

    `now` is the clock in seconds, which tests replace.
    """

    def __init__(self, expected: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self.expected, self.now = expected, now
        self.rows, self.began, self.seconds = 0, 0.0, 0.0

    def hint(self, row: Mapping[str, Any]) -> str:
        """What may slow the run down, once; "" if the rows of the log up to this one do not show it."""
        if self.expected is None or row["split"] != "train":
            return ""
        self.rows += 1
        if self.rows <= FIRST:
            self.began = self.now()
            return ""
        self.seconds += 1 / row["data_per_s"]
        times = self.expected * self.seconds / (self.rows - FIRST)
        if self.now() - self.began < SURE or times < SLOW:
            return ""
        self.expected = None
        return (
            f"steps take {times:.0f} times as long as forecast: other programs may be using the processor; stop them, "
            "or give this run fewer threads, such as OMP_NUM_THREADS=1"
        )
