"""The verbs that report numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.shared import (
    Array,
    Channels,
    Device,
    Json,
    Resize,
    RunFolder,
    Seed,
    Source,
    images_of,
    load,
)
from vaekit.cli.terminal import out as stdout
from vaekit.cli.terminal import reading, show, tell
from vaekit.cli.words import at_least, listed, sides
from vaekit.errors import VaekitError
from vaekit.tasks.remarks import NAMES

if TYPE_CHECKING:
    from vaekit.data import Dataset
    from vaekit.tasks.measure import Tables
    from vaekit.tasks.trained import Trained

METRICS = ("nll", "samples", "disentanglement", "augmentation")


def evaluate(
    run: RunFolder,
    data: Source = None,
    draws: Annotated[
        int, typer.Option(help="Importance draws per image or row for the NLL; 0 leaves it out.")
    ] = 500,
    limit: Annotated[
        int | None, typer.Option(help="Images or rows for the NLL (default all).")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="What to measure beside the bound, with commas: nll (default), samples (default of tables), "
            "disentanglement, augmentation: whether new data help a classifier."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Of a table: the column that classifiers learn from new rows."
        ),
    ] = None,
    factors: Annotated[
        str,
        typer.Option(
            help="For disentanglement: what images are made of; label, arrays, columns of --table."
        ),
    ] = "label",
    table: Annotated[str | None, typer.Option(help="A CSV file with a row for each image.")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="For samples: gmm:K or flow instead of the prior.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Of a table: the page, a new .html (default: in a folder inside RUN)."
        ),
    ] = None,
    resize: Resize = None,
    channels: Channels = None,
    array: Array = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """How good a model is: ELBO with its parts, NLL with its standard error, use of the latents; nats per image or row.

    Of a table also fidelity, utility and privacy of new rows, as a page with a verdict on each.

    Examples:

      vaekit evaluate runs/digits

      vaekit evaluate runs/mnist --draws 5000 --limit 1000 --json

      vaekit evaluate runs/mnist --metrics nll,samples --sampler gmm:10

      vaekit evaluate runs/sprites --metrics disentanglement --factors shape,scale,x,y

      vaekit evaluate runs/customers holdout.csv --target churned

      vaekit evaluate runs/customers holdout.csv --metrics augmentation --target churned
    """
    at_least("--draws", draws, 0)
    from vaekit.tasks.remarks import remarks

    at_least("--limit", limit, 1)
    trained = load(run, device)
    named = metrics or target or out
    metrics = metrics or ("nll,samples" if trained.schema.modality == "tables" else "nll")
    asked = listed("--metrics", metrics, METRICS)
    _check_of_tables(trained, asked, target, out)
    if sampler and "samples" not in asked:
        raise VaekitError(
            f"--sampler {sampler}: is for samples; add --metrics {','.join([*asked, 'samples'])}"
        )
    images = images_of(trained, data, size=sides(resize), channels=channels, array=array)
    short = {} if named else _too_few(images, asked)
    asked = [name for name in asked if name not in short]
    with reading(quiet=False) as hook:
        numbers = trained.evaluate(images, draws if "nll" in asked else 0, seed, limit, hook)
        further, tables = _further(
            trained, images, asked, sampler, factors, table, target, seed, hook
        )
    reasons = numbers.get("left_out", {}) | further.pop("left_out", {}) | short
    numbers |= further | ({"left_out": reasons} if reasons else {})
    if not draws or "nll" not in asked:
        tell(f"NLL left out: --{'metrics ' + metrics if draws else 'draws 0'}")
    for name, reason in reasons.items():
        tell(f"{name} left out: {reason}")
    for sentence in _without_number(numbers, trained.modality.datum):
        tell(sentence)
    discrete = trained.modality.discrete(trained.experiment.model, trained.schema)
    for sentence in remarks(numbers, discrete):
        tell(sentence)
    numbers |= {**trained.schema.reported, "seed": seed}
    if tables is not None:
        numbers |= _page(run, out, numbers, tables, target)
    show(numbers if as_json else _readable(numbers, trained.modality.datum), as_json)


def _further(
    trained: Trained,
    images: Dataset,
    asked: list[str],
    sampler: str | None,
    factors: str,
    table: str | None,
    target: str | None,
    seed: int,
    hook: Any,
) -> tuple[dict[str, Any], Tables | None]:
    """The measures that want other data than the images at hand; of a table, the rows that were compared."""
    from vaekit.api import own_data, sampled, training_part
    from vaekit.data.images.load import load_factors
    from vaekit.tasks import measure as metrics

    numbers: dict[str, Any] = {}
    tables: Tables | None = None
    if "samples" in asked:
        made = sampled(trained, sampler, tell) if sampler else trained
        if made.schema.modality == "tables":
            tables = metrics.tables(made, training_part(trained), images, seed)
            numbers |= metrics.rows(tables, target, seed)
        else:
            numbers |= metrics.samples(made, training_part(trained), images, seed, hook)
    if "augmentation" in asked and trained.schema.modality == "tables":
        numbers |= metrics.helps_rows(trained, training_part(trained), images, target, seed)
    elif "augmentation" in asked:
        numbers |= metrics.helps_pictures(trained, training_part(trained), images, seed, hook)
    if "disentanglement" in asked:
        everything = own_data(trained)
        names = [name.strip() for name in factors.split(",")]
        known = load_factors(everything, names, trained.experiment.data.array, table)
        numbers |= metrics.latents(trained, everything, known, seed)
    return numbers, tables


def _too_few(images: Dataset, asked: list[str]) -> dict[str, str]:
    """Why new rows are not looked at, where nobody named what to measure and there is too little to compare with."""
    from vaekit.tasks.measure import FEWEST

    if "samples" not in asked or len(images) >= FEWEST:
        return {}
    told = f"{len(images)} held-out rows are too few to compare with ({FEWEST}); name a table that has more"
    return {"samples": told}


def _check_of_tables(
    trained: Trained, asked: list[str], target: str | None, out: Path | None
) -> None:
    """Refuse, before anything takes time, what is asked of new rows and cannot be."""
    from vaekit.config import nearest

    names: tuple[str, ...] = getattr(trained.schema, "names", ())
    for option, value, of in (
        ("--target", target, {"samples", "augmentation"}),
        ("--out", out, {"samples"}),
    ):
        if value is not None and trained.schema.modality != "tables":
            raise VaekitError(
                f"{option}: is for tables, and this run is of {trained.schema.modality}"
            )
        if value is not None and not of & set(asked):
            raise VaekitError(
                f"{option} {value}: is about new rows; add --metrics {','.join([*asked, 'samples'])}"
            )
    if target is not None and "samples" in asked and target not in names:
        raise VaekitError(
            f"--target {target}: the model has no such column{nearest(target, list(names))}"
        )
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise VaekitError(f"--out {out}: expected the name of a page that ends on .html")
    if out is not None and out.exists():
        raise VaekitError(f"--out {out}: is there already; choose another name, or move it away")


def _page(
    run: Path, out: Path | None, numbers: dict[str, Any], tables: Tables, target: str | None
) -> dict[str, Any]:
    """Write the page; what is to be told beside the numbers: its name, and the verdicts."""
    from vaekit.files import new_folder, write
    from vaekit.report.evaluation import evaluation
    from vaekit.report.verdicts import cautions, verdicts

    said = verdicts(numbers["samples"], len(tables.real), len(tables.seen), target)
    page = evaluation(f"vaekit evaluate: {run.name}", numbers, tables, said, target)
    out = out or new_folder(run / "evaluated") / "evaluation.html"
    write(out, page)
    for caution in cautions(numbers["samples"], len(tables.real)):
        tell(caution)
    for verdict in said:
        if verdict.mark == "bad":
            tell(f"bad: {verdict.sentence} ({verdict.threshold})")
    return {"verdicts": {verdict.about: verdict.mark for verdict in said}, "page": str(out)}


def info(run: RunFolder, seed: Seed = 0, device: Device = "auto", as_json: Json = False) -> None:
    """What a run is: its data, its model, how it was trained and how well.

    Examples:

      vaekit info runs/digits

      vaekit info runs/digits --json
    """
    from vaekit.cli.page import page
    from vaekit.runs.status import status

    facts = status(run)
    if as_json:
        show(facts, True)
    else:
        stdout.print(page(facts))


def _without_number(numbers: dict[str, Any], datum: str) -> list[str]:
    """Why some of the results are no number, and null in JSON."""
    estimates = {
        name: part for name, part in numbers.items() if isinstance(part, dict) and "value" in part
    }
    values = {name: part["value"] for name, part in estimates.items()}
    values |= {name: part for name, part in numbers.items() if isinstance(part, float)}
    lone = [name for name, part in estimates.items() if part["n"] == 1]
    endless = [name for name, value in values.items() if not math.isfinite(value)]
    told = (
        [f"{', '.join(lone)}: a single {datum} has no standard error (null in JSON)"]
        if lone
        else []
    )
    return told + ([f"{', '.join(endless)}: not finite (null in JSON)"] if endless else [])


SHOWN = {name: NAMES[name] for name in ("distortion", "rate")} | {"rates": "KL of each latent"}
"""What people read for numbers that JSON calls otherwise."""

GROUPS = ("samples", "disentanglement", "augmentation", "neighbours", "utility", "privacy")
"""Names that say nothing beside those of their parts."""


def _readable(numbers: dict[str, Any], datum: str, before: str = "") -> dict[str, str]:
    """A line for every number, those of a group under its name; a measure's floor in brackets behind it."""
    lines: dict[str, str] = {}
    for name, value in numbers.items():
        full = f"{before}{SHOWN.get(name, name)}"
        if name in ("left_out", "floor"):
            continue
        if isinstance(value, dict) and "value" not in value:
            parts = _readable(value, datum, before if name in GROUPS else f"{full} ")
            lines |= {
                f"{full} {part}" if part in lines else part: figure
                for part, figure in parts.items()
            }
        else:
            lines[full] = _figure(value, datum)
    floor = _readable(numbers["floor"], datum, before) if "floor" in numbers else {}
    return lines | {
        name: f"{lines[name]} (training {datum}s: {value})" for name, value in floor.items()
    }


def _figure(value: Any, datum: str) -> str:
    from vaekit.tasks.trained import in_words

    if isinstance(value, list):
        return ", ".join(_figure(part, datum) for part in value)
    if not isinstance(value, dict):
        return f"{value:.4f}" if isinstance(value, float) else str(value)
    if "n" not in value:
        return in_words(value, 4)
    draws = f", K = {value['draws']}" if "draws" in value else ""
    return f"{in_words(value, 3)} nats ({value['n']:,} {datum}{'s' * (value['n'] > 1)}{draws})"
