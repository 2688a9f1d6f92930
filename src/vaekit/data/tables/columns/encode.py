"""Convert the columns of any frame to a schema's form: raw values, context and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.anomaly import UNSEEN
from vaekit.config import nearest
from vaekit.data import conditions
from vaekit.data.conditions import NO, YES
from vaekit.data.tables.collection import Progress
from vaekit.data.tables.columns.beside import beside, is_constant, raw_of, read_constant
from vaekit.data.tables.columns.forms import in_form_of
from vaekit.data.tables.columns.infer import require_dates, require_numbers
from vaekit.data.tables.columns.statistics import values_of
from vaekit.data.tables.columns.units import folded
from vaekit.data.tables.read import frames
from vaekit.data.tables.read.cells import Cells, Words, is_missing
from vaekit.data.tables.rules import constraints
from vaekit.data.tables.schema import Column, TableSchema
from vaekit.errors import VaekitError


@dataclass(frozen=True)
class Encoded:
    """Rows in a schema's form: raw (N, C), context (N, F), labels (N,), computed cells (N, K).

    `beside` (N, B) are the raw values of `columns.beside`, None if they were not asked for.
    `notes` are sentences on what did not fit.
    """

    raw: Tensor
    context: Tensor | None
    labels: Tensor | None
    notes: tuple[str, ...]
    computed: Tensor | None
    beside: Tensor | None = None


def encode(frame: Any, schema: TableSchema) -> tuple[Tensor, tuple[str, ...]]:
    """The rows of a frame as raw values (N, C), float64, and sentences on what did not fit.

    Columns may be in any order, and columns that the schema does not know are ignored. A class that
    was not seen in training becomes the class of rare ones if the column has it, else it is
    missing. Raises VaekitError if a modelled column is absent, or if a column of numbers has a cell
    that is not a number.
    """
    found = encode_all(frames.frame_of(frame), schema)
    return found.raw, found.notes


def encode_all(
    frame: frames.Frame,
    schema: TableSchema,
    progress: Progress = lambda what, done, total: None,
    unseen: float | None = None,
    whole: bool = False,
) -> Encoded:
    """As `encode`, with the context and the labels if the frame has their columns.

    If `unseen` is given, it is the raw value of modelled classes that were not seen in training.
    `whole` reads the columns beside the modelled ones too.
    """
    notes = list(_fits(frame, schema))
    target = next(
        (left.column for left in schema.left_out if left.reason == "target" and left.column), None
    )
    places = {column.name: i for i, column in enumerate(schema.columns)}
    given = {column.name: column for column in schema.given}
    aside = {column.name: column for column in beside(schema)} if whole else {}
    known = {column.name: column for column in (*schema.columns, *([target] if target else []))}
    known |= {name: schema.column(name) for name in schema.computed} | given | aside
    names = [name for name in frame.names if name in known]
    raw, told, labels = np.empty((frame.rows, len(schema.columns))), {}, None
    computed, further = np.full((frame.rows, len(schema.computed)), np.nan), {}
    place: Callable[[int], str] = str
    for i, name in enumerate(names):
        progress("reading columns", i, len(names))
        cells = frame.cells(name)
        place = cells.place
        if name in aside:
            further[name], note = _read_beside(cells, aside[name])
            notes += [note] if note else []
        if name in aside and name not in given:
            continue
        values, note = read_column(cells, known[name], unseen if name in places else None)
        notes += [note] if note and name not in aside else []
        if name in places:
            raw[:, places[name]] = values
        if name in given:
            told[name] = values
        if target and name == target.name:
            labels = labels_of(values, target)
        if name in schema.computed:
            computed[:, schema.computed.index(name)] = values
    progress("reading columns", len(names), len(names))
    context = context_of(told, schema, frame.rows)
    rows, cells_ = torch.from_numpy(raw), torch.from_numpy(computed) if schema.computed else None
    notes += constraints.broken(rows, schema, context, cells_, place)
    rest = raw_of(further, schema, rows) if whole else None
    return Encoded(rows, context, labels, tuple(notes), cells_, rest)


def _read_beside(cells: Cells, column: Column) -> tuple[np.ndarray, str]:
    if is_constant(column):
        return read_constant(cells, column, UNSEEN)
    return read_column(cells, column, UNSEEN)


def read_column(
    cells: Cells, column: Column, unseen: float | None = None
) -> tuple[np.ndarray, str]:
    """The raw values (N,) of cells, read as `column` says, and a note on unseen classes, or "".

    Unseen classes get the value `unseen`. Without it they become the class of rare ones, if the
    column has it, or missing.
    """
    if not column.discrete:
        return _measured(cells, column), ""
    words, missing = _words(cells, column)
    if column.other and not column.rare:
        unseen = None  # a run from before the rare words were kept
    places = {level: i for i, level in enumerate(column.words)}
    places |= {} if column.kind == "category" else _alike(column, words)
    codes = [
        np.nan if gone else places.get(level, -1)
        for level, gone in zip(words.levels, missing, strict=True)
    ]
    found = np.array(codes, float)
    new = np.flatnonzero(found == -1)
    value = (len(column.classes) - 1 if column.other else np.nan) if unseen is None else unseen
    found[new] = value
    return words.table(found), _unseen(column, words, new, value)


def context_of(told: Mapping[str, np.ndarray], schema: TableSchema, rows: int) -> Tensor | None:
    """The context of rows, float32 (N, F), from raw values (N,) by name; NaN where unknown."""
    if not schema.conditions:
        return None
    context = conditions.blank(schema.conditions, rows)
    for i, (field, column) in enumerate(zip(schema.conditions, schema.given, strict=True)):
        if field.name in told:
            values = folded(column, torch.from_numpy(told[field.name]))
            standard = values if field.kind == "category" else (values - field.mean) / field.scale
            context[:, i] = standard.float()
    return context


def labels_of(values: np.ndarray, column: Column) -> Tensor:
    """Class numbers (N,) of a target as int64, its rare words as one class; -1 where missing."""
    values = folded(column, torch.from_numpy(values)).numpy()
    return torch.from_numpy(np.where(np.isnan(values), -1, values).astype(np.int64))


def _fits(frame: frames.Frame, schema: TableSchema) -> Sequence[str]:
    """Notes on unknown columns and absent conditions.

    Raises VaekitError if a modelled column is absent.
    """
    lacking = [name for name in schema.names if name not in frame.names]
    if lacking:
        more = f" (and {len(lacking) - 1:,} more)" if len(lacking) > 1 else ""
        hint = nearest(lacking[0], list(frame.names)) if frame.names else ""
        raise VaekitError(
            f"{frame.source}: lacks the column '{lacking[0]}'{more}, which the model was trained on{hint}"
        )
    known = {*schema.order, *schema.names, *(column.name for column in schema.given)}
    extra = [name for name in frame.names if name not in known]
    open_ = [column.name for column in schema.given if column.name not in frame.names]
    return [
        *([f"Not known to the model, so ignored: {_listed(extra)}"] if extra else []),
        *([f"Not known of these rows, so left open: {_listed(open_)}"] if open_ else []),
    ]


def _measured(cells: Cells, column: Column) -> np.ndarray:
    column = in_form_of(cells, column)
    if cells.family == "other" or (column.kind == "date") != _may_be_dates(cells, column):
        expected = "dates" if column.kind == "date" else "numbers"
        raise VaekitError(
            f"column '{cells.name}': expected {expected} as in training, got cells of type {cells.dtype}"
        )
    if column.format and cells.family == "words":
        require_dates(cells, column.format)
        return values_of(cells, column.format)
    require_numbers(cells)
    return cells.numbers.values


def _may_be_dates(cells: Cells, column: Column) -> bool:
    """Whether cells are dates, or words in a column whose dates were words in training."""
    return cells.family == "date" or (
        cells.family == "words" and bool(column.format) and column.kind == "date"
    )


def _words(cells: Cells, column: Column) -> tuple[Words, list[bool]]:
    """The cells as words.

    If the column is written back as numbers, equal numbers get the same word ("3" for "3.0").
    """
    words = cells.words
    if (
        cells.family == "words"
        and column.dtype.startswith(("Int", "UInt", "Float"))
        and not len(cells.numbers.odd)
    ):
        words = _rewritten(words)
    return words, [
        is_missing(level, certain=column.kind != "boolean") and level not in column.words
        for level in words.levels
    ]


def _rewritten(words: Words) -> Words:
    """Words that are numbers, in their shortest form: "3.0" becomes "3"."""
    levels = [
        level if is_missing(level) else f"{float(level.replace(',', '.')):.17g}"
        for level in words.levels
    ]
    return Words(levels, words.codes)


def _alike(column: Column, words: Words) -> dict[str, int]:
    """Other words for false and true: the column's own in other cases, and the usual ones."""
    no, yes = (name.lower() for name in column.classes)
    places = {}
    for level in words.levels:
        if level.lower() in (no, yes):
            places[level] = int(level.lower() == yes)
        elif level.lower() in (*NO, *YES):
            places[level] = int(level.lower() in YES)
    return places


def _unseen(column: Column, words: Words, unseen: np.ndarray, value: float) -> str:
    counts = words.counts()[unseen]
    if not counts.sum():
        return ""
    names = _listed([words.levels[i] for i in unseen], 3)
    count = int(counts.sum())
    cells = f"{count:,} cell{'s' if count > 1 else ''}"
    what = (
        "read as missing"
        if np.isnan(value)
        else f"read as {column.classes[-1]}"
        if value >= 0
        else "which are odd in themselves"
    )
    return f"{column.name}: {cells} of classes that training did not see ({names}), {what}"


def _listed(names: Sequence[str], few: int = 5) -> str:
    return ", ".join(names[:few]) + (f" and {len(names) - few:,} more" if len(names) > few else "")
