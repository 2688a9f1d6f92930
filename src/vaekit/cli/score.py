"""vaekit score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.rows import TableOut, write
from vaekit.cli.shared import Device, Json, RunFolder, Seed, images_of, load
from vaekit.cli.terminal import out as console
from vaekit.cli.terminal import show, tell

if TYPE_CHECKING:
    import numpy as np

    from vaekit.data import Dataset
    from vaekit.data.tables import Table
    from vaekit.tasks.score import Scores
    from vaekit.tasks.trained import Trained

LATENTS = "(latents)"
"""What stands for a column where the latents add to a score."""

REASONS, NOTABLE = 3, 0.1
"""At most so many columns are named for a row, each of which adds this share of all that is added."""

SHOWN = 10
"""So many of the oddest are shown."""

DIGITS = 6

LONG = 40
"""Letters of a cell that are shown."""


def score(
    run: RunFolder,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]", help="Rows or images (default: the run's held-out or test part)."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="ensemble (of rows the default), reconstruction (of images), elbo, nll or latent."
        ),
    ] = None,
    fpr: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="False alarms that are allowed: this share of normal data is flagged.",
        ),
    ] = 0.01,
    contamination: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.5,
            help="The share of the training rows that are anomalies themselves: as many are passed over, and where "
            "they are none, up to that share more of normal rows are flagged.",
        ),
    ] = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    out: TableOut = None,
    as_json: Json = False,
) -> None:
    """How odd every row or image is: an anomaly score, a p-value, a flag, and what made it odd.

    Rows are scored by a detector that is fitted to the run's training rows, once (ensemble); images by what the model
    does not explain (reconstruction), with a sheet of the oddest and where they are so.

    Examples:

      vaekit score runs/customers new.csv --fpr 0.01 --out scores.csv

      vaekit score runs/photos others/ --by elbo
    """
    from vaekit.api import oddness
    from vaekit.tasks.score import suits

    trained = load(run, device)
    of_rows = trained.schema.modality == "tables"
    by = by or ("ensemble" if of_rows else "reconstruction")
    suits(trained, by)
    new = _read(trained, data, by)
    found = oddness(trained, new, by, seed, contamination, tell)
    fpr = _rate(fpr, found.calibrated, trained.modality.datum)
    columns = _columns(new, found, fpr)
    path = write(columns, run, out, "scored", "scores", False)
    told: dict[str, Any] = {
        "table": str(path),
        "n": len(new),
        "odd": int(columns["odd"].sum()),
        "fpr": fpr,
    }
    if not of_rows:
        told["sheet"] = str(_sheet(new, found, path.with_suffix(".png")))
    oddest = _oddest(columns)
    if not as_json:
        _print(oddest)
    show(told | ({"oddest": oddest} if as_json else {}), as_json)


def _rate(fpr: float, n: int, datum: str) -> float:
    """The rate that is asked for, or the least that n held-out data can tell of."""
    if fpr * (n + 1) >= 1:
        return fpr
    tell(
        f"{n:,} {datum}s tell of false-alarm rates of {1 / (n + 1):.3g} at the least: that is taken, not {fpr:g}"
    )
    return 1 / (n + 1)


def _read(trained: Trained, data: str | None, by: str) -> Dataset:
    """The data to score; for the detector a class that was never seen is one of its own."""
    from vaekit.anomaly import UNSEEN

    return images_of(trained, data, **({"unseen": UNSEEN} if by == "ensemble" and data else {}))


# The table that is written


def _columns(new: Dataset, found: Scores, fpr: float) -> dict[str, Any]:
    """The columns of the table of scores by name, numbers as they are written."""
    import numpy as np

    columns: dict[str, Any] = (
        {"file": np.array(new.files, object)} if new.files else {"row": np.arange(1, len(new) + 1)}
    )
    columns |= {
        "score": significant(found.scores.numpy()),
        "p_value": significant(found.p_values.numpy()),
    }
    columns["odd"] = found.p_values.numpy() <= fpr * (1 + 1e-6)  # 1 / 51 in float32 is 1 / 51
    if new.schema.modality == "tables":
        names, parts = _by_column(new, found)
        columns["because"] = _because(new, names, parts, columns["odd"])
        columns |= {f"score of {name}": significant(parts[:, i]) for i, name in enumerate(names)}
    return columns


def significant(values: np.ndarray) -> np.ndarray:
    """Numbers (N,) rounded to `DIGITS` significant digits."""
    import numpy as np

    size = np.abs(np.where(np.isfinite(values) & (values != 0), values, 1.0)).astype(float)
    places = DIGITS - 1 - np.floor(np.log10(size))
    up, down = (
        10.0 ** places.clip(0, 300),
        10.0 ** (-places).clip(0, 300),
    )  # whole powers of ten, so as to round well
    return np.where(places >= 0, np.round(values * up) / up, np.round(values / down) * down)


def _by_column(new: Any, found: Scores) -> tuple[list[str], np.ndarray]:
    """The names of what adds to the scores, and what each adds (N, K)."""
    import numpy as np

    parts, names = found.parts.numpy(), list(new.schema.names)
    if found.rest is None:
        return names, parts
    return [*names, LATENTS], np.column_stack((parts, found.rest.numpy()))


def _because(new: Any, names: list[str], parts: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """Of the odd rows the columns that add most, with their cells; "" of the others."""
    import numpy as np

    because, rows = np.full(len(odd), "", object), np.flatnonzero(odd)
    if len(rows):
        cells = _cells(new, rows)
        for k, i in enumerate(rows):
            first = np.argsort(-parts[i], kind="stable")[:REASONS]
            least = max(NOTABLE * parts[i].clip(0).sum(), 1e-12)
            because[i] = ", ".join(
                _reason(names[c], cells, k) for c in first if parts[i, c] >= least
            )
    return because


def _cells(new: Table, rows: np.ndarray) -> dict[str, list[str]]:
    """The cells of these rows by column, as words."""
    import torch

    from vaekit.anomaly import UNSEEN
    from vaekit.data.tables import decode

    raw, schema = new.raw.take(torch.from_numpy(rows)), new.schema
    shown = decode(raw, schema)
    cells = {}
    for column, values in zip(schema.columns, raw.numpy().T, strict=True):
        words = [
            _cell(cell) if cell is not None else " missing" for cell in shown[column.name].tolist()
        ]
        unseen = column.discrete & (values == UNSEEN)
        cells[column.name] = [
            " of a class never seen" if u else w for u, w in zip(unseen, words, strict=True)
        ]
    return cells


def _cell(cell: Any) -> str:
    """A cell, "=1e+300"; of a long word its beginning."""
    import textwrap

    from vaekit.data.tables.read.cells import word

    plain = word(cell)
    if len(plain) > LONG and isinstance(cell, (int, float)):
        return f"={cell:.10g}"
    return "=" + (plain if len(plain) <= LONG else textwrap.shorten(plain, LONG, placeholder="..."))


def _reason(name: str, cells: dict[str, list[str]], row: int) -> str:
    return name + (cells[name][row] if name in cells else "")


# What the terminal shows


def _oddest(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The first of the odd, the oddest first."""
    import numpy as np

    rows = np.flatnonzero(columns["odd"])
    first = rows[np.argsort(-columns["score"][rows], kind="stable")][:SHOWN]
    names = [name for name in ("file", "row", "score", "p_value", "because") if name in columns]
    return [{name: columns[name][i : i + 1].tolist()[0] for name in names} for i in first]


def _print(oddest: list[dict[str, Any]]) -> None:
    """A line for each, under a line of names."""
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


def _sheet(images: Any, found: Any, path: Path) -> Path:
    """A sheet of the oddest images, below each where it is odd."""

    from vaekit.report.plots import save_sheet, side_by_side
    from vaekit.tasks.trained import as_tensor

    first = found.scores.argsort(descending=True)[:16]
    pictures = as_tensor(images.subset(first))
    maps = found.parts[first].mean(1, keepdim=True)
    low, high = (
        found.parts.mean(1).flatten().quantile(0.5) if found.parts.numel() < 2**24 else maps.min(),
        maps.max(),
    )
    shown = ((maps - low) / (high - low).clamp_min(1e-9)).clamp(0, 1).expand_as(pictures)
    save_sheet(path, side_by_side(pictures, shown, min(8, len(first))), min(8, len(first)))
    return path
