"""What kind a column is of, from its cells: the rules, in the order in which they are tried.

1. No cell holds a value: left out. One value in every row: left out.
2. Values of a type (numbers, booleans, dates, categories of a frame) are what their type says; words of a file or a
   frame are numbers if all are (codes with leading zeros aside), dates if all are written alike as dates, else words.
   A column of which nine cells in ten are numbers is refused, by the first that is none, unless a kind is forced; of
   at most FEW different words, where all but TYPOS of the cells are.
3. Whole numbers beyond 2^53, unless they come as floats: left out.
   Whole numbers that are all different and count the rows, up or down, with few gaps, or whose name says so: an id.
4. The numbers 0 and 1, and words such as yes and no: boolean.
5. Whole numbers of at most FEW different values, or of any many where the name says that they are codes, that come EACH
   times each on average: a category. (Not in a plain array of numbers, which are measured unless a kind is given.)
6. Other whole numbers, none negative and none written with a decimal point: a count; all others: a number.
7. Words: all different: ids. More than TOO_MANY levels, or more than one for RARE rows each: those in fewer than RARE
   rows go to one class, "(other)"; where that would be most rows, it is text and left out. Else a category.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from vaekit.data.conditions import FEW, NO, YES
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
from vaekit.data.tables.read.cells import TOO_LARGE, Cells, Words, is_missing, word
from vaekit.data.tables.schema import KINDS, OTHER, Column, Kind, LeftOut
from vaekit.errors import VaekitError

DROP = "drop"
"""What a column is to be taken for that is to be left out."""

EACH = 20
"""Whole numbers are a category where each comes so many times on average: fewer would not tell its share."""

RARE = 5
"""Where there are too many levels, those in fewer rows are rare: so few say nothing of a class, and name people."""

TOO_MANY = 10_000
"""A category has at most so many classes."""

SURE = 10
"""In fewer rows, values that are all different may be so by chance."""

GAPS = 10
"""Numbers that rise from row to row count the rows if so many times as many would fill their range."""

MOSTLY = 0.9
"""A column is of numbers that are wrong in places, rather than of words, if so many of its cells are numbers."""

TYPOS = 0.002
"""So few cells (or one of PLENTY) that are no numbers are mistakes, also where a category would have room for them."""

PLENTY = 50

KEY = re.compile(
    r"(^|[_\s.-])(id|ids|key|uuid|guid|index|idx|rownum|row|nr|no)$|[a-z](Id|ID|Key)$|^(id|Id|ID)[_A-Z]"
)
"""Names of columns that number the rows."""

CODE = re.compile(r"zip|postal|postcode|(^|[_\s.-])code$", re.IGNORECASE)
"""Names of columns whose whole numbers are codes, of which one more is not greater."""

TIME = re.compile(r"year|date|time|day|month|week|hour", re.IGNORECASE)
"""Names of columns that may well rise from row to row, and mean something."""

WHETHER = ((NO, YES), (("n",), ("y",)), (("f",), ("t",)))
"""Pairs of words that are false and true."""


def infer(cells: Cells, kind: str = "") -> Decision:
    """The column that `cells` make, or why it is left out; `kind` overrides what they suggest. Raises VaekitError."""
    if kind == DROP:
        return LeftOut(name=cells.name, reason="asked", why="as asked")
    if kind and kind not in KINDS:
        known = ", ".join((*KINDS, DROP))
        raise VaekitError(
            f"column '{cells.name}': there is no kind '{kind}'; expected one of {known}"
        )
    if cells.family == "other":
        return left_out(
            cells, "text", f"cells of type {cells.dtype}, which are no numbers, words or dates"
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
    known = [level for level in words.levels if not is_missing(level, certain=True)]
    if len(known) < 2:
        return constant(cells, known[0], int(words.counts().max())) if known else empty(cells)
    column = _category(cells, words, forced=True)
    if not boolean:
        return column
    if len(known) > 2:
        raise VaekitError(
            f"column '{cells.name}' has {len(known):,} different values; a boolean has 2"
        )
    return column.model_copy(
        update={"kind": "boolean", "classes": _whether(known) or column.classes}
    )


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
            f"column '{cells.name}' holds dates ({cells.dtype}), which are no numbers; leave its kind open"
        )
    require_numbers(cells, _or_say(cells))
    distinct, times = cells.runs
    if len(distinct) < 2 and times.sum() in (0, len(cells)):
        return (
            constant(cells, word(distinct[0].item()), len(cells)) if len(distinct) else empty(cells)
        )
    if count and (distinct[0] < 0 or (distinct != np.round(distinct)).any()):
        raise VaekitError(
            f"column '{cells.name}' has values below zero or between whole numbers: it is no count"
        )
    why = f"{len(distinct):,} different values, {_span(distinct)}, as asked"
    return measured(cells, "count" if count else "number", why)


def _typed(cells: Cells) -> Decision:
    if cells.family == "boolean":
        return _of_booleans(cells)
    return _of_numbers(cells)


# Numbers


def require_numbers(cells: Cells, remedy: str = "") -> None:
    """Raise a VaekitError that names the first cell that is no finite number; `remedy` is another than to mend it."""
    numbers = cells.numbers
    if len(numbers.odd):
        row = int(numbers.odd[0])
        more = f" (and {len(numbers.odd) - 1:,} cells more)" if len(numbers.odd) > 1 else ""
        raise VaekitError(
            f"column '{cells.name}', {cells.place(row)}: '{shortened(cells.word(row))}' is no number{more}; "
            f"correct such cells or leave them empty{', or ' + remedy if remedy else ''}"
        )
    infinite = np.flatnonzero(np.isinf(numbers.values))
    if len(infinite):
        row = int(infinite[0])
        raise VaekitError(
            f"column '{cells.name}', {cells.place(row)}: '{shortened(cells.word(row))}' is infinite; "
            "leave such cells empty, or give the largest number that there can be"
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
        each = f"{len(present) // len(classes):,} rows on average"
        why = f"{each}, codes by its name" if codes else f"{each}, few enough to be classes"
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
    """Why so many different whole numbers are numbers and no classes, where it is not plain."""
    if distinct > 5 * FEW and not codes:
        return ""
    many = distinct > FEW and not codes
    return (
        f": more than {FEW}, so numbers, not classes"
        if many
        else f": fewer than {EACH} rows on average, so numbers, not classes"
    )


def _key(cells: Cells, present: np.ndarray, distinct: np.ndarray) -> str:
    """Why whole numbers are a key of the rows, or ""."""
    count = len(present)
    if count < SURE or TIME.search(cells.name):
        return ""
    if KEY.search(cells.name) and len(distinct) > MOSTLY * count:
        return f"an id by its name, with {len(distinct):,} different values in {count:,} rows"
    if len(distinct) < count:
        return ""
    span, steps = distinct[-1] - distinct[0] + 1, np.diff(present)
    if span == count:
        return f"an id: each number from {_span(distinct)} once"
    if span <= GAPS * count and ((steps > 0).all() or (steps < 0).all()):
        return f"an id: whole numbers that count on, {_span(distinct)}"
    return ""


def _span(distinct: np.ndarray, codes: bool = False) -> str:
    """ "6.98 to 28.1", "1990 to 2015", "10,507 to 89,775"; codes have no commas."""
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
    if len(known) == 2 and (pair := _whether(known)):
        return classed(cells, "boolean", pair, f"{pair[0]} or {pair[1]}")
    if form := _form(known):
        return _date_of_words(cells, form)
    numbers = cells.numbers
    good = np.count_nonzero(~np.isnan(numbers.values))
    if not numbers.padded and _mistaken(len(known), int(good), len(numbers.odd)):
        require_numbers(cells, _or_say(cells))
    certain = [level for level in words.levels if not is_missing(level, certain=True)]
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
    column = _category(cells, words)
    rare = 1 - present_share(cells, words, column) if column.other else 0.0
    if rare > 0.5:
        why = f"text: {len(certain):,} different values in {present:,} rows{dates.unknown(certain)}"
        return left_out(cells, "text", why)
    return column


def _mistaken(levels: int, good: int, odd: int) -> bool:
    """Whether a column of numbers is wrong in `odd` cells, rather than a category some of whose classes are numbers."""
    if levels > FEW:
        return good >= MOSTLY * (good + odd)
    return good >= PLENTY and odd <= max(1, TYPOS * good)


def _or_say(cells: Cells) -> str:
    return f"say that they are classes: data.kinds='{{{cells.name}: category}}'"


def present_share(cells: Cells, words: Words, column: Column) -> float:
    """What part of the cells that are there have a class other than the bucket's."""
    counts, own = words.counts(), set(column.classes[:-1])
    present = sum(
        n
        for level, n in zip(words.levels, counts, strict=True)
        if not is_missing(level, certain=True)
    )
    kept = sum(n for level, n in zip(words.levels, counts, strict=True) if level in own)
    return float(kept / present)


def _category(cells: Cells, words: Words, forced: bool = False) -> Column:
    """A category with its levels sorted; the rare ones in one bucket where there are too many."""
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
    places = {level: i for i, level in enumerate(cells.categories)}
    classes = tuple(sorted(kept, key=lambda level: (places.get(level, -1), *_in_order(level))))
    other = len(kept) < len(counts)
    why = f"{len(classes):,} classes" + (
        f" and one for {len(counts) - len(kept):,} rare ones" if other else ""
    )
    why += "" if forced else dates.unknown(kept)
    if other and OTHER in classes:
        classes = tuple(level for level in classes if level != OTHER)
    return classed(cells, "category", (*classes, OTHER) if other else classes, why, other)


def _in_order(level: str) -> tuple[float, str]:
    """Numbers by their size, before words by their letters."""
    return (float(level), level) if re.fullmatch(r"-?\d+(\.\d+)?", level) else (float("inf"), level)


def _whether(levels: list[str]) -> tuple[str, str] | None:
    """The two words as (false, true), if that is what they are."""
    for no, yes in WHETHER:
        for first, second in (levels, levels[::-1]):
            if first.lower() in no and second.lower() in yes:
                return first, second
    return None


def _form(known: list[str]) -> str:
    """How all words are written as dates, or nine in ten of them, so that the rest can be named."""
    some = known[:: max(1, len(known) // 100)]
    if sum(dates.may_be(level) for level in some) < MOSTLY * max(1, len(some)):
        return ""
    mostly = (
        form for form in dates.FORMATS if np.isfinite(dates.parse(some, form)).mean() >= MOSTLY
    )
    return dates.guess(known) or next(mostly, "")


def _date_of_words(cells: Cells, form: str) -> Decision:
    words = cells.words
    known = [level for level in words.levels if not is_missing(level)]
    require_dates(cells, form)
    if len(known) == 1:
        return constant(cells, known[0], int(words.counts()[words.levels.index(known[0])]))
    note = ", month before day as far as can be told" if dates.is_ambiguous(known, form) else ""
    return measured(cells, "date", f"{len(known):,} different dates written as {form}{note}", form)


def require_dates(cells: Cells, form: str) -> None:
    """Raise a VaekitError that names the first cell that is no date written so."""
    words = cells.words
    wrong = [
        i for i in np.flatnonzero(np.isnan(cells.days(form))) if not is_missing(words.levels[i])
    ]
    if wrong:
        row = int(np.flatnonzero(np.isin(words.codes, wrong))[0])
        cell = shortened(words.levels[words.codes[row]])
        raise VaekitError(
            f"column '{cells.name}', {cells.place(row)}: '{cell}' is no date written as {form}; leave such cells empty"
        )
