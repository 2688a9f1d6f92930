"""vaekit score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.rows import TableOut, write
from vaekit.cli.shared import Device, Json, RunFolder, Seed, images_of, load
from vaekit.cli.terminal import show, tell

if TYPE_CHECKING:
    from vaekit.tasks import Trained


def score(
    run: RunFolder,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Rows or images (default: the run's held-out or test part).")
    ] = None,
    fpr: Annotated[
        float, typer.Option(min=0, max=1, help="False alarms that are allowed: this share of normal data is flagged.")
    ] = 0.01,
    contamination: Annotated[
        float, typer.Option(min=0, max=0.5, help="The share of the training rows that may be anomalies themselves.")
    ] = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    out: TableOut = None,
    as_json: Json = False,
) -> None:
    """How odd every row or image is: an anomaly score, a p-value, a flag, and what made it odd.

    Rows are scored by a detector that is fitted to the run's training rows, once; images by what the model does not
    explain, with a sheet of the oddest and where they are so.

    Examples:

      vaekit score runs/customers new.csv --fpr 0.01 --out scores.csv

      vaekit score runs/photos others/
    """
    from vaekit import anomalies
    from vaekit.api import held_part

    trained = load(run, device)
    if trained.schema.modality == "tables":
        new = images_of(trained, data)
        found = _row_scores(trained, seed, contamination)(new)
    else:
        new, held = images_of(trained, data), held_part(trained)
        found = anomalies.of_pictures(trained, new, held)
    columns = _scored(trained, new, found, fpr)
    path = write(columns, run, out, "scored", "scores", False)
    told = {"table": str(path), "n": len(new), "odd": int(columns["odd"].sum())}
    if trained.schema.modality == "images":
        told["sheet"] = str(_oddest(new, found, path.with_suffix(".png")))
    show(told, as_json)


def _row_scores(trained: Trained, seed: int, contamination: float) -> Any:
    """The run's detector, from its folder or fitted now."""
    from vaekit import checkpoint
    from vaekit.anomalies import DETECTOR, RowScores
    from vaekit.api import training_part

    schema: Any = trained.schema
    assert trained.folder is not None
    path, about = trained.folder / DETECTOR, {"seed": seed, "contamination": contamination}
    if not path.is_file() or {k: checkpoint.load_about(path).get(k) for k in about} != about:
        tell("fitting a detector to the training rows, once")
        RowScores.fitted(training_part(trained), schema, seed, contamination).save(path, about)
    return RowScores.read(path, schema)


REASONS = 3
"""Columns that are named for a row."""


def _scored(trained: Trained, new: Any, found: Any, fpr: float) -> dict[str, Any]:
    import numpy as np

    columns: dict[str, Any] = (
        {"file": np.array(new.files, object)} if new.files else {"row": np.arange(1, len(new) + 1)}
    )
    columns |= {"score": found.scores.numpy(), "p_value": found.p_values.numpy()}
    columns["odd"] = columns["p_value"] <= fpr
    if trained.schema.modality == "tables":
        names = np.array(trained.schema.names, object)
        parts = found.parts.numpy()
        first = np.argsort(-parts, axis=1)[:, :REASONS]
        columns["because"] = np.array(
            [", ".join(names[k] for k in row if parts[i, k] > 0) for i, row in enumerate(first)], object
        )
        columns |= {f"score of {name}": parts[:, i] for i, name in enumerate(names)}
    return columns


def _oddest(images: Any, found: Any, path: Path) -> Path:
    """A sheet of the oddest images, below each where it is odd."""

    from vaekit.plots import save_sheet, side_by_side
    from vaekit.tasks import as_tensor

    first = found.scores.argsort(descending=True)[:16]
    pictures = as_tensor(images.subset(first))
    maps = found.parts[first].mean(1, keepdim=True)
    low, high = found.parts.mean(1).flatten().quantile(0.5) if found.parts.numel() < 2**24 else maps.min(), maps.max()
    shown = ((maps - low) / (high - low).clamp_min(1e-9)).clamp(0, 1).expand_as(pictures)
    save_sheet(path, side_by_side(pictures, shown, min(8, len(first))), min(8, len(first)))
    return path
