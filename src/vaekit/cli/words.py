"""Converts what people type into values, and values into text."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data.modality import Modality


def is_number(word: str) -> bool:
    """Whether `word` is an index into the run's own data, and not the name of a file."""
    return word.isascii() and word.isdigit()


def at_least(option: str, value: int | None, least: int) -> None:
    """Raise a VaekitError if `value` is below `least`. None means that it was not given."""
    if value is not None and value < least:
        raise VaekitError(f"{option} {value}: expected at least {least}")


def listed(option: str, words: str, known: tuple[str, ...]) -> list[str]:
    """Split `words` at commas. Raises a VaekitError for an unknown word, or if there is none."""
    found = [word.strip() for word in words.split(",") if word.strip()]
    for word in found:
        if word not in known:
            raise VaekitError(f"{option} {word}: expected some of {', '.join(known)}")
    if not found:
        raise VaekitError(f"{option}: is empty; expected some of {', '.join(known)}")
    return found


def minutes(text: str) -> float:
    """Minutes from "7", "7m", "90s" or "1h30m". Raises VaekitError."""
    match = re.fullmatch(
        r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?|([\d.]+)", text.strip().lower()
    )
    try:
        hours, whole, seconds, plain = (float(part or 0) for part in match.groups())  # type: ignore[union-attr]
        found = 60 * hours + whole + plain + seconds / 60
    except (AttributeError, ValueError):
        found = 0.0
    if not found > 0:
        raise VaekitError(
            f"'{text}': expected a length of time above 0, such as 10 (minutes), 90s or 1h30m"
        )
    return found


def span(seconds: float) -> str:
    """A length of time as text: 42 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """A length of time as a clock shows it: 0:42, 12:05, 3:30:00."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return (
        f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    )


def quoted(path: str | Path) -> str:
    """A path, quoted for a shell."""
    return shlex.quote(str(path))


def onward(run: str | Path, kind: Modality) -> list[str]:
    """Commands that can be used on a trained run."""
    verbs = [verb.format(quoted(run)) for verb in kind.output.next]
    return [f"vaekit {verb}" for verb in [*verbs, f"evaluate {quoted(run)}"]]


def leading() -> bool:
    """Whether this process prints for all of them: under torchrun and similar launchers, only rank 0 does."""
    environment = os.environ
    if "RANK" in environment:
        return environment["RANK"] == "0"
    return environment.get("LOCAL_RANK", "0") == "0" and environment.get("NODE_RANK", "0") == "0"
