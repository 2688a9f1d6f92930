"""The page on how good a model's new rows are: fidelity, utility, privacy, and verdicts on them."""

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
"""The number of columns that are plotted, and listed without a click."""

WORST = 10
"""The number of pairs of columns that are listed, and whose columns are plotted."""

BESIDE = ("measure", "new rows", "training rows", "what it says")


def page(
    tables: Tables, target: str | None, title: str, numbers: Mapping[str, Any], tell: Tell
) -> tuple[str, dict[str, Any]]:
    """The page, and the mark of each verdict; cautions and bad verdicts are passed to `tell`."""
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
    """The whole page, from `numbers` as `quality.rows` and `Trained.evaluate` return them."""
    samples = numbers["samples"]
    summary = (
        f"<p>{len(tables.made):,} new rows, drawn with seed {numbers['seed']}, beside {len(tables.real):,} held-out "
        f"rows and the {len(tables.seen):,} training rows. The values of training rows are the best possible.</p>"
    )
    with TemporaryDirectory() as folder:
        shown = [
            Section(
                "Fidelity",
                "How similar the new rows are to held-out rows.",
                measures(BESIDE, _fidelity(samples)),
            ),
            *_columns(Path(folder), tables),
            *_pairs(Path(folder), tables),
            _utility(samples, target),
            _privacy(samples["privacy"]),
            Section("The bound", "How likely the model finds held-out rows.", _bound(numbers)),
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
        "column_error": "single columns: largest distance of the distribution functions, or total variation of "
        "categories; 0 is best",
        "pair_error": "joint tables of two columns, with numbers in ten bins: total variation; 0 is best",
        "two_sample": "AUROC of boosted trees that distinguish them from held-out rows; 0.5 is chance, which is best",
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
            "How far each column's distribution is from that of held-out rows, largest distance first."
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
    """The pairs of columns in which new rows are worse than training rows."""
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
            "The pairs whose joint tables are further from those of held-out rows in new rows than in training "
            f"rows{paired(tables.schema)}.",
            measures(("pair", *BESIDE[1:3], ""), rows),
        ),
        Section(
            "",
            f"How much further, as colours, for the {len(few)} columns of the {len(worst)} worst pairs: distance of "
            "new rows minus that of training rows.",
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
        "auroc": "AUROC, for several classes the mean of each against the rest; 0.5 is chance, 1 is best",
        "r2": "R², the share of the variance that is explained; 0 for always predicting the mean, 1 is best",
    }
    found = samples["utility"]
    rows = [
        (name, _number(found[name]), _number(found["floor"][name]), told[name])
        for name in found
        if name in told
    ]
    caption = (
        f"Boosted trees learned {html.escape(str(target))} from new or from training rows. "
        "They are tested on held-out rows."
    )
    return Section("Utility", caption, measures(BESIDE, rows))


def _privacy(found: Mapping[str, float]) -> Section:
    rows = [
        (
            "copies",
            f"{found['copies']:.2%}",
            f"{found['held_copies']:.2%}",
            "share of rows that equal a training row. If it is far above that of held-out rows, new rows reveal "
            "training rows",
        ),
        (
            "near copies",
            f"{found['near_copies']:.2%}",
            f"{found['held_near_copies']:.2%}",
            "share of rows as near to a training row as only the nearest "
            f"{NEAR:.0%} of training rows are to another. If it is far above that of held-out rows, new rows reveal "
            "training rows up to small changes",
        ),
        (
            "distance ratio",
            _number(found["ratio"]),
            _number(found["held_ratio"]),
            "distance to the nearest training row divided by that to the second nearest, median. If it is well below "
            "that of held-out rows, new rows are close to single training rows",
        ),
        (
            "closer",
            _number(found["closer"]),
            "0.5",
            "share of new rows nearer to a training row than to any of the same number of held-out rows. If it is well "
            "above 0.5, new rows reveal which rows were trained on",
        ),
        (
            "membership",
            _number(found["membership"]),
            "0.5",
            "AUROC of guessing from the distance to the nearest new row whether a row was trained on. If it is well "
            "above 0.5, anyone who has a row can find that out",
        ),
    ]
    caption = "Whether new rows reveal training rows. These are tests for gross leaks, not a proof of privacy."
    return Section(
        "Privacy", caption, measures(("measure", "new rows", "held-out rows", "what it says"), rows)
    )


def _bound(numbers: Mapping[str, Any]) -> str:
    told = {
        "elbo": "lower bound of log p(x), nats per row; higher is better",
        "nll": "-log p(x) by importance sampling, nats per row; lower is better",
        "rate": "information about a row in the latents, nats per row",
    }
    rows = [
        (NAMES[name], in_words(numbers[name]), text)
        for name, text in told.items()
        if name in numbers
    ]
    return measures(("measure", "value", "what it says"), rows)


def _number(value: float) -> str:
    return f"{value:.3f}"
