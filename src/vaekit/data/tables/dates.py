"""Dates as they are written, to days since 1970-01-01 and back, the same on every machine and in every language."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

import numpy as np

DAY = 86_400_000_000
"""Microseconds in a day."""

DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y")
TIMES = ("%H:%M:%S.%f", "%H:%M:%S", "%H:%M")
FORMATS = (
    *DATES,
    *(f"{date}{gap}{time}{zone}" for date in DATES for gap in ("T", " ") for time in TIMES for zone in ("", "Z")),
    *("%Y%m%dT%H%M%S", *TIMES),
)
"""Every way of writing that is known, in the order in which they are tried."""

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
"""Where digits follow each other without a gap."""

STEPS = {"%f": 1, "%S": 1_000_000, "%M": 60_000_000}
"""The resolution of a way of writing, in microseconds, by its smallest part; a day where it has no time."""


BEGINS = re.compile(r"\d{1,4}[-/.:]\d|\d{8}T")


def may_be(word: str) -> bool:
    """Whether a word begins as a date or a time does."""
    return BEGINS.match(word) is not None


def guess(words: Sequence[str]) -> str:
    """The first known way of writing that all of `words` follow, or ""."""
    some = words[:: max(1, len(words) // 50)]
    for form in FORMATS:
        if words and not np.isnan(parse(some, form)).any() and not np.isnan(parse(words, form)).any():
            return form
    return ""


def is_ambiguous(words: Sequence[str], form: str) -> bool:
    """Whether day and month could change places in all of `words`."""
    if not form.startswith(("%m/%d/", "%m-%d-", "%d-%m-")):
        return False
    day, month = form[1], form[4]
    swapped = f"%{month}{form[2]}%{day}{form[5:]}"
    return not np.isnan(parse(words, swapped)).any()


def step(form: str) -> float:
    """The resolution of a way of writing, in days."""
    return next((micro for part, micro in STEPS.items() if part in form), DAY) / DAY


def parse(words: Sequence[str], form: str) -> np.ndarray:
    """Days since 1970-01-01, float64 (N,), exact to the microsecond; NaN for what is not written so."""
    pattern = _pattern(form)
    matches = [pattern.fullmatch(word) for word in words]
    try:
        return _days(np.array([_iso(match) for match in matches], "datetime64[us]"))
    except ValueError:  # some day of some month is none
        return np.array([_one(match) for match in matches])


def write(days: np.ndarray, form: str) -> list[str]:
    """Days since 1970-01-01 (N,) as they are written; they lie in the years 1 to 9999 or are brought there."""
    plain = form.replace("%Y", "{0.year:04d}")
    times = from_days(days).astype(object).tolist()
    if plain == form:  # a time of day
        return [time.strftime(form) for time in times]
    return [time.strftime(plain.format(time)) for time in times]


def from_days(days: np.ndarray) -> np.ndarray:
    """Days since 1970-01-01 (N,), none missing, as datetime64[us] in the years 1 to 9999."""
    micro = np.rint(np.clip(days, -719_162, 2_932_896.999) * DAY)
    return micro.astype(np.int64).astype("datetime64[us]")


def _days(times: np.ndarray) -> np.ndarray:
    return np.where(np.isnat(times), np.nan, times.astype(np.int64) / DAY)


def _pattern(form: str) -> re.Pattern[str]:
    parts = PARTS | (TIGHT if form.startswith("%Y%m") else {})
    return re.compile(re.sub(r"%\w", lambda found: parts[found[0]], form.replace(".", r"\.")), re.ASCII)


def _iso(match: re.Match[str] | None) -> str:
    if match is None:
        return "NaT"
    found = match.groupdict()
    date = f"{found.get('Y', '1970')}-{found.get('m', '01'):0>2}-{found.get('d', '01'):0>2}"
    return f"{date}T{found.get('H', '0'):0>2}:{found.get('M', '00')}:{found.get('S', '00')}.{found.get('f', '0'):0<6}"


def _one(match: re.Match[str] | None) -> float:
    try:
        return float(_days(np.array([_iso(match)], "datetime64[us]"))[0])
    except ValueError:
        return np.nan


def time_of_day(days: np.ndarray) -> list[dt.time]:
    """Fractions of a day (N,) as times."""
    return [time.time() for time in from_days(days % 1).astype(object).tolist()]
