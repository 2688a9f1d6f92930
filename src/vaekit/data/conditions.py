"""Conditions: facts about a datum that are given to the model (class, age, attributes), as columns of numbers.

A schema's `conditions` are the fields; `encode` turns columns of values into rows for the model: float32 (N, F), NaN
where a value is unknown. A category takes one column (the class's number), a number takes one (standardised), and
flags take one each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from vaekit.config import nearest
from vaekit.errors import VaekitError

MISSING = ("", "?", "na", "n/a", "nan", "none", "null", "unknown")
"""Words that mean a missing value, in upper or lower case."""

FEW = 20
"""A column of whole numbers is a category if it has at most 20 different values, else a number."""

MOST = 10_000
"""The largest number of classes of a category."""

FAR = 20.0
"""The largest distance from the mean that can be asked for, in standard deviations."""

YES, NO = ("1", "1.0", "yes", "true", "on"), ("0", "0.0", "-1", "-1.0", "no", "false", "off")


class Condition(BaseModel, frozen=True, extra="forbid"):
    """One field: a category with its classes, a number with its mean and scale, or flags with their names."""

    name: str
    kind: Literal["category", "number", "flags"]
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = Field(1.0, gt=0)

    @property
    def width(self) -> int:
        """The number of columns that it takes in the context."""
        return len(self.classes) if self.kind == "flags" else 1


def learn(name: str, values: np.ndarray, names: Sequence[str] = (), kind: str = "") -> Condition:
    """The field for a column (N,) of words or numbers, or for a table (N, K) of flags. Raises VaekitError.

    `names` are the names of the classes 0..K-1, or of the flags; `kind` overrides the kind that the values suggest.
    """
    if not 1 <= values.ndim <= 2:
        raise VaekitError(
            f"condition '{name}' has values of shape {values.shape[1:]} each; expected one value or a row of flags"
        )
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        return _flags(name, values, names)
    asked = bool(kind)
    kind = kind or _suggested(values, names)
    if (
        kind == "category"
        and not asked
        and not names
        and 2 < len(np.unique(values)) == len(values) <= MOST
    ):
        raise VaekitError(
            f"condition '{name}' has {len(values):,} values, all different; choose one with values that repeat"
        )
    if kind == "number":
        return _number(name, values)
    if kind != "category":
        raise VaekitError(f"condition {name}:{kind}: expected {name}:category or {name}:number")
    return Condition(name=name, kind="category", classes=tuple(names) or _classes(name, values))


def encode(values: Mapping[str, np.ndarray], conditions: Sequence[Condition], n: int) -> Tensor:
    """Rows (n, F) of the fields' columns; NaN where a value is missing or a class is unknown."""
    columns = [
        _column(field, values[field.name]) if field.name in values else _blank(field, n)
        for field in conditions
    ]
    return torch.cat(columns, dim=1)


def blank(conditions: Sequence[Condition], n: int) -> Tensor:
    """Rows (n, F) with no known value: NaN everywhere."""
    return torch.full((n, sum(field.width for field in conditions)), math.nan)


def names(conditions: Sequence[Condition]) -> list[str]:
    """The names that can be asked for: the fields and the single flags."""
    flags = [flag for field in conditions if field.kind == "flags" for flag in field.classes]
    return [field.name for field in conditions] + flags


def where(words: Mapping[str, str], conditions: Sequence[Condition]) -> Tensor:
    """One row (1, F) with the values of `words`, and NaN for all others. Raises VaekitError.

    A flag can be set by its own name (`Smiling=yes`), or several together by their field (`attr=Smiling,-Male`).
    """
    row, start = blank(conditions, 1), 0
    known = [field.name for field in conditions]
    flags = {flag: field for field in conditions if field.kind == "flags" for flag in field.classes}
    for word in words:
        if word not in known and word not in flags:
            hint = (
                nearest(word, [*known, *flags]) if known else "; it was trained without conditions"
            )
            raise VaekitError(f"the model has no condition '{word}'{hint}")
    for field in conditions:
        own = {
            flag: words[flag] for flag in field.classes if field.kind == "flags" and flag in words
        }
        if field.name in words and own:
            raise VaekitError(
                f"condition {field.name}: is set as a whole and by its flag {next(iter(own))}; set only one of them"
            )
        if field.name in words:
            row[0, start : start + field.width] = _asked(field, words[field.name])
        for flag, word in own.items():
            row[0, start + field.classes.index(flag)] = _yes_or_no(flag, word)
        start += field.width
    return row


def columns(context: Tensor, conditions: Sequence[Condition]) -> dict[str, np.ndarray]:
    """The conditions in rows (N, F) as columns (N,) by name: words ("" if unknown), numbers, flags 0 or 1."""
    found: dict[str, np.ndarray] = {}
    parts = context.double().cpu().numpy().T
    for field in conditions:
        own, parts = parts[: field.width], parts[field.width :]
        if field.kind == "flags":
            found |= dict(zip(field.classes, own, strict=True))
        elif field.kind == "number":
            found[field.name] = own[0] * field.scale + field.mean
        else:
            words = np.array([*field.classes, ""])
            found[field.name] = words[np.where(np.isnan(own[0]), -1, own[0]).astype(int)]
    return found


def check(context: Tensor, conditions: Sequence[Condition]) -> None:
    """Raise a VaekitError if rows (n, F) hold values that their fields do not allow. NaN (unknown) is allowed."""
    for column, size in zip(context.unbind(1), sizes(conditions), strict=True):
        known = column[~column.isnan()]
        if size and not ((known >= 0) & (known < size) & (known == known.round())).all():
            raise VaekitError(
                f"context: expected class numbers from 0 to {size - 1}, or NaN for unknown; use `where` to name classes"
            )
        if known.isinf().any():
            raise VaekitError("context: expected finite numbers, or NaN for unknown; got infinity")


def sizes(conditions: Sequence[Condition]) -> tuple[int, ...]:
    """The number of classes of every column of the context; 0 for a number or a flag."""
    return tuple(
        s for f in conditions for s in ([len(f.classes)] if f.kind == "category" else [0] * f.width)
    )


def describe(field: Condition) -> str:
    """ "label (10 classes)", "age (number, about 35 ± 12)", "attr (40 flags)"."""
    if field.kind == "number":
        return f"{field.name} (number, about {field.mean:.4g} ± {field.scale:.4g})"
    return (
        f"{field.name} ({len(field.classes)} {'classes' if field.kind == 'category' else 'flags'})"
    )


def is_missing(values: np.ndarray) -> np.ndarray:
    """Which entries are missing values: NaN, infinity, or a word such as "?" or "NA"."""
    if values.dtype.kind == "f":
        return ~np.isfinite(values)
    if values.dtype.kind == "U":
        return np.isin(np.char.lower(np.char.strip(values)), MISSING)
    return np.zeros(values.shape, bool)


# Fields from values


def _suggested(values: np.ndarray, names: Sequence[str]) -> str:
    if names:
        return "category"
    present = values[~is_missing(values)]
    if values.dtype.kind == "U":
        numbers = _numbers(present)
        if numbers is None:
            return "category"
        present = numbers
    if present.dtype.kind == "f" and not (present == np.round(present)).all():
        return "number"
    return "category" if len(np.unique(present)) <= FEW else "number"


def _numbers(words: np.ndarray) -> np.ndarray | None:
    try:
        return words.astype(float)
    except ValueError:
        return None


def _classes(name: str, values: np.ndarray) -> tuple[str, ...]:
    classes = np.unique(values[~is_missing(values)])
    if len(classes) < 2 or len(classes) > MOST:
        found = "only one value" if len(classes) else "no values"
        found = (
            found
            if len(classes) < 2
            else f"{len(classes):,} different values, too many for classes"
        )
        raise VaekitError(
            f"condition '{name}' has {found}; choose a column with several values that repeat"
        )
    return tuple(dict.fromkeys(_word(value) for value in classes.tolist()))


def _word(value: object) -> str:
    """A class's name: 3.0 becomes "3"."""
    return (
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    )


def _number(name: str, values: np.ndarray) -> Condition:
    numbers = _as_numbers(name, values[~is_missing(values)])
    if not len(numbers) or numbers.std() <= 1e-9 * abs(numbers.mean()):
        raise VaekitError(
            f"condition '{name}' has {'only one value' if len(numbers) else 'no values'}; choose another"
        )
    return Condition(
        name=name, kind="number", mean=float(numbers.mean()), scale=float(numbers.std())
    )


def _as_numbers(name: str, words: np.ndarray) -> np.ndarray:
    """All words as finite numbers. Raises a VaekitError that names the first one that is not a number."""
    odd = [word for word in words.tolist() if not _is_finite(word)]
    if odd:
        raise VaekitError(
            f"condition '{name}' holds '{odd[0]}', which is not a finite number: empty these or use {name}:category"
        )
    return words.astype(float)


def _is_finite(word: object) -> bool:
    try:
        return math.isfinite(float(word))  # type: ignore[arg-type]
    except ValueError:
        return False


def _flags(name: str, values: np.ndarray, names: Sequence[str]) -> Condition:
    flags = tuple(names) or tuple(f"{name}{i}" for i in range(values.shape[1]))
    _check_flags(name, values, flags)
    odd = [flag for flag in flags if flags.count(flag) > 1 or flag.startswith("-") or "," in flag]
    if odd:
        raise VaekitError(
            f"condition '{name}': a flag cannot be called '{odd[0]}'; use different names, without ',' or a leading '-'"
        )
    return Condition(name=name, kind="flags", classes=flags)


def _check_flags(name: str, values: np.ndarray, flags: Sequence[str]) -> None:
    if (
        values.dtype.kind not in "biuf"
        or not np.isin(values[~is_missing(values)], (-1, 0, 1)).all()
    ):
        raise VaekitError(
            f"condition '{name}' is a table {values.shape}: expected flags, 0 or 1 (or -1 and 1)"
        )
    if values.ndim != 2 or values.shape[1] != len(flags):
        raise VaekitError(
            f"condition '{name}' is a table {values.shape}: expected {len(flags)} columns, one for each flag"
        )


# Columns for fields


def _column(field: Condition, values: np.ndarray) -> Tensor:
    values = values[:, 0] if values.ndim == 2 and field.kind != "flags" else values
    if field.kind == "flags":
        _check_flags(field.name, values, field.classes)
    missing = is_missing(values)
    if field.kind == "category":
        return _categories(field, values, missing)
    numbers = np.full(values.shape, np.nan)
    numbers[~missing] = _as_numbers(field.name, values[~missing])
    numbers = (
        np.where(missing, np.nan, numbers > 0)
        if field.kind == "flags"
        else (numbers - field.mean) / field.scale
    )
    return torch.from_numpy(numbers.astype(np.float32).reshape(len(values), field.width))


def _categories(field: Condition, values: np.ndarray, missing: np.ndarray) -> Tensor:
    place = {name: i for i, name in enumerate(field.classes)}
    distinct, inverse = np.unique(values, return_inverse=True)
    numbers = np.array(
        [place.get(_word(value), math.nan) for value in distinct.tolist()], np.float32
    )
    return torch.from_numpy(np.where(missing, np.nan, numbers[inverse]).astype(np.float32))[:, None]


def _blank(field: Condition, n: int) -> Tensor:
    return torch.full((n, field.width), math.nan)


# Values that the user asks for


def _asked(field: Condition, word: str) -> Tensor:
    if word.lower() in MISSING:
        return _blank(field, 1)[0]
    if field.kind == "category":
        if word not in field.classes:
            known = list(field.classes)
            raise VaekitError(
                f"condition {field.name}: there is no class '{word}'{nearest(word, known)}"
            )
        return torch.tensor([float(field.classes.index(word))])
    if field.kind == "number":
        away = (_float(field.name, word) - field.mean) / field.scale
        if abs(away) > FAR:
            raise VaekitError(
                f"condition {field.name}={word}: is too far from the training data, {describe(field)}"
            )
        return torch.tensor([away])
    return _asked_flags(field, word)


def _asked_flags(field: Condition, word: str) -> Tensor:
    row = _blank(field, 1)[0]
    for flag in (part.strip() for part in word.split(",")):
        name = flag.removeprefix("-")
        if name not in field.classes:
            raise VaekitError(
                f"condition {field.name}: there is no flag '{name}'{nearest(name, list(field.classes))}"
            )
        row[field.classes.index(name)] = float(name == flag)
    return row


def _yes_or_no(flag: str, word: str) -> float:
    if word.lower() in MISSING:
        return math.nan
    if word.lower() not in (*YES, *NO):
        raise VaekitError(f"condition {flag}={word}: expected yes or no")
    return float(word.lower() in YES)


def _float(name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise VaekitError(f"condition {name}={word}: expected a number")
    return value
