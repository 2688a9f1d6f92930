"""The way in: a frame or a file, its columns' kinds, and the rows as tensors."""

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
"""A model of rows has at most so many columns: each has a likelihood of its own."""

SPLIT = "split"
"""A column of this name whose words are train and test says which part a row belongs to."""

NOTHING = "there are none beside conditions and target"

LEFT = {
    "missing": "without any value",
    "constant": "of one value",
    "duplicate": "repeating another",
    "id": "an id of the rows",
    "large": "of whole numbers too large for floats",
    "text": "of text, or of values that hardly repeat",
    "asked": "as asked",
}
"""Why columns are left out, as notes say it."""


def recognises(source: object) -> bool:
    """Whether `source` is a table: a frame, or a file called as tables are, there or not."""
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
) -> Table:
    """The rows of `source`: a frame in memory or a CSV, TSV or Parquet file. Raises VaekitError.

    `kinds` overrides the inferred kinds of columns: `{"zip": "category", "name": "drop"}`, or one word for all.
    `condition` names columns that the model is conditioned on instead of modelling them, `target` the column that holds
    the labels. `constraints` are rules that new rows obey, see `vaekit.data.tables.rules.grammar`: a column that an
    equality gives is not modelled. A column `split` of the words train and test makes the test part. With `schema`, the
    rows are new data for an existing model, and come in its form; see `encode_all` for `unseen`.
    """
    frame = open_frame(source, delimiter)
    if schema is not None:
        return _known(frame, schema, progress or silent, unseen)
    if frame.rows < 2:
        raise VaekitError(
            f"{frame.source} has {_rows(frame.rows)}; a VAE needs at least 2 to learn from{_prose(source)}"
        )
    wanted = ColumnRequest.of(frame, condition, kinds, target, constraints)
    return _learned(frame, wanted, progress or silent)


def _prose(source: Any) -> str:
    """A hint for files that may hold sentences and no table."""
    is_text = isinstance(source, (str, Path)) and str(source).lower().endswith((".txt", ".txt.gz"))
    return ". A .txt file is read as a table, with a row in each line" if is_text else ""


def open_frame(source: Any, delimiter: str | None = None) -> frames.Frame:
    """A frame in memory, or a file with its rows looked over and not yet read. Raises VaekitError."""
    if not isinstance(source, (str, Path)):
        return frames.frame_of(source)
    path, name = Path(source).expanduser(), str(source).lower()
    if path.is_dir():
        raise VaekitError(
            f"{source}: this is a folder; expected a file, such as {Path(source) / 'table.csv'}"
        )
    if name.endswith(PICKLES):
        raise VaekitError(
            f"{source}: this is a pickle, which is never opened, for that would run what is in it; "
            "save the frame as CSV or Parquet"
        )
    if not path.is_file():
        raise VaekitError(f"{source}: there is no such file; expected a CSV, TSV or Parquet file")
    return frames.Parquet(path) if _is_parquet(path) else TextFile(path, delimiter)


def require_few(table: Table) -> None:
    """Raise a VaekitError where a table has more columns than rows can have."""
    if len(table.schema.columns) > MOST_COLUMNS:
        raise VaekitError(
            f"{table.source}: {len(table.schema.columns):,} columns are more than the {MOST_COLUMNS:,} that rows can "
            "have here; keep those that matter, or shorten them first, as by scikit-learn's PCA"
        )


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that says nothing."""


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1" or path.suffix.lower() in PARQUET
    except OSError as error:
        raise VaekitError(
            f"{path}: cannot be read ({error.strerror}); check the file and its rights"
        ) from None


def _parted(frame: frames.Frame, wanted: ColumnRequest) -> tuple[frames.Frame, frames.Frame | None]:
    """The rows for training, and those for tests where a column says so of each row."""
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
    """What the columns of a frame come to, one after another."""

    def __init__(self, frame: frames.Frame, wanted: ColumnRequest) -> None:
        self.frame, self.wanted = frame, wanted
        self.columns: list[Column] = []
        self.left: list[LeftOut] = []
        self.given: dict[str, tuple[Column, np.ndarray]] = {}
        self.target: tuple[Column, np.ndarray] | None = None
        self.rules = {rule.target: rule for rule in wanted.rules if rule.target}
        self.computed: dict[str, np.ndarray] = {}
        self.operands = {name for rule in self.rules.values() for name in rule.names}
        self.place: Callable[[int], str] = str
        self.raw = np.empty((frame.rows, len(frame.names)))
        self.seen: dict[bytes, str] = {}

    def take(self, cells: Cells) -> None:
        """Decide of a column, and read it if it is to be used."""
        name, asked = cells.name, self.wanted
        self.place = cells.place
        if name in self.rules:
            self._compute(cells, self.rules[name])
            return
        measured = (
            cells.measured or name in self.operands
        )  # what an equality computes with is no code
        decision = infer(replace(cells, measured=measured), asked.kinds.get(name, ""))
        if isinstance(decision, LeftOut):
            if name in asked.conditions or name == asked.target:
                raise VaekitError(
                    f"column '{name}' cannot tell the rows apart: {decision.why}; choose another"
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
        elif name != asked.target:
            self._model(column, raw)

    def _compute(self, cells: Cells, rule: Rule) -> None:
        """Take a column that is computed from others: a number, or a date."""
        numbers = cells.family != "date" and not len(cells.numbers.odd)
        decision = infer(cells, "number" if numbers else self.wanted.kinds.get(cells.name, ""))
        if isinstance(decision, LeftOut) or decision.discrete:
            raise VaekitError(
                f"{rule}: '{cells.name}' cannot be computed ({decision.why}); leave the constraint out"
            )
        raw = read_column(cells, decision)[0]
        column = _ranged(decision, raw)
        self.computed[cells.name] = raw
        why = f"as the constraint says: {rule.text}"
        self.left.append(LeftOut(name=cells.name, reason="computed", why=why, column=column))

    def _model(self, column: Column, raw: np.ndarray) -> None:
        """Take a column among those to model, unless one before it has the same values."""
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
        """What was learned. Raises VaekitError where nothing is left to model."""
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
        """The rows in the form of what was learned."""
        schema = self.schema()
        told = {name: raw for name, (_, raw) in self.given.items()}
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
            labels=labels_of(self.target[1]) if self.target else None,
            notes=(
                *self.frame.notes,
                *_left_out(schema.left_out),
                *learned(raw, schema, context, computed, self.place),
            ),
            context=context,
            computed=computed,
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
    frame: frames.Frame, schema: TableSchema, progress: Progress, unseen: float | None = None
) -> Table:
    """New rows in the form of a model's schema."""
    found = encode_all(frame, schema, progress, unseen)
    return Table(
        raw=Resident(found.raw),
        schema=schema,
        source=frame.source,
        labels=found.labels,
        notes=(*frame.notes, *found.notes),
        context=found.context,
        computed=found.computed,
    )


def _ranged(column: Column, raw: np.ndarray) -> Column:
    missing = np.isnan(raw)
    present = raw[~missing] if missing.any() else raw
    seen = {"low": float(present.min()), "high": float(present.max())} if len(present) else {}
    return column.model_copy(update={"missing": bool(missing.any())} | seen)


def _require_classes(column: Column) -> None:
    if not column.discrete:
        raise VaekitError(
            f"target '{column.name}' is measured ({column.why}), and labels are classes; choose another, or say "
            "that its kind is category"
        )


def _field(column: Column, values: np.ndarray) -> Condition:
    return conditions.learn(
        column.name, values, column.classes, "category" if column.discrete else "number"
    )


# What is told


def _left_out(left_out: Sequence[LeftOut]) -> list[str]:
    """A sentence for each reason to leave columns out, with the first few of them."""
    told = []
    for reason, what in LEFT.items():
        names = [left.name for left in left_out if left.reason == reason]
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        if names:
            told.append(f"Left out, {what}: {', '.join(names[:5])}{more}")
    return told


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
