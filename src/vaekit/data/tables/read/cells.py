"""The cells of one column of a frame or file, as numbers or as words.

Words are stored once, and each cell holds an index into them.
"""

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
from vaekit.data.tables.read.spelling import spellings

TEXT = "Text"
"""The dtype of a column from a text file: its type is inferred from its cells."""

CERTAIN = ("", "?", "na", "n/a", "nan", "null")
"""Words that mean a missing value in categories too, where "none" and "unknown" are classes."""

NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE | re.ASCII
)
COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+", re.ASCII)
"""A number with a decimal comma, such as 0,5 or 1.234,50."""

GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
"""A number with commas between its thousands, such as 1,234.50."""

PADDED = r"^[+-]?0\d"
"""A number with a needless zero at its start, such as 007: a code, not an amount."""


FEW_CELLS = 2000
"""Up to this number of cells, calling Polars takes longer than the work that it does."""

LARGEST = 2**53
"""float64 represents every whole number up to this one, but only some of the larger ones."""

TOO_LARGE = (
    "whole numbers beyond 2^53, which floats cannot represent exactly; "
    "set data.kinds='{{{}: number}}' if rounding does not matter"
)

DIGITS = 12
"""Values that need more decimals than this keep the full precision of a float."""


@dataclass(frozen=True)
class Words:
    """Cells (N,) of words: `codes`, int32, are indices into `levels`, -1 for no value."""

    levels: list[str]
    codes: np.ndarray

    def counts(self) -> np.ndarray:
        """The number of cells with each level, int64 (K,)."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.levels))

    def table(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """The cells (N,), float64, with its value in `values` (K,) for each level, else NaN."""
        return np.append(np.asarray(values, float), np.nan)[self.codes]


@dataclass(frozen=True)
class Numbers:
    """Cells (N,) as float64, NaN where missing. `odd` are the rows whose cells are not numbers.

    `padded` says whether some start with a zero, as codes do. `pointed` says whether some are
    written with a decimal point or an exponent.
    """

    values: np.ndarray
    odd: np.ndarray
    padded: bool = False
    pointed: bool = False


@dataclass(frozen=True)
class Cells:
    """One column. `place(i)` says in words where row i (from 0) is, such as "line 3".

    `commas` says whether the decimal point may be a comma, `text` whether the cells come from a
    text file. `measured` says whether numbers are measurements, as in an array of numbers, and so
    are never read as classes.
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
        """The cells at `rows`, int64 (M,), in ascending order."""
        where = self.place
        return replace(self, values=self.values[rows], place=lambda i: where(int(rows[i])))

    @cached_property
    def dtype(self) -> str:
        """The name of the column's type in narwhals, or TEXT."""
        if self.text:
            return TEXT
        if isinstance(self.values, np.ndarray):
            return {"b": "Boolean", "i": "Int64", "u": "Int64", "f": "Float64"}.get(
                self.values.dtype.kind, "String"
            )
        return "Enum" if self.values.dtype == nw.Enum else str(self.values.dtype)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of an Enum type in their order; () for other types."""
        dtype = None if isinstance(self.values, np.ndarray) else self.values.dtype
        return tuple(dtype.categories) if isinstance(dtype, nw.Enum) else ()

    @cached_property
    def family(self) -> str:
        """The family of the column's type: "number", "boolean", "date", "words" or "other"."""
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
        """The cells as numbers: a boolean as 0 or 1, a date as days since 1970-01-01."""
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
        """Whether Polars parses all cells faster than Python parses the distinct words."""
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
        """The distinct numbers, float64 (K,), ascending, and the cells with each, int64 (K,)."""
        ordered = np.sort(self.numbers.values[~np.isnan(self.numbers.values)])
        return runs(ordered)

    @cached_property
    def rounded(self) -> bool:
        """Whether these are different whole numbers, some too large for float64 to be exact.

        Never true of numbers that are written with a decimal point or have a float type.
        """
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
        """The levels of `words` parsed as dates in the format `form`, float64 (K,).

        NaN where a level is not such a date.
        """
        if form not in self.parsed:
            self.parsed[form] = dates.parse(self.words.levels, form)
        return self.parsed[form]

    @cached_property
    def words(self) -> Words:
        """The cells as words; 3.0 becomes "3"."""
        if self.family in ("number", "boolean", "date"):
            return _worded(self.numbers.values, self.family == "boolean")
        if isinstance(self.values, np.ndarray):
            return _factorised(self.values.tolist())
        if self._is_fast():
            return _coded(self.values.to_native())
        return _factorised(self.values.to_list())

    @cached_property
    def spelt(self) -> dict[str, str]:
        """The words that are mostly written with blanks around them, and how."""
        return spellings(self.values, self._is_fast()) if self.family == "words" else {}

    def word(self, row: int) -> str:
        """The cell of row `row` as it is written."""
        value = self.values[row]
        return str(value.item() if isinstance(value, np.generic) else value)


def is_missing(word: str, certain: bool = False) -> bool:
    """Whether a word means a missing value; `certain` excludes words that may be a class."""
    return word.lower() in (CERTAIN if certain else MISSING)


def word(value: object) -> str:
    """A value as a word; 3.0 becomes "3"."""
    return (
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    )


def runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of an ascending array (N,), and how often each occurs."""
    begins = (
        np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        if len(ordered)
        else np.empty(0, np.int64)
    )
    return ordered[begins], np.diff(np.append(begins, len(ordered)))


def decimals(values: np.ndarray, most: int = DIGITS) -> int | None:
    """The number of decimals that finite values (K,) need; None if it is above `most`."""
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
    """A float64 copy. A 32-bit cell becomes the decimal it stands for: 0.1, not 0.100000001."""
    array = values if isinstance(values, np.ndarray) else values.cast(nw.Float64).to_numpy()
    floats = np.array(array, np.float64)
    dtype = str(values.dtype).lower()
    return _shortest(floats, dtype) if dtype in ("float32", "float16") else floats


def _shortest(floats: np.ndarray, dtype: str) -> np.ndarray:
    """Each cell as the shortest decimal, with at most 6 decimals, that equals it in `dtype`.

    A cell without one stays as it is. Each cell is converted independently, so a row is read the
    same way alone and among others.
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
    """The number that a word is, NaN if it means a missing value, None if it is neither."""
    if NUMBER.fullmatch(level):
        return float(level)
    if (COMMA if commas else GROUPED).fullmatch(level):
        return float(level.replace(".", "").replace(",", ".") if commas else level.replace(",", ""))
    return np.nan if is_missing(level) else None


def _pointed(levels: Sequence[str]) -> bool:
    return any("." in level or "e" in level.lower() for level in levels if NUMBER.fullmatch(level))


def _parsed(series: Any, commas: bool) -> Numbers:
    """A Polars series of words as numbers, without a Python object for each cell."""
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
    whole = bool((values.floor() == values).all())  # the next two matter for whole numbers only
    padded = whole and bool(stripped.str.contains(PADDED).any())
    pointed = whole and bool(stripped.str.contains(r"^[+-]?[0-9]*[.][0-9]|[0-9][.eE]").any())
    return Numbers(np.array(values.to_numpy(), np.float64), rows.astype(np.int64), padded, pointed)


# Words


def _coded(series: Any) -> Words:
    """A Polars series as `Words`, without a Python object for each cell."""
    import polars as pl

    stripped = series.str.strip_chars()
    levels = stripped.drop_nulls().unique().sort()
    codes = stripped.cast(pl.Enum(levels)).to_physical().cast(pl.Int32).fill_null(-1)
    return _without_empty(levels.to_list(), np.array(codes.to_numpy(), np.int32))


def _factorised(values: list[Any]) -> Words:
    """Python objects as `Words`, levels in order of occurrence; None, NaN and NaT are null."""
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
