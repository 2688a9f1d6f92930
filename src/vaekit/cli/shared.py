"""What the verbs share: their common options, a run's model, and the data it is used on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.terminal import reading, show, soon, tell
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data.dataset import Dataset
    from vaekit.tasks.trained import Trained

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/digits.")
]
Source = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATA]", help="Data to use (default: the run's held-out or test part)."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Where to write: a folder (default: one inside RUN), or a file: a .png for pictures; a .csv, .tsv, "
        ".parquet or .jsonl for rows. Nothing is overwritten.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        max=2**31 - 1,
        help="Seed of everything that is drawn at random; means do not depend on it.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]


def load(run: Path, device: str) -> Trained:
    from vaekit.tasks.trained import load_model
    from vaekit.training.engine import choose_device

    return load_model(run, choose_device(device)[0])


def data_of(trained: Trained, source: str | None, **options: Any) -> Dataset:
    """The data that `source` names, or the run's own held-out or test part if it is None."""
    from vaekit.tasks.own_data import own_part

    if source is None:
        with soon(f"reading {trained.experiment.data.source} ..."):
            own = own_part(trained, tell)
        return replace(own, skipped=())  # the run's own folder already lists them
    with soon(f"reading {source} ..."), reading(False) as hook:
        data = trained.read(source, progress=hook, **options)
    tell_notes(data)
    if not len(data):
        raise VaekitError(f"{source}: has 0 {trained.modality.plural}; expected at least 1")
    return data


def check_out(trained: Trained, out: Path | None) -> None:
    """Refuse an --out that cannot be written, before the work begins."""
    if out is not None:
        trained.modality.output.check(out)


def tell_notes(data: Dataset) -> None:
    for note in data.notes:
        tell(note)


def write_made(
    trained: Trained,
    made: Any,
    run: Path,
    out: Path | None,
    names: tuple[str, str],
    options: dict[str, Any],
    facts: dict[str, Any],
    as_json: bool,
    **place: Any,
) -> dict[str, str]:
    """Write what a verb made to `out` or to a folder of the run, and print the paths.

    `names` are the name of that folder and the stem of the files."""
    from vaekit.data.modality import Place
    from vaekit.tasks import verbs

    folder, stem = names
    files = verbs.write(trained, made, Place(out, run / folder, stem, **place), **options)
    show({**files, **facts}, as_json)
    return files
