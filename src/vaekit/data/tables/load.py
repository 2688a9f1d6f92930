"""Load a table: open a frame or a file, decide the columns' kinds, and make tensors of the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaekit.data import conditions
from vaekit.data.conditions import Condition
from vaekit.data.dataset import Resident
from vaekit.data.tables.collection import Progress, Table
from vaekit.data.tables.columns.beside import raw_of
from vaekit.data.tables.columns.encode import context_of, encode_all, labels_of, read_column
from vaekit.data.tables.columns.infer import infer
from vaekit.data.tables.read import frames
from vaekit.data.tables.read.cells import Cells
from vaekit.data.tables.read.csv import TextFile
from vaekit.data.tables.read.endings import PARQUET, PICKLES, READ
from vaekit.data.tables.request import ColumnRequest
from vaekit.data.tables.rules.constraints import learned, require_usable
from vaekit.data.tables.rules.grammar import Rule
from vaekit.data.tables.schema import Column, LeftOut, TableSchema
from vaekit.errors import VaekitError

MOST_COLUMNS = 2000
"""The largest number of modelled columns, each of which has a likelihood of its own."""

SPLIT = "split"
"""The name of a column whose words, train and test, say which part a row belongs to."""

NOTHING = "there are none besides conditions and target"

LEFT = {
    "missing": "without any value",
    "constant": "of one value",
    "duplicate": "repeating another",
    "id": "an id of the rows",
    "large": "of whole numbers too large for floats",
    "text": "of text, or of values that hardly repeat",
    "asked": "as asked",
}
"""The reasons for leaving columns out, as they are written in notes."""


def recognises(source: object) -> bool:
    """Whether `source` is a table: a frame, or a file (existing or not) with the ending of one."""
    if not isinstance(source, (str, Path)):
        return frames.is_frame(source)
    return (
        str(source).lower().endswith((*READ, *PICKLES)) and not Path(source).expanduser().is_dir()
    )


def load(
    source: Any,
    *,
    condition: Sequence[str] = (),
    kinds: Mapping[str, str] | str | None = None,
    schema: TableSchema | None = None,
    target: str | None = None,
    constraints: Sequence[str] = (),
    delimiter: str | None = None,
    progress: Progress | None = None,
    unseen: float | None = None,
    own: bool = False,
) -> Table:
    """The rows of `source`: a frame in memory or a CSV, TSV or Parquet file. Raises VaekitError.

    `kinds` overrides the inferred kinds of columns: `{"zip": "category", "name": "drop"}`, or one
    word for all columns. `condition` names columns that the model is conditioned on instead of
    modelling them, `target` the column that holds the labels. `constraints` are rules that new rows
    obey, see `vaekit.data.tables.rules.grammar`; a column that an equality computes is not
    modelled. A column `split` with the words train and test defines the test part. With `schema`,
    the rows are new data for an existing model and are converted to its schema; see `encode_all`
    for `unseen`. `own` says that they are the rows that the schema was learned from.
    """
    frame = open_frame(source, delimiter)
    if schema is not None:
        return (_own if own else _known)(frame, schema, progress or silent, unseen)
    if frame.rows < 2:
        has = f"{frame.source} has {_rows(frame.rows)}{_below(source)}"
        raise VaekitError(f"{has}; a VAE needs at least 2 to learn from{_prose(source)}")
    wanted = ColumnRequest.of(frame, condition, kinds, target, constraints)
    return _learned(frame, wanted, progress or silent)


def _below(source: Any) -> str:
    return " below the names of the columns" if isinstance(source, (str, Path)) else ""


def _prose(source: Any) -> str:
    """A hint for files that may hold sentences instead of a table, else ""."""
    is_text = isinstance(source, (str, Path)) and str(source).lower().endswith((".txt", ".txt.gz"))
    return ". A .txt file is read as a table, with a row in each line" if is_text else ""


def open_frame(source: Any, delimiter: str | None = None) -> frames.Frame:
    """A frame in memory, or a file whose rows are found but not yet read. Raises VaekitError."""
    if not isinstance(source, (str, Path)):
        return frames.frame_of(source)
    path, name = Path(source).expanduser(), str(source).lower()
    if path.is_dir():
        raise VaekitError(
            f"{source}: this is a folder; expected a file, such as {Path(source) / 'table.csv'}"
        )
    if name.endswith(PICKLES):
        raise VaekitError(
            f"{source}: this is a pickle, which is never opened, because that would run code in it; "
            "save the frame as CSV or Parquet"
        )
    if not path.is_file():
        raise VaekitError(f"{source}: there is no such file; expected a CSV, TSV or Parquet file")
    return frames.Parquet(path) if _is_parquet(path) else TextFile(path, delimiter)


def require_few(table: Table) -> None:
    """Raise a VaekitError if a table has more modelled columns than MOST_COLUMNS."""
    if len(table.schema.columns) > MOST_COLUMNS:
        raise VaekitError(
            f"{table.source}: {len(table.schema.columns):,} columns are more than the {MOST_COLUMNS:,} that a model "
            "can have; keep those that matter, or reduce them first, such as by scikit-learn's PCA"
        )


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that reports nothing."""


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1" or path.suffix.lower() in PARQUET
    except OSError as error:
        raise VaekitError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None


def _parted(frame: frames.Frame, wanted: ColumnRequest) -> tuple[frames.Frame, frames.Frame | None]:
    """The rows for training, and those for tests if a column says for each row which it is."""
    name = _split_name(frame)
    if not name or name in (*wanted.conditions, *wanted.kinds, wanted.target):
        return frame, None
    cells = frame.cells(name)
    words = cells.words if cells.family == "words" else None
    if (
        words is None
        or {level.lower() for level in words.levels} != {"train", "test"}
        or (words.codes < 0).any()
    ):
        return frame, None
    test = np.array([level.lower() == "test" for level in words.levels])[words.codes]
    return frames.FrameRows(frame, ~test, name), frames.FrameRows(frame, test, name)


def _split_name(frame: frames.Frame) -> str:
    return next((name for name in frame.names if name.lower() == SPLIT), "")


class SchemaLearner:
    """Learns the schema of a frame, one column after another."""

    def __init__(self, frame: frames.Frame, wanted: ColumnRequest) -> None:
        self.frame, self.wanted = frame, wanted
        self.columns: list[Column] = []
        self.left: list[LeftOut] = []
        self.given: dict[str, tuple[Column, np.ndarray]] = {}
        self.target: tuple[Column, np.ndarray] | None = None
        self.rules = {rule.target: rule for rule in wanted.rules if rule.target}
        self.computed: dict[str, np.ndarray] = {}
        self.operands = {name for rule in self.rules.values() for name in rule.names}
        self.beside: dict[str, np.ndarray] = {}
        self.place: Callable[[int], str] = str
        self.raw = np.empty((frame.rows, len(frame.names)))
        self.seen: dict[bytes, str] = {}

    def take(self, cells: Cells) -> None:
        """Decide what a column is, and read it if it is used."""
        name, asked = cells.name, self.wanted
        self.place = cells.place
        if name in self.rules:
            self._compute(cells, self.rules[name])
            return
        measured = cells.measured or name in self.operands  # numbers in an equality are no codes
        decision = infer(replace(cells, measured=measured), asked.kinds.get(name, ""))
        if isinstance(decision, LeftOut):
            if name in asked.conditions or name == asked.target:
                raise VaekitError(
                    f"column '{name}' cannot be a condition or the labels: {decision.why}; choose another"
                )
            self.left.append(decision)
            return
        raw = read_column(cells, decision)[0]
        column = _ranged(decision, raw)
        if name == asked.target:
            _require_classes(column)
            why = f"the rows' labels, {column.why}"
            self.target = column, raw
            self.left.append(LeftOut(name=name, reason="target", why=why, column=column))
        if name in asked.conditions:
            self.given[name] = column, raw
            self.beside[name] = raw
        elif name != asked.target:
            self._model(column, raw)

    def _compute(self, cells: Cells, rule: Rule) -> None:
        """Add a column that a constraint computes: a number or a date."""
        numbers = cells.family != "date" and not len(cells.numbers.odd)
        decision = infer(cells, "number" if numbers else self.wanted.kinds.get(cells.name, ""))
        if isinstance(decision, LeftOut) or decision.discrete:
            raise VaekitError(
                f"{rule}: '{cells.name}' cannot be computed ({decision.why}); leave the constraint out"
            )
        raw = read_column(cells, decision)[0]
        column = _ranged(decision, raw)
        self.computed[cells.name] = raw
        why = f"by the constraint {rule.text}"
        self.left.append(LeftOut(name=cells.name, reason="computed", why=why, column=column))

    def _model(self, column: Column, raw: np.ndarray) -> None:
        """Add a column to the modelled ones, unless one of these has the same values."""
        digest = hashlib.sha256(
            "\0".join((column.kind, *column.classes)).encode() + raw.tobytes()
        ).digest()
        if of := self.seen.setdefault(digest, column.name) if digest in self.seen else "":
            self.left.append(
                LeftOut(
                    name=column.name, reason="duplicate", why=f"repeats {of}", of=of, column=column
                )
            )
            return
        self.seen[digest] = column.name
        self.raw[:, len(self.columns)] = raw
        self.columns.append(column)

    def schema(self) -> TableSchema:
        """The schema that was learned. Raises VaekitError if no column is left to model."""
        if not self.columns:
            reasons = "; ".join(f"{left.name}: {left.why}" for left in self.left[:3])
            raise VaekitError(
                f"{self.frame.source}: no column is left to model ({reasons or NOTHING})"
            )
        pairs = [self.given[name] for name in self.wanted.conditions]
        return TableSchema(
            columns=tuple(self.columns),
            left_out=tuple(self.left),
            conditions=tuple(_field(column, raw) for column, raw in pairs),
            given=tuple(column for column, _ in pairs),
            order=self.frame.names,
            classes=self.target[0].classes if self.target else (),
            rows=self.frame.rows,
            constraints=tuple(rule.text for rule in self.wanted.rules),
        )

    def table(self) -> Table:
        """The rows in the form of the learned schema."""
        schema = self.schema()
        told = {name: part for name, (_, part) in self.given.items()}
        raw, context = (
            torch.from_numpy(self.raw)[:, : len(self.columns)],
            context_of(told, schema, self.frame.rows),
        )
        parts = [torch.from_numpy(self.computed[name]) for name in schema.computed]
        computed = torch.stack(parts, dim=1) if parts else None
        require_usable(schema)
        return Table(
            raw=Resident(raw),
            schema=schema,
            source=self.frame.source,
            labels=labels_of(self.target[1], self.target[0]) if self.target else None,
            notes=(
                *self.frame.notes,
                *_left_out(schema.left_out),
                *learned(raw, schema, context, computed, self.place),
            ),
            context=context,
            computed=computed,
            beside=raw_of(self.beside, schema, raw),
        )


def _learned(frame: frames.Frame, wanted: ColumnRequest, progress: Progress) -> Table:
    train, test = _parted(frame, wanted)
    learner, count = SchemaLearner(train, wanted), len(train.names)
    for i, name in enumerate(train.names):
        progress("reading columns", i, count)
        learner.take(train.cells(name))
    progress("reading columns", count, count)
    table = learner.table()
    if test is None:
        return table
    split = LeftOut(name=_split_name(frame), reason="split", why="says which rows are for training")
    schema = table.schema.model_copy(
        update={"left_out": (*table.schema.left_out, split), "order": frame.names}
    )
    held = _known(test, schema, progress)
    note = f"The column '{split.name}' keeps {_rows(test.rows)} for tests; {_rows(train.rows)} are for training"
    return replace(
        table, schema=schema, test=replace(held, notes=()), notes=(*table.notes, note, *held.notes)
    )


def _known(
    frame: frames.Frame,
    schema: TableSchema,
    progress: Progress,
    unseen: float | None = None,
    whole: bool = False,
) -> Table:
    """Rows in the form of a model's schema."""
    found = encode_all(frame, schema, progress, unseen, whole or unseen is not None)
    return Table(
        raw=Resident(found.raw),
        schema=schema,
        source=frame.source,
        labels=found.labels,
        notes=(*frame.notes, *found.notes),
        context=found.context,
        computed=found.computed,
        beside=found.beside,
    )


def _own(
    frame: frames.Frame, schema: TableSchema, progress: Progress, unseen: float | None = None
) -> Table:
    """The rows that the schema was learned from, and those that a column says are for tests."""
    split = any(left.reason == "split" for left in schema.left_out)
    train, test = _parted(frame, ColumnRequest((), {}, None)) if split else (frame, None)
    table = _known(train, schema, progress, unseen, True)
    held = None if test is None else _known(test, schema, progress, unseen, True)
    return replace(table, test=held)


def _ranged(column: Column, raw: np.ndarray) -> Column:
    missing = np.isnan(raw)
    present = raw[~missing] if missing.any() else raw
    seen = {"low": float(present.min()), "high": float(present.max())} if len(present) else {}
    return column.model_copy(update={"missing": bool(missing.any())} | seen)


def _require_classes(column: Column) -> None:
    if not column.discrete:
        raise VaekitError(
            f"target '{column.name}' is measured ({column.why}), but labels must be classes; choose another, or set "
            "its kind to category"
        )


def _field(column: Column, values: np.ndarray) -> Condition:
    return conditions.learn(
        column.name, values, column.classes, "category" if column.discrete else "number"
    )


# Notes


def _left_out(left_out: Sequence[LeftOut]) -> list[str]:
    """A sentence for each reason for leaving columns out, with the first few of these columns."""
    told = []
    for reason, what in LEFT.items():
        names = [left.name for left in left_out if left.reason == reason]
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        if names:
            told.append(f"Left out, {what}: {', '.join(names[:5])}{more}")
    return told


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
