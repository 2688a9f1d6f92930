"""Convert written dates to days since 1970-01-01 and back.

The result is the same on every machine and in every language.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from vaekit.data.tables.read import date_forms
from vaekit.data.tables.read.date_forms import MONTHLY, NAMED, NAMES, PART

DAY = 86_400_000_000
"""Microseconds in a day."""

DATES = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
)
TIMES = ("%H:%M:%S.%f", "%H:%M:%S", "%H:%M")
FORMATS = (
    *DATES,
    *(
        f"{date}{gap}{time}{zone}"
        for date in (*DATES, *NAMED)
        for gap in ("T", " ")
        for time in TIMES
        for zone in ("", "Z")
    ),
    *("%Y%m%dT%H%M%S", *TIMES),
    *(*NAMED, *MONTHLY),
)
"""All known formats of dates and times, in the order in which they are tried."""

ISO = tuple(form for form in FORMATS if form.startswith("%Y-")) + TIMES
"""The formats that are unambiguous: they can be read in any column of dates."""

PARTS = {
    "%Y": r"(?P<Y>[12]\d{3})",
    "%m": r"(?P<m>\d{1,2})",
    "%d": r"(?P<d>\d{1,2})",
    "%H": r"(?P<H>\d{1,2})",
    "%M": r"(?P<M>\d{2})",
    "%S": r"(?P<S>\d{2})",
    "%f": r"(?P<f>\d{1,6})",
}
TIGHT = {"%m": r"(?P<m>\d{2})", "%d": r"(?P<d>\d{2})", "%H": r"(?P<H>\d{2})"}
"""The patterns that differ where digits follow each other without a separator."""

WIDTHS = {"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2, "%f": 6}
"""The number of digits that each part is written with."""

WHERE = {
    part: slice(at, at + WIDTHS[part])
    for part, at in zip(WIDTHS, (0, 5, 8, 11, 14, 17, 20), strict=True)
}
"""The position of each part in 1970-01-01T00:00:00.000000."""


BEGINS = re.compile(r"\d{1,4}[-/.:]\d|\d{8}T")


ISO_BEGINS = re.compile(r"\d{4}-\d\d-\d\d([T ]|$)", re.ASCII)


def may_be(word: str) -> bool:
    """Whether a word starts like a date or a time."""
    return (BEGINS.match(word) or date_forms.BEGINS.match(word)) is not None


def guess(words: Sequence[str]) -> str:
    """The first known format that all of `words` follow, with flags for how they are written, or ""."""
    some = words[:: max(1, len(words) // 50)]
    for form in FORMATS:
        if (
            words
            and not np.isnan(parse(some, form)).any()
            and not np.isnan(parse(words, form)).any()
        ):
            return as_written(words, form)
    return ""


def as_written(words: Sequence[str], form: str) -> str:
    """The format with the flags that give back the most of `words`: `%-d` for 7, `%^b` for JAN."""
    some = words[:: max(1, len(words) // 1000)]
    days = parse(some, form)
    kept, known = (
        [w for w, day in zip(some, days, strict=True) if day == day],
        days[~np.isnan(days)],
    )
    best, most = form, -1
    for one in date_forms.variants(form) if kept else ():
        found = sum(a == b for a, b in zip(write(known, one), kept, strict=True))
        best, most = (one, found) if found > most else (best, most)
        if found == len(kept):
            break
    return best


def unknown(words: Sequence[str]) -> str:
    """A note on which dates can be read, if all words start like ISO dates; else ""."""
    known = (
        "; dates are read only in the years 1000 to 2999, all in one format, "
        "without an offset or with Z"
    )
    return known if words and all(ISO_BEGINS.match(word) for word in words) else ""


def is_ambiguous(words: Sequence[str], form: str) -> bool:
    """Whether all of `words` would also be dates if day and month were swapped."""
    form = date_forms.plain(form)
    if not form.startswith(("%m/%d/", "%m-%d-", "%d-%m-")):
        return False
    day, month = form[1], form[4]
    swapped = f"%{month}{form[2]}%{day}{form[5:]}"
    return not np.isnan(parse(words, swapped)).any()


def parse(words: Sequence[str], form: str) -> np.ndarray:
    """Days since 1970-01-01, float64 (N,), NaN where a word is not a date in this format.

    They are exact to the microsecond from 1790 to 2149.
    """
    form = date_forms.plain(form)
    days = _aligned(words, form)
    rest = np.flatnonzero(np.isnan(days))
    pattern = _pattern(form)
    for i in rest.tolist():
        match = pattern.fullmatch(words[i])
        days[i] = np.nan if match is None else _one(match)
    return days


def write(days: np.ndarray, form: str) -> list[str]:
    """Days since 1970-01-01 (N,) as text in the format `form`, clipped to the years 1 to 9999."""
    text = np.datetime_as_string(from_days(days), "us")  # 1970-01-01T00:00:00.000000
    parts = PART.findall(form)
    if any(part[0] == "%" and part not in WIDTHS for part in parts):
        return _pieced(text, parts)
    letters = text.astype("U26").view("U1").reshape(len(text), 26)
    fields = _fields(form)
    whole = np.empty((len(text), sum(width for _, width in fields)), "U1")
    at = 0
    for part, width in fields:
        whole[:, at : at + width] = (
            letters[:, WHERE[part]] if part in WHERE else np.array(list(part))
        )
        at += width
    return [str(word) for word in whole.view(f"U{at}")[:, 0].tolist()]


def _pieced(text: np.ndarray, parts: Sequence[str]) -> list[str]:
    """Times in ISO form (N,) as text of parts of various widths."""
    months = text.astype("datetime64[M]").astype(int) % 12
    weekdays = (text.astype("datetime64[D]").astype(int) + 3) % 7  # 1970-01-01 was a Thursday
    words = []
    for whole, month, day in zip(text.tolist(), months.tolist(), weekdays.tolist(), strict=True):
        fields = {part: whole[place] for part, place in WHERE.items()}
        fields |= {name: NAMES[name][month if name in "%b%B" else day] for name in NAMES}
        words.append("".join(date_forms.piece(part, fields) for part in parts))
    return words


def from_days(days: np.ndarray) -> np.ndarray:
    """Days since 1970-01-01 (N,), none missing, as datetime64[us] in the years 1 to 9999."""
    return micro(np.clip(days, -719_162, 2_932_896.999)).astype("datetime64[us]")


def micro(days: np.ndarray) -> np.ndarray:
    """Days (N,) as microseconds, int64.

    The fraction is converted separately, so that only the rounding of float64 itself is lost.
    """
    whole = np.floor(days)
    return whole.astype(np.int64) * DAY + np.rint((days - whole) * DAY).astype(np.int64)


def _fields(form: str) -> list[tuple[str, int]]:
    """The parts of a format, separators included, and the number of characters of each."""
    return [(part, WIDTHS.get(part, len(part))) for part in PART.findall(form)]


def _aligned(words: Sequence[str], form: str) -> np.ndarray:
    """As `parse`, but only for words whose parts have all their digits; NaN for the others."""
    fields = _fields(form)
    width = sum(size for _, size in fields)
    if any(part in NAMES for part, _ in fields):
        return np.full(len(words), np.nan)
    try:
        bytes_ = np.array(words, "S")
    except UnicodeEncodeError:
        return np.full(len(words), np.nan)
    if not len(words) or bytes_.itemsize < width:
        return np.full(len(words), np.nan)
    letters = bytes_.view(np.uint8).reshape(len(words), -1)
    well, at = ~letters[:, width:].any(axis=1), 0
    parts: dict[str, Any] = {"%Y": 1970, "%m": 1, "%d": 1}
    for part, size in fields:
        piece = letters[:, at : at + size]
        if part in WIDTHS:
            digits = piece.astype(np.int64) - ord("0")
            well &= ((digits >= 0) & (digits <= 9)).all(axis=1)
            parts[part] = digits @ 10 ** np.arange(size)[::-1]
        else:
            well &= (piece == np.frombuffer(part.encode(), np.uint8)).all(axis=1)
        at += size
    return _assembled(parts, well)


def _assembled(parts: dict[str, Any], well: Any) -> np.ndarray:
    """Days (N,) from years, months and so on; NaN where there is no such day or time."""
    clock = [np.asarray(parts.get(part, 0)) for part in ("%H", "%M", "%S", "%f")]
    months = (parts["%Y"] - 1970) * 12 + parts["%m"] - 1
    first = np.broadcast_to(np.where(well, months, 0), well.shape).astype("datetime64[M]")
    days = first.astype("datetime64[D]").astype(np.int64) + np.where(well, parts["%d"] - 1, 0)
    same = days.astype("datetime64[D]").astype("datetime64[M]") == first
    real = (
        (parts["%m"] >= 1)
        & (parts["%m"] <= 12)
        & (parts["%d"] >= 1)
        & (parts["%Y"] >= 1000)
        & (parts["%Y"] < 3000)
    )
    real = real & (clock[0] < 24) & (clock[1] < 60) & (clock[2] < 60)
    micro = ((clock[0] * 60 + clock[1]) * 60 + clock[2]) * 1_000_000 + clock[3]
    return np.where(well & same & real, (days * DAY + micro) / DAY, np.nan)


def _pattern(form: str) -> re.Pattern[str]:
    parts = PARTS | {name: date_forms.pattern(name) for name in NAMES}
    parts |= TIGHT if form.startswith("%Y%m") else {}
    text = re.sub(r"%\w", lambda found: parts[found[0]], form.replace(".", r"\."))
    return re.compile(text, re.ASCII | re.IGNORECASE)


def _one(match: re.Match[str]) -> float:
    """One date, whose parts may have fewer digits than usual."""
    found = match.groupdict()
    named = {f"%{name}": found.pop(name) for name in ("b", "B") if name in found}
    parts: dict[str, Any] = {"%Y": 1970, "%m": 1, "%d": 1} | {
        f"%{name}": int(text) for name, text in found.items()
    }
    for part, name in named.items():
        parts["%m"] = date_forms.month(part, name)
    if "f" in found:
        parts["%f"] = int(found["f"].ljust(6, "0"))
    return float(_assembled(parts, np.array([True]))[0])


def time_of_day(days: np.ndarray) -> list[dt.time]:
    """Fractions of a day (N,) as times."""
    return [time.time() for time in from_days(days % 1).astype(object).tolist()]
