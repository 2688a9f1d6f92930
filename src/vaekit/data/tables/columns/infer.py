"""Infer the kind of a column from its cells. The rules are tried in this order:

1. If no cell has a value, or if every row has the same value, the column is left out.
2. Cells with a type are what it says. Words are numbers if all are (but codes if some have leading zeros), dates if all
   have the same format, else words. If nine in ten cells are numbers (with at most FEW different words: all but a share
   of TYPOS), the others are mistakes, and an error names the first one, unless a kind is given.
3. Whole numbers beyond 2^53 are left out, unless their type is float. Whole numbers are an id if they are all different
   and count the rows, up or down, with few gaps, or if the column's name says that they are.
4. The numbers 0 and 1, and pairs of words such as yes and no, are boolean. Beside such a pair, "unknown" and "none" are
   a third class; among numbers and dates they are missing.
5. Whole numbers are a category if each occurs EACH times on average and at most FEW are different (any number if the
   column's name says that they are codes). In a plain array of numbers they are not, unless a kind is given.
6. Other whole numbers are a count if none is negative or written with a decimal point. All others are of kind number.
7. Words that are all different are ids. If there are more than TOO_MANY levels, or more than one for RARE rows, then
   levels in fewer than RARE rows share a class "(other)"; if that has most rows, the column is text and left out.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from vaekit.data.conditions import FEW
from vaekit.data.tables.columns.classes import TOO_MANY, category, in_order, present_share, whether
from vaekit.data.tables.columns.decisions import (
    Decision,
    classed,
    constant,
    empty,
    left_out,
    shortened,
)
from vaekit.data.tables.columns.statistics import measured
from vaekit.data.tables.read import dates
from vaekit.data.tables.read.cells import TOO_LARGE, Cells, is_missing, word
from vaekit.data.tables.schema import KINDS, Kind, LeftOut
from vaekit.errors import VaekitError

DROP = "drop"
"""The kind that a caller gives to a column that should be left out."""

EACH = 20
"""Whole numbers are a category if each occurs this often on average, so that its share is known."""

SURE = 10
"""In fewer rows than this, all values may be different by chance."""

GAPS = 10
"""Numbers that rise or fall from row to row count the rows if their range is at most this many times the rows."""

MOSTLY = 0.9
"""A column is of numbers with some mistakes, rather than of words, if at least this share of its cells are numbers."""

TYPOS = 0.002
"""With few different words, other cells are mistakes up to this share of the numbers (or one beside PLENTY)."""

PLENTY = 50

KEY = re.compile(
    r"(^|[_\s.-])(id|ids|key|uuid|guid|index|idx|rownum|row|nr|no)$|[a-z](Id|ID|Key)$|^(id|Id|ID)[_A-Z]"
)
"""Names of columns that number the rows."""

ROW = re.compile(
    r"row[_.\s-]?(names?|ids?|nr|no|num|numbers?|index)|unnamed: ?\d+|\.\.\.\d+", re.IGNORECASE
)
"""Names that programs give to the numbers of rows when they write a table."""

CODE = re.compile(r"zip|postal|postcode|(^|[_\s.-])code$", re.IGNORECASE)
"""Names of columns whose whole numbers are codes, not measured or counted."""

TIME = re.compile(r"year|date|time|day|month|week|hour", re.IGNORECASE)
"""Names of columns that may rise from row to row without being ids."""


def infer(cells: Cells, kind: str = "") -> Decision:
    """The column of `cells`, or why it is left out; `kind` overrides the inferred kind. Raises VaekitError."""
    if kind == DROP:
        return LeftOut(name=cells.name, reason="asked", why="as asked")
    if kind and kind not in KINDS:
        known = ", ".join((*KINDS, DROP))
        raise VaekitError(
            f"column '{cells.name}': there is no kind '{kind}'; expected one of {known}"
        )
    if cells.family == "other":
        return left_out(
            cells, "text", f"cells of type {cells.dtype}, which are not numbers, words or dates"
        )
    if kind:
        return _forced(cells, kind)
    if cells.family != "words":
        return _typed(cells)
    if cells.dtype in ("Categorical", "Enum"):
        return _as_classes(cells, boolean=False)
    numbers = cells.numbers
    if not len(numbers.odd) and not numbers.padded:
        return _of_numbers(cells)
    return _of_words(cells)


def _forced(cells: Cells, kind: str) -> Decision:
    if kind in ("category", "boolean"):
        return _as_classes(cells, kind == "boolean")
    return _as_date(cells) if kind == "date" else _as_number(cells, kind == "count")


def _as_classes(cells: Cells, boolean: bool) -> Decision:
    words = cells.words
    known = [level for level in words.levels if not is_missing(level, certain=not boolean)]
    if len(known) < 2:
        return constant(cells, known[0], int(words.counts().max())) if known else empty(cells)
    if not boolean:
        return category(cells, words, forced=True)
    if len(known) > 2:
        raise VaekitError(
            f"column '{cells.name}' has {len(known):,} different values; a boolean has 2"
        )
    return classed(cells, "boolean", whether(known) or in_order(known), "2 classes")


def _as_date(cells: Cells) -> Decision:
    if cells.family == "date":
        return _of_numbers(cells)
    known = [level for level in cells.words.levels if not is_missing(level)]
    form = _form(known) if cells.family == "words" else ""
    if known and not form:
        raise VaekitError(
            f"column '{cells.name}': expected dates such as 2024-12-31, got '{shortened(known[0])}'"
        )
    return _date_of_words(cells, form) if known else empty(cells)


def _as_number(cells: Cells, count: bool) -> Decision:
    if cells.family == "date":
        raise VaekitError(
            f"column '{cells.name}' holds dates ({cells.dtype}), not numbers; do not set its kind"
        )
    require_numbers(cells, _or_say(cells))
    distinct, times = cells.runs
    if len(distinct) < 2 and times.sum() in (0, len(cells)):
        return (
            constant(cells, word(distinct[0].item()), len(cells)) if len(distinct) else empty(cells)
        )
    if count and (distinct[0] < 0 or (distinct != np.round(distinct)).any()):
        raise VaekitError(
            f"column '{cells.name}' has negative or fractional values, so it cannot be a count"
        )
    why = f"{len(distinct):,} different values, {_span(distinct)}, as asked"
    return measured(cells, "count" if count else "number", why)


def _typed(cells: Cells) -> Decision:
    if cells.family == "boolean":
        return _of_booleans(cells)
    return _of_numbers(cells)


# Numbers


def require_numbers(cells: Cells, remedy: str = "") -> None:
    """Raise a VaekitError that names the first cell that is not a finite number; `remedy` is added to its advice."""
    numbers = cells.numbers
    if len(numbers.odd):
        row = int(numbers.odd[0])
        more = f" (and {len(numbers.odd) - 1:,} cells more)" if len(numbers.odd) > 1 else ""
        raise VaekitError(
            f"column '{cells.name}', {cells.place(row)}: '{shortened(cells.word(row))}' is not a number{more}; "
            f"correct such cells or leave them empty{', or ' + remedy if remedy else ''}"
        )
    infinite = np.flatnonzero(np.isinf(numbers.values))
    if len(infinite):
        row = int(infinite[0])
        raise VaekitError(
            f"column '{cells.name}', {cells.place(row)}: '{shortened(cells.word(row))}' is infinite; "
            "leave such cells empty, or write the largest possible number"
        )


def _of_numbers(cells: Cells) -> Decision:
    require_numbers(cells, _or_say(cells))
    values = cells.numbers.values
    present = values[~np.isnan(values)]
    if not len(present):
        return empty(cells)
    distinct = cells.runs[0]
    if cells.rounded and not cells.measured:
        return left_out(cells, "large", TOO_LARGE.format(cells.name))
    if len(distinct) == 1:
        return constant(cells, word(present[0].item()), len(present))
    if cells.family == "date":
        return measured(cells, "date", f"{len(distinct):,} different dates")
    whole = bool((distinct == np.round(distinct)).all())
    if whole and (why := _key(cells, present, distinct)):
        return left_out(cells, "id", why)
    if len(distinct) == 2 and tuple(distinct) == (0, 1):
        return classed(cells, "boolean", ("0", "1"), "0 or 1")
    codes = CODE.search(cells.name) is not None
    few = len(distinct) <= min(TOO_MANY if codes else FEW, len(present) // EACH)
    if whole and few and not cells.measured:
        classes = tuple(word(value) for value in distinct.tolist())
        each = f"{len(present) // len(classes):,} rows each on average"
        why = f"{each}, codes by the column's name" if codes else f"{each}, so classes"
        return classed(
            cells,
            "category",
            classes,
            f"{len(classes):,} different whole numbers, {_span(distinct, codes)}: {why}",
        )
    called = "whole numbers" if whole else "numbers"
    called += ", rounded to 16 digits" if cells.rounded else ""
    kind: Kind = "count" if whole and distinct[0] >= 0 and not cells.numbers.pointed else "number"
    why = _why_no_classes(len(distinct), codes) if whole and not cells.measured else ""
    return measured(
        cells, kind, f"{len(distinct):,} different {called}, {_span(distinct, codes)}{why}"
    )


def _why_no_classes(distinct: int, codes: bool) -> str:
    """Why whole numbers are modelled as numbers and not as classes, if that is not obvious."""
    if distinct > 5 * FEW and not codes:
        return ""
    many = distinct > FEW and not codes
    return (
        f": more than {FEW}, so numbers, not classes"
        if many
        else f": fewer than {EACH} rows each on average, so numbers, not classes"
    )


def _key(cells: Cells, present: np.ndarray, distinct: np.ndarray) -> str:
    """Why whole numbers are an id of the rows, or ""."""
    count = len(present)
    if count < SURE or TIME.search(cells.name):
        return ""
    if (KEY.search(cells.name) or ROW.fullmatch(cells.name)) and len(distinct) > MOSTLY * count:
        return f"an id by its name, with {len(distinct):,} different values in {count:,} rows"
    if len(distinct) < count:
        return ""
    span, steps = distinct[-1] - distinct[0] + 1, np.diff(present)
    if span == count:
        return f"an id: each number from {_span(distinct)} once"
    if span <= GAPS * count and ((steps > 0).all() or (steps < 0).all()):
        return f"an id: whole numbers that count the rows, {_span(distinct)}"
    return ""


def _span(distinct: np.ndarray, codes: bool = False) -> str:
    """The range in words: "6.98 to 28.1", "10,507 to 89,775"; codes have no commas."""
    form = ".12g" if codes or max(-distinct[0], distinct[-1]) < 10_000 else ",.12g"
    return f"{distinct[0]:{form}} to {distinct[-1]:{form}}"


def _of_booleans(cells: Cells) -> Decision:
    values = cells.numbers.values
    present = values[~np.isnan(values)]
    if not len(present):
        return empty(cells)
    if (present == present[0]).all():
        return constant(cells, "true" if present[0] else "false", len(present))
    return classed(cells, "boolean", ("false", "true"), "true or false")


# Words


def _of_words(cells: Cells) -> Decision:
    words = cells.words
    counts = words.counts()
    known = [level for level in words.levels if not is_missing(level)]
    certain = [level for level in words.levels if not is_missing(level, certain=True)]
    if len(certain) == 2 and (pair := whether(certain)):
        return classed(cells, "boolean", pair, f"{pair[0]} or {pair[1]}")
    if form := _form(known):
        return _date_of_words(cells, form)
    numbers = cells.numbers
    good = np.count_nonzero(~np.isnan(numbers.values))
    if not numbers.padded and _mistaken(len(known), int(good), len(numbers.odd)):
        require_numbers(cells, _or_say(cells))
    if not certain:
        return empty(cells)
    present = int(counts[[not is_missing(level, certain=True) for level in words.levels]].sum())
    if len(certain) == 1:
        return constant(cells, certain[0], present)
    if len(certain) == present and present >= SURE:
        spaced = sum(" " in level for level in certain) > present / 2
        reason: Literal["text", "id"] = "text" if spaced else "id"
        why = f"{'text' if spaced else 'an id'}: {present:,} rows, all different"
        return left_out(cells, reason, why + dates.unknown(certain))
    column = category(cells, words)
    rare = 1 - present_share(cells, words, column) if column.other else 0.0
    if rare > 0.5:
        why = f"text: {len(certain):,} different values in {present:,} rows{dates.unknown(certain)}"
        return left_out(cells, "text", why)
    return column


def _mistaken(levels: int, good: int, odd: int) -> bool:
    """Whether words are numbers with `odd` mistakes, rather than a category with numbers among its classes."""
    if levels > FEW:
        return good >= MOSTLY * (good + odd)
    return good >= PLENTY and odd <= max(1, TYPOS * good)


def _or_say(cells: Cells) -> str:
    return f"say that they are classes: data.kinds='{{{cells.name}: category}}'"


def _form(known: list[str]) -> str:
    """The date format of all words, or of nine in ten of them (an error names the rest), or ""."""
    some = known[:: max(1, len(known) // 100)]
    if sum(dates.may_be(level) for level in some) < MOSTLY * max(1, len(some)):
        return ""
    mostly = (
        form for form in dates.FORMATS if np.isfinite(dates.parse(some, form)).mean() >= MOSTLY
    )
    return dates.guess(known) or dates.as_written(some, next(mostly, ""))


def _date_of_words(cells: Cells, form: str) -> Decision:
    words = cells.words
    known = [level for level in words.levels if not is_missing(level)]
    require_dates(cells, form)
    if len(known) == 1:
        return constant(cells, known[0], int(words.counts()[words.levels.index(known[0])]))
    note = ", but day and month could be swapped" if dates.is_ambiguous(known, form) else ""
    why = f"{len(known):,} different dates written as {form}{note}"
    return measured(cells, "date", why, _with_blanks(cells, known, form))


def _with_blanks(cells: Cells, known: list[str], form: str) -> str:
    """The format with the blanks that most of the dates are written with."""
    if 2 * len(cells.spelt) < len(known):
        return form
    word, text = next(iter(cells.spelt.items()))
    return text.replace(word, form)


def require_dates(cells: Cells, form: str) -> None:
    """Raise a VaekitError that names the first cell that is not a date in the format `form`."""
    words = cells.words
    wrong = [
        i for i in np.flatnonzero(np.isnan(cells.days(form))) if not is_missing(words.levels[i])
    ]
    if wrong:
        row = int(np.flatnonzero(np.isin(words.codes, wrong))[0])
        cell = shortened(words.levels[words.codes[row]])
        raise VaekitError(
            f"column '{cells.name}', {cells.place(row)}: '{cell}' is not a date written as {form}; "
            "leave such cells empty"
        )
