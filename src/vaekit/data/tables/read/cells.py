"""The cells of one column, of any frame or file: as numbers where they are, as words with their places where not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from vaekit.data.conditions import MISSING
from vaekit.data.tables.read import dates

TEXT = "Text"
"""The dtype of what is read from a file of text: it goes back as what it was read as."""

CERTAIN = ("", "?", "na", "n/a", "nan", "null")
"""Words that stand for no value among the classes of a category too; "none" and "unknown" are classes there."""

NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE | re.ASCII
)
COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+", re.ASCII)
"""A number with a decimal comma, such as 0,5 or 1.234,50."""

GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
"""A number with its thousands apart, such as 1,234.50."""

PADDED = r"^[+-]?0\d"
"""A number that begins with a zero that counts for nothing is a code."""


FEW_CELLS = 2000
"""For so many cells or fewer, calling Polars takes longer than the work that it does."""

LARGEST = 2**53
"""Whole numbers up to here are floats, too; of larger ones some are not."""

TOO_LARGE = "whole numbers beyond 2^53, which floats cannot tell apart; say {{{}: number}} if rounding does not matter"

DIGITS = 12
"""Values that need more digits behind the point count as measured, with as many digits as a float has."""


@dataclass(frozen=True)
class Words:
    """Cells (N,) as `codes`, int32, into `levels`, -1 where a cell is empty or null; levels are stripped of blanks."""

    levels: list[str]
    codes: np.ndarray

    def counts(self) -> np.ndarray:
        """How many cells each level has, int64 (K,)."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.levels))

    def table(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """The cells with `values` (K,) in place of the levels, NaN where there is none: float64 (N,)."""
        return np.append(np.asarray(values, float), np.nan)[self.codes]


@dataclass(frozen=True)
class Numbers:
    """Cells (N,) as float64, NaN where missing. `odd` are the rows of cells that are there and are no number.

    `padded` says whether some begin with a zero as codes do, `pointed` whether some have a decimal point as written.
    """

    values: np.ndarray
    odd: np.ndarray
    padded: bool = False
    pointed: bool = False


@dataclass(frozen=True)
class Cells:
    """One column. `place` says in words where row i, from 0, stands.

    `commas` says whether decimals may have commas, `text` whether the cells are a file's text, `measured` whether they
    come from an array of numbers, of which none need stand for classes.
    """

    name: str
    values: Any
    place: Callable[[int], str]
    commas: bool = False
    text: bool = False
    measured: bool = False
    parsed: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, rows: np.ndarray) -> Cells:
        """Those at `rows`, int64 (M,), rising."""
        where = self.place
        return replace(self, values=self.values[rows], place=lambda i: where(int(rows[i])))

    @cached_property
    def dtype(self) -> str:
        """The column's type in narwhals' words, or TEXT."""
        if self.text:
            return TEXT
        if isinstance(self.values, np.ndarray):
            return {"b": "Boolean", "i": "Int64", "u": "Int64", "f": "Float64"}.get(
                self.values.dtype.kind, "String"
            )
        return "Enum" if self.values.dtype == nw.Enum else str(self.values.dtype)

    @property
    def categories(self) -> tuple[str, ...]:
        """The words that its type lists in an order of their own, if it does."""
        dtype = None if isinstance(self.values, np.ndarray) else self.values.dtype
        return tuple(dtype.categories) if isinstance(dtype, nw.Enum) else ()

    @cached_property
    def family(self) -> str:
        """What its type says of it: "number", "boolean", "date", "words" or "other"."""
        if isinstance(self.values, np.ndarray):
            return {"b": "boolean", "i": "number", "u": "number", "f": "number"}.get(
                self.values.dtype.kind, "words"
            )
        dtype = self.values.dtype
        if dtype.is_numeric():
            return "number"
        if dtype in (nw.Date, nw.Datetime, nw.Time):
            return "date"
        if dtype == nw.Boolean:
            return "boolean"
        return (
            "words"
            if dtype in (nw.String, nw.Categorical, nw.Enum, nw.Object, nw.Unknown)
            else "other"
        )

    @cached_property
    def numbers(self) -> Numbers:
        """The cells as numbers: a boolean is 0 or 1, a date days since 1970-01-01."""
        none = np.empty(0, np.int64)
        if self.family == "number":
            return Numbers(_floats(self.values), none)
        if self.family == "boolean":
            return Numbers(_floats(self.values), none)
        if self.family == "date":
            return Numbers(_days(self.values), none)
        if self._is_fast():
            return _parsed(self.values.to_native(), self.commas)
        return self._read(self.words)

    def _is_fast(self) -> bool:
        """Whether Polars takes less time to look through all cells than Python does to look through the levels."""
        held = not isinstance(self.values, np.ndarray) and self.values.implementation.is_polars()
        return held and self.values.dtype == nw.String and len(self) > FEW_CELLS

    def _read(self, words: Words) -> Numbers:
        levels = words.levels
        values = [_number(level, self.commas) for level in levels]
        odd = np.array([value is None for value in values] + [False])
        table = [np.nan if value is None else value for value in values]
        padded = any(re.match(PADDED, level) for level in levels)
        return Numbers(
            words.table(table), np.flatnonzero(odd[words.codes]), padded, _pointed(levels)
        )

    @cached_property
    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """The different numbers there are, float64 (K,), rising, and how many cells hold each, int64 (K,)."""
        ordered = np.sort(self.numbers.values[~np.isnan(self.numbers.values)])
        return runs(ordered)

    @cached_property
    def rounded(self) -> bool:
        """Whether they are different whole numbers, as written or by their type, some beyond what floats tell apart."""
        distinct = self.runs[0]
        if (
            self.numbers.pointed
            or self.dtype.startswith("Float")
            or (distinct != np.round(distinct)).any()
        ):
            return False
        if np.abs(distinct).max(initial=0) <= LARGEST:
            return False
        rows = np.flatnonzero(~np.isnan(self.numbers.values)).tolist()
        return len(distinct) > 1 or len({self.word(row) for row in rows}) > 1

    def days(self, form: str) -> np.ndarray:
        """The levels of words as dates written so, float64 (K,), NaN for what is none."""
        if form not in self.parsed:
            self.parsed[form] = dates.parse(self.words.levels, form)
        return self.parsed[form]

    @cached_property
    def words(self) -> Words:
        """The cells as words: 3.0 is "3"."""
        if self.family in ("number", "boolean", "date"):
            return _worded(self.numbers.values, self.family == "boolean")
        if isinstance(self.values, np.ndarray):
            return _factorised(self.values.tolist())
        if self._is_fast():
            return _coded(self.values.to_native())
        return _factorised(self.values.to_list())

    def word(self, row: int) -> str:
        """The cell of row i as it is written."""
        value = self.values[row]
        return str(value.item() if isinstance(value, np.generic) else value)


def is_missing(word: str, certain: bool = False) -> bool:
    """Whether a word stands for no value; `certain` leaves out those that may well be a class of their own."""
    return word.lower() in (CERTAIN if certain else MISSING)


def word(value: object) -> str:
    """A value's word: 3.0 is "3"."""
    return (
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    )


def runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values of a rising array (N,), and how many times each comes."""
    begins = (
        np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        if len(ordered)
        else np.empty(0, np.int64)
    )
    return ordered[begins], np.diff(np.append(begins, len(ordered)))


def decimals(values: np.ndarray, most: int = DIGITS) -> int | None:
    """How many digits behind the point tell finite values (K,) as they are; None if more than `most`."""
    some = values[:: max(1, len(values) // 1000)]
    largest = np.abs(values).max(initial=0)
    for digits in range(most + 1):
        if largest * 10.0**digits > LARGEST:
            return 0 if digits == 0 and (values == np.round(values)).all() else None
        if all(
            (np.round(part.astype(float), digits).astype(part.dtype) == part).all()
            for part in (some, values)
        ):
            return digits
    return None


# Numbers


def _floats(values: Any) -> np.ndarray:
    """A copy as float64; a cell of 32 bits as the decimal that it stands for, 0.1 and not 0.100000001."""
    array = values if isinstance(values, np.ndarray) else values.cast(nw.Float64).to_numpy()
    floats = np.array(array, np.float64)
    dtype = str(values.dtype).lower()
    return _shortest(floats, dtype) if dtype in ("float32", "float16") else floats


def _shortest(floats: np.ndarray, dtype: str) -> np.ndarray:
    """Each cell as the decimal of the fewest digits, at most 6, that `dtype` has the same number for, if there is one.

    A cell by itself, whatever the others are: a row alone is read as it is among others.
    """
    found = floats.copy()
    left = np.flatnonzero(np.isfinite(floats))
    for digits in range(7):
        rounded = np.round(floats[left], digits)
        same = rounded.astype(dtype) == floats[left].astype(dtype)
        found[left[same]] = rounded[same]
        left = left[~same]
    return found


def _days(series: Any) -> np.ndarray:
    if series.dtype == nw.Time:
        times = series.to_list()
        return np.array(
            [np.nan if t is None else (t.hour * 60 + t.minute) / 1440 + _seconds(t) for t in times]
        )
    if series.dtype == nw.Datetime and series.dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    times = series.cast(nw.Datetime("us")).to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(times), np.nan, times.astype(np.int64) / dates.DAY)


def _seconds(time: Any) -> float:
    return float((time.second * 1_000_000 + time.microsecond) / dates.DAY)


def _number(level: str, commas: bool) -> float | None:
    """The number that a word is, NaN where it stands for none, else None."""
    if NUMBER.fullmatch(level):
        return float(level)
    if (COMMA if commas else GROUPED).fullmatch(level):
        return float(level.replace(".", "").replace(",", ".") if commas else level.replace(",", ""))
    return np.nan if is_missing(level) else None


def _pointed(levels: Sequence[str]) -> bool:
    return any("." in level or "e" in level.lower() for level in levels if NUMBER.fullmatch(level))


def _parsed(series: Any, commas: bool) -> Numbers:
    """A Polars series of words as numbers, without a Python object for each."""
    import polars as pl

    stripped, values = series, series.cast(pl.Float64, strict=False)
    if values.null_count() > stripped.null_count():
        stripped = series.str.strip_chars()
        values = stripped.cast(pl.Float64, strict=False)
        punctuated = stripped.str.contains(
            f"^(?:{(COMMA if commas else GROUPED).pattern})$"
        ).fill_null(False)
        plain = stripped.str.replace_all("." if commas else ",", "", literal=True).str.replace(
            ",", ".", literal=True
        )
        values = values.zip_with(~punctuated, plain.cast(pl.Float64, strict=False))
    doubtful = stripped.filter(values.is_null() & stripped.is_not_null()).unique().to_list()
    odd = [word for word in doubtful if not is_missing(word)]
    rows = (
        stripped.is_in(odd).fill_null(False).arg_true().to_numpy() if odd else np.empty(0, np.int64)
    )
    whole = bool((values.floor() == values).all())  # only among whole numbers do these two matter
    padded = whole and bool(stripped.str.contains(PADDED).any())
    pointed = whole and bool(stripped.str.contains(r"^[+-]?[0-9]*[.][0-9]|[0-9][.eE]").any())
    return Numbers(np.array(values.to_numpy(), np.float64), rows.astype(np.int64), padded, pointed)


# Words


def _coded(series: Any) -> Words:
    """A Polars series of words, without a Python object for each."""
    import polars as pl

    stripped = series.str.strip_chars()
    levels = stripped.drop_nulls().unique().sort()
    codes = stripped.cast(pl.Enum(levels)).to_physical().cast(pl.Int32).fill_null(-1)
    return _without_empty(levels.to_list(), np.array(codes.to_numpy(), np.int32))


def _factorised(values: list[Any]) -> Words:
    """Python objects in the order in which they first come; what is None or no number is null."""
    try:
        distinct = dict.fromkeys(values)
    except TypeError:  # lists and other things without a hash
        values = [None if value is None else str(value) for value in values]
        distinct = dict.fromkeys(values)
    levels: dict[str, int] = {}
    place = {
        value: -1 if _is_null(value) else levels.setdefault(word(value), len(levels))
        for value in distinct
    }
    codes = np.fromiter(map(place.__getitem__, values), np.int32, len(values))
    return _without_empty(list(levels), codes)


def _is_null(value: Any) -> bool:
    return value is None or bool(value != value)  # NaN and NaT differ from themselves


def _without_empty(levels: list[str], codes: np.ndarray) -> Words:
    kept = [i for i, level in enumerate(levels) if level]
    places = np.full(len(levels) + 1, -1, np.int32)
    places[kept] = np.arange(len(kept))
    return Words([levels[i] for i in kept], places[codes])


def _worded(values: np.ndarray, boolean: bool) -> Words:
    missing = np.isnan(values)
    distinct, inverse = np.unique(values[~missing], return_inverse=True)
    codes = np.full(len(values), -1, np.int32)
    codes[~missing] = inverse
    levels = (
        ["true" if value else "false" for value in distinct]
        if boolean
        else [word(v) for v in distinct.tolist()]
    )
    return Words(levels, codes)
