"""Why rows are odd: the columns that contribute most to a row's score, with their cells."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import torch

from vaekit.anomaly import UNSEEN
from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.beside import is_constant, watched
from vaekit.data.tables.columns.decode import column_of
from vaekit.data.tables.read.cells import word

LATENTS = "(latents)"
"""The name of the latents' contribution to a score, beside the names of columns."""

REASONS, NOTABLE = 3, 0.1
"""At most REASONS columns are named for a row, each with at least NOTABLE of its whole score."""

LONG = 40
"""The number of characters of a cell that are shown."""


def explain(new: Table, found: Any, odd: np.ndarray) -> dict[str, Any]:
    """Why the odd rows are odd, in words, and each column's contribution to each row's score."""
    names, parts = _by_column(new, found)
    columns: dict[str, Any] = {"because": _because(new, names, parts, odd)}
    return columns | {f"score of {name}": parts[:, i] for i, name in enumerate(names)}


def _by_column(new: Table, found: Any) -> tuple[list[str], np.ndarray]:
    """The names of the contributions to the scores, and the contributions (N, K)."""
    parts, schema = found.parts.numpy(), new.schema
    names = [column.name for column in watched(schema)][: parts.shape[1]]
    if found.rest is None:
        return names, parts
    return [*names, LATENTS], np.column_stack((parts, found.rest.numpy()))


def _because(new: Table, names: list[str], parts: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """For each odd row the columns that contribute most, with their cells; "" for the others."""
    because, rows = np.full(len(odd), "", object), np.flatnonzero(odd)
    if len(rows):
        cells = _cells(new, rows)
        for k, i in enumerate(rows):
            first = np.argsort(-parts[i], kind="stable")[:REASONS]
            least = max(NOTABLE * parts[i].clip(0).sum(), 1e-12)
            because[i] = ", ".join(
                _reason(names[c], cells, k) for c in first if parts[i, c] >= least
            )
    return because


def _cells(new: Table, rows: np.ndarray) -> dict[str, list[str]]:
    """The cells of these rows by column, as words."""
    some, schema = new.subset(torch.from_numpy(rows)), new.schema
    raw = some.raw.values if some.beside is None else torch.cat((some.raw.values, some.beside), 1)
    cells = {}
    for column, values in zip(watched(schema), raw.numpy().T, strict=False):
        words = [
            _cell(cell) if cell is not None else " missing"
            for cell in column_of(values, column).tolist()
        ]
        unseen = column.discrete & (values == UNSEEN)
        if is_constant(column):
            cells[column.name] = [f" is not {column.classes[0]} as always"] * len(rows)
            continue
        cells[column.name] = [
            " of a class never seen" if u else w for u, w in zip(unseen, words, strict=True)
        ]
    return cells


def _cell(cell: Any) -> str:
    """A cell in words, such as "=1e+300"; a long word is shortened."""
    plain = word(cell)
    if len(plain) > LONG and isinstance(cell, (int, float)):
        return f"={cell:.10g}"
    return "=" + (plain if len(plain) <= LONG else textwrap.shorten(plain, LONG, placeholder="..."))


def _reason(name: str, cells: dict[str, list[str]], row: int) -> str:
    return name + (cells[name][row] if name in cells else "")
