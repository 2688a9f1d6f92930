"""Fill the holes of a table.

All other cells, and all columns that the model does not know, stay as they came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vaekit.data.tables.columns.decode import Columns
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.read import frames
from vaekit.data.tables.read.cells import Cells, is_missing
from vaekit.data.tables.schema import Column, TableSchema


@dataclass(frozen=True)
class FilledTable:
    """A filled table. `columns` are Polars series by name, in the frame's order, copy below copy.

    `filled` is the number of cells of the first copy that were empty and are filled. `left` is the
    number of cells that are still empty, for each column that was to be filled or that is a
    condition. `place(i)` says in words where row i (from 0) is, such as "line 3".
    """

    columns: dict[str, Any]
    filled: int
    left: dict[str, int]
    place: Callable[[int], str]


def mend(frame: frames.Frame, made: Columns, schema: TableSchema, copies: int = 1) -> FilledTable:
    """The frame's rows (N,), `copies` times, with holes replaced by cells of `made` (copies * N,).

    A hole is a cell without a value. A cell with a value that was not understood, such as a class
    that training did not see, stays as it is.
    """
    new = as_frame(made, schema, "polars")
    columns: dict[str, Any] = {}
    filled = 0
    left: dict[str, int] = {}
    place: Callable[[int], str] = str
    for name in frame.names:
        cells = frame.cells(name)
        place = cells.place
        if name not in made:
            columns[name] = _repeated(_series(cells), copies)
            continue
        empty = holes(cells, schema.column(name))
        still = int((empty & np.ma.getmaskarray(made[name])[: len(cells)]).sum())
        filled += int(empty.sum()) - still
        left |= {name: still} if still else {}
        columns[name] = _mixed(cells, empty, new[name], copies)
    return FilledTable(columns, filled, left, place)


def holes(cells: Cells, column: Column) -> np.ndarray:
    """Which cells have no value, bool (N,). The column's kind decides on words such as "NA"."""
    if cells.family != "words":
        return np.isnan(cells.numbers.values)
    words = cells.words
    gone = [
        is_missing(level, certain=column.discrete) and level not in column.classes
        for level in words.levels
    ]
    return np.array([*gone, True])[words.codes]


def _series(cells: Cells) -> Any:
    """The cells, unchanged, as a Polars series."""
    pl = frames.polars()
    return (
        pl.Series(cells.name, cells.values)
        if isinstance(cells.values, np.ndarray)
        else cells.values.to_polars()
    )


def _repeated(column: Any, copies: int) -> Any:
    return frames.polars().concat([column] * copies)


def _mixed(cells: Cells, empty: np.ndarray, new: Any, copies: int) -> Any:
    """The cells (N,), `copies` times, with `new` ones (copies * N,) where `empty`.

    Text becomes numbers if all of it is numbers.
    """
    pl = frames.polars()
    here, old = pl.Series(np.tile(~empty, copies)), _repeated(_series(cells), copies)
    if old.dtype != pl.String or not new.dtype.is_numeric() or not _is_numbers(cells, empty):
        return old.zip_with(here, new.cast(old.dtype))
    numbers = _repeated(pl.Series(cells.name, cells.numbers.values), copies)
    return numbers.zip_with(here, new.cast(pl.Float64)).cast(new.dtype)


def _is_numbers(cells: Cells, empty: np.ndarray) -> bool:
    """Whether every cell that is not a hole is a number."""
    return not len(cells.numbers.odd) and not np.isnan(cells.numbers.values[~empty]).any()
