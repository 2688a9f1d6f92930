"""The verbs that use a trained model."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli import rows
from vaekit.cli.shared import (
    Array,
    Channels,
    Device,
    Json,
    Out,
    Resize,
    RunFolder,
    Seed,
    Source,
    images_of,
    load,
    tell_notes,
)
from vaekit.cli.terminal import show, tell
from vaekit.cli.words import at_least, is_number, sides
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from torch import Tensor

    from vaekit.data.images import Images
    from vaekit.tasks.trained import Trained


def generate(
    run: RunFolder,
    n: Annotated[int, typer.Option("-n", "--number", help="How many images or rows.")] = 64,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="What they shall be: what a model was told by --condition; of a table any column, and ranges: "
            "age>60, age=30..40; repeatable.",
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Draw from a density fitted to the training data's codes, not the prior: gmm:K or flow."
        ),
    ] = None,
    guidance: Annotated[
        float,
        typer.Option(min=0, help="Of images, above 1: more of what --where asks, less variety."),
    ] = 1.0,
    pixels: Annotated[
        str | None,
        typer.Option(
            help="Of images: the decoder's mean (default), or sample: drawn from the likelihood."
        ),
    ] = None,
    escape: rows.Escape = False,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """New images from the prior, as a PNG sheet and an array; of the model of a table new rows, as a CSV.

    Examples:

      vaekit generate runs/digits -n 64 --seed 1

      vaekit generate runs/digits -n 10000 --out digits-10k --json

      vaekit generate runs/mnist --where label=7 -n 64 --guidance 1.5

      vaekit generate runs/mnist --sampler gmm:10

      vaekit generate runs/customers -n 10000 --where churned=yes --where "age>60" --out synthetic.csv
    """
    from vaekit.api import sampled

    at_least("-n", n, 1)
    trained = load(run, device)
    if pixels and pixels not in trained.modality.readings:
        raise VaekitError(f"--pixels {pixels}: expected {' or '.join(trained.modality.readings)}")
    schema = trained.schema
    asked = _asked(where or [], [*schema.names, *(field.name for field in schema.conditions)])
    if trained.schema.modality == "tables":
        _refuse_of_pictures({"--pixels": pixels, "--guidance": None if guidance == 1 else guidance})
        if sampler:
            trained = sampled(trained, sampler, tell)
        rows.generate(trained, run, n, asked, seed, out, escape, as_json)
        return
    if guidance != 1 and not asked and trained.schema.conditions:
        raise VaekitError(
            f"--guidance {guidance:g} strengthens what --where asks for: add such as --where label=7"
        )
    if sampler:
        trained = sampled(trained, sampler, tell)
    pictures = trained.generate(n, seed, pixels, asked, guidance)
    _write(trained, pictures, out or run / "generated", "samples", None, as_json)


def reconstruct(
    run: RunFolder,
    data: Source = None,
    n: Annotated[int, typer.Option("-n", "--number", help="How many images at most.")] = 64,
    resize: Resize = None,
    channels: Channels = None,
    array: Array = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Images through the latent space and back, beside their originals.

    Examples:

      vaekit reconstruct runs/digits

      vaekit reconstruct runs/photos new-photos/ -n 32 --out check
    """
    from vaekit.report.plots import side_by_side

    at_least("-n", n, 1)
    trained = load(run, device)
    _pictures_only(trained, "reconstruct")
    images = images_of(trained, data, size=sides(resize), channels=channels, array=array)
    originals = _pictures(images, n)
    copies = trained.reconstruct(
        originals, None if images.context is None else images.context[: len(originals)]
    )
    columns = min(16, len(originals))
    pairs = side_by_side(originals, copies, columns)
    folder = _write(
        trained, copies, out or run / "reconstructed", "reconstructions", (pairs, columns), as_json
    )
    _list_skipped(images, folder)


def encode(
    run: RunFolder,
    data: Source = None,
    resize: Resize = None,
    channels: Channels = None,
    array: Array = None,
    labels: Annotated[str | None, typer.Option(help="Which array holds the labels.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The posterior of every image or row: mean and standard deviation of each latent dimension, as .npz and .csv.

    Examples:

      vaekit encode runs/digits

      vaekit encode runs/photos new-photos/ --out codes

      vaekit encode runs/customers new.csv --out codes.parquet
    """
    import torch

    from vaekit.data.dataset import counted
    from vaekit.tasks.trained import ROWS, as_tensor

    trained = load(run, device)
    if trained.schema.modality == "tables":
        _refuse_of_pictures({"--resize": resize, "--channels": channels, "--array": array})
        rows.encode(trained, run, data, out, as_json)
        return
    images = images_of(
        trained, data, size=sides(resize), channels=channels, array=array, labels=labels
    )
    few = [images.subset(i) for i in torch.arange(len(images)).split(ROWS)]
    parts = [trained.encode(as_tensor(part), part.context) for part in few]
    mean, scale = (
        torch.cat(part) for part in zip(*((p.mean, p.scale) for p in parts), strict=True)
    )
    folder = _folder(out or run / "encoded")
    _save_codes(folder, mean, scale, images)
    _list_skipped(images, folder)
    tell(f"means and standard deviations of {counted(len(mean), 'image')}")
    show(
        {"codes": str(folder / "codes.npz"), "table": str(folder / "codes.csv"), "n": len(mean)},
        as_json,
    )


def interpolate(
    run: RunFolder,
    a: Annotated[
        str,
        typer.Argument(
            help="An image file, or a number: that image of the run's held-out or test part."
        ),
    ],
    b: Annotated[str, typer.Argument(help="Another.")],
    steps: Annotated[int, typer.Option(help="Images on the way, ends included.")] = 12,
    resize: Resize = None,
    channels: Channels = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """A straight line between the codes of two images.

    Examples:

      vaekit interpolate runs/digits 0 1

      vaekit interpolate runs/photos one.png other.png --steps 20 --out line
    """
    import torch

    from vaekit.tasks.trained import as_tensor

    at_least("--steps", steps, 2)
    trained = load(run, device)
    _pictures_only(trained, "interpolate")
    part = images_of(trained, None) if is_number(a) or is_number(b) else None
    ends = [_one(trained, end, part, size=sides(resize), channels=channels) for end in (a, b)]
    first, last = (as_tensor(end)[0] for end in ends)
    known = [end.context for end in ends if end.context is not None]
    pictures = trained.interpolate(first, last, steps, torch.cat(known) if known else None)
    _write(
        trained, pictures, out or run / "interpolated", "interpolation", (pictures, steps), as_json
    )


def _pictures_only(trained: Trained, verb: str) -> None:
    if trained.schema.modality != "images":
        raise VaekitError(f"{verb}: is for pictures, and this run is of {trained.schema.modality}")


def _refuse_of_pictures(options: Mapping[str, object]) -> None:
    wrong = [name for name, value in options.items() if value is not None]
    if wrong:
        raise VaekitError(f"{wrong[0]}: is for pictures, and this run is of a table: leave it out")


def _asked(words: list[str], known: Sequence[str]) -> dict[str, str]:
    """What `--where field=value` or `--where field>value` says, each field once; a range keeps its sign."""
    asked: dict[str, str] = {}
    for word in words:
        name, sign, value = _taken_apart(word, known)
        if not sign:
            raise VaekitError(
                f"--where {word}: expected field=value, such as label=7, or a range, such as age>60"
            )
        if name in asked:
            raise VaekitError(
                f"--where {word}: {name} is asked to be {asked[name]} already; say it once, a range as {name}=30..40"
            )
        asked[name] = value if sign == "=" else sign + value
    return asked


def _taken_apart(word: str, known: Sequence[str]) -> tuple[str, str, str]:
    """Name, first sign and value; a name that is known may hold signs itself."""
    owner = max(
        (name for name in known if re.match(re.escape(name) + r"\s*[=<>]", word)),
        key=len,
        default="",
    )
    match = re.fullmatch(
        re.escape(owner) + r"\s*([=<>])(.*)" if owner else r"[^=<>]*([=<>])(.*)", word, re.DOTALL
    )
    return (
        (owner or word[: match.start(1)].strip(), match[1], match[2].strip())
        if match
        else (word, "", "")
    )


def _pictures(images: Images, n: int) -> Tensor:
    import torch

    from vaekit.tasks.trained import as_tensor

    return as_tensor(images.subset(torch.arange(min(n, len(images)))))


def _one(trained: Trained, end: str, part: Images | None, **options: Any) -> Images:
    """The image that `end` names, by itself."""
    import torch

    if part is None or not is_number(end):
        images = trained.read(end, **options)
        tell_notes(images)
        return images.subset(torch.tensor([0]))
    if int(end) >= len(part):
        raise VaekitError(
            f"image {end}: expected 0 to {len(part) - 1}, the run's own images that it was not trained on"
        )
    return part.subset(torch.tensor([int(end)]))


def _folder(wanted: Path) -> Path:
    from vaekit.files import new_folder

    return new_folder(wanted)


def _write(
    trained: Trained,
    pictures: Tensor,
    wanted: Path,
    stem: str,
    shown: tuple[Tensor, int] | None,
    as_json: bool,
) -> Path:
    from vaekit.report.plots import save_sheet

    folder = _folder(wanted)
    written = trained.modality.write(pictures, trained.schema, folder, stem)
    if shown:
        save_sheet(folder / f"{stem}.png", *shown)
    show({**written, "n": len(pictures)}, as_json)
    return folder


def _list_skipped(images: Images, folder: Path) -> None:
    from vaekit.disk.layout import SKIPPED
    from vaekit.files import write

    if images.skipped:
        write(folder / SKIPPED, images.skipped_table)
        tell(f"skipped files are listed in {folder / SKIPPED}")


def _save_codes(folder: Path, mean: Tensor, scale: Tensor, images: Images) -> None:
    import numpy as np

    from vaekit.files import write

    arrays: dict[str, Any] = {"files": np.array(images.files)} if images.files else {}
    arrays |= {"mean": mean.numpy(), "scale": scale.numpy()}
    arrays |= {} if images.labels is None else {"label": images.labels.numpy()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write(folder / "codes.npz", buffer.getvalue())
    text = io.StringIO()
    table = csv.writer(text)
    table.writerows(_table(arrays))
    write(folder / "codes.csv", text.getvalue())


def _table(arrays: dict[str, Any]) -> Iterator[list[Any]]:
    """The rows of codes.csv, their names first: what codes.npz holds, a column for each latent dimension."""
    names = {"files": ["file"], "label": ["label"]}
    yield [
        column
        for name, values in arrays.items()
        for column in names.get(name) or (f"{name}_{i}" for i in range(values.shape[1]))
    ]
    for row in zip(*arrays.values(), strict=True):
        yield [value for part in row for value in (part.tolist() if part.ndim else [part])]
