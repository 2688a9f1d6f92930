"""The classes of a column of words, and which words are too rare for a class of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vaekit.data.conditions import FEW, NO, YES
from vaekit.data.tables.columns.decisions import classed
from vaekit.data.tables.read import dates
from vaekit.data.tables.read.cells import Cells, Words, is_missing
from vaekit.data.tables.schema import OTHER, Column
from vaekit.errors import VaekitError

RARE = 5
"""If there are too many levels, those in fewer rows are rare: too few to learn from, and apt to identify people."""

TOO_MANY = 10_000
"""The largest number of classes of a category."""

WHETHER = ((NO, YES), (("n",), ("y",)), (("f",), ("t",)))
"""Pairs of words for false and true."""


def category(cells: Cells, words: Words, forced: bool = False) -> Column:
    """A category with its levels sorted; if there are too many, the rare ones share a class."""
    counts = dict(zip(words.levels, words.counts().tolist(), strict=True))
    counts = {level: n for level, n in counts.items() if n and not is_missing(level, certain=True)}
    if not counts:
        raise VaekitError(f"column '{cells.name}' has no values; leave it out")
    kept, total = list(counts), sum(counts.values())
    if len(kept) > TOO_MANY or (len(kept) > max(FEW, total // RARE) and not forced):
        common = sorted(
            (level for level, n in counts.items() if n >= RARE), key=lambda level: -counts[level]
        )
        kept = common[: TOO_MANY - 1]
    classes = in_order(kept, cells.categories)
    note = "" if forced else dates.unknown(kept)
    if len(kept) < len(counts):  # a word "(other)" of the source is one of the rare ones
        classes = tuple(level for level in classes if level != OTHER)
    rare = {level: n for level, n in counts.items() if level not in set(classes)}
    if not rare:
        return classed(cells, "category", classes, f"{len(classes):,} classes{note}")
    why = f"{len(classes):,} classes and one for {len(rare):,} rare ones{note}"
    column = classed(cells, "category", (*classes, *rare), why)
    own, others = column.written[: len(classes)], column.written[len(classes) :]
    found = {"classes": (*classes, OTHER), "other": True}
    found |= {"rare": tuple(rare), "times": tuple(rare.values())}
    found |= {"written": (*own, OTHER, *others)} if column.written else {}
    return column.model_copy(update=found)


def in_order(levels: Sequence[str], first: Sequence[str] = ()) -> tuple[str, ...]:
    """The levels in the order of `first`, else numbers by size, then words by letters."""
    places = {level: i for i, level in enumerate(first)}
    return tuple(sorted(levels, key=lambda level: (places.get(level, -1), *_place(level))))


def _place(level: str) -> tuple[float, str]:
    """The sort key of a level: numbers first, by size, then words, by letters."""
    return (float(level), level) if re.fullmatch(r"-?\d+(\.\d+)?", level) else (float("inf"), level)


def present_share(cells: Cells, words: Words, column: Column) -> float:
    """The share of the present cells that are not in the class of rare levels."""
    counts, own = words.counts(), set(column.classes[:-1])
    present = sum(
        n
        for level, n in zip(words.levels, counts, strict=True)
        if not is_missing(level, certain=True)
    )
    kept = sum(n for level, n in zip(words.levels, counts, strict=True) if level in own)
    return float(kept / present)


def whether(levels: list[str]) -> tuple[str, str] | None:
    """The two words as (false, true) if they mean that, else None."""
    for no, yes in WHETHER:
        for first, second in (levels, levels[::-1]):
            if first.lower() in no and second.lower() in yes:
                return first, second
    return None
