"""Draw rows from a trained model of a table: freely, as asked, or to fill missing cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from vaekit.core.trace import Model
from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.units import from_tensor, to_tensor, unfold
from vaekit.data.tables.rules import constraints
from vaekit.data.tables.rules.where import asked
from vaekit.data.tables.schema import TableSchema
from vaekit.distributions.rows import Cell, ChainedColumns, Columns
from vaekit.errors import VaekitError

POOL = 2048
"""The number of rows that are drawn at a time."""

TRIES, RAREST = 200_000, 1e-4
"""The search for rows ends after TRIES drawn rows if less than the share RAREST of them fit."""

GUESSES, FILLED = 64, 256
"""The number of latents tried for each row that is filled, and of rows that are filled together."""

REDRAWN = 50
"""How often a row that breaks a constraint is drawn or filled again, at most."""


def draw(model: Model, n: int, context: Tensor | None = None) -> Tensor:
    """n rows x (n, C), drawn from p(z) and p(x | z); `context` (n, F)."""
    parts = (None if context is None else context[i : i + POOL] for i in range(0, n, POOL))
    sizes = (min(POOL, n - i) for i in range(0, n, POOL))
    return torch.cat(
        [model.generate(size, part).sample() for size, part in zip(sizes, parts, strict=True)]
    )


def drawn(model: Model, schema: TableSchema, n: int, context: Tensor | None = None) -> Tensor:
    """As `draw`, on the CPU.

    Rows that break the schema's constraints are drawn again, at most `REDRAWN` times.
    """
    x = draw(model, n, context).cpu()
    for _ in range(REDRAWN if schema.constraints else 0):
        wrong = torch.from_numpy(
            ~constraints.obeyed(from_tensor(x, schema, clip=True), schema, context)
        ).nonzero()[:, 0]
        if not len(wrong):
            break
        x[wrong] = draw(
            model, len(wrong), None if context is None else context[wrong.to(context.device)]
        ).cpu()
    return x


def draw_as(
    model: Model,
    n: int,
    known: Tensor,
    context: Tensor | None = None,
    passes: Callable[[Tensor], Tensor] = lambda x: torch.ones(len(x), dtype=torch.bool),
) -> Tensor:
    """n rows x (n, C) of p(x | the cells of `known` (C,) that are not NaN, x passes), `context` (1, F).

    Latents, and the cells before a known one, are drawn freely. A row is kept with a probability
    in proportion to how likely it made the known cells, and only if it `passes` (B, C) -> bool
    (B,). So cells that one row in a thousand has take a thousand times as long. Raises VaekitError
    if it takes too long.
    """
    told = None if context is None else context.expand(POOL, -1)
    kept: list[Tensor] = []
    tried = found = 0
    largest = -math.inf  # largest log-weight so far
    while found < n:
        if tried >= TRIES and found < RAREST * tried:
            raise VaekitError(
                f"only {found:,} of {tried:,} drawn rows are as asked; ask for fewer rows, ask less of them, "
                "loosen the constraints, or train with these columns as --condition"
            )
        rows, weight = cast(Columns | ChainedColumns, model.generate(POOL, told)).fill(known)
        if float(weight.max()) > largest:  # keep fewer of the earlier rows
            kept = [
                part[torch.rand(len(part)).log() < largest - float(weight.max())] for part in kept
            ]
            largest = float(weight.max())
        rows = rows[torch.rand(POOL).log() < weight - largest]
        kept.append(rows[passes(rows)])
        tried, found = tried + POOL, sum(map(len, kept))
    return torch.cat(kept)[:n]


def new(
    model: Model,
    schema: TableSchema,
    n: int,
    words: Mapping[str, Any] | None = None,
    context: Tensor | None = None,
) -> Tensor:
    """n new rows, raw (n, C), that fit `words` and the schema's constraints; `context` (1, F).

    Raises VaekitError for rows that are impossible or very rare.
    """
    wanted = asked(words or {}, schema)
    if words or schema.constraints:
        x = draw_as(model, n, wanted.known, context, lambda x: wanted.met(x, schema, context))
    else:
        x = draw(model, n, context if context is None else context.expand(n, -1))
    return wanted.kept(in_words(x, schema), schema)


def in_words(x: Tensor, schema: TableSchema) -> Tensor:
    """New rows x (N, C) in model units as raw values; a rare class is one of its words, drawn."""
    return unfold(from_tensor(x.cpu(), schema, clip=True), schema.columns)


def fill(model: Model, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Rows x (B, C) with their NaN cells drawn from p(missing cells | the others), a few rows at a time."""
    whole, waiting = x.clone(), x.isnan().any(1).nonzero()[:, 0]
    for rows in waiting.split(FILLED) if len(waiting) else ():
        whole[rows] = _filled(model, x[rows], None if context is None else context[rows])
    return whole


@torch.no_grad()
def _filled(model: Model, x: Tensor, context: Tensor | None) -> Tensor:
    """Fill rows x (B, C) by sampling, importance resampling (Rubin 1987).

    For each row `GUESSES` latents are drawn from q(z | x), and the row is filled under each. One of
    the results is drawn with weight p(z) p(known cells | z, cells before) / q(z | x).
    """
    trace = model(x, context, (GUESSES,))
    (draw,) = trace.draws
    rows, weight = cast(Columns | ChainedColumns, trace.likelihood).fill(x, Cell.whole)
    weight = weight + draw.prior.log_prob(draw.z) - draw.posterior.log_prob(draw.z)
    chosen = torch.distributions.Categorical(logits=weight.T).sample()
    return rows[chosen, torch.arange(len(x))]


@dataclass(frozen=True)
class Filled:
    """Rows with missing cells filled: raw (N, C) and computed cells (N, K).

    `open` are the rows that could not be filled and stayed as they were, int64 (M,).
    """

    raw: Tensor
    computed: Tensor
    open: Tensor


def filled(model: Model, table: Table) -> Filled:
    """The table with its missing cells drawn by `fill`, under the constraints of its schema.

    A row whose new cells break a constraint is drawn again. After `REDRAWN` times, its cells stay
    missing.
    """
    schema, came = table.schema, table.raw.take(torch.arange(len(table)))
    x, lost = to_tensor(came, schema), came.isnan()
    computed = came.new_empty(len(came), 0) if table.computed is None else table.computed
    raw, told = came.clone(), computed.clone()
    waiting = torch.arange(len(came))
    for _ in range(REDRAWN if schema.constraints else 1):
        context = None if table.context is None else table.context[waiting]
        drawn = in_words(fill(model, x[waiting], context), schema)
        whole = torch.where(lost[waiting], drawn, came[waiting])
        fits, cells, well = constraints.completed(
            whole, lost[waiting], schema, context, computed[waiting]
        )
        done = torch.from_numpy(well)
        raw[waiting[done]], told[waiting[done]] = fits[done], cells[done]
        if not len(waiting := waiting[~done]):
            break
    return Filled(raw, told, waiting)
