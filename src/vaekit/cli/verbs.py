"""The verbs that use a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.kinds import Given, of_kinds
from vaekit.cli.shared import (
    Device,
    Json,
    Out,
    RunFolder,
    Seed,
    Source,
    check_out,
    data_of,
    load,
    tell_notes,
    write_made,
)
from vaekit.cli.terminal import show, tell
from vaekit.cli.words import at_least, is_number
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data.dataset import Dataset
    from vaekit.tasks.trained import Trained


@of_kinds("generate", "write")
def generate(
    run: RunFolder,
    n: Annotated[
        int | None,
        typer.Option(
            "-n", "--number", help="How many to make (default: 64, or 1 if --out is one .png)."
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Make only data with this value: of any --condition of the model; for a table, of any column, also "
            "ranges such as age>60 or age=30..40. Can be repeated.",
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Where latents are drawn from: prior, or a density fitted to the codes of the training data: "
            "gmm:K, diag:K or flow (default: what the run chose)."
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
    *,
    given: Given,
) -> None:
    """Make new data: pictures as a PNG sheet and an array, rows of a table as a CSV.

    Examples:

      vaekit generate runs/digits -n 64 --seed 1

      vaekit generate runs/digits -n 10000 --out digits-10k --json

      vaekit generate runs/digits --out one.png

      vaekit generate runs/digits -n 25 --out sheet.png

      vaekit generate runs/mnist --where label=7 -n 64 --guidance 1.5

      vaekit generate runs/mnist --sampler prior

      vaekit generate runs/customers -n 10000 --where churned=yes --where "age>60" --out synthetic.csv
    """
    at_least("-n", n, 1)
    trained = load(run, device)
    options = given.of(trained.modality)
    check_out(trained, out)
    n = trained.modality.output.number(out) if n is None else n
    made = trained.generate(n, seed, where, sampler, tell, **options["generate"])
    names = ("generated", "samples")
    write_made(trained, made, run, out, names, options["write"], {"n": n}, as_json)


@of_kinds("read", "write")
def reconstruct(
    run: RunFolder,
    data: Source = None,
    n: Annotated[
        int, typer.Option("-n", "--number", help="The largest number of data to reconstruct.")
    ] = 64,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
    *,
    given: Given,
) -> None:
    """Encode data and decode them again; pictures are shown beside their originals.

    Examples:

      vaekit reconstruct runs/digits

      vaekit reconstruct runs/photos new-photos/ -n 32 --out check
    """
    from vaekit.tasks import verbs

    at_least("-n", n, 1)
    trained = load(run, device)
    options = given.of(trained.modality)
    check_out(trained, out)
    source = data_of(trained, data, **options["read"])
    copies, originals = verbs.reconstruct(trained, source, n)
    if len(originals) < len(source):
        tell(f"only the first {n:,} of {len(source):,}; -n sets how many")
    names, facts = ("reconstructed", "reconstructions"), {"n": len(originals)}
    files = write_made(
        trained, copies, run, out, names, options["write"], facts, as_json, originals=originals
    )
    _list_skipped(source, files)


@of_kinds("read")
def encode(
    run: RunFolder,
    data: Source = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
    *,
    given: Given,
) -> None:
    """Encode data: mean and standard deviation of each latent dimension, or the indices of discrete codes.

    They are written as codes.npz and codes.csv in a folder, or as the one table that --out names.

    Examples:

      vaekit encode runs/digits

      vaekit encode runs/photos new-photos/ --out codes

      vaekit encode runs/customers new.csv --out codes.parquet
    """
    from vaekit.tasks import codes

    trained = load(run, device)
    source = data_of(trained, data, **given.of(trained.modality)["read"])
    arrays = codes.encode(trained, source)
    files = codes.write(arrays, out, run / "encoded")
    _list_skipped(source, files)
    what = "indices of the codes" if "index" in arrays else "means and standard deviations"
    tell(f"{what} of {trained.modality.counted(len(source))}")
    show({**files, "n": len(source), "latent": trained.latent}, as_json)


@of_kinds("read", "write")
def interpolate(
    run: RunFolder,
    a: Annotated[
        str,
        typer.Argument(
            help="A file with one datum, or a number: its index in the run's held-out or test part."
        ),
    ],
    b: Annotated[str, typer.Argument(help="The other end, in the same way.")],
    steps: Annotated[
        int, typer.Option(help="The number of data on the line, including both ends.")
    ] = 12,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
    *,
    given: Given,
) -> None:
    """Decode points on a straight line between the codes of two data.

    Examples:

      vaekit interpolate runs/digits 0 1

      vaekit interpolate runs/photos one.png other.png --steps 20 --out line
    """
    from vaekit.tasks import verbs

    at_least("--steps", steps, 2)
    trained = load(run, device)
    options = given.of(trained.modality)
    check_out(trained, out)
    part = data_of(trained, None) if is_number(a) or is_number(b) else None
    first, last = (_one(trained, end, part, **options["read"]) for end in (a, b))
    made = verbs.interpolate(trained, first, last, steps)
    names, facts = ("interpolated", "interpolation"), {"n": steps}
    write_made(trained, made, run, out, names, options["write"], facts, as_json, columns=steps)


@of_kinds("write")
def impute(
    run: RunFolder,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table with missing cells.")],
    draws: Annotated[
        int,
        typer.Option(
            min=1, help="The number of filled copies. They differ where the model is uncertain."
        ),
    ] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
    *,
    given: Given,
) -> None:
    """Fill the missing cells of DATA with draws from the model, given the observed cells.

    All other cells, and columns that the model does not know, are unchanged.

    With several draws, the copies follow each other in one table, and a column `draw` numbers them.

    Examples:

      vaekit impute runs/customers customers.csv --out filled.csv

      vaekit impute runs/customers customers.csv --draws 5 --out filled.parquet
    """
    from vaekit.data.modality import require_verb
    from vaekit.tasks import verbs

    trained = load(run, device)
    options = given.of(trained.modality)
    check_out(trained, out)
    require_verb(trained.modality, "impute")
    source = data_of(trained, data)
    made = verbs.impute(trained, data, draws, seed, tell, source)
    names, facts = ("imputed", "filled"), dict(made.facts)
    write_made(trained, made.data, run, out, names, options["write"], facts, as_json)


@of_kinds("augment", "write")
def augment(
    run: RunFolder,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--number",
            help="How many each class should have (default: as many as the most common).",
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
    *,
    given: Given,
) -> None:
    """Add new data to the run's training data, so that every class has as many as the most common one.

    Held-out data are left out, so that they can still test a classifier.

    For a table, --balance names the column of the classes, near-copies of training rows are rejected, and a column
    `synthetic` marks the new rows. Pictures are written to an .npz file to train on, with a sheet of the new ones.

    Examples:

      vaekit augment runs/customers --balance churned --out more.csv

      vaekit augment runs/photos -n 500 --out more
    """
    from vaekit.tasks import verbs

    trained = load(run, device)
    options = given.of(trained.modality)
    check_out(trained, out)
    made = verbs.augment(trained, n, seed, tell, **options["augment"])
    names, facts = ("augmented", "augmented"), dict(made.facts)
    write_made(trained, made.data, run, out, names, options["write"], facts, as_json)


def _one(trained: Trained, end: str, part: Dataset | None, **options: Any) -> Dataset:
    """A dataset that holds only the datum that `end` names."""
    import torch

    if part is None or not is_number(end):
        data = trained.read(end, **options)
        tell_notes(data)
        return data.subset(torch.tensor([0]))
    if int(end) >= len(part):
        kind = trained.modality
        raise VaekitError(
            f"{kind.datum} {end}: expected 0 to {len(part) - 1}, the run's own {kind.plural} that it was not trained on"
        )
    return part.subset(torch.tensor([int(end)]))


def _list_skipped(data: Dataset, files: dict[str, str]) -> None:
    """Write a list of the files that could not be read beside the other results."""
    from vaekit.disk.layout import SKIPPED
    from vaekit.files import write

    if data.skipped:
        path = Path(next(iter(files.values()))).parent / SKIPPED
        write(path, data.skipped_table)
        tell(f"skipped files are listed in {path}")
