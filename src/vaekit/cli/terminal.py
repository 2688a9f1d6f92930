"""What the terminal shows: progress and warnings on stderr, results on stdout."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import Progress, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vaekit.cli.words import clock, leading
from vaekit.figures.names import NAMES

COMPILING = "compiling (the first step takes a minute or two)"

err = Console(stderr=True, highlight=False, emoji=False)
out = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)


def complain(sentence: str) -> None:
    """Print an error in one line on stderr."""
    err.print(f"[red]error:[/red] {escape(sentence)}", soft_wrap=True)


def tell(sentence: str) -> None:
    """Print a note on stderr. Of several processes, only the leading one does."""
    if leading():
        err.print(f"[dim]{escape(sentence)}[/dim]", soft_wrap=True)


def show(values: Mapping[str, Any], as_json: bool) -> None:
    """Print results on stdout, as a JSON object or one per line."""
    if as_json:
        from vaekit.files import to_json

        print(to_json(values))
        return
    width = max(map(len, values))
    for name, value in values.items():
        out.print(f"{name:<{width}}  {value}")


class Meter:
    """The progress of training: two live lines on a terminal, elsewhere a plain line every few seconds.

    `step()` returns the current step, so that the display also moves between the rows of the log. `limit` is the
    number of seconds after which the run ends in any case. `plural` is the word for the data, such as images.
    """

    def __init__(
        self,
        total: int,
        terms: list[str],
        step: Callable[[], int],
        quiet: bool = False,
        compiles: bool = False,
        limit: float | None = None,
        plural: str = "data",
    ) -> None:
        self.plural = plural
        self.total, self.terms, self.step, self.limit = total, terms, step, limit
        self.first, self.began = step(), time.monotonic()
        self.mark: tuple[int, float] | None = (
            None  # step and time after the first step, which may include compiling
        )
        self.wait = COMPILING if compiles else "the first step"
        self.costs: list[str] = []
        self.held: list[str] = []
        self.speed, self.over, self.told = "", False, -math.inf
        live = err.is_terminal and not err.is_dumb_terminal
        self.plain = not quiet and not live
        self.live = Live(self, console=err, refresh_per_second=4) if live and not quiet else None

    def __enter__(self) -> Meter:
        if self.live:
            self.live.start()
        elif self.plain and self.wait == COMPILING:
            print(COMPILING, file=sys.stderr, flush=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.over = True
        if self.live:
            self.live.stop()

    def update(self, row: Mapping[str, Any]) -> None:
        """Show the numbers of a row of the log."""
        if row["split"] == "val":
            name, sign = ("nll", 1) if "nll" in row else ("elbo", -1)
            self.held = [
                f"held-out {name} {row[name]:.2f}",
                f"best {sign * row['best']:.2f} at {row['best_step']:,}",
            ]
        else:
            self.costs = [f"{NAMES.get(name, name)} {row[name]:.2f}" for name in self.terms]
            self.costs += [f"skipped {row['skipped']}"] if row["skipped"] else []
            self.speed = f"{row['data_per_s']:,.0f} {self.plural}/s"
        last = row["split"] == "val" and row["step"] == self.total
        if self.plain and (last or time.monotonic() - self.told > 5):
            self.told = time.monotonic()
            print("  ".join(self._where() + self._costs()), file=sys.stderr, flush=True)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """If a line is too narrow, its last pieces are dropped; the bar takes the remaining width."""
        where, width = _fitting(self._where(), options.max_width), options.max_width
        spare = min(24, width - len(where) - 2)
        bar = ProgressBar(max(1, self.total), self.step(), width=spare)
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(*([bar] if spare >= 8 else []), Text(where))
        yield row
        yield Text(_fitting(self._costs(), width))

    def _where(self) -> list[str]:
        elapsed = f"{clock(time.monotonic() - self.began)} elapsed"
        return [
            f"step {self.step():,}/{self.total:,}",
            *self._left(),
            elapsed,
            *([self.speed] if self.speed else []),
        ]

    def _left(self) -> list[str]:
        step, now = self.step(), time.monotonic()
        if self.over:
            return []
        if step >= self.total:
            return ["finishing"]
        if step > self.first and not self.mark:
            self.mark = step, now
        if not self.mark or step == self.mark[0]:
            return ["? left"]
        left = (now - self.mark[1]) / (step - self.mark[0]) * (self.total - step)
        return [f"{clock(min(left, self.began + (self.limit or math.inf) - now))} left"]

    def _costs(self) -> list[str]:
        return self.costs + self.held if self.costs or self.step() > self.first else [self.wait]


def _fitting(pieces: list[str], width: int) -> str:
    """The first pieces, as many as fit in a line of this width."""
    lines = ["  ".join(pieces[:n]) for n in range(len(pieces), 0, -1)]
    return next((line for line in lines if len(line) <= width), "".join(pieces[:1])[:width])


COLUMNS = (*Progress.get_default_columns(), TextColumn("left"))
"""The columns of a progress bar: the task, the bar, the percentage and the time left."""

EVERY = 5.0
"""Seconds between two plain lines of progress."""

SOON = 2.0
"""Seconds of silence after which it is told what takes so long."""


@contextmanager
def soon(what: str, quiet: bool = False) -> Iterator[None]:
    """Tell `what` is being done, once, if it takes longer than `SOON` seconds."""
    timer = threading.Timer(SOON, tell, [what])
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _plainly() -> Any:
    """A progress hook that prints a line every few seconds: how much is done and how much time is left."""
    told, began = time.monotonic() - EVERY + SOON, dict[str, tuple[int, float]]()

    def hook(what: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        first, start = began.setdefault(what, (done, now))
        if now - told > EVERY:
            told = now
            left = time_left(done - first, total - done, now - start)
            tell(f"{what}: {done:,} of {total:,}, {left}")

    return hook


def time_left(done: int, remaining: int, seconds: float) -> str:
    """The time that the remaining work takes at the speed so far, such as "1:20 left"."""
    return f"{clock(seconds / done * remaining)} left" if done else "? left"


@contextmanager
def reading(quiet: bool) -> Iterator[Any]:
    """Yield a progress hook for long work such as reading data. It is called with (what, done, total)."""
    if not err.is_terminal and not quiet and leading():
        yield _plainly()
        return
    hidden = quiet or not leading()
    with Progress(*COLUMNS, console=err, disable=hidden, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def hook(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield hook
