"""Convert raw values back to columns with the types of the source, such as words and dates."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vaekit.data.tables.read import dates
from vaekit.data.tables.rules.constraints import compute, from_context
from vaekit.data.tables.schema import OTHER, Column, LeftOut, TableSchema
from vaekit.errors import VaekitError

Columns = dict[str, np.ma.MaskedArray]
"""Columns (N,) by name, masked where a cell is missing: numbers, bool, datetime64, or objects (str, datetime.time)."""

NUMERIC = re.compile(r"U?Int\d+|Float\d+")


def decode(
    raw: Tensor,
    schema: TableSchema,
    context: Tensor | None = None,
    labels: Tensor | None = None,
    computed: Tensor | None = None,
) -> Columns:
    """Rows (N, C) of raw values as the columns of a table, in the order of the source.

    Columns that were left out are restored if their cells are known without the model: constants,
    duplicates of another column, columns without values, and columns that constraints compute. If
    `computed` (N, K) is given, its cells are used instead of computing them. `context` (N, F)
    restores the columns of the conditions, `labels` (N,) the target. Ids, texts and the column of
    splits are not restored. Raises VaekitError if the shapes do not fit.
    """
    if raw.ndim != 2 or raw.shape[1] != schema.dims:
        raise VaekitError(f"expected rows of shape (N, {schema.dims}), got {tuple(raw.shape)}")
    values = {
        c.name: v
        for c, v in zip(schema.columns, raw.detach().cpu().double().numpy().T, strict=True)
    }
    known = {column.name: column_of(values[column.name], column) for column in schema.columns}
    if context is not None:
        for column, told in given_values(context, schema).items():
            known[column] = told
    cells = compute(raw.detach().cpu().double(), schema, context) if computed is None else computed
    for name, numbers in zip(schema.computed, cells.numpy().T, strict=True):
        known[name] = column_of(numbers, schema.column(name))
    for left in schema.left_out:
        if (found := _left(left, values, len(raw), labels)) is not None:
            known[left.name] = found
    return {name: known[name] for name in schema.order or known if name in known}


def given_values(context: Tensor, schema: TableSchema) -> Columns:
    """The columns that a context (N, F) was made from."""
    rows = context.detach().cpu().double().numpy()
    pairs = zip(schema.given, schema.conditions, strict=True)
    return {
        column.name: column_of(from_context(rows[:, i], field), column)
        for i, (column, field) in enumerate(pairs)
    }


def column_of(values: np.ndarray, column: Column) -> np.ma.MaskedArray:
    """Raw values (N,), NaN where missing, as cells of the column's dtype."""
    missing = np.isnan(values)
    present = values[~missing]
    cells = _classes(present, column) if column.discrete else _measured(present, column)
    whole = np.zeros(len(values), cells.dtype)
    whole[~missing] = cells
    return np.ma.MaskedArray(whole, mask=missing)


def _left(
    left: LeftOut, values: dict[str, np.ndarray], rows: int, labels: Tensor | None
) -> np.ma.MaskedArray | None:
    if left.column is None or left.reason == "computed":
        return None
    if left.reason == "target":
        return None if labels is None else column_of(_labelled(labels), left.column)
    if left.reason == "duplicate":
        return column_of(values[left.of], left.column) if left.of in values else None
    return column_of(np.full(rows, np.nan if left.value is None else left.value), left.column)


def _labelled(labels: Tensor) -> np.ndarray:
    numbers = labels.detach().cpu().numpy()
    return np.where(numbers < 0, np.nan, numbers.astype(float))


def _classes(present: np.ndarray, column: Column) -> np.ndarray:
    """Class numbers (N,) as the words of the classes, or as the values that these stand for."""
    words, unknown = column.words, column.other and bool((present == column.size - 1).any())
    places = present.round().clip(0, max(0, len(words) - 1)).astype(np.int64)
    if column.dtype == "Boolean":
        return np.array([name.lower() == "true" for name in column.classes])[places]
    if not unknown and column.dtype.startswith(("Int", "UInt", "Float", "Date", "Time")):
        numbers = np.array([np.nan if name == OTHER else float(name) for name in words])[places]
        timed = column.dtype.startswith(("Date", "Time"))
        return _dates(numbers, column.dtype) if timed else _typed(numbers, column.dtype)
    if column.dtype == "Object" and set(column.classes) <= {"True", "False"}:
        return np.array([name == "True" for name in column.classes], object)[places]
    return np.array(column.written or words, object)[places]


def _measured(present: np.ndarray, column: Column) -> np.ndarray:
    if column.kind == "date":
        return (
            _objects(dates.write(present, column.format))
            if column.format
            else _dates(present, column.dtype)
        )
    if column.dtype in ("String", "Categorical", "Object", "Enum"):
        return _objects([_written(value, column.decimals) for value in present.tolist()])
    return present >= 0.5 if column.dtype == "Boolean" else _typed(present, column.dtype)


def _written(value: float, decimals: int | None) -> str:
    return repr(value) if decimals is None else f"{value:.{decimals}f}"


def _typed(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers in the named type, clipped to its range; float64 if numpy has no such type."""
    if not NUMERIC.fullmatch(dtype) or dtype.endswith("128"):
        return values
    kind = np.dtype(dtype.lower())
    if kind.kind == "f":
        return values.astype(kind)
    bounds = np.iinfo(kind)
    low, high = float(bounds.min), float(bounds.max)
    inside = np.rint(values).clip(low, np.nextafter(high, 0) if kind.itemsize == 8 else high)
    return inside.astype(kind)


def _dates(days: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "Time":
        return _objects(dates.time_of_day(days))
    return dates.from_days(days).astype("datetime64[D]" if dtype == "Date" else "datetime64[us]")


def _objects(values: Sequence[object]) -> np.ndarray:
    cells = np.empty(len(values), object)
    cells[:] = values
    return cells
