"""A table with its holes filled: every other cell, and every column that no model knows, as it came."""

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
    """Polars series by name as the frame has its columns, copy below copy.

    `filled` says how many cells of the first copy were empty and are not, `left` how many of each column that new
    values were to be had for, or that the model is told, still are. `place` says in words where row i, from 0, stands.
    """

    columns: dict[str, Any]
    filled: int
    left: dict[str, int]
    place: Callable[[int], str]


def mend(frame: frames.Frame, made: Columns, schema: TableSchema, copies: int = 1) -> FilledTable:
    """The frame's rows (N,), `copies` times, with cells of `made` (copies * N,) where they have none.

    A hole is a cell without a value: one that is there and was not understood, as a class never seen, stays as it is.
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
    """Which cells hold no value, bool (N,): words such as "NA" as the column's kind reads them."""
    if cells.family != "words":
        return np.isnan(cells.numbers.values)
    words = cells.words
    gone = [
        is_missing(level, certain=column.discrete) and level not in column.classes
        for level in words.levels
    ]
    return np.array([*gone, True])[words.codes]


def _series(cells: Cells) -> Any:
    """The cells as they are, in Polars."""
    pl = frames.polars()
    return (
        pl.Series(cells.name, cells.values)
        if isinstance(cells.values, np.ndarray)
        else cells.values.to_polars()
    )


def _repeated(column: Any, copies: int) -> Any:
    return frames.polars().concat([column] * copies)


def _mixed(cells: Cells, empty: np.ndarray, new: Any, copies: int) -> Any:
    """The cells (N,), `copies` times, with new ones (copies * N,) where `empty`: text as numbers where all of it is."""
    pl = frames.polars()
    here, old = pl.Series(np.tile(~empty, copies)), _repeated(_series(cells), copies)
    if old.dtype != pl.String or not new.dtype.is_numeric() or not _is_numbers(cells, empty):
        return old.zip_with(here, new.cast(old.dtype))
    numbers = _repeated(pl.Series(cells.name, cells.numbers.values), copies)
    return numbers.zip_with(here, new.cast(pl.Float64)).cast(new.dtype)


def _is_numbers(cells: Cells, empty: np.ndarray) -> bool:
    """Whether every cell that is no hole is a number."""
    return not len(cells.numbers.odd) and not np.isnan(cells.numbers.values[~empty]).any()
