"""Rows of a trained model of a table: drawn, drawn so that cells are as asked, and filled where cells are missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vaekit.columns import Cell, ChainedColumns, Columns
from vaekit.config import nearest
from vaekit.data.conditions import blank, where
from vaekit.data.tables import Table, TableSchema, from_tensor, to_tensor
from vaekit.data.tables.encode import read_column
from vaekit.data.tables.frames import Array
from vaekit.errors import VaekitError
from vaekit.table_quality import Placed
from vaekit.trace import Model

POOL = 2048
"""Rows that are drawn at a time."""

TRIES, RAREST = 200_000, 1e-4
"""What less than this share of the rows is like is given up once so many were drawn in search of it."""

GUESSES = 64
"""Latents that are tried for each row whose missing cells are filled."""


def draw(model: Model, n: int, context: Tensor | None = None) -> Tensor:
    """n rows x (n, C) from the model's prior, all drawn; `context` (n, F)."""
    parts = (None if context is None else context[i : i + POOL] for i in range(0, n, POOL))
    sizes = (min(POOL, n - i) for i in range(0, n, POOL))
    return torch.cat([model.generate(size, part).sample() for size, part in zip(sizes, parts, strict=True)])


def draw_as(model: Model, n: int, known: Tensor, context: Tensor | None = None) -> Tensor:
    """n rows x (n, C) of p(x | the cells of `known` (C,) that are not NaN), `context` (F,).

    Latents and the cells before a known one are drawn freely, and a row is kept by how likely it made the known
    cells: what one row in a thousand has takes a thousand times as long. Raises VaekitError where it takes too long.
    """
    told = None if context is None else context.expand(POOL, -1)
    kept: list[Tensor] = []
    tried = found = 0
    largest = -math.inf  # of all log-weights seen
    while found < n:
        if tried >= TRIES and found < RAREST * tried:
            raise VaekitError(
                f"{found:,} of {tried:,} rows drawn are as asked; ask for fewer rows, or for less of them, or train "
                "with these columns as --condition"
            )
        rows, weight = cast(Columns | ChainedColumns, model.generate(POOL, told)).fill(known)
        if float(weight.max()) > largest:  # rows kept before count for less now
            kept = [part[torch.rand(len(part)).log() < largest - float(weight.max())] for part in kept]
            largest = float(weight.max())
        kept.append(rows[torch.rand(POOL).log() < weight - largest])
        tried, found = tried + POOL, sum(map(len, kept))
    return torch.cat(kept)[:n]


@torch.no_grad()
def fill(model: Model, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Rows x (B, C) with their NaN cells drawn from p(missing cells | the others).

    For each row `GUESSES` latents are drawn from q(z | x) and the row filled under each of them; one is taken by its
    weight p(z) p(known cells | z, cells before) / q(z | x) (sampling, importance resampling: Rubin 1987).
    """
    trace = model(x, context, (GUESSES,))
    (draw,) = trace.draws
    rows, weight = cast(Columns | ChainedColumns, trace.likelihood).fill(x, Cell.whole)
    weight = weight + draw.prior.log_prob(draw.z) - draw.posterior.log_prob(draw.z)
    chosen = torch.distributions.Categorical(logits=weight.T).sample()
    return rows[chosen, torch.arange(len(x))]


def asked(words: Mapping[str, Any], schema: TableSchema) -> Tensor:
    """A row (C,) in model units of what `words` say, NaN where they say nothing. Raises VaekitError."""
    row = torch.full((schema.dims,), math.nan, dtype=torch.float64)
    for name, value in words.items():
        if name not in schema.names:
            left = next((f": it is left out ({left.why})" for left in schema.left_out if left.name == name), "")
            hint = left or nearest(str(name), list(schema.names))
            raise VaekitError(f"where {name}: the model has no such column{hint}")
        place = schema.names.index(name)
        row[place] = _value(schema, place, value)
    return to_tensor(row, schema)


def _value(schema: TableSchema, place: int, value: Any) -> float:
    column = schema.columns[place]
    found = float(read_column(Array({column.name: np.array([value])}, 1, "where").cells(column.name), column)[0][0])
    if math.isnan(found):
        hint = nearest(str(value), list(column.classes)) if column.discrete else ""
        raise VaekitError(f"where {column.name}={value}: no such value was seen{hint}")
    if not column.discrete and not column.low <= found <= column.high:
        raise VaekitError(
            f"where {column.name}={value}: is outside of all that was seen, {column.low:g} to {column.high:g}"
        )
    return found


# Rare classes filled up


@dataclass(frozen=True)
class Made:
    """New rows: raw (N, C), the context (N, F) that they were made with, and how many of each class."""

    raw: Tensor
    context: Tensor | None
    counts: dict[str, int]


def balanced(
    model: Model, real: Table, schema: TableSchema, name: str, wanted: int | None, tell: Callable[[str], None]
) -> Made:
    """Rows that fill every class of the category `name` up to `wanted` (the commonest class's number).

    A row nearer to a training row than `NEAR` of the training rows are to their nearest is refused as a copy, and
    another drawn. Raises VaekitError.
    """
    classes, counts = _classes(real, schema, name)
    goal = wanted or int(counts.max())
    copies = Copies.of(real.raw.values.numpy(), schema)
    parts, contexts, told = [], [], {}
    for k, word in enumerate(classes):
        lacking = goal - int(counts[k])
        if lacking <= 0:
            continue
        raw, context, refused = _of_class(model, schema, name, word, lacking, copies)
        told[word] = len(raw)
        if refused:
            tell(f"{name}={word}: {refused:,} drawn rows were near-copies of training rows, and refused")
        parts.append(raw)
        contexts.append(context)
    if not parts:
        raise VaekitError(f"--balance {name}: every class has {goal:,} rows or more already; ask for more with -n")
    joined = None if contexts[0] is None else torch.cat([c for c in contexts if c is not None])
    return Made(torch.cat(parts), joined, told)


def _classes(real: Table, schema: TableSchema, name: str) -> tuple[Sequence[str], np.ndarray]:
    """The classes of a category, modelled or told, and how many rows have each."""
    fields = {field.name: (i, field.classes) for i, field in enumerate(schema.conditions)}
    if name in fields and real.context is not None:
        place, classes = fields[name]
        values = real.context[:, place].numpy()
    elif name in schema.names:
        place = schema.names.index(name)
        classes, values = schema.columns[place].classes, real.raw.values[:, place].numpy()
    else:
        raise VaekitError(f"--balance {name}: the model has no such column{nearest(name, [*fields, *schema.names])}")
    if not classes:
        raise VaekitError(f"--balance {name}: is no category; choose one, such as the label")
    return classes, np.bincount(values[~np.isnan(values)].astype(int), minlength=len(classes))


def _of_class(
    model: Model, schema: TableSchema, name: str, word: str, n: int, copies: Copies
) -> tuple[Tensor, Tensor | None, int]:
    """n rows of a class that are no copies; the context they were made with; how many were refused."""
    told = name in {field.name for field in schema.conditions}
    context = where({name: word}, schema.conditions) if told else blank_of(schema)
    known = asked({} if told else {name: word}, schema)
    parts: list[Tensor] = []
    refused = 0
    while (have := sum(map(len, parts))) < n:
        if refused > 20 * n + 1000:
            raise VaekitError(f"--balance {name}: nearly all rows of class {word} come out as copies of training rows")
        x = draw_as(model, max(n - have, 32), known, context)
        raw = from_tensor(x, schema, clip=True)
        fresh = ~copies.near(raw.numpy())
        refused += int((~fresh).sum())
        parts.append(raw[torch.from_numpy(fresh)])
    raw = torch.cat(parts)[:n]
    return raw, None if context is None else context.expand(n, -1), refused


def blank_of(schema: TableSchema) -> Tensor | None:
    return blank(schema.conditions, 1) if schema.conditions else None


NEAR = 0.01
"""A row is a near-copy where it is nearer to a training row than this share of training rows is to another."""

LOOKED_AT = 20_000
"""Training rows that copies are looked for among, at most."""


@dataclass(frozen=True)
class Copies:
    """Training rows (N, C) placed among themselves, and the distance below which a row is a near-copy of one."""

    placed: Placed
    distance: float

    @staticmethod
    def of(train: np.ndarray, schema: TableSchema) -> Copies:
        placed = Placed(train[:LOOKED_AT], np.array([column.discrete for column in schema.columns]))
        return Copies(placed, float(np.quantile(placed.own_nearest(), NEAR)))

    def near(self, rows: np.ndarray) -> np.ndarray:
        """Which rows (M, C) are near-copies, bool (M,)."""
        return self.placed.nearest(rows) < self.distance
