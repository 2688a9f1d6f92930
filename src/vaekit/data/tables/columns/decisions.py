"""The decision on a column: it is part of the schema, or it is left out, with the reason."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from vaekit.data.tables.read.cells import TEXT, Cells
from vaekit.data.tables.schema import Column, Kind, LeftOut

Decision = Column | LeftOut


def classed(cells: Cells, kind: Kind, classes: tuple[str, ...], why: str) -> Column:
    spelt = cells.spelt
    written = tuple(spelt.get(word, word) for word in classes)
    return Column(
        name=cells.name,
        kind=kind,
        dtype=back(cells, classes),
        why=why,
        classes=classes,
        written=written if written != classes else (),
    )


def back(cells: Cells, classes: tuple[str, ...] = ()) -> str:
    """The dtype that a column of classes is written back as.

    The words of a text file become numbers if all classes are whole numbers.
    """
    if cells.dtype != TEXT:
        return cells.dtype
    if not all(re.fullmatch(r"0|-?[1-9]\d{,14}", level) for level in classes):
        return "String"
    return "Float64" if cells.numbers.pointed else "Int64"


def left_out(cells: Cells, reason: Literal["text", "id", "large"], why: str) -> LeftOut:
    return LeftOut(name=cells.name, reason=reason, why=why)


def empty(cells: Cells) -> LeftOut:
    dtype = "String" if cells.dtype == TEXT else cells.dtype
    kinds: dict[str, Kind] = {"number": "number", "date": "date", "boolean": "boolean"}
    classes = ("false", "true") if cells.family == "boolean" else ()
    kind = kinds.get(cells.family, "category")
    column = Column(name=cells.name, kind=kind, dtype=dtype, missing=True, classes=classes)
    return LeftOut(name=cells.name, reason="missing", why="no cell has a value", column=column)


def constant(cells: Cells, value: str, present: int) -> Decision:
    """A column of one value is left out, unless cells are missing: then it is modelled."""
    shown = (
        cells.word(int(np.flatnonzero(~np.isnan(cells.numbers.values))[0]))
        if cells.family == "date"
        else value
    )
    column = classed(cells, "category", (value,), f"always {shortened(shown)}")
    if present < len(cells):
        return column
    return LeftOut(name=cells.name, reason="constant", why=column.why, value=0.0, column=column)


def shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
