"""What people type, as values."""

from __future__ import annotations

from vaekit.errors import VaekitError


def sides(word: str | None) -> int | tuple[int, int] | None:
    """`64` as a side, `64x48` as (height, width)."""
    if word is None:
        return None
    numbers = word.lower().split("x")
    if len(numbers) > 2 or not all(n.isascii() and n.isdigit() for n in numbers):
        raise VaekitError(f"--resize {word}: expected a side such as 64, or height and width such as 64x48")
    return int(numbers[0]) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


def is_number(word: str) -> bool:
    """Whether it counts an image of the run's own (and is no file's name)."""
    return word.isascii() and word.isdigit()


def at_least(option: str, value: int | None, least: int) -> None:
    """Refuse a value below `least`; None is a value that was not given."""
    if value is not None and value < least:
        raise VaekitError(f"{option} {value}: expected at least {least}")
