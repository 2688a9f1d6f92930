"""Parse what a caller asks of new rows: values and ranges of columns, as text or Python values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config import nearest
from vaekit.data.tables.columns.encode import read_column
from vaekit.data.tables.columns.units import from_tensor, to_tensor
from vaekit.data.tables.read import date_forms, dates
from vaekit.data.tables.read.frames import Array
from vaekit.data.tables.rules import constraints
from vaekit.data.tables.schema import OTHER, Column, TableSchema
from vaekit.errors import VaekitError


@dataclass(frozen=True)
class Asked:
    """What rows should be.

    `raw` is a row (C,) of raw values, NaN where any value is allowed. `ranges` are the ranges of
    columns in raw values, ends included. `known` is `raw` in model units.
    """

    raw: Tensor
    known: Tensor
    ranges: Mapping[str, tuple[float, float]]

    def kept(self, raw: Tensor, schema: TableSchema) -> Tensor:
        """New raw rows (N, C) with the rare words that were asked for."""
        sizes = torch.tensor([column.size or torch.inf for column in schema.columns])
        return torch.where(self.raw >= sizes, self.raw, raw)

    def met(self, x: Tensor, schema: TableSchema, context: Tensor | None) -> Tensor:
        """Which rows x (N, C) are in the ranges and obey the schema's constraints, bool (N,)."""
        raw = from_tensor(x.cpu(), schema, clip=True)
        told = None if context is None else context.expand(len(raw), -1)
        well = constraints.obeyed(raw, schema, told)
        values = constraints.observed(list(self.ranges), raw.numpy(), schema, told)
        for name, (low, high) in self.ranges.items():
            well &= (values[name] >= low) & (values[name] <= high)
        return torch.from_numpy(well).to(x.device)


def asked(words: Mapping[str, Any], schema: TableSchema) -> Asked:
    """Parse the value or range for each column; ranges are (30, 40), "30..40" or "> 60".

    Raises VaekitError.
    """
    if not isinstance(words, Mapping):
        raise VaekitError(
            f"where={words!r}: expected a value or range by column, such as {{'age': (30, 40)}}"
        )
    row = torch.full((schema.dims,), math.nan, dtype=torch.float64)
    ranges: dict[str, tuple[float, float]] = {}
    for name, value in words.items():
        column = _column(name, schema)
        if (ends := _ends(column, value)) is not None:
            ranges[name] = _in_reach(column, ends, value)
        elif name in schema.computed:
            found = _value(column, value)
            ranges[name] = found, found
        else:
            row[schema.names.index(name)] = _value(column, value)
    return Asked(row, to_tensor(row, schema), ranges)


def _column(name: str, schema: TableSchema) -> Column:
    if name in schema.names or name in schema.computed:
        return schema.column(name)
    left = next(
        (f": it is left out ({left.why})" for left in schema.left_out if left.name == name), ""
    )
    hint = left or nearest(str(name), [*schema.names, *schema.computed])
    raise VaekitError(f"where {name}: the model has no such column{hint}")


def _value(column: Column, value: Any) -> float:
    """The raw value that is asked for. Raises VaekitError if it is outside what training saw."""
    found = _read(column, value)
    if math.isnan(found):
        hint = nearest(str(value), list(column.classes)) if column.discrete else ""
        raise VaekitError(f"where {_said(column, value)}: training did not see this value{hint}")
    if not column.discrete and not column.low <= found <= column.high:
        raise VaekitError(
            f"where {_said(column, value)}: is outside the range seen in training, {_seen(column)}"
        )
    return found


def _read(column: Column, value: Any, whole: Any = None) -> float:
    """A value as a raw value of the column, NaN if it has no such class.

    Dates may also be written as 2023-12-31. `whole` is the range that the value is an end of, for
    messages.
    """
    said = _said(column, value if whole is None else whole)
    if column.kind == "date" and not isinstance(value, float):
        known = (
            dates.parse([str(value).strip()], form)[0]
            for form in (column.format, *dates.ISO)
            if form
        )
        found = next((float(day) for day in known if not math.isnan(day)), math.nan)
        if math.isnan(found):
            raise VaekitError(
                f"where {said}: '{value}' is not a date; write it like {_dated(column)}"
            )
        return found
    cells = Array({column.name: np.array([value])}, 1, "where").cells(column.name)
    if not column.discrete and len(cells.numbers.odd):
        raise VaekitError(
            f"where {said}: '{value}' is not a number; expected one, such as {column.low:g}"
        )
    unseen = math.nan if column.rare and str(value) != OTHER else None
    return float(read_column(cells, column, unseen)[0][0])


OPERATOR = re.compile(r"\s*(>=|<=|>|<)\s*(.*)")


def _ends(column: Column, value: Any) -> tuple[float, float] | None:
    """The ends (included) of the range that is asked for; None if it is a single value.

    A word that is a class is never read as a range.
    """
    if isinstance(value, (tuple, list)):
        if _is_of_words(column) and value:
            raise VaekitError(
                f"where {_said(column, value)}: one class can be asked for at a time, such as '{value[0]}', and a "
                f"range is for numbers and dates, but this is a {column.kind} ({column.why})"
            )
        if len(value) != 2:
            raise VaekitError(
                f"where {_said(column, value)}: expected two ends, such as (30, 40) or (30, None)"
            )
        low, high = value
    elif not isinstance(value, str) or value in column.classes:
        return None
    elif match := OPERATOR.fullmatch(value):
        sign, end = match[1], _end(column, match[2], value, 0.0)
        low_end = end if sign == ">=" else np.nextafter(end, np.inf) if sign == ">" else -np.inf
        high_end = end if sign == "<=" else np.nextafter(end, -np.inf) if sign == "<" else np.inf
        return float(low_end), float(high_end)
    elif ".." in value:
        low, high = value.split("..", 1)
    else:
        return None
    return _end(column, low, value, -np.inf), _end(column, high, value, np.inf)


def _end(column: Column, end: Any, value: Any, without: float) -> float:
    """One end of a range as a raw number; `without` if none is given (0: an end is required)."""
    if _is_of_words(column):
        raise VaekitError(
            f"where {_said(column, value)}: a range is for numbers and dates, but this is a {column.kind} "
            f"({column.why}); ask for one of its classes"
        )
    if (end is None or str(end).strip() == "") and without:
        return without
    plain = Column(name=column.name, kind="number") if column.discrete else column
    found = _read(plain, end, value)
    if math.isnan(found):
        raise VaekitError(
            f"where {_said(column, value)}: expected a number, such as {column.name}>=30"
        )
    return found


def _is_of_words(column: Column) -> bool:
    """Whether the column's classes are not numbers; a boolean's never are."""
    return column.discrete and (column.kind == "boolean" or constraints.numbers_of(column) is None)


def _in_reach(column: Column, ends: tuple[float, float], value: Any) -> tuple[float, float]:
    """The ends unchanged. Raises VaekitError if training saw no value between them."""
    low, high = ends
    if low > high:
        raise VaekitError(
            f"where {_said(column, value)}: the range is empty, since its first end is above its second"
        )
    numbers = (
        constraints.numbers_of(column) if column.discrete else np.array([column.low, column.high])
    )
    assert numbers is not None
    if low > numbers.max() or high < numbers.min():
        raise VaekitError(
            f"where {_said(column, value)}: is outside the range seen in training, {_seen(column)}"
        )
    return ends


def _said(column: Column, value: Any) -> str:
    """The request in words: "age=30", "age>60"."""
    return f"{column.name}{'' if str(value).strip()[:1] in ('<', '>') else '='}{value}"


def _dated(column: Column) -> str:
    """How to write the column's dates: "01.06.2023 (day.month.year), or as 2023-12-31"."""
    form = date_forms.plain(column.format) or ("%H:%M:%S" if column.dtype == "Time" else "%Y-%m-%d")
    for part, word in SPELT.items():
        form = form.replace(part, word)
    also = "" if column.format in ("", *dates.ISO) else ", or as 2023-12-31"
    return f"{constraints.in_words(column.low, column)} ({form}){also}"


SPELT = {
    "%Y": "year",
    "%m": "month",
    "%d": "day",
    "%H": "hour",
    "%M": "minute",
    "%S": "second",
    ".%f": "",
    "%b": "Jan",
    "%B": "January",
    "%a": "Sat",
    "%A": "Saturday",
}


def _seen(column: Column) -> str:
    if column.discrete:
        return f"{column.classes[0]} to {column.classes[-1]}"
    return (
        f"{constraints.in_words(column.low, column)} to {constraints.in_words(column.high, column)}"
    )
