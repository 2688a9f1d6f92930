"""Rows to look at, columns beside the real ones, and how pairs of columns go together."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from vaekit.data import Dataset
from vaekit.data.tables import TableSchema, decode, from_tensor
from vaekit.disk.layout import PLOTS
from vaekit.measures.row_quality import PAIRED, column_errors, pair_errors
from vaekit.report import plots
from vaekit.report.section import Section, image
from vaekit.tasks.trained import Trained, as_tensor, head

MOST = 5000
"""At most so many held-out rows are compared with as many new ones."""

SHOWN = 10
"""Rows that are written out."""

PANELS = 24
"""Columns that are drawn, those first whose error is largest."""


def show(
    folder: Path, trained: Trained, held: Dataset, training: Dataset, seed: int
) -> Sequence[Section]:
    """New rows, every column and every pair of columns beside held-out rows, and the latent map."""
    schema, place = cast(TableSchema, trained.schema), folder / PLOTS
    held = held.subset(torch.arange(min(len(held), MOST)))
    x, context = as_tensor(held), held.context
    made = _drawn(trained, len(held), context, seed)
    real, new = (
        held.raw.take(torch.arange(len(held))).numpy(),
        from_tensor(made, schema, clip=True).numpy(),
    )
    categories = np.array([column.discrete for column in schema.columns])
    errors = column_errors(real, new, categories)
    pairs = pair_errors(real[:, :PAIRED], new[:, :PAIRED], categories[:PAIRED])
    worst = np.argsort(-errors)[:PANELS]
    plots.columns(
        place / "columns.png",
        [(schema.columns[i], real[:, i], new[:, i], errors[i]) for i in worst],
    )
    plots.matrix(place / "pairs.png", pairs, schema.names[:PAIRED])
    seen = training.subset(torch.arange(min(len(training), MOST)))
    plots.latent_map(
        place / "latent.png",
        trained.encode(x, head(context, len(x))).mean,
        held.labels,
        schema.classes,
        trained.encode(as_tensor(seen), seen.context).mean,
    )
    told = f"{len(held):,} held-out rows and as many new ones"
    return [
        Section("New rows", "Drawn from the model.", _written(schema, new[:SHOWN])),
        Section(
            "Columns",
            f"{told}: grey real, blue new; d is the largest distance of their distribution functions, or the total "
            f"variation of categories (mean {errors.mean():.3f}){furthest(len(worst), len(errors))}."
            + unmeasured(schema),
            image(place / "columns.png"),
        ),
        Section(
            "Pairs of columns",
            f"{told}: the total variation of every two columns' joint table (mean {_mean(pairs):.3f}){paired(schema)}.",
            image(place / "pairs.png", False),
        ),
        Section(
            "Latent map",
            "Where rows lie in the latent space: training rows in grey, held-out rows on top.",
            image(place / "latent.png", False),
        ),
    ]


def furthest(shown: int, known: int) -> str:
    """Where not all columns are drawn, which are."""
    return (
        f"; drawn are the {shown} of {known} columns that are furthest off" if shown < known else ""
    )


def paired(schema: TableSchema) -> str:
    """Where not all columns are looked at in pairs, which are."""
    return f"; of the first {PAIRED} columns of {schema.dims}" if schema.dims > PAIRED else ""


def unmeasured(schema: TableSchema) -> str:
    """A sentence, as HTML, on the columns that new rows have and no measure looks at."""
    names = ", ".join(html.escape(name) for name in schema.computed)
    return f" Computed from others, not measured: {names}." if names else ""


def _drawn(trained: Trained, n: int, context: torch.Tensor | None, seed: int) -> torch.Tensor:
    """n new rows, told what is known of real ones where the model is told something."""
    from vaekit.core.random import seeded
    from vaekit.tasks import rows

    schema = cast(TableSchema, trained.schema)
    with seeded(seed), torch.no_grad():
        return rows.drawn(
            trained.model, schema, n, None if context is None else context.to(trained.device)
        )


def _mean(pairs: np.ndarray) -> float:
    count = len(pairs)
    return float(pairs.sum() / max(1, count * (count - 1)))


def _written(schema: TableSchema, raw: np.ndarray) -> str:
    columns = decode(torch.from_numpy(raw), schema)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    rows = zip(*(cells.tolist() for cells in columns.values()), strict=True)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<div class=wide><table class=rows><tr>{names}</tr>{lines}</table></div>"


def _cell(value: object) -> str:
    return f"<td class=n>{'' if value is None else html.escape(str(value))}</td>"
