"""The verb `vaekit train`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaekit.cli.ending import tell_end
from vaekit.cli.kinds import Given, of_kinds
from vaekit.cli.pace import Pace
from vaekit.cli.plan import expected_time, make_plan, silent, summary
from vaekit.cli.settings import SETTINGS
from vaekit.cli.terminal import Meter, reading, show, soon, tell
from vaekit.cli.words import leading, quoted
from vaekit.disk.layout import EXPERIMENT
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.assembly.settle import Resolved
    from vaekit.config import Experiment
    from vaekit.data.dataset import Dataset
    from vaekit.runs.run import Run

WORTH_TIMING = 100
"""The duration of a run with fewer steps is not predicted."""

to_do = partial(typer.Option, rich_help_panel="What to do")


@of_kinds("train", settings=SETTINGS)
def train(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of pictures, an .npz or .npy file, a folder of idx files, hf:owner/name, digits; or a "
            "table: CSV, TSV, Parquet.",
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELD=VALUE", help="Any field of experiment.yaml, such as train.patience=5."
        ),
    ] = None,
    out_: Annotated[
        Path | None,
        to_do("--out", help="The run's folder (default runs/<name>); never overwritten."),
    ] = None,
    resume: Annotated[
        Path | None,
        to_do(
            metavar="RUN",
            help="Continue this run exactly where it stopped; the only settings allowed are --device and --max-time.",
        ),
    ] = None,
    recipe: Annotated[
        str,
        to_do(
            help="Settings to start from: a kind of data, or digits, mnist-density, mnist-iwae; auto chooses by SOURCE."
        ),
    ] = "auto",
    config: Annotated[
        Path | None, to_do(help="Start from an experiment.yaml; SOURCE and settings change it.")
    ] = None,
    dry_run: Annotated[
        bool,
        to_do(
            "--dry-run", help="Print the plan with the memory and time that it needs, then stop."
        ),
    ] = False,
    fast_dev_run: Annotated[
        bool,
        to_do(
            "--fast-dev-run",
            help="Train for five steps and do all that follows, to test that everything works.",
        ),
    ] = False,
    as_json: Annotated[bool, to_do("--json", help="Print results as JSON.")] = False,
    quiet: Annotated[bool, to_do("--quiet", "-q", help="Print no notes and no progress.")] = False,
    *,
    given: Given,
) -> None:
    """Train a VAE on images or a table, and write a report.

    Examples:

      vaekit train digits

      vaekit train photos/ --dry-run

      vaekit train photos/ --resize 64 --size base --latent 64 --max-time 30

      vaekit train photos/ --condition age --table people.csv

      vaekit train photos/ --augment flip,shift:2

      vaekit train customers.csv --condition churned

      vaekit train orders.csv --constraint "total = price * quantity" --constraint "end >= start"

      vaekit train mnist.npz --likelihood bernoulli --epochs 100 train.patience=10

      vaekit train --config runs/digits/experiment.yaml latent=16

      vaekit train --resume runs/digits
    """
    from vaekit.api import assignment

    settings = given.fields()
    if fast_dev_run:
        settings["train.steps"] = 5
    if (
        config and source and "=" in source and not Path(source).exists()
    ):  # the first argument is a field, not a source
        fields, source = [source, *(fields or [])], None
    changes = [assignment(name, value) for name, value in settings.items()] + list(fields or [])
    if resume:
        if (
            source
            or fields
            or settings.keys() - {"train.device", "train.max_minutes"}
            or out_
            or config
            or dry_run
            or recipe != "auto"
        ):
            raise VaekitError(
                "--resume uses the run's own settings, data and folder; leave out everything but --device and "
                f"--max-time, or start a new run with --config {quoted(resume / EXPERIMENT)}"
            )
        _finish(
            _reopen(resume, settings.get("train.device"), settings.get("train.max_minutes"), quiet),
            as_json,
            quiet,
        )
        return
    if config and recipe != "auto":
        raise VaekitError(
            f"--recipe {recipe}: {config} is a whole experiment already; leave out one of the two"
        )
    resolved = _resolve(source, recipe, config, changes, quiet, dry_run)
    if dry_run:
        show(summary(resolved, source or resolved.experiment.data.source, out_), as_json)
        return
    resolved = _timed(resolved, quiet)
    run = _begin(resolved, source or resolved.experiment.data.source, out_, quiet)
    _finish(run, as_json, quiet, _pace(resolved))


def _resolve(
    source: str | None,
    recipe: str,
    config: Path | None,
    changes: list[str],
    quiet: bool,
    dry_run: bool,
) -> Resolved:
    with soon(f"reading {source or f'the data of {config}'} ...", quiet):
        experiment, data = _read(source, recipe, config, changes, quiet)
    return make_plan(experiment, data, dry_run, quiet)


def _read(
    source: str | None, recipe: str, config: Path | None, changes: list[str], quiet: bool
) -> tuple[Experiment, Dataset]:
    """What to train and on which data, as the command line says."""
    from vaekit.api import assignment, changed, read
    from vaekit.assembly.recipes import choose
    from vaekit.config import Experiment

    if config:
        experiment = Experiment.read(config)
        experiment = (
            experiment.override(assignment("data.source", source)) if source else experiment
        )
    elif source:
        experiment = choose(source, recipe)
    else:
        raise VaekitError(
            "expected something to train on, such as: vaekit train digits, or vaekit train photos/"
        )
    experiment = changed(experiment, changes)
    with reading(quiet) as hook:
        return experiment, read(experiment, progress=hook)


def _timed(resolved: Resolved, quiet: bool) -> Resolved:
    """The plan with its time; without it where nobody reads it, or where timing takes as long as the run."""
    from vaekit.runs.timing import forecast

    if quiet or not leading() or resolved.steps < WORTH_TIMING:
        return replace(resolved, seconds=None)
    return replace(resolved, seconds=resolved.seconds or forecast(resolved, 0.3))


def _pace(resolved: Resolved) -> Pace:
    """The pace that was forecast."""
    data = resolved.steps * int(resolved.experiment.train.batch)
    return Pace(data / resolved.seconds if resolved.seconds else None)


def _begin(resolved: Resolved, source: str, folder: Path | None, quiet: bool) -> Run:
    from vaekit.api import default_folder
    from vaekit.files import new_folder
    from vaekit.runs.run import Run

    time = f", {expected_time(resolved, 0.3)}" if resolved.seconds else ""
    run = Run(resolved, lambda: new_folder(folder or default_folder(source)))
    if not quiet:
        tell(
            f"run {run.folder}: {resolved.parameters:,} parameters, {resolved.steps:,} steps{time}"
        )
    return run


def _reopen(folder: Path, device: str | None, limit: float | None, quiet: bool) -> Run:
    from vaekit.api import reopen
    from vaekit.disk.checkpoint import load_config

    with soon(f"reading the data of {folder} ...", quiet), reading(quiet) as hook:
        run = reopen(folder, device, limit, progress=hook)
    before, now = load_config(folder)[0].train.device, run.experiment.train.device
    if before != now and not quiet:
        tell(
            f"continuing on {now} instead of {before}: results will not be bit for bit the same as on {before}"
        )
    return run


def _finish(run: Run, as_json: bool, quiet: bool, pace: Pace | None = None) -> None:
    from vaekit.api import follow
    from vaekit.runs.run import Ended, Logged

    why = ""
    try:
        with _meter(run, quiet) as meter:
            for event in follow(run, silent if quiet else tell):
                if isinstance(event, Logged):
                    meter.update(event.row)
                    if run.leads and pace and (hint := pace.hint(event.row)):
                        tell(hint)
                if isinstance(event, Ended):
                    why = event.why
    except KeyboardInterrupt:  # the second Ctrl-C
        tell(
            f"aborted; what {run.folder} last saved is kept: vaekit train --resume {quoted(run.folder)}"
        )
        raise
    if why == "stopped":
        if run.leads:
            on = f"vaekit train --resume {quoted(run.folder)}"
            tell(
                f"stopped at step {run.progress.step:,} and saved, without a report yet; go on with: {on}"
            )
        raise typer.Exit(130)
    if run.leads:
        tell_end(run, why, as_json, silent if quiet else tell)
    run.engine.leave()


def _meter(run: Run, quiet: bool) -> Meter:
    train = run.experiment.train
    limit = train.max_minutes and train.max_minutes * 60
    terms, steps = list(run.objective.terms), run.plan.steps
    return Meter(
        steps,
        terms,
        lambda: run.progress.step,
        quiet or not run.leads,
        train.compile is True,
        limit,
        run.modality.plural,
    )
