"""Columns beside the modelled ones: conditions, constants, and columns that repeat another.

The model does not draw them, but a detector of odd rows looks at them: a constant that moves is odd.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vaekit.data.tables.columns.decisions import shortened
from vaekit.data.tables.read.cells import NUMBER, Cells, is_missing
from vaekit.data.tables.schema import Column, TableSchema


def beside(schema: TableSchema) -> tuple[Column, ...]:
    """The columns of conditions, then the constants and those that repeat another."""
    kept = [left for left in schema.left_out if left.reason in ("constant", "duplicate")]
    return (*schema.given, *(left.column for left in kept if left.column is not None))


def watched(schema: TableSchema) -> tuple[Column, ...]:
    """The columns that a detector of odd rows looks at: the modelled ones and those beside them."""
    return (*schema.columns, *beside(schema))


def sizes_of(columns: Sequence[Column]) -> tuple[int, ...]:
    """The number of words of each column, the rare ones counted one by one; 0 if it is measured."""
    return tuple(len(column.words) if column.discrete else 0 for column in columns)


def raw_of(told: Mapping[str, np.ndarray], schema: TableSchema, raw: Tensor) -> Tensor | None:
    """The raw values (N, K) of `beside`, from values (N,) by name; None if there are no such columns.

    Of a column that is not in `told`, a constant has its value, one that repeats another has the
    values of the other, and a condition is missing. `raw` (N, C) are the modelled columns.
    """
    columns = beside(schema)
    if not columns:
        return None
    usual = {left.name: left.value for left in schema.left_out if left.value is not None}
    repeats = {left.name: left.of for left in schema.left_out if left.of}
    places = {name: i for i, name in enumerate(schema.names)}
    parts = []
    for column in columns:
        if column.name in told:
            parts.append(torch.from_numpy(told[column.name]).double())
        elif column.name in repeats:
            parts.append(raw[:, places[repeats[column.name]]].double())
        else:
            parts.append(raw.new_full((len(raw),), usual.get(column.name, np.nan)).double())
    return torch.stack(parts, dim=1)


def read_constant(cells: Cells, column: Column, unseen: float) -> tuple[np.ndarray, str]:
    """The raw values (N,) of a constant: 0, or `unseen` for another value, or NaN; and a note on these.

    Numbers may be written in another form, such as 0.50 for 0.5.
    """
    words, usual = cells.words, column.classes[0]
    table = [
        0.0 if level == usual else np.nan if is_missing(level, certain=True) else unseen
        for level in words.levels
    ]
    found = words.table(table)
    if NUMBER.fullmatch(usual) and cells.family in ("words", "number"):
        found[cells.numbers.values == float(usual)] = 0.0
    moved = np.flatnonzero(found == unseen)
    if not len(moved):
        return found, ""
    many = "1 cell is" if len(moved) == 1 else f"{len(moved):,} cells are"
    shown = shortened(cells.word(int(moved[0])))
    return found, f"{column.name}: {many} not {usual} as in all of training, such as {shown}"


def is_constant(column: Column) -> bool:
    """Whether a column of `beside` had one value in all training rows."""
    return column.kind == "category" and len(column.classes) == 1 and not column.missing
