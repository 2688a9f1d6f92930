"""A hint for runs that train much slower than was forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SLOW = 3.0
"""Steps that take so many times as long as forecast are explained."""

FIRST = 3
"""The first rows of a log are not judged: first steps are slow, above all compiled ones."""


class Pace:
    """The pace of training beside the forecast: `expected` data per second, or None where nothing was forecast."""

    def __init__(self, expected: float | None) -> None:
        self.expected, self.rows = expected, 0

    def hint(self, row: Mapping[str, Any]) -> str:
        """What may slow the run down, once; "" if this row of the log does not show it."""
        if self.expected is None or row["split"] != "train":
            return ""
        self.rows += 1
        times = self.expected / row["data_per_s"]
        if self.rows <= FIRST or times < SLOW:
            return ""
        self.expected = None
        return (
            f"steps take {times:.0f} times as long as forecast: other programs may be using the processor; stop them, "
            "or give this run fewer threads, such as OMP_NUM_THREADS=1"
        )
