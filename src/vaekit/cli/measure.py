"""The verbs that report numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.kinds import Given, of_kinds
from vaekit.cli.shared import Device, Json, RunFolder, Seed, Source, data_of, load
from vaekit.cli.terminal import out as stdout
from vaekit.cli.terminal import reading, show, tell
from vaekit.cli.words import at_least, listed
from vaekit.errors import VaekitError
from vaekit.figures.names import NAMES

if TYPE_CHECKING:
    from vaekit.data.modality import Modality
    from vaekit.tasks.further import Page


@of_kinds("read", "evaluate")
def evaluate(
    run: RunFolder,
    data: Source = None,
    draws: Annotated[
        int, typer.Option(help="Importance samples per datum for the NLL; 0 skips the NLL.")
    ] = 500,
    limit: Annotated[
        int | None, typer.Option(help="How many data to compute the NLL on (default: all).")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="What to measure besides the ELBO, with commas: nll (default), samples (default of tables), "
            "disentanglement, augmentation (whether new data help a classifier)."
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="For samples: where latents are drawn from, prior, gmm:K or flow (default: what the run chose)."
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
    *,
    given: Given,
) -> None:
    """Measure a model: ELBO and its parts, NLL with standard error, how many latents are used; in nats per datum.

    For a table, also fidelity, utility and privacy of new rows, on a page with a verdict on each.

    Examples:

      vaekit evaluate runs/digits

      vaekit evaluate runs/mnist --draws 5000 --limit 1000 --json

      vaekit evaluate runs/mnist --metrics nll,samples --sampler gmm:10

      vaekit evaluate runs/sprites --metrics disentanglement --factors shape,scale,x,y

      vaekit evaluate runs/customers holdout.csv --target churned

      vaekit evaluate runs/customers holdout.csv --metrics augmentation --target churned
    """
    from vaekit.tasks import further
    from vaekit.tasks.remarks import remarks

    at_least("--draws", draws, 0)
    at_least("--limit", limit, 1)
    trained = load(run, device)
    kind = trained.modality
    measures, options = kind.measures, given.of(kind)
    named = metrics or options["evaluate"]
    metrics = metrics or ",".join(measures.default)
    asked = listed("--metrics", metrics, ("nll", *measures.named))
    measures.check(trained.schema, asked, **options["evaluate"])
    if sampler and "samples" not in asked:
        raise VaekitError(
            f"--sampler {sampler}: is for samples; add --metrics {','.join([*asked, 'samples'])}"
        )
    source = data_of(trained, data, **options["read"])
    short = {} if named else further.too_few(source, asked)
    asked = [name for name in asked if name not in short]
    ask = further.Ask(tuple(asked), draws, limit, sampler, seed)
    with reading(quiet=False) as hook:
        numbers, page = further.evaluate(trained, source, ask, hook, tell, **options["evaluate"])
    reasons = numbers.get("left_out", {}) | short
    numbers |= {"left_out": reasons} if reasons else {}
    if not draws or "nll" not in asked:
        tell(f"NLL left out: --{'metrics ' + metrics if draws else 'draws 0'}")
    for name, reason in reasons.items():
        tell(f"{name} left out: {reason}")
    discrete = trained.modality.model.discrete(trained.experiment.model, trained.schema)
    for sentence in (*_without_number(numbers, kind.datum), *remarks(numbers, discrete)):
        tell(sentence)
    numbers |= {**trained.schema.reported, "seed": seed}
    if page is not None:
        numbers |= _page(run, options["evaluate"].get("out"), numbers, page)
    show(numbers if as_json else _explained(_readable(numbers, kind), measures.meanings), as_json)


def _page(run: Path, out: Path | None, numbers: dict[str, Any], page: Page) -> dict[str, Any]:
    """Write the page. Returns what is shown beside the numbers: the page's path and the verdicts."""
    from vaekit.files import new_folder, write

    text, facts = page(f"vaekit evaluate: {run.name}", numbers, tell)
    out = out or new_folder(run / "evaluated") / "evaluation.html"
    write(out, text)
    return {**facts, "page": str(out)}


def info(run: RunFolder, seed: Seed = 0, device: Device = "auto", as_json: Json = False) -> None:
    """Describe a run: its data, its model, how it was trained and how well.

    Examples:

      vaekit info runs/digits

      vaekit info runs/digits --json
    """
    from vaekit.cli.page import page
    from vaekit.tasks.status import status

    facts = status(run)
    if as_json:
        show(facts, True)
    else:
        stdout.print(page(facts))


def _without_number(numbers: dict[str, Any], datum: str) -> list[str]:
    """Sentences on results that are not finite, which are null in JSON."""
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
"""Labels for people, by the name of the number in JSON."""

GROUPS = ("samples", "disentanglement", "augmentation", "neighbours", "utility", "privacy")
"""Groups whose name is not put before the names of their parts."""


def _readable(numbers: dict[str, Any], kind: Modality, before: str = "") -> dict[str, str]:
    """One line per number. Numbers of a group begin with the group's name; a floor follows in brackets."""
    lines: dict[str, str] = {}
    for name, value in numbers.items():
        full = f"{before}{SHOWN.get(name, name)}"
        if name in ("left_out", "floor"):
            continue
        if isinstance(value, dict) and "value" not in value:
            parts = _readable(value, kind, before if name in GROUPS else f"{full} ")
            lines |= {
                f"{full} {part}" if part in lines else part: figure
                for part, figure in parts.items()
            }
        else:
            lines[full] = _figure(value, kind)
    floor = _readable(numbers["floor"], kind, before) if "floor" in numbers else {}
    return lines | {
        name: f"{lines[name]} (training {kind.plural}: {value})" for name, value in floor.items()
    }


def _explained(lines: dict[str, str], meanings: Mapping[str, str]) -> dict[str, str]:
    """The lines with what their numbers mean, in a column of its own."""
    width = max((len(lines[name]) for name in lines if name in meanings), default=0)
    return {
        name: f"{line:<{width}}  {meanings[name]}" if name in meanings else line
        for name, line in lines.items()
    }


def _figure(value: Any, kind: Modality) -> str:
    from vaekit.measures.bounds import in_words

    if isinstance(value, list):
        return ", ".join(_figure(part, kind) for part in value)
    if not isinstance(value, dict):
        return f"{value:.4f}" if isinstance(value, float) else str(value)
    if "n" not in value:
        return in_words(value, 4)
    draws = f", K = {value['draws']}" if "draws" in value else ""
    return f"{in_words(value, 3)} nats ({kind.counted(value['n'])}{draws})"
