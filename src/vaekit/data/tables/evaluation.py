"""How good the new rows of a model are, as one page: fidelity, utility, privacy, and what to think of them."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vaekit.data.modality import Tell
from vaekit.data.tables.compared import Tables
from vaekit.data.tables.report import furthest, paired, unmeasured
from vaekit.data.tables.verdicts import Verdict, cautions, verdicts
from vaekit.figures import plots
from vaekit.figures.names import NAMES
from vaekit.figures.page import document, measures, written
from vaekit.figures.section import Section, image
from vaekit.measures.bounds import in_words
from vaekit.measures.row_quality import NEAR, PAIRED, column_errors, pair_errors

FIRST = 12
"""Columns that are drawn, and seen without a click."""

WORST = 10
"""Pairs of columns that are named, and whose columns are drawn."""

BESIDE = ("measure", "new rows", "training rows", "what it says")


def page(
    tables: Tables, target: str | None, title: str, numbers: Mapping[str, Any], tell: Tell
) -> tuple[str, dict[str, Any]]:
    """The page, and the mark of each verdict; what is bad is told."""
    said = verdicts(numbers["samples"], len(tables.real), len(tables.seen), target)
    for caution in cautions(numbers["samples"], len(tables.real)):
        tell(caution)
    for verdict in said:
        if verdict.mark == "bad":
            tell(f"bad: {verdict.sentence} ({verdict.threshold})")
    marks = {verdict.about: verdict.mark for verdict in said}
    return evaluation(title, numbers, tables, said, target), {"verdicts": marks}


def evaluation(
    title: str,
    numbers: Mapping[str, Any],
    tables: Tables,
    said: Sequence[Verdict],
    target: str | None,
) -> str:
    """The whole page, of the results of `vaekit.tasks.measure.rows` beside those of `Trained.evaluate`."""
    samples = numbers["samples"]
    summary = (
        f"<p>{len(tables.made):,} new rows, drawn with seed {numbers['seed']}, beside {len(tables.real):,} held-out "
        f"rows and the {len(tables.seen):,} training rows. What training rows show is as good as it gets.</p>"
    )
    with TemporaryDirectory() as folder:
        shown = [
            Section(
                "Fidelity",
                "How like held-out rows the new rows are.",
                measures(BESIDE, _fidelity(samples)),
            ),
            *_columns(Path(folder), tables),
            *_pairs(Path(folder), tables),
            _utility(samples, target),
            _privacy(samples["privacy"]),
            Section("The bound", "What the model gives held-out rows.", _bound(numbers)),
        ]
    return document(
        title, summary + _said(said, cautions(samples, len(tables.real))) + written(shown)
    )


def _said(said: Sequence[Verdict], cautions: Iterable[str]) -> str:
    lines = "".join(
        f"<li class={part.mark}><strong>{part.mark.capitalize()}.</strong> {html.escape(part.sentence)}."
        f"<small>{html.escape(part.threshold)}</small></li>"
        for part in sorted(said, key=lambda part: ("bad", "fair", "good").index(part.mark))
    )
    return f"<ul class=said>{lines}</ul>" + "".join(
        f"<p class=cut>{html.escape(part)}</p>" for part in cautions
    )


def _fidelity(samples: Mapping[str, Any]) -> list[tuple[str, ...]]:
    told = {
        "column_error": "single columns: largest distance of distribution functions, or total variation; 0 is none",
        "pair_error": "joint tables of two columns, numbers in ten bins: total variation; 0 is none",
        "two_sample": "AUROC of boosted trees that tell them from held-out rows; 0.5 is chance, 1 always",
    }
    floor, known = samples["floor"], [name for name in told if math.isfinite(samples[name])]
    return [(name, _number(samples[name]), _number(floor[name]), told[name]) for name in known]


def _columns(folder: Path, tables: Tables) -> list[Section]:
    errors, floors = (
        column_errors(tables.real, part, tables.categories) for part in (tables.made, tables.seen)
    )
    worst, columns = np.argsort(-errors, kind="stable"), tables.schema.columns
    rows = [
        (html.escape(columns[i].name), _number(errors[i]), _number(floors[i]), columns[i].kind)
        for i in worst
    ]
    heads = ("column", *BESIDE[1:3], "kind")
    rest = measures(heads, rows[FIRST:])
    further = (
        f"<details><summary>{len(rows) - FIRST} more</summary>{rest}</details>"
        if len(rows) > FIRST
        else ""
    )
    shown = [(columns[i], tables.real[:, i], tables.made[:, i], errors[i]) for i in worst[:FIRST]]
    plots.columns(folder / "columns.png", shown)
    return [
        Section(
            "Columns",
            "How far each column's distribution is from that of held-out rows, those first that are furthest off."
            + unmeasured(tables.schema),
            measures(heads, rows[:FIRST]) + further,
        ),
        Section(
            "",
            f"Grey: held-out rows. Blue: new rows{furthest(len(shown), len(rows))}.",
            image(folder / "columns.png"),
        ),
    ]


def _pairs(folder: Path, tables: Tables) -> list[Section]:
    """The pairs of columns that new rows have less right than training rows do."""
    real, made, seen = (part[:, :PAIRED] for part in (tables.real, tables.made, tables.seen))
    if real.shape[1] < 2:
        return []
    errors, floors = (pair_errors(real, part, tables.categories[:PAIRED]) for part in (made, seen))
    excess, names = np.triu(errors - floors, 1), tables.schema.names
    pairs = [divmod(int(k), len(errors)) for k in np.argsort(-excess, axis=None, kind="stable")]
    worst = [(i, j) for i, j in pairs if i < j][:WORST]
    few = sorted({i for pair in worst for i in pair})
    plots.matrix(
        folder / "pairs.png",
        np.maximum(errors - floors, 0)[np.ix_(few, few)],
        [names[i] for i in few],
    )
    rows = [
        (_both(names[i], names[j]), _number(errors[i, j]), _number(floors[i, j]), "")
        for i, j in worst
    ]
    return [
        Section(
            "Pairs of columns",
            "The joint tables that new rows have further from those of held-out rows than training rows "
            f"have{paired(tables.schema)}.",
            measures(("pair", *BESIDE[1:3], ""), rows),
        ),
        Section(
            "",
            f"How much further, as colours, for the {len(few)} columns of the {len(worst)} pairs furthest off: of new "
            "rows less that of training rows.",
            image(folder / "pairs.png", False),
        ),
    ]


def _both(one: str, other: str) -> str:
    return f"{html.escape(one)} and {html.escape(other)}"


def _utility(samples: Mapping[str, Any], target: str | None) -> Section:
    if "utility" not in samples:
        return Section(
            "Utility",
            "Name a column with --target to see how well it is learned from new rows.",
            "",
        )
    told = {
        "f1": "mean F1 over the classes; 1 is best",
        "auroc": "AUROC, of several classes the mean of each against the rest; 0.5 is chance, 1 is best",
        "r2": "R², the share of the variance explained; 0 is what the mean explains, 1 is best",
    }
    found = samples["utility"]
    rows = [
        (name, _number(found[name]), _number(found["floor"][name]), told[name])
        for name in found
        if name in told
    ]
    caption = (
        f"Boosted trees learned {html.escape(str(target))} from new or from training rows. "
        "They are tried on held-out rows."
    )
    return Section("Utility", caption, measures(BESIDE, rows))


def _privacy(found: Mapping[str, float]) -> Section:
    rows = [
        (
            "copies",
            f"{found['copies']:.2%}",
            f"{found['held_copies']:.2%}",
            "equal a training row. Many more than of held-out rows: training rows are given away",
        ),
        (
            "near copies",
            f"{found['near_copies']:.2%}",
            f"{found['held_near_copies']:.2%}",
            f"nearer to a training row than {NEAR:.0%} of training rows are to another. Many more than of held-out "
            "rows: training rows are given away, but for a rounding",
        ),
        (
            "distance ratio",
            _number(found["ratio"]),
            _number(found["held_ratio"]),
            "distance to the nearest training row over that to the second nearest, median. Well below that of held-out "
            "rows: new rows keep close to single training rows",
        ),
        (
            "closer",
            _number(found["closer"]),
            "0.5",
            "share of new rows nearer to a training row than to any of as many held-out ones. Well above 0.5: new rows "
            "show which rows were trained on",
        ),
        (
            "membership",
            _number(found["membership"]),
            "0.5",
            "AUROC of guessing from the distance to the nearest new row what was trained on. Well above 0.5: who "
            "holds a row can tell that it was",
        ),
    ]
    caption = "Whether new rows give training rows away. These are tests for gross leaks, not a proof of privacy."
    return Section(
        "Privacy", caption, measures(("measure", "new rows", "held-out rows", "what it says"), rows)
    )


def _bound(numbers: Mapping[str, Any]) -> str:
    told = {
        "elbo": "bound of log p(x), nats per row; higher is better",
        "nll": "-log p(x) by importance sampling, nats per row; lower is better",
        "rate": "nats that the latents tell of a row",
    }
    rows = [
        (NAMES[name], in_words(numbers[name]), text)
        for name, text in told.items()
        if name in numbers
    ]
    return measures(("measure", "value", "what it says"), rows)


def _number(value: float) -> str:
    return f"{value:.3f}"
