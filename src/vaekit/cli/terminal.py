"""What the terminal shows: progress and warnings on stderr, results on stdout."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

err = Console(stderr=True, highlight=False, emoji=False)
out = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)


def complain(sentence: str) -> None:
    """An error, in one line."""
    err.print(f"[red]error:[/red] {escape(sentence)}", soft_wrap=True)


def tell(sentence: str) -> None:
    """A note beside the results."""
    err.print(f"[dim]{escape(sentence)}[/dim]", soft_wrap=True)


def show(values: Mapping[str, Any], as_json: bool) -> None:
    """Results: a JSON object, or a line each."""
    if as_json:
        print(json.dumps(_strict(values), indent=2, allow_nan=False))
        return
    width = max(map(len, values))
    for name, value in values.items():
        out.print(f"{name:<{width}}  {value}")


def _strict(value: Any) -> Any:
    """The same with null for what JSON has no number for, such as the standard error of a single image."""
    if isinstance(value, Mapping):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Meter:
    """Steps, time left, images per second and every loss term, in nats per image."""

    def __init__(self, total: int, terms: list[str], quiet: bool = False) -> None:
        self.total, self.terms, self.quiet = total, terms, quiet
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[numbers]}"),
            console=err,
            disable=quiet or not err.is_terminal,
        )
        self.task = self.bar.add_task("training", total=total, numbers="compiling or warming up")
        self.held, self.told = "", 0.0

    def __enter__(self) -> Meter:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def update(self, row: Mapping[str, Any]) -> None:
        """Show a row of the log."""
        if row["split"] == "val":
            name, sign = ("nll", 1) if "nll" in row else ("elbo", -1)
            self.held = f"held-out {name} {row[name]:.2f} (best {sign * row['best']:.2f} at {row['best_step']})"
            self._line(row["step"], self.held)
            return
        terms = "  ".join(f"{name} {row[name]:.2f}" for name in self.terms)
        skipped = f"  skipped {row['skipped']}" if row["skipped"] else ""
        numbers = f"{row['images_per_s']:,.0f} images/s  {terms}{skipped}  {self.held}"
        self.bar.update(self.task, completed=row["step"], numbers=numbers)
        self._line(row["step"], numbers)

    def _line(self, step: int, numbers: str) -> None:
        """Off a terminal: a plain line every few seconds."""
        now = time.monotonic()
        if self.bar.disable and not self.quiet and (now - self.told > 5 or step == self.total):
            self.told = now
            print(f"step {step}/{self.total}  {numbers}", file=sys.stderr, flush=True)


@contextmanager
def reading(quiet: bool) -> Iterator[Any]:
    """A progress hook for reading data: (what, done, total)."""
    with Progress(console=err, disable=quiet or not err.is_terminal, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def hook(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield hook
