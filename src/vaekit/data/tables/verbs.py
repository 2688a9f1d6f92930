"""Use the model of a table: draw new rows, fill missing cells, fill up rare classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from vaekit.core.random import seeded
from vaekit.data import conditions
from vaekit.data.dataset import counted
from vaekit.data.modality import Made, Place, Tell, TrainedModel
from vaekit.data.tables import sampling
from vaekit.data.tables.balance import balanced
from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.columns.forms import schema_of
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.columns.units import unfold
from vaekit.data.tables.fill import FilledTable, mend
from vaekit.data.tables.load import open_frame
from vaekit.data.tables.read import frames
from vaekit.data.tables.read.endings import written_form, written_in_words
from vaekit.data.tables.rules.constraints import compute
from vaekit.data.tables.schema import TableSchema
from vaekit.data.tables.write import write
from vaekit.errors import VaekitError
from vaekit.files import new_folder


def generate(
    trained: TrainedModel,
    n: int,
    seed: int | None,
    where: Mapping[str, Any],
    tell: Tell,
    reading: str | None = None,
) -> Any:
    """n new rows as a Polars frame.

    `where` gives values of conditions, which go to the model, and values or ranges of other
    columns, which the drawn rows must have. With `reading` "mean", rows are the likelihood's means
    instead of draws. Raises VaekitError.
    """
    schema = cast(TableSchema, trained.schema)
    names = conditions.names(schema.conditions)
    told = {name: word for name, word in where.items() if name in names}
    held = {name: word for name, word in where.items() if name not in told}
    context = trained.context(told)
    known = None if context is None else context.expand(n, -1)
    if reading is not None and reading != "sample":
        if held:
            raise VaekitError(
                f"reading '{reading}': {next(iter(held))} can be asked for only if rows are drawn; leave out one"
            )
        rows = present(trained.draw(n, seed, reading, told), schema, known)
    else:
        with seeded(seed), torch.no_grad():
            raw = sampling.new(trained.model, schema, n, held, context)
            known = None if known is None else unfold(known, schema.given)
        rows = as_frame(decode(raw, schema, known), schema)
    _tell_absent(schema, tell)  # once there are rows: an error comes alone
    _tell_unsaid(schema, told, tell)
    return rows


def present(x: torch.Tensor, schema: TableSchema, context: torch.Tensor | None) -> Any:
    """Rows x (N, C) in model units as a Polars frame, with cells as the source wrote them."""
    with seeded(0):
        raw = sampling.in_words(x, schema)
        context = None if context is None else unfold(context.cpu(), schema.given)
    return as_frame(decode(raw, schema, context), schema)


def impute(
    trained: TrainedModel, source: Any, data: Table, draws: int, seed: int | None, tell: Tell
) -> Made:
    """The rows of `source` (read as `data`), `draws` times, with their missing cells drawn.

    All other cells, and columns that the model does not know, stay as they came. With several
    draws, a column `draw` says which one a row belongs to.
    """
    schema, frame = cast(TableSchema, trained.schema), open_frame(source)
    if draws > 1 and "draw" in frame.names:
        raise VaekitError(
            f"{data.source}: has a column 'draw' already, which several draws need; rename it"
        )
    with seeded(seed):
        copies = [sampling.filled(trained.model, data) for _ in range(draws)]
    known = None if data.context is None else data.context.repeat(draws, 1)
    computed = torch.cat([copy.computed for copy in copies])
    raw = torch.cat([copy.raw for copy in copies])
    here = schema_of(frame, schema)
    mended = mend(frame, decode(raw, here, known, computed=computed), here, draws)
    left = torch.cat([copy.open for copy in copies]).unique().tolist()
    _tell_left(mended, left, schema, data.source, tell)
    columns = mended.columns
    if draws > 1:
        columns = {"draw": torch.arange(draws).repeat_interleave(len(data)).numpy(), **columns}
    frame_of_all = frames.polars().DataFrame(dict(columns))
    return Made(frame_of_all, {"cells": mended.filled, "draws": draws, "n": len(data)})


def augment(
    trained: TrainedModel,
    real: Table,
    n: int | None,
    seed: int | None,
    tell: Tell,
    balance: str | None = None,
) -> Made:
    """The training rows, with new rows of the rare classes of the column `balance`.

    A column `synthetic` says which rows are new. Every class gets `n` rows, by default as many as
    the largest class has. Near-copies of training rows are refused.
    """
    schema = cast(TableSchema, trained.schema)
    if balance is None:
        raise VaekitError(
            "augment: expected the category whose rare classes to fill up, such as --balance churned"
        )
    if "synthetic" in schema.order:
        raise VaekitError(
            f"{real.source}: has a column 'synthetic' already, which augment writes; rename it and train again"
        )
    with seeded(seed):
        made = balanced(trained.model, real, schema, balance, n, tell)
        told = None if made.context is None else unfold(made.context, schema.given)
    context = None if told is None else torch.cat((_known(real), told))
    computed = None
    if real.computed is not None:
        computed = torch.cat((real.computed, compute(made.raw, schema, made.context)))
    raw = torch.cat((real.raw.take(torch.arange(len(real))), made.raw))
    columns = decode(raw, schema, context, computed=computed)
    new = np.ma.masked_array(np.repeat((False, True), (len(real), len(made.raw))))
    _tell_absent(schema, tell, "All rows, also the real ones, come without")
    frame = as_frame(columns | {"synthetic": new}, schema)
    return Made(frame, {"real": len(real), "new": len(made.raw), **made.counts})


def _known(data: Table) -> torch.Tensor:
    """The context of real rows, with their own rare words."""
    assert data.context is not None
    context, schema = data.context.clone(), data.schema
    for i, column in enumerate(schema.given):
        if column.rare and data.beside is not None:
            context[:, i] = data.beside[:, i].float()
    return context


def write_made(
    frame: Any, schema: TableSchema, place: Place, escape: bool = False
) -> dict[str, str]:
    """Write new rows to a new file, by default a CSV file in a new folder. Raises VaekitError."""
    path = place.named or new_folder(place.folder) / "rows.csv"
    check_named(path)
    return {"table": str(write(frame, path, escape))}


def check_named(path: Path) -> None:
    """Raise a VaekitError if a table cannot be written to `path`."""
    if not written_form(path):
        raise VaekitError(f"--out {path}: expected a file that ends in {written_in_words()}")
    if path.exists():
        raise VaekitError(f"--out {path}: is there already; choose another name, or move it away")
    if not path.parent.is_dir():
        raise VaekitError(f"--out {path}: there is no folder {path.parent}; make it first")


def _tell_absent(schema: TableSchema, tell: Tell, whose: str = "New rows come without") -> None:
    """Tell which columns of the source are not modelled and so not written, and why."""
    gone = [f"{left.name} ({left.why})" for left in schema.unwritten]
    if gone:
        tell(f"{whose} {_listed(gone, few=10)}: not modelled")


def _tell_unsaid(schema: TableSchema, told: Mapping[str, Any], tell: Tell) -> None:
    """Tell which conditions were not given, so that new rows do not have these columns."""
    unsaid = [field for field in schema.conditions if field.name not in told]
    if unsaid:
        such = unsaid[0].classes[-1] if unsaid[0].classes else f"{unsaid[0].mean:.4g}"
        tell(
            "No value is given for conditions of the model, so new rows come without them: "
            f"{_listed([field.name for field in unsaid])}; give one, such as --where {unsaid[0].name}={such}"
        )


def _tell_left(
    mended: FilledTable, rows: Sequence[int], schema: TableSchema, data: str, tell: Tell
) -> None:
    """Tell which cells stay empty and why, or that there was none to fill."""
    if rows:
        were, places = ("row was", "it was") if len(rows) == 1 else ("rows were", "they were")
        tell(
            f"{len(rows):,} {were} left as {places} ({_listed([mended.place(row) for row in rows])}): no drawn cells "
            "obey the constraints together with the present cells"
        )
    for name in (field.name for field in schema.conditions):
        if n := mended.left.get(name, 0):
            cells = "1 empty cell stays" if n == 1 else f"{counted(n, 'empty cell')} stay"
            tell(f"{name}: {cells} empty, because it is a condition, which the model does not draw")
    if not mended.filled and not rows:
        tell(f"{data}: no cell of the columns that the model draws is missing")


def _listed(names: Sequence[str], few: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - few:,} more" if len(names) > few else ""
    return ", ".join(names[:few]) + more
