"""The sections of a report on rows: new rows, and columns and pairs of columns beside real ones."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from vaekit.core.random import seeded
from vaekit.data.modality import Shown, TrainedModel
from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.columns.units import fold, from_tensor, to_tensor
from vaekit.data.tables.sampling import drawn, in_words
from vaekit.data.tables.schema import TableSchema
from vaekit.figures import plots
from vaekit.figures.section import Section, image
from vaekit.measures.row_quality import PAIRED, column_errors, pair_errors

MOST = 5000
"""The largest number of held-out rows that are compared with the same number of new rows."""

SHOWN = 10
"""The number of new rows that are written out."""

PANELS = 24
"""The largest number of columns that are plotted, those with the largest errors first."""


def sections(shown: Shown) -> Sequence[Section]:
    """New rows, every column and every pair of columns beside held-out rows, and the latent map."""
    trained, place = shown.trained, shown.plots
    schema = cast(TableSchema, trained.schema)
    held = shown.held.subset(torch.arange(min(len(shown.held), MOST)))
    context, raw = held.context, held.raw.take(torch.arange(len(held)))
    made = _drawn(trained, len(held), context, shown.seed)
    real, new = fold(raw, schema).numpy(), from_tensor(made, schema, clip=True).numpy()
    categories = np.array([column.discrete for column in schema.columns])
    errors = column_errors(real, new, categories)
    pairs = pair_errors(real[:, :PAIRED], new[:, :PAIRED], categories[:PAIRED])
    worst = np.argsort(-errors)[:PANELS]
    plots.columns(
        place / "columns.png",
        [(schema.columns[i], real[:, i], new[:, i], errors[i]) for i in worst],
    )
    plots.matrix(place / "pairs.png", pairs, schema.names[:PAIRED])
    seen = shown.training.subset(torch.arange(min(len(shown.training), MOST)))
    below = to_tensor(seen.raw.take(torch.arange(len(seen))), schema)
    plots.latent_map(
        place / "latent.png",
        trained.encode(to_tensor(raw, schema), context).mean,
        held.labels,
        schema.classes,
        trained.encode(below, seen.context).mean,
    )
    told = f"{len(held):,} held-out rows and as many new ones"
    return [
        Section("New rows", "Drawn from the model.", _written(schema, made[:SHOWN])),
        Section(
            "Columns",
            f"{told}: grey is real, blue is new. d is the largest distance of their distribution functions, or the "
            f"total variation of categories (mean {errors.mean():.3f}){furthest(len(worst), len(errors))}."
            + unmeasured(schema),
            image(place / "columns.png"),
        ),
        Section(
            "Pairs of columns",
            f"{told}: the total variation of the joint table of each pair of columns (mean {_mean(pairs):.3f})"
            f"{paired(schema)}.",
            image(place / "pairs.png", False),
        ),
        Section(
            "Latent map",
            "Where rows lie in the latent space: training rows in grey, held-out rows on top.",
            image(place / "latent.png", False),
        ),
    ]


def furthest(shown: int, known: int) -> str:
    """If not all columns are plotted, a note on which ones are; else ""."""
    return (
        f"; only the {shown} of {known} columns with the largest distance are shown"
        if shown < known
        else ""
    )


def paired(schema: TableSchema) -> str:
    """If not all columns are compared in pairs, a note on which ones are; else ""."""
    return (
        f"; only the first {PAIRED} of {schema.dims} columns are compared in pairs"
        if schema.dims > PAIRED
        else ""
    )


def unmeasured(schema: TableSchema) -> str:
    """A sentence, as HTML, on the columns that are not measured; "" if all are."""
    names = ", ".join(html.escape(name) for name in schema.computed)
    return f" Not measured, because computed from other columns: {names}." if names else ""


def _drawn(trained: TrainedModel, n: int, context: torch.Tensor | None, seed: int) -> torch.Tensor:
    """n new rows, drawn with the conditions of real rows if the model has conditions."""
    known = None if context is None else context.to(trained.device)
    with seeded(seed), torch.no_grad():
        return drawn(trained.model, cast(TableSchema, trained.schema), n, known)


def _mean(pairs: np.ndarray) -> float:
    count = len(pairs)
    return float(pairs.sum() / max(1, count * (count - 1)))


def _written(schema: TableSchema, x: torch.Tensor) -> str:
    with seeded(0):
        columns = decode(in_words(x, schema), schema)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    rows = zip(*(cells.tolist() for cells in columns.values()), strict=True)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<div class=wide><table class=rows><tr>{names}</tr>{lines}</table></div>"


def _cell(value: object) -> str:
    return f"<td class=n>{'' if value is None else html.escape(str(value))}</td>"
