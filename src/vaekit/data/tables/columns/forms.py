"""A column as another source writes it: dates and booleans as words in one, with a type in the other."""

from __future__ import annotations

from typing import Any

from vaekit.data.conditions import NO, YES
from vaekit.data.tables.read import dates
from vaekit.data.tables.read.cells import Cells, is_missing
from vaekit.data.tables.read.frames import Frame
from vaekit.data.tables.schema import Column, TableSchema


def schema_of(frame: Frame, schema: TableSchema) -> TableSchema:
    """The schema with its columns in the form that they have in `frame`."""

    def adapted(column: Column) -> Column:
        return (
            in_form_of(frame.cells(column.name), column) if column.name in frame.names else column
        )

    left = tuple(
        part if part.column is None else part.model_copy(update={"column": adapted(part.column)})
        for part in schema.left_out
    )
    columns, given = (tuple(map(adapted, part)) for part in (schema.columns, schema.given))
    return schema.model_copy(update={"columns": columns, "given": given, "left_out": left})


def in_form_of(cells: Cells, column: Column) -> Column:
    """The column with the type, date format and words of these cells; its raw values mean the same.

    So a model of a CSV file can read and fill a frame with real dates and booleans, and a model of such a frame a CSV
    file. A column that the cells do not fit stays as it is.
    """
    changes: dict[str, Any] = {}
    if column.kind == "date" and cells.family == "date":
        changes = {"dtype": cells.dtype, "format": ""}
    elif column.kind == "date" and cells.family == "words" and not column.format:
        known = [level for level in cells.words.levels if not is_missing(level)]
        form = dates.guess(known)
        changes = {"dtype": "String", "format": form} if form else {}
    elif column.kind == "boolean" and cells.family == "boolean":
        changes = {"dtype": "Boolean", "classes": ("false", "true")}
    elif column.kind == "boolean" and cells.family == "words" and column.dtype == "Boolean":
        changes = {"dtype": "String", "classes": _pair(cells)}
    return column.model_copy(update=changes)


def _pair(cells: Cells) -> tuple[str, str]:
    """The words that these cells have for false and true."""
    found = {level.lower(): level for level in cells.words.levels}
    no, yes = (next((found[w] for w in words if w in found), "") for words in (NO, YES))
    return no or "false", yes or "true"
