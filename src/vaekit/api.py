"""The Python interface: train, load and resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from vaekit.assembly.latents import kind_of
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import Resolved, resolve
from vaekit.config import Experiment
from vaekit.data import registry
from vaekit.data.dataset import Dataset
from vaekit.disk import checkpoint, layout
from vaekit.files import new_folder
from vaekit.report.report import write_report
from vaekit.runs import race, timing
from vaekit.runs.events import Ended, Logged, interruptible
from vaekit.runs.run import Run
from vaekit.tasks import sampler_choice
from vaekit.tasks.own_data import read_again
from vaekit.tasks.trained import Trained, load_model
from vaekit.training.engine import choose_device


def train(
    source: str | Path = "digits",
    out: str | Path | None = None,
    recipe: str = "auto",
    **fields: Any,
) -> Trained:
    """Train a VAE on `source` and return it. The run's folder is `out` or runs/<name>.

    An existing folder is never overwritten: the new one gets a number at its end.

    fields: any field of an `Experiment`, by its own name (`epochs=20`, `latent=8`, `likelihood="bernoulli"`).
    Ctrl-C stops early and saves everything; `vaekit.resume(folder)` continues the run.
    """
    changes = [assignment(name, value) for name, value in fields.items()]
    experiment = changed(choose(str(source), recipe), changes)
    resolved = plan_after_race(experiment, read(experiment))
    return _finish(Run(resolved, lambda: new_folder(Path(out or default_folder(str(source))))))


def resume(folder: str | Path, device: str | None = None) -> Trained:
    """Continue a stopped run from exactly where it stopped.

    On another `device` the results are no longer bit for bit the same."""
    return _finish(reopen(Path(folder), device))


def load(folder: str | Path, device: str = "cpu") -> Trained:
    """A trained model from its run folder."""
    return load_model(folder, device)


def plan_after_race(
    experiment: Experiment, data: Dataset, tell: Callable[[str], None] = lambda sentence: None
) -> Resolved:
    """The plan, with the net that wins a short race if one is held (see `vaekit.runs.race`).

    The race's time is subtracted from the time that is planned for the run.
    """
    outcome = race.hold_race(experiment, data, tell)
    if outcome is None:
        return plan(experiment, data)
    resolved = plan(outcome.experiment, data, timing.MINUTES - outcome.seconds / 60)
    return replace(resolved, reasons=[outcome.reason, *resolved.reasons])


def plan(experiment: Experiment, data: Dataset, minutes: float = timing.MINUTES) -> Resolved:
    """The plan of a run: every `auto` gets a value, and the run a length that fits in `minutes`.

    If neither epochs, steps nor a time limit is given, the number of steps is what this machine does in about
    `minutes`, but at most what `resolve` plans for the data. The net is chosen by the form and number of the data.
    """
    resolved, train = resolve(experiment, data), experiment.train
    if train.epochs != "auto" or train.steps or train.max_minutes:
        return resolved
    wanted = resolved.steps
    steps, seconds = timing.fitting(resolved, minutes)
    if steps < wanted:
        resolved = resolve(experiment.override(f"train.steps={steps}"), data)
        resolved.reasons.append(
            f"steps {steps:,}: what this machine does in about {timing.MINUTES:g} minutes; "
            f"max_minutes=60 would make about {min(wanted, 6 * steps):,}, and steps takes any number"
        )
    return replace(resolved, seconds=seconds)


def read(experiment: Experiment, **options: Any) -> Dataset:
    """Read the data that the `data` section of the experiment describes."""
    return registry.named(experiment.data.source).source.read(experiment.data, **options)


def reopen(
    folder: Path, device: str | None = None, minutes: float | None = None, **options: Any
) -> Run:
    """The run in `folder`, ready to continue; `device` and `minutes` replace the run's own if given."""
    schema = checkpoint.load_config(folder)[1]  # raises a VaekitError if this is no run
    experiment = Experiment.read(folder / layout.EXPERIMENT)
    if device and choose_device(device)[0] != experiment.train.device:
        anew = ["train.compile=auto"] * bool(
            experiment.train.compile
        )  # this machine may have no compiler
        experiment = experiment.override(assignment("train.device", device), *anew)
    if minutes is not None:
        experiment = experiment.override(assignment("train.max_minutes", minutes))
    run = Run(
        resolve(experiment, read_again(experiment, schema, folder, **options)),
        lambda: folder,
        resume=True,
    )
    if minutes is not None:
        run.allow(minutes)
    return run


def changed(experiment: Experiment, changes: Iterable[str]) -> Experiment:
    """The experiment with `field=value` changes.

    If the kind of latent changes and the prior does not, the prior becomes `auto`."""
    new = experiment.override(*changes)
    same = (
        kind_of(new.model) == kind_of(experiment.model) or new.model.prior != experiment.model.prior
    )
    return new if same else new.override("model.prior=auto")


def assignment(field: str, value: Any) -> str:
    """`field=value`, quoted so that text stays text even if it looks like a number."""
    return f"{field}={yaml.safe_dump(str(value) if isinstance(value, Path) else value)}"


def default_folder(source: str) -> Path:
    """runs/<the source's own name>."""
    path = Path(source.split(":")[-1].replace("\\", "/"))
    name = path.resolve().name  # resolves `.` to the folder's own name
    for kind in map(registry.modality, registry.names()):
        for suffix in kind.source.suffixes:
            name = name.removesuffix(suffix)
    return Path("runs") / (name or "data")


def follow(
    run: Run, tell: Callable[[str], None] = lambda sentence: None
) -> Iterable[Logged | Ended]:
    """Yield the run's events. Ctrl-C stops the run in order; a run that was not stopped gets a report."""
    with interruptible() as asked:
        for event in run.events(asked):
            if isinstance(event, Ended) and event.why != "stopped" and run.leads:
                rows = run.data.subset(run.train_index), run.data.subset(run.val_index)
                sampler_choice.choose(event.trained, *rows, tell=tell)
                write_report(run.folder, event.trained, run.data, run.val_index)
            yield event


def _finish(run: Run) -> Trained:
    ended = [event for event in follow(run) if isinstance(event, Ended)]
    return ended[-1].trained
