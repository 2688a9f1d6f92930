"""The schema of a table: plain data on its columns.

It is learned from the training rows and saved as JSON with a model.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, Field

from vaekit.data.dataset import Schema
from vaekit.data.tables.rules.grammar import Rule, parse

Kind = Literal["number", "count", "category", "boolean", "date"]
Reason = Literal[
    "constant",
    "duplicate",
    "missing",
    "id",
    "large",
    "text",
    "split",
    "target",
    "asked",
    "computed",
]

KINDS: tuple[Kind, ...] = ("number", "count", "category", "boolean", "date")

UNWRITTEN = ("id", "large", "text", "split", "target", "asked")
"""Columns left out for these reasons are not in written tables, because their cells are unknown."""

ROLES = {"target": "target", "computed": "computed"}
"""How columns are described that are not modelled for these reasons; all others are "left out"."""

OTHER = "(other)"
"""The class for the rare levels of a category with too many levels, and for unseen levels."""


class Column(BaseModel, frozen=True, extra="forbid"):
    """One column, and how its cells are converted to numbers and back.

    Raw values are float64: a number or count in its own units, a category or boolean as its class
    0..K-1, a date as days since 1970-01-01 (a time of day as a fraction of a day), NaN where the
    cell is missing.

    `dtype` is the type that the column is written back with, as narwhals names it ("Int64",
    "Float64", "String", "Boolean", "Date", "Datetime(time_unit='us', time_zone=None)" ...).
    `classes` are the words of a category's classes, or those for false and true. `other` says that
    the last class is that of the rare words: `rare` are these words, and `times` how often each
    came. The raw value of the j-th of them (from 0) is K + j; K-1 means one of them, but it is not
    known which, or a word that training did not see. `written` are all these words with the blanks
    around them that they were written with, () if there were none. `decimals` is the number of
    decimals that all values need, None if they have the full precision of floats: of 32 bits if
    `single`, else of 64. `format` is how a
    date was written (`strptime`, and the flags of `read.date_forms`), `step` its resolution in
    microseconds. `low` and `high` are the range of the raw values seen, `missing` says whether any
    cell was missing.

    Numbers, counts and dates have more. `mean` and `scale` standardise them. `knots` are the raw
    values at even probabilities 0..1 (quantiles, never decreasing). `atoms` are the raw values that
    at least 2 % of the present cells have, ascending, and `shares` their shares of the present
    cells. `points` and `edges` are the grid of a binned likelihood: raw values with a probability
    of their own, ascending, and the knots of the bins between them. They are learned by
    `vaekit.data.tables.model.bins`.
    """

    name: str
    kind: Kind
    dtype: str = "Float64"
    why: str = ""
    classes: tuple[str, ...] = ()
    other: bool = False
    rare: tuple[str, ...] = ()
    times: tuple[int, ...] = ()
    written: tuple[str, ...] = ()
    decimals: int | None = None
    single: bool = False
    format: str = ""
    step: int = Field(0, ge=0)
    low: float = 0.0
    high: float = 0.0
    missing: bool = False
    mean: float = 0.0
    scale: float = Field(1.0, gt=0)
    knots: tuple[float, ...] = ()
    atoms: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    points: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """The number of classes, K; 0 for measured columns."""
        return len(self.classes) if self.discrete else 0

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all raw values 0, 1, 2 ...: of the classes, then of the rare ones."""
        return (*self.classes, *self.rare)

    @property
    def discrete(self) -> bool:
        """Whether raw values are class numbers."""
        return self.kind in ("category", "boolean")


class LeftOut(BaseModel, frozen=True, extra="forbid"):
    """A column that is not modelled, and why.

    If its cells are known without the model, it also says how to write them back. A constant has
    its `column` and the raw `value` of every row. A duplicate has its `column` and the name of the
    column that it repeats (`of`). A column without values, or one that a constraint computes, has
    only a `column`. Ids, texts and splits have none, because they are not written back. The
    target's `column` is kept for its classes.
    """

    name: str
    reason: Reason
    why: str
    of: str = ""
    value: float | None = None
    column: Column | None = None

    @property
    def written(self) -> bool:
        """Whether written tables have this column."""
        return self.reason not in UNWRITTEN


class TableSchema(Schema, frozen=True, extra="forbid"):
    """The schema of a table. `columns` are modelled, in the order of the tensors' last dimension.

    `conditions` are the fields that the model is conditioned on, and `given` the columns that they
    were made from, one for each, in the same order. `order` names all columns in the order of the
    source. `classes` are the names of the labels if a target was named (index = label). `rows` is
    the number of rows that the schema was learned from. `constraints` are the rules that new rows
    obey, as they were written, in the order in which they are computed.
    """

    modality: Literal["tables"] = "tables"
    columns: tuple[Column, ...]
    left_out: tuple[LeftOut, ...] = ()
    given: tuple[Column, ...] = ()
    order: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    rows: int = Field(0, ge=0)
    constraints: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"rows of {len(self.columns)} columns"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the modelled columns."""
        return tuple(column.name for column in self.columns)

    @property
    def shape(self) -> tuple[int]:
        """(C,)."""
        return (len(self.columns),)

    @property
    def dims(self) -> int:
        """C, the number of values in a row."""
        return len(self.columns)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """For every modelled column its number of classes, 0 if it is measured."""
        return tuple(column.size for column in self.columns)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The constraints, parsed."""
        return tuple(parse(text, self.order) for text in self.constraints)

    @cached_property
    def computed(self) -> tuple[str, ...]:
        """The names of the columns that constraints compute, in the order of `constraints`."""
        return tuple(rule.target for rule in self.rules if rule.target)

    def column(self, name: str) -> Column:
        """The column of that name: modelled, condition or left out. Raises KeyError if unknown."""
        found = {left.name: left.column for left in self.left_out if left.column is not None}
        return (found | {column.name: column for column in (*self.columns, *self.given)})[name]

    @property
    def unwritten(self) -> tuple[LeftOut, ...]:
        """The columns of the source that written tables do not have."""
        return tuple(left for left in self.left_out if not left.written)

    @property
    def target(self) -> str:
        """The name of the column that the labels came from, or ""."""
        return next((left.name for left in self.left_out if left.reason == "target"), "")


def describe(schema: TableSchema) -> list[str]:
    """A line for each column in the source's order: its name, its kind, and why."""
    told: dict[str, tuple[str, str]] = {
        column.name: (column.kind, in_words(column)) for column in schema.columns
    }
    told |= {column.name: ("condition", in_words(column)) for column in schema.given}
    told |= {left.name: (ROLES.get(left.reason, "left out"), left.why) for left in schema.left_out}
    names = [name for name in schema.order or tuple(told) if name in told]
    wide = min(max((len(name) for name in names), default=0), 32)
    return [
        f"{' '.join(name.split()):<{wide}}  {told[name][0]:<9}  {told[name][1]}".rstrip()
        for name in names
    ]


def in_words(column: Column) -> str:
    """The column in words: "73 whole numbers, 17 to 90", "9 classes, some missing"."""
    return column.why + (", some missing" if column.missing else "")
