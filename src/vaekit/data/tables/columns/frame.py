"""Convert columns to a frame of the source's kind: pandas, Polars, Arrow or numpy."""

from __future__ import annotations

import re
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from vaekit.data.tables.columns.decode import Columns
from vaekit.data.tables.read import frames
from vaekit.data.tables.schema import Column, TableSchema

ZONED = re.compile(r"Datetime\(time_unit='(\w+)', time_zone=(?:None|'([^']*)')\)")


def as_frame(columns: Columns, schema: TableSchema, backend: Any = "polars") -> Any:
    """Columns from `decode` as a frame of the kind `backend`, with the dtypes of the schema.

    `backend` is "pandas", "polars", "pyarrow", "numpy" (an array (N, C): float64 with NaN, or
    objects with None if some column is not numeric), "records" (a structured array) or "file",
    which gives a Polars frame. Raises VaekitError.
    """
    if backend == "numpy":
        return _array(columns)
    if backend == "records":
        return _records(columns)
    if backend in ("file", "polars"):
        frames.polars()
        backend = "polars"
    known = {column.name: column for column in (*schema.columns, *schema.given)}
    known |= {left.name: left.column for left in schema.left_out if left.column is not None}
    series = {
        name: _series(name, cells, known.get(name), backend) for name, cells in columns.items()
    }
    return nw.from_dict(
        series
    ).to_native()  # from series: with `backend` given, from_dict would lose their types


def _series(
    name: str, cells: np.ma.MaskedArray, column: Column | None, backend: Any
) -> nw.Series[Any]:
    dtype = column.dtype if column is not None else "String"
    missing = np.ma.getmaskarray(cells)
    if cells.dtype.kind in "iub":
        return _whole(name, cells, missing, backend)
    if cells.dtype.kind == "f":
        return _floats(name, cells, missing, backend)
    if cells.dtype.kind == "M":
        return _dates(name, cells, dtype, backend)
    kind: Any = (
        nw.Time
        if dtype == "Time"
        else None
        if dtype == "Object" and backend == "pandas"
        else nw.String
    )
    found = nw.new_series(name, cells.tolist(), kind, backend=backend)
    if dtype == "Enum" and backend == "polars" and column is not None and column.classes:
        return found.cast(nw.Enum(column.written or column.words))
    return found.cast(nw.Categorical) if dtype in ("Categorical", "Enum") else found


def _whole(
    name: str, cells: np.ma.MaskedArray, missing: np.ndarray, backend: Any
) -> nw.Series[Any]:
    """Whole numbers and booleans; pandas has special types for them if cells are missing."""
    kind: Any = nw.Boolean if cells.dtype.kind == "b" else getattr(nw, _named(cells.dtype))
    if not missing.any():
        return nw.new_series(name, np.ma.getdata(cells), kind, backend=backend)
    if backend != "pandas":
        return nw.new_series(name, cells.tolist(), kind, backend=backend)
    import pandas as pd

    dtype = "boolean" if cells.dtype.kind == "b" else _named(cells.dtype)
    return nw.from_native(pd.Series(cells.tolist(), name=name, dtype=dtype), series_only=True)


def _named(dtype: np.dtype[Any]) -> str:
    return (
        dtype.name.replace("u", "U", 1).replace("i", "I", 1)
        if dtype.kind == "i"
        else f"UInt{dtype.itemsize * 8}"
    )


def _floats(
    name: str, cells: np.ma.MaskedArray, missing: np.ndarray, backend: Any
) -> nw.Series[Any]:
    kind: Any = nw.Float32 if cells.dtype.itemsize == 4 else nw.Float64
    if backend == "pandas":
        return nw.new_series(name, np.ma.filled(cells, np.nan), kind, backend=backend)
    values = cells.tolist() if missing.any() else np.ma.getdata(cells)
    return nw.new_series(name, values, kind, backend=backend)


def _dates(name: str, cells: np.ma.MaskedArray, dtype: str, backend: Any) -> nw.Series[Any]:
    values: Any = np.ma.filled(cells, np.datetime64("NaT"))
    if dtype == "Date":
        return nw.new_series(name, values, nw.Date, backend=backend)
    found = nw.new_series(name, values, nw.Datetime("us"), backend=backend)
    match = ZONED.fullmatch(dtype)
    if match is None:
        return found
    unit: Any = match[1]
    if match[2]:
        found = found.dt.replace_time_zone("UTC").dt.convert_time_zone(match[2])
    return found.cast(nw.Datetime(unit, match[2] or None))


def _array(columns: Columns) -> np.ndarray:
    numeric = all(cells.dtype.kind in "iubf" for cells in columns.values())
    if numeric:
        return np.stack(
            [np.ma.filled(cells.astype(float), np.nan) for cells in columns.values()], axis=1
        )
    rows = len(next(iter(columns.values())))
    table = np.empty((rows, len(columns)), object)
    for i, cells in enumerate(columns.values()):
        table[:, i] = cells.tolist()
    return table


def _records(columns: Columns) -> np.ndarray:
    arrays = {
        name: np.ma.filled(cells, np.nan) if cells.dtype.kind == "f" else cells
        for name, cells in columns.items()
    }
    arrays |= {
        name: np.array(cells.tolist(), object)
        for name, cells in arrays.items()
        if np.ma.getmaskarray(cells).any()
    }
    table = np.empty(
        len(next(iter(arrays.values()))), [(name, cells.dtype) for name, cells in arrays.items()]
    )
    for name, cells in arrays.items():
        table[name] = cells
    return table
