"""How dates are written beyond digits of a fixed number: names of months and days, and single digits.

Formats are those of `strptime`, with the flags of glibc: `%-d` writes 7 and not 07, `%^b` writes JAN, and `%3f` three
digits of a second. Names are English; dates in other languages are words.
"""

from __future__ import annotations

import re
from itertools import product

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

SHORT = {"%b": [name[:3] for name in MONTHS], "%a": [name[:3] for name in DAYS]}
NAMES: dict[str, list[str]] = SHORT | {"%B": list(MONTHS), "%A": list(DAYS)}
"""The names of months, from January, and of days, from Monday: short and whole."""

NAMED = (
    *("%b %d %Y", "%B %d %Y", "%b %d, %Y", "%B %d, %Y", "%b. %d, %Y"),
    *(
        "%d %b %Y",
        "%d %B %Y",
        "%d-%b-%Y",
        "%d/%b/%Y",
        "%d. %B %Y",
        "%d%b%Y",
        "%Y-%b-%d",
        "%Y %b %d",
    ),
    *("%a %b %d %Y", "%a, %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y"),
)
MONTHLY = ("%b %Y", "%B %Y", "%b-%Y", "%Y %b", "%Y-%b")
"""Formats of months, each the first day of its month."""

_NAME = "|".join(name[:3] for name in MONTHS)
_DAY = "|".join(name[:3] for name in DAYS)
BEGINS = re.compile(
    rf"((?:{_DAY})[a-z]*,? )?((?:{_NAME})[a-z]*[. -]|\d{{1,2}}[. /-]{{0,2}}(?:{_NAME})|\d{{4}}[ -](?:{_NAME}))",
    re.IGNORECASE,
)
"""How words begin that may be dates with names."""

PART = re.compile(r"%[-^]?\d?[A-Za-z]|[^%]+")
"""One part of a format."""


def plain(form: str) -> str:
    """The format without flags and blanks around it, with which all of its variants are read."""
    return re.sub(r"%(?:[-^]|\d)(?=[A-Za-z])", "%", form).strip()


def pattern(part: str) -> str:
    """The regular expression of a name."""
    return (
        f"(?:{'|'.join(NAMES[part])})"
        if part in "%a%A"
        else f"(?P<{part[1]}>{'|'.join(NAMES[part])})"
    )


def month(part: str, name: str) -> int:
    """The number of the month of that name, from 1."""
    return [known.lower() for known in NAMES[part]].index(name.lower()) + 1


def variants(form: str) -> list[str]:
    """The format with each choice of flags, the plain one first."""
    flags: dict[str, tuple[str, ...]] = {
        part: (part, f"%-{part[1]}") for part in ("%d", "%m", "%H")
    }
    flags |= {part: (part, f"%^{part[1]}") for part in NAMES}
    flags |= {"%f": ("%f", "%3f", "%1f", "%2f", "%4f", "%5f")}
    return ["".join(parts) for parts in product(*(flags.get(p, (p,)) for p in PART.findall(form)))]


def piece(part: str, fields: dict[str, str]) -> str:
    """One part of a written date, from its digits and names `fields` by plain part."""
    if not part.startswith("%"):
        return part
    text = fields[plain(part)]
    flag = part[1]
    if flag.isdigit():
        return text[: int(flag)]
    return (text.lstrip("0") or "0") if flag == "-" else text.upper() if flag == "^" else text
