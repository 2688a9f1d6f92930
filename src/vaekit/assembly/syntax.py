"""Parses words such as `vq:512` or `categorical:20x10`: a name, and numbers after the colon."""

from __future__ import annotations

from collections.abc import Mapping

from vaekit.config import nearest
from vaekit.errors import VaekitError, require_number

MOST = 65_536
"""The default limit of a number in a word (of components, codes or draws)."""


def choose(kind: str, word: str, known: Mapping[str, str]) -> tuple[str, str]:
    """The name in `word` and the text after the colon. `known` has an example for every name; the
    example has a colon if the name can have numbers."""
    name, colon, argument = word.partition(":")
    if name not in known or (colon and ":" not in known[name]):
        raise VaekitError(f"there is no {kind} '{word}'{nearest(name, known)}")
    require_number(kind, word, known[name])
    return name, argument


def whole(kind: str, word: str, least: int = 1, most: int = MOST) -> int:
    """The whole number after the colon of `word`."""
    return wholes(kind, word, "", 1, least, most)[0]


def wholes(
    kind: str, word: str, separator: str, count: int | None, least: int = 1, most: int = MOST
) -> tuple[int, ...]:
    """The whole numbers after the colon of `word`; there must be `count` of them, or any number if
    it is None."""
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
    """`number`, which comes from `word`; raises VaekitError if it is more than `most`."""
    if number > most:
        raise VaekitError(
            f"{kind} '{word or number}': {number:,} is more than the {most:,} that are possible"
        )
    return number


def positive(kind: str, word: str, text: str) -> float:
    """The positive number in `text`, a part of `word`."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise VaekitError(f"{kind} '{word}': expected a positive number after the colon")
    return value


def _number(text: str) -> float:
    """The number in `text`; NaN if it is not a number, which fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _wanted(separator: str, count: int | None) -> str:
    if count == 1:
        return "a whole number"
    return f"{count or 'some'} whole numbers with '{separator}' between them, each"


def fraction(kind: str, word: str, text: str) -> float:
    """The number between 0 and 1 in `text`, a part of `word`."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise VaekitError(f"{kind} '{word}': expected a number between 0 and 1, got '{text}'")
    return value
