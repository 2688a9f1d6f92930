"""Words such as `vq:512` or `categorical:20x10`, read in one place: a name, and the numbers after the colon."""

from __future__ import annotations

from collections.abc import Mapping

from vaekit.config import nearest
from vaekit.errors import VaekitError, require_number

MOST = 65_536
"""No word asks for more of anything: components, codes, draws."""


def choose(kind: str, word: str, known: Mapping[str, str]) -> tuple[str, str]:
    """The name and what follows its colon; `known` has an example for every name, with a colon where numbers belong."""
    name, colon, argument = word.partition(":")
    if name not in known or (colon and ":" not in known[name]):
        raise VaekitError(f"there is no {kind} '{word}'{nearest(name, known)}")
    require_number(kind, word, known[name])
    return name, argument


def whole(kind: str, word: str, least: int = 1, most: int = MOST) -> int:
    """The one whole number of `word`."""
    return wholes(kind, word, "", 1, least, most)[0]


def wholes(
    kind: str, word: str, separator: str, count: int | None, least: int = 1, most: int = MOST
) -> tuple[int, ...]:
    """The whole numbers after the colon of `word`, `count` of them (any number where None)."""
    text = word.partition(":")[2]
    parts = [part.strip() for part in (text.split(separator) if separator else [text])]
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit()]
    if (
        len(numbers) != len(parts)
        or (count and len(numbers) != count)
        or not all(n >= least for n in numbers)
    ):
        raise VaekitError(
            f"{kind} '{word}': expected {_wanted(separator, count)} of at least {least} after the colon"
        )
    for number in numbers:
        bounded(kind, number, word, most)
    return tuple(numbers)


def bounded(kind: str, number: int, word: str = "", most: int = MOST) -> int:
    """The number, of `word`, if it is no more than `most`."""
    if number > most:
        raise VaekitError(
            f"{kind} '{word or number}': {number:,} is more than the {most:,} that can be had"
        )
    return number


def positive(kind: str, word: str, text: str) -> float:
    """A positive number, in `text`, of `word`."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise VaekitError(f"{kind} '{word}': expected a positive number after the colon")
    return value


def _number(text: str) -> float:
    """The number in `text`, NaN where there is none: no bound holds of it."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _wanted(separator: str, count: int | None) -> str:
    if count == 1:
        return "a whole number"
    return f"{count or 'some'} whole numbers with '{separator}' between them, each"


def fraction(kind: str, word: str, text: str) -> float:
    """A number between 0 and 1, in `text`, of `word`."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise VaekitError(f"{kind} '{word}': expected a number between 0 and 1, got '{text}'")
    return value
