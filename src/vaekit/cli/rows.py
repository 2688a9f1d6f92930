"""What the verbs do with the model of a table, and the verbs that only tables have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.shared import Device, Json, RunFolder, Seed, images_of, load
from vaekit.cli.terminal import show, tell
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data.tables import Table, TableSchema
    from vaekit.data.tables.fill import FilledTable
    from vaekit.tasks.trained import Trained

TableOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="A new file: .csv, .tsv, .parquet or .jsonl (default: a CSV in a folder inside RUN).",
    ),
]
Escape = Annotated[
    bool,
    typer.Option(
        "--escape", help="An apostrophe before words that a spreadsheet would run as formulas."
    ),
]


def generate(
    trained: Trained,
    run: Path,
    n: int,
    where: dict[str, str],
    seed: int,
    out: Path | None,
    escape: bool,
    as_json: bool,
) -> None:
    """n new rows; cells asked for by `where` are conditions that the model is told, or columns that it is held to."""
    import torch

    from vaekit.core.random import seeded
    from vaekit.data.tables import decode
    from vaekit.tasks import rows

    schema = _tables_only(trained, "rows")
    told = {
        name: word
        for name, word in where.items()
        if name in {field.name for field in schema.conditions}
    }
    held = {name: word for name, word in where.items() if name not in told}
    context = trained.context(told)
    with seeded(seed), torch.no_grad():
        raw = rows.new(trained.model, schema, n, held, context)
    known = None if context is None else context.expand(n, -1)
    _tell_absent(schema)
    _tell_unsaid(schema, told)
    path = write(decode(raw, schema, known), run, out, "generated", "rows", escape)
    show({"table": str(path), "n": n}, as_json)


def impute(
    run: RunFolder,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table with missing cells.")],
    draws: Annotated[
        int, typer.Option(min=1, help="How many filled copies; they differ as much as is unsure.")
    ] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    out: TableOut = None,
    escape: Escape = False,
    as_json: Json = False,
) -> None:
    """DATA with its missing cells filled with draws from the model, given the cells that are there.

    All else, and columns that the model does not know, stay as they came.

    With several draws the table has them all, one copy after another, and a column `draw`.

    Examples:

      vaekit impute runs/customers customers.csv --out filled.csv

      vaekit impute runs/customers customers.csv --draws 5 --out filled.parquet
    """
    import torch

    from vaekit.core.random import seeded
    from vaekit.data.tables import decode, mend, open_frame
    from vaekit.tasks import rows

    trained = load(run, device)
    schema, table = _tables_only(trained, "impute"), _read(trained, data)
    frame = open_frame(data)
    if draws > 1 and "draw" in frame.names:
        raise VaekitError(
            f"{data}: has a column 'draw' already, which --draws writes; give it another name"
        )
    with seeded(seed):
        copies = [rows.filled(trained.model, table) for _ in range(draws)]
    known = None if table.context is None else table.context.repeat(draws, 1)
    computed = torch.cat([copy.computed for copy in copies])
    raw = torch.cat([copy.raw for copy in copies])
    mended = mend(frame, decode(raw, schema, known, computed=computed), schema, draws)
    _tell_left(mended, torch.cat([copy.open for copy in copies]).unique().tolist(), schema, data)
    columns = mended.columns
    if draws > 1:
        columns = {"draw": torch.arange(draws).repeat_interleave(len(table)).numpy(), **columns}
    path = write(columns, run, out, "imputed", "rows", escape)
    show({"table": str(path), "cells": mended.filled, "draws": draws, "n": len(table)}, as_json)


def augment(
    run: RunFolder,
    balance: Annotated[
        str, typer.Option(metavar="COLUMN", help="The category whose rare classes are filled up.")
    ],
    n: Annotated[
        int | None,
        typer.Option(
            "-n", "--number", help="Rows that each class shall have (default: the commonest's)."
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: TableOut = None,
    escape: Escape = False,
    as_json: Json = False,
) -> None:
    """The run's training rows with new ones of the rare classes of a column; near-copies of training rows are refused.

    A column `synthetic` tells new rows from real ones.

    Examples:

      vaekit augment runs/customers --balance churned --out more.csv
    """
    import numpy as np
    import torch

    from vaekit.api import training_part
    from vaekit.core.random import seeded
    from vaekit.data.tables import decode
    from vaekit.data.tables.rules.constraints import compute
    from vaekit.tasks import rows

    trained = load(run, device)
    schema = _tables_only(trained, "augment")
    if "synthetic" in schema.order:
        raise VaekitError(
            f"{run}: its table has a column 'synthetic', which augment writes; train with another name"
        )
    real: Any = training_part(trained)
    with seeded(seed):
        made = rows.balanced(trained.model, real, schema, balance, n, tell)
    context = None if made.context is None else torch.cat((real.context, made.context))
    known = (
        None
        if real.computed is None
        else torch.cat((real.computed, compute(made.raw, schema, made.context)))
    )
    columns = decode(torch.cat((real.raw.values, made.raw)), schema, context, computed=known)
    new = np.repeat((False, True), (len(real), len(made.raw)))
    _tell_absent(schema, "Rows, real ones too, come without")
    path = write(columns | {"synthetic": new}, run, out, "augmented", "rows", escape)
    show({"table": str(path), "real": len(real), "new": len(made.raw), **made.counts}, as_json)


def encode(trained: Trained, run: Path, data: str | None, out: Path | None, as_json: bool) -> None:
    """The row's number from 1, mean and standard deviation of every latent dimension, a row for each row."""
    import numpy as np
    import torch

    from vaekit.tasks.trained import ROWS, as_tensor

    table = images_of(trained, data)
    parts = [
        trained.encode(as_tensor(part), part.context)
        for part in map(table.subset, torch.arange(len(table)).split(ROWS))
    ]
    columns: dict[str, Any] = {"row": np.arange(1, len(table) + 1)}
    for name in ("mean", "scale"):
        values = torch.cat([getattr(part, name) for part in parts]).numpy()
        columns |= {f"{name}_{i}": column for i, column in enumerate(values.T)}
    path = write(columns, run, out, "encoded", "codes", False)
    show({"table": str(path), "n": len(table), "latent": trained.latent}, as_json)


def _tables_only(trained: Trained, verb: str) -> TableSchema:
    if trained.schema.modality != "tables":
        raise VaekitError(f"{verb}: is for tables, and this run is of {trained.schema.modality}")
    schema: Any = trained.schema
    return schema


def _tell_absent(schema: TableSchema, whose: str = "New rows come without") -> None:
    """Which columns of the source are not modelled and so not written, and why."""
    gone = [f"{left.name} ({left.why})" for left in schema.unwritten]
    if gone:
        tell(f"{whose} {_listed(gone, few=10)}: not modelled")


def _tell_unsaid(schema: TableSchema, told: Mapping[str, str]) -> None:
    """Which columns the model is told and nobody says, so that new rows have no cells of them."""
    unsaid = [field for field in schema.conditions if field.name not in told]
    if unsaid:
        such = unsaid[0].classes[-1] if unsaid[0].classes else f"{unsaid[0].mean:.4g}"
        tell(
            f"The model is told {_listed([field.name for field in unsaid])} and nothing is said here, so new rows are "
            f"without; say it, such as --where {unsaid[0].name}={such}"
        )


def _tell_left(mended: FilledTable, rows: Sequence[int], schema: TableSchema, data: str) -> None:
    """Which cells stay empty, and why; that there was none to fill."""
    if rows:
        were, places = ("row was", "it was") if len(rows) == 1 else ("rows were", "they were")
        tell(
            f"{len(rows):,} {were} left as {places} ({_listed([mended.place(row) for row in rows])}): no drawn cells "
            "beside what is there obey the constraints"
        )
    for name in (field.name for field in schema.conditions):
        if n := mended.left.get(name, 0):
            cells = "1 empty cell stays" if n == 1 else f"{n:,} empty cells stay"
            tell(f"{name}: {cells} empty, for the model is told this column and does not draw it")
    if not mended.filled and not rows:
        tell(f"{data}: no cell of the columns that the model draws is missing")


def _listed(names: Sequence[str], few: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - few:,} more" if len(names) > few else ""
    return ", ".join(names[:few]) + more


def _read(trained: Trained, data: str) -> Table:
    table: Any = images_of(trained, data)
    return table


def write(columns: Any, run: Path, out: Path | None, folder: str, stem: str, escape: bool) -> Path:
    """Columns as a new table, by default a CSV in a folder inside the run."""
    from vaekit.data.tables import write
    from vaekit.data.tables.read.endings import written_form, written_in_words
    from vaekit.files import new_folder

    if out is None:
        out = new_folder(run / folder) / f"{stem}.csv"
    if not written_form(out):
        raise VaekitError(f"--out {out}: expected a file that ends on {written_in_words()}")
    if out.exists():
        raise VaekitError(f"--out {out}: is there already; choose another name, or move it away")
    return write(columns, out, escape)
