"""Options of the command line that come from a kind of data. Plain data: nothing here is slow to import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option: `--resize`, say.

    `name` is the keyword under which its value reaches the functions of the kind of data, `flag` what people type
    (`--name` where nothing else is said). `field` is the field of an experiment that it sets; only `train` has such.
    A value of None, False or () means that the option was not given.
    """

    name: str
    help: str
    type: Any = str
    flag: str = ""
    field: str = ""
    also: str = ""
    """Another flag for the same."""
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    choices: tuple[str, ...] = ()
    panel: str = "Data"

    @property
    def typed(self) -> str:
        """What people type: `--resize`."""
        return self.flag or f"--{self.name.replace('_', '-')}"


Options = Mapping[str, tuple[Option, ...]]
"""The options of a kind of data by what they are for.

A verb's own name (`generate`, `score`, `evaluate`, `augment`, `train`), `read` for every verb that reads data, or
`write` for every verb that writes new data.
"""
