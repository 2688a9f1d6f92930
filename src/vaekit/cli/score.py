"""The verb `vaekit score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.kinds import Given, of_kinds
from vaekit.cli.shared import Device, Json, RunFolder, Seed, data_of, load
from vaekit.cli.terminal import out as console
from vaekit.cli.terminal import show, tell

if TYPE_CHECKING:
    from vaekit.data.dataset import Dataset
    from vaekit.tasks.trained import Trained


@of_kinds("read")
def score(
    run: RunFolder,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]", help="Data to score (default: the run's held-out or test part)."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="ensemble (a detector; default for rows), reconstruction (default for images), elbo, nll or latent."
        ),
    ] = None,
    fpr: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Allowed rate of false alarms: the share of normal data that is flagged.",
        ),
    ] = 0.01,
    contamination: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.5,
            help="The share of the training rows that are anomalies. The detector is fitted without that share of the "
            "oddest rows; if they are normal after all, up to that share more of normal rows are flagged.",
        ),
    ] = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="A new file: .csv, .tsv, .parquet or .jsonl (default: a CSV in a folder inside RUN).",
        ),
    ] = None,
    as_json: Json = False,
    *,
    given: Given,
) -> None:
    """Score how odd each datum is: an anomaly score, a p-value, a flag, and what made it odd.

    Rows are scored by a detector that is fitted once to the run's training rows (ensemble). Images are scored by their
    reconstruction error (reconstruction), and a sheet shows the oddest images and where they are odd.

    Examples:

      vaekit score runs/customers new.csv --fpr 0.01 --out scores.csv

      vaekit score runs/photos others/ --by elbo
    """
    from vaekit.data.storage.columns import require_new, write_columns
    from vaekit.files import new_folder
    from vaekit.tasks import score as scoring
    from vaekit.tasks.score_table import columns, oddest

    trained = load(run, device)
    by = by or scoring.usual(trained)
    scoring.require_suits(trained, by)
    if out is not None:
        require_new(out)
    new = _read(trained, data, by, given.of(trained.modality)["read"])
    found = trained.score(new, by, seed, contamination, tell)
    fpr = _rate(fpr, found.calibrated, trained.modality.plural)
    table = columns(new, found, fpr)
    path = write_columns(table, out or new_folder(run / "scored") / "scores.csv")
    told: dict[str, Any] = {"table": str(path), "n": len(new), "odd": int(table["odd"].sum())}
    told |= {"fpr": float(f"{fpr:.4g}"), **trained.modality.measures.illustrate(new, found, path)}
    first = oddest(table)
    if not as_json:
        _print(first)
    show(told | ({"oddest": first} if as_json else {}), as_json)


def _rate(fpr: float, n: int, plural: str) -> float:
    """The rate that was asked for, or the lowest that n held-out data can measure: 1 / (n + 1)."""
    if fpr * (n + 1) >= 1:
        return fpr
    tell(
        f"{n:,} held-out {plural} cannot measure a false-alarm rate below {1 / (n + 1):.3g}: using that, not {fpr:g}; "
        "with more held-out data p-values are finer"
    )
    return 1 / (n + 1)


def _read(trained: Trained, data: str | None, by: str, options: dict[str, Any]) -> Dataset:
    """The data to score, read with the options that the detector needs."""
    from vaekit.tasks.score import reading_options

    own = reading_options(trained, by) if data else {}
    return data_of(trained, data, **own, **options)


def _print(oddest: list[dict[str, Any]]) -> None:
    """Print a table: a line of column names, then one line per datum."""
    if not oddest:
        return
    lines = [list(oddest[0]), *([_shown(value) for value in row.values()] for row in oddest)]
    widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
    for line in lines:
        console.print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    console.print()


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
