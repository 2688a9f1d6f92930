"""Command-line options that a kind of data adds. Plain data, so that the import is fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option, such as `--resize`.

    Its value is passed to the functions of the kind of data as the keyword `name`. `flag` is what people type
    (`--name` by default). `field` is the field of an experiment that it sets; only options of `train` have one.
    A value of None, False or () means that the option was not given.
    """

    name: str
    help: str
    type: Any = str
    flag: str = ""
    field: str = ""
    also: str = ""
    """Another flag for the same option."""
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    choices: tuple[str, ...] = ()
    panel: str = "Data"

    @property
    def typed(self) -> str:
        """What people type: `--resize`."""
        return self.flag or f"--{self.name.replace('_', '-')}"


Options = Mapping[str, tuple[Option, ...]]
"""The options of a kind of data, by the verbs that have them.

A key is the name of one verb (`generate`, `score`, `evaluate`, `augment`, `train`), or `read` for every verb that
reads data, or `write` for every verb that writes new data.
"""
