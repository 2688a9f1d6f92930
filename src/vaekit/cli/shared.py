"""What the verbs share: their common options, a run's model, and the images it is used on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.terminal import reading, tell
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data.images import Images
    from vaekit.tasks.trained import Trained

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/digits.")
]
Source = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATA]", help="Images or a table (default: the run's held-out or test part)."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder to write to (default inside RUN), or a file: a picture such as one.png, of rows "
        "a .csv or .parquet; never overwritten.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=2**31 - 1, help="Seed of whatever is drawn; means are the same under any."
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="Resize images to this side, or HxW, first (default: only if training resized)."
    ),
]
Array = Annotated[str | None, typer.Option(help="Which array of an .npz file.")]
Channels = Annotated[
    int | None, typer.Option(help="Read colour as grey (1) or grey as colour (3).")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]


def load(run: Path, device: str) -> Trained:
    from vaekit.tasks.trained import load_model
    from vaekit.training.engine import choose_device

    return load_model(run, choose_device(device)[0])


def images_of(trained: Trained, data: str | None, **options: Any) -> Images:
    """The named data, or what the run itself held out."""
    from vaekit.api import own_part

    if data is None:
        return replace(own_part(trained, tell), skipped=())  # the run's own folder lists them
    with reading(False) as hook:
        images = trained.read(data, progress=hook, **options)
    tell_notes(images)
    if not len(images):
        raise VaekitError(f"{data}: has 0 {trained.modality.datum}s; expected at least 1")
    return images


def tell_notes(images: Images) -> None:
    for note in images.notes:
        tell(note)
