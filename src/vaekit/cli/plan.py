"""The plan of a run: how it is made and printed, and what `vaekit train --dry-run` shows of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vaekit.cli.terminal import tell
from vaekit.cli.words import span

if TYPE_CHECKING:
    from vaekit.assembly.settle import Resolved
    from vaekit.config import Experiment
    from vaekit.data.dataset import Dataset


def make_plan(experiment: Experiment, data: Dataset, dry_run: bool, quiet: bool) -> Resolved:
    """Make the plan. Notes on the data, on the race and reasons are printed unless `quiet`."""
    told = silent if quiet else tell
    for note in data.notes:
        told(note)
    resolved = (_plan_dry if dry_run else _plan)(experiment, data, told)
    for reason in resolved.reasons:
        told(reason)
    return resolved


def _plan(experiment: Experiment, data: Dataset, told: Callable[[str], None]) -> Resolved:
    from vaekit.api import plan_after_race

    try:
        return plan_after_race(experiment, data, told)
    except KeyboardInterrupt:
        tell("stopped before training began; nothing was written")
        raise typer.Exit(130) from None


def _plan_dry(experiment: Experiment, data: Dataset, told: Callable[[str], None]) -> Resolved:
    """The plan without a race: a sentence says that there would be one."""
    from vaekit.api import plan
    from vaekit.runs.race import announce

    if sentence := announce(experiment, data):
        told(sentence)
    return plan(experiment, data)


def silent(sentence: str) -> None:
    """Print nothing: takes the place of `tell` for --quiet."""


def summary(resolved: Resolved, source: str, folder: Path | None) -> dict[str, Any]:
    """The parts of the plan as text, by name; `folder` is the value of --out."""
    from vaekit.api import default_folder
    from vaekit.data.dataset import Resident
    from vaekit.files import unused

    experiment, schema = resolved.experiment, resolved.data.schema
    train = experiment.train
    weights = resolved.parameters * 4 * 5  # weights, gradients, two moments, the moving average
    held = resolved.data.raw
    data = len(held) * schema.dims if isinstance(held, Resident) else 0
    return {
        "run": str(unused(folder or default_folder(source))),
        "data": f"{len(resolved.data):,} {schema}",
        "model": f"{experiment.model.architecture} {experiment.model.hidden or experiment.model.size}, "
        f"latent {experiment.model.latent}, prior {experiment.model.prior}",
        "parameters": resolved.parameters,
        "memory": f"{weights / 2**20:.1f} MiB weights and optimiser, {data / 2**20:.1f} MiB data",
        "likelihood": ", ".join(
            [experiment.model.likelihood, *(f"{k} {v}" for k, v in schema.reported.items())]
        ),
        "objective": f"{experiment.objective.bound}, beta {experiment.objective.beta:g}",
        "batch": train.batch,
        "steps": resolved.steps,
        "epochs": train.epochs,
        "time": expected_time(resolved, 1.0),
        "device": f"{train.device}, precision {train.precision}, compiled {train.compile}",
    }


def expected_time(resolved: Resolved, budget: float) -> str:
    from vaekit.runs.timing import forecast

    train, seconds = resolved.experiment.train, resolved.seconds
    if seconds is None:
        seconds = forecast(resolved, budget)
    how = f"roughly, from a few steps timed {'before compiling' if train.compile else 'here'}"
    if train.max_minutes and train.max_minutes * 60 < seconds:
        return f"{train.max_minutes:g} min (--max-time) of about {span(seconds)} ({how})"
    if train.max_minutes:
        return (
            f"about {span(seconds)} ({how}): the {resolved.steps:,} planned steps need less than --max-time, "
            f"{train.max_minutes:g} min; more steps: --steps or --epochs"
        )
    return f"about {span(seconds)} ({how})"
