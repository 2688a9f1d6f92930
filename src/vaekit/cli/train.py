"""vaekit train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.terminal import Meter, out, reading, show, tell
from vaekit.cli.words import sides
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.resolve import Resolved
    from vaekit.run import Run

SHORTCUTS = {
    "epochs": "train.epochs",
    "steps": "train.steps",
    "batch": "train.batch",
    "lr": "train.lr",
    "seed": "train.seed",
    "device": "train.device",
    "devices": "train.devices",
    "nodes": "train.nodes",
    "precision": "train.precision",
    "max_time": "train.max_minutes",
    "latent": "model.latent",
    "size": "model.size",
    "architecture": "model.architecture",
    "prior": "model.prior",
    "likelihood": "model.likelihood",
    "binarise": "model.binarise",
    "beta": "objective.beta",
    "bound": "objective.bound",
    "array": "data.array",
    "labels": "data.labels",
    "resize": "data.size",
    "channels": "data.channels",
}


def train(
    source: Annotated[
        str | None, typer.Argument(help="digits, a folder, .npz/.npy, idx folder or hf:owner/name")
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="any field of experiment.yaml")
    ] = None,
    out_: Annotated[
        Path | None, typer.Option("--out", help="The run's folder (default runs/<name>); never overwritten.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run, exactly where it stopped.")] = None,
    recipe: Annotated[str, typer.Option(help="auto, images, digits, mnist-density or mnist-iwae.")] = "auto",
    config: Annotated[Path | None, typer.Option(help="Start from an experiment.yaml.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps, instead of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    latent: Annotated[int | None, typer.Option(help="Latent dimensions.")] = None,
    size: Annotated[str | None, typer.Option(help="The networks: tiny, small, base or large.")] = None,
    architecture: Annotated[str | None, typer.Option(help="auto, mlp or conv.")] = None,
    prior: Annotated[str | None, typer.Option(help="standard, learned or mixture:K.")] = None,
    likelihood: Annotated[
        str | None, typer.Option(help="auto, bernoulli, gaussian, mse, logistic-mixture, ...")
    ] = None,
    binarise: Annotated[str | None, typer.Option(help="auto, none, static or dynamic.")] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the rate (KL); 1 is the honest bound.")] = None,
    bound: Annotated[str | None, typer.Option(help="elbo or iwae:K.")] = None,
    array: Annotated[str | None, typer.Option(help="Which array of an .npz file.")] = None,
    labels: Annotated[str | None, typer.Option(help="Which array holds the labels.")] = None,
    resize: Annotated[str | None, typer.Option(help="Resize images to this side, or HxW.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    devices: Annotated[int | None, typer.Option(help="How many of them.")] = None,
    nodes: Annotated[int | None, typer.Option(help="How many machines.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32 or bf16.")] = None,
    max_time: Annotated[float | None, typer.Option(help="Stop, saved, after so many minutes.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="Five steps of everything, to see that it runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a VAE on images, and write a report.

    Examples:

      vaekit train digits

      vaekit train photos/ --size base --latent 64 --epochs 100

      vaekit train mnist.npz --likelihood bernoulli --beta 1 train.ema=0.9999

      vaekit train --resume runs/digits
    """
    from vaekit.api import assignment

    given = {name: value for name, value in locals().items() if name in SHORTCUTS and value is not None}
    if resize:
        given["resize"] = sides(resize)
    if fast_dev_run:
        given["steps"] = 5
    if config and source and "=" in source and not Path(source).exists():  # the first field, not a source
        fields, source = [source, *(fields or [])], None
    changes = [assignment(SHORTCUTS[name], value) for name, value in given.items()] + list(fields or [])
    if resume:
        if source or changes or out_ or config or dry_run or recipe != "auto":
            raise VaekitError(
                "--resume goes on with the run's own settings, data and folder; leave out the rest, or start a new run "
                f"with --config {resume}/experiment.yaml"
            )
        _finish(_reopen(resume, quiet), as_json, quiet)
        return
    if config and recipe != "auto":
        raise VaekitError(f"--recipe {recipe}: {config} is a whole experiment already; leave out one of the two")
    resolved = _resolve(source, recipe, config, changes, quiet)
    if dry_run:
        show(_plan(resolved), as_json)
        return
    _finish(_begin(resolved, source or resolved.experiment.data.source, out_, quiet), as_json, quiet)


def _resolve(source: str | None, recipe: str, config: Path | None, changes: list[str], quiet: bool) -> Resolved:
    from vaekit.api import assignment, read
    from vaekit.config import Experiment
    from vaekit.recipes import choose
    from vaekit.resolve import resolve

    if config:
        experiment = Experiment.read(config)
        experiment = experiment.override(assignment("data.source", source)) if source else experiment
    elif source:
        experiment = choose(source, recipe)
    else:
        raise VaekitError("expected something to train on, such as: vaekit train digits, or vaekit train photos/")
    experiment = experiment.override(*changes)
    with reading(quiet) as hook:
        images = read(experiment, progress=hook)
    resolved = resolve(experiment, images)
    if not quiet:
        for sentence in (*images.notes, *resolved.reasons):
            tell(sentence)
    return resolved


def _begin(resolved: Resolved, source: str, folder: Path | None, quiet: bool) -> Run:
    from vaekit.api import default_folder
    from vaekit.run import Run, new_folder

    run = Run(resolved, lambda: new_folder(folder or default_folder(source)))
    if run.leads and not quiet:
        tell(f"run {run.folder}: {resolved.parameters:,} parameters, {resolved.steps:,} steps")
    return run


def _reopen(folder: Path, quiet: bool) -> Run:
    from vaekit.api import reopen

    with reading(quiet) as hook:
        return reopen(folder, progress=hook)


def _finish(run: Run, as_json: bool, quiet: bool) -> None:
    from vaekit.api import follow
    from vaekit.run import Ended, Logged

    why = ""
    try:
        with Meter(run.plan.steps, list(run.objective.terms), quiet or not run.leads) as meter:
            meter.bar.update(meter.task, completed=run.progress.step)
            for event in follow(run):
                if isinstance(event, Logged):
                    meter.update(event.row)
                if isinstance(event, Ended):
                    why = event.why
    except KeyboardInterrupt:  # the second Ctrl-C
        tell(f"aborted; what {run.folder} last saved is kept: vaekit train --resume {run.folder}")
        raise
    if why == "stopped":
        if run.leads:
            tell(f"stopped at step {run.progress.step:,} and saved; go on with: vaekit train --resume {run.folder}")
        raise typer.Exit(130)
    if run.leads:
        _tell_end(run, why, as_json)
    run.engine.leave()


def _tell_end(run: Run, why: str, as_json: bool) -> None:
    numbers = json.loads((run.folder / "evaluation.json").read_text(encoding="utf-8"))
    result = {
        "run": str(run.folder),
        "report": str(run.folder / "report.html"),
        "ended": why,
        "steps": run.progress.step,
    }
    if as_json:
        show(result | {"best_step": run.progress.best_step, "evaluation": numbers}, True)
        return
    bound = numbers["elbo"]
    out.print(f"elbo {bound['value']:.2f} ± {bound['error']:.2f} nats on {numbers['n']:,} {numbers['data']} images")
    out.print(f"report: {result['report']}")
    tell(f"next: vaekit generate {run.folder} -n 64 --seed 1")


def _plan(resolved: Resolved) -> dict[str, Any]:
    experiment, schema = resolved.experiment, resolved.images.schema
    train = experiment.train
    weights = resolved.parameters * 4 * 5  # weights, gradients, two moments, the moving average
    data = 0 if resolved.images.raw.__class__.__name__ == "DiskImages" else len(resolved.images) * schema.dims
    return {
        "data": f"{len(resolved.images):,} images of {schema.height}x{schema.width}x{schema.channels}",
        "model": f"{experiment.model.architecture} {experiment.model.hidden or experiment.model.size}, "
        f"latent {experiment.model.latent}, prior {experiment.model.prior}",
        "parameters": resolved.parameters,
        "memory": f"{weights / 2**20:.1f} MiB weights and optimiser, {data / 2**20:.1f} MiB data",
        "likelihood": f"{experiment.model.likelihood}, binarisation {schema.binarise}",
        "objective": f"{experiment.objective.bound}, beta {experiment.objective.beta:g}",
        "batch": train.batch,
        "steps": resolved.steps,
        "epochs": train.epochs,
        "device": f"{train.device}, precision {train.precision}, compiled {train.compile}",
    }
