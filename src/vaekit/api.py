"""Five lines of Python: train, load, resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml
from torch import Tensor

from vaekit import files
from vaekit.assembly.latents import kind_of
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import Resolved, resolve, with_schema
from vaekit.config import Experiment
from vaekit.data import Dataset, Schema, modality, named
from vaekit.data.dataset import counted
from vaekit.data.images.read import arrays
from vaekit.data.location import locate
from vaekit.data.tables import TableSchema
from vaekit.data.tables.read import endings
from vaekit.disk import checkpoint, layout
from vaekit.errors import VaekitError
from vaekit.files import new_folder
from vaekit.report.report import write_report
from vaekit.runs import timing
from vaekit.runs.events import Ended, Logged, interruptible
from vaekit.runs.run import Run, split
from vaekit.tasks import resample, sampler_choice, score
from vaekit.tasks.score import RowScores, Scores
from vaekit.tasks.trained import Trained, load_model
from vaekit.training.engine import choose_device

ENDINGS = (endings.GZIP, *arrays.SUFFIXES, *endings.TEXT, *endings.PARQUET)
"""What a run's folder is not called by."""


def train(
    source: str | Path = "digits",
    out: str | Path | None = None,
    recipe: str = "auto",
    **fields: Any,
) -> Trained:
    """Train a VAE on `source` and return it; the run's folder is `out`, or runs/<name>, never overwritten.

    fields: anything in an `Experiment`, by its own name (`epochs=20`, `latent=8`, `likelihood="bernoulli"`).
    Ctrl-C stops early and keeps everything: `vaekit.resume(folder)` goes on.
    """
    changes = [assignment(name, value) for name, value in fields.items()]
    experiment = changed(choose(str(source), recipe), changes)
    resolved = plan(experiment, read(experiment))
    return _finish(Run(resolved, lambda: new_folder(Path(out or default_folder(str(source))))))


def resume(folder: str | Path, device: str | None = None) -> Trained:
    """Go on with a run that was stopped, from exactly where it was; on another `device`, no longer bit for bit."""
    return _finish(reopen(Path(folder), device))


def load(folder: str | Path, device: str = "cpu") -> Trained:
    """A trained model from its run folder."""
    return load_model(folder, device)


def plan(experiment: Experiment, data: Dataset) -> Resolved:
    """What will be done: every `auto` settled, and a length that fits the time that people have.

    Where neither epochs, steps nor a time limit is given, the run is as long as this machine needs for about
    `timing.MINUTES`, and no longer than it is worth.
    """
    resolved, train = resolve(experiment, data), experiment.train
    if train.epochs != "auto" or train.steps or train.max_minutes:
        return resolved
    wanted = resolved.steps
    steps, seconds = timing.fitting(resolved)
    if steps < wanted:
        resolved = resolve(experiment.override(f"train.steps={steps}"), data)
        resolved.reasons.append(
            f"steps {steps:,}: what this machine does in about {timing.MINUTES:g} minutes; "
            f"max_minutes=60 would make about {min(wanted, 6 * steps):,}, and steps takes any number"
        )
    return replace(resolved, seconds=seconds)


def read(experiment: Experiment, **options: Any) -> Dataset:
    """The experiment's data, as its `data` section says."""
    return named(experiment.data.source).read(experiment.data, **options)


def reopen(
    folder: Path, device: str | None = None, minutes: float | None = None, **options: Any
) -> Run:
    """The run in `folder`, ready to go on: where it was or on another device, within its time or another."""
    schema = checkpoint.load_config(folder)[1]  # says so when it is no run
    experiment = Experiment.read(folder / layout.EXPERIMENT)
    if device and choose_device(device)[0] != experiment.train.device:
        anew = ["train.compile=auto"] * bool(
            experiment.train.compile
        )  # there may be no compiler here
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


def read_again(
    experiment: Experiment, schema: Schema, folder: Path | None, **options: Any
) -> Dataset:
    """The data of the run in `folder` in the form that they had then, from whatever folder it is called.

    The form stays also where the choice that was left to us is now another.
    """
    facts = files.json_object(folder / layout.ENVIRONMENT) if folder else {}
    data = locate(experiment.data, facts.get("paths", {}))
    return modality(schema.modality).again(data, schema, **options)


def own_part(trained: Trained, tell: Callable[[str], None] = lambda sentence: None) -> Dataset:
    """The data of the run's own source that it was not trained on: its test part, else what was held out."""
    data = own_data(trained)
    part = data.test or data.subset(split(trained.experiment, len(data))[1])
    which = "its test part" if data.test else "held out in training"
    tell(f"{counted(len(part), trained.modality.datum)} of {named_source(trained)}: {which}")
    return part


def training_part(trained: Trained) -> Dataset:
    """The data that the run was trained on."""
    data = own_data(trained)
    return data.subset(split(trained.experiment, len(data))[0])


def held_part(trained: Trained) -> Dataset:
    """What the run held out of training, whatever test part there is."""
    own = own_data(trained)
    return own.subset(split(trained.experiment, len(own))[1])


def named_source(trained: Trained) -> str:
    """The run's source as it was named in training."""
    return trained.experiment.data.source


def own_data(trained: Trained) -> Dataset:
    """The run's own data as it was trained on them; a VaekitError if they are others now."""
    schema, seed = trained.schema, trained.experiment.train.seed
    data = read_again(trained.experiment, schema, trained.folder)
    if data.schema.shape != schema.shape:
        raise VaekitError(
            f"{named_source(trained)}: is not what the run was trained on any more; name the data to use"
        )
    if trained.folder and _changed(trained.folder, data):
        raise VaekitError(
            f"{named_source(trained)}: other {trained.modality.datum}s than in training, so which "
            "were held out is not known any more; name the data to use, or put them back as they were"
        )
    return modality(schema.modality).fixed(
        with_schema(data, schema), seed
    )  # the bits that the run was trained and measured on


def sampled(
    trained: Trained, word: str, tell: Callable[[str], None] = lambda sentence: None
) -> Trained:
    """The same model with a density fitted to its codes in its prior's place: `gmm:10`, `flow`; or `prior`.

    It is fitted once, on the run's own training data, and kept in the run's folder; anew where the weights have moved.
    """
    if word == sampler_choice.PRIOR:
        return replace(trained, sampler=word)
    resample.suits(trained, word)
    if trained.folder is None:
        raise VaekitError(
            "a sampler is fitted to a run's own data and kept in its folder; this model has none"
        )
    path = resample.place(trained.folder, word)

    def made() -> tuple[dict[str, Tensor], dict[str, Any]]:
        tell(f"fitting {word} to the codes of the training {trained.modality.datum}s, once")
        said = _quarters(tell)
        fitted = resample.fit(trained, training_part(trained), word, progress=said)
        return resample.state(fitted, trained, word)

    kept = checkpoint.kept(path, {"weights": resample.digest(trained)}, made)
    return replace(
        trained,
        model=resample.sampling_from(
            trained.model, resample.restored(*kept, path).to(trained.device)
        ),
        sampler=word,
    )


def _quarters(tell: Callable[[str], None]) -> Callable[[int, int], None]:
    """Tell a fit's progress at most four times."""
    seen = {0}

    def progress(done: int, total: int) -> None:
        if (quarter := 4 * done // total) not in seen:
            seen.add(quarter)
            tell(f"step {done:,} of at most {total:,}")

    return progress


def row_scores(
    trained: Trained,
    seed: int = 0,
    contamination: float = 0.0,
    tell: Callable[[str], None] = lambda sentence: None,
) -> RowScores:
    """The detector of the run's training rows, fitted once and kept in the run's folder."""
    schema = cast(TableSchema, trained.schema)
    if trained.folder is None:
        raise VaekitError(
            "a detector is fitted to a run's own data and kept in its folder; this model has none"
        )

    def made() -> tuple[dict[str, Tensor], dict[str, Any]]:
        tell("fitting a detector to the training rows, once")
        return RowScores.fitted(training_part(trained), schema, seed, contamination).state()

    key = {"seed": seed, "contamination": contamination, "form": score.FORM}
    return RowScores.restored(*checkpoint.kept(trained.folder / layout.DETECTOR, key, made), schema)


def oddness(
    trained: Trained,
    data: Dataset,
    by: str,
    seed: int = 0,
    contamination: float = 0.0,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Scores:
    """How odd `data` are under the run, by one of `score.BY`; seed and contamination are of the ensemble."""
    score.suits(trained, by)
    if by == "ensemble":
        return row_scores(trained, seed, contamination, tell)(data)
    if contamination:
        raise VaekitError(
            f"contamination is for the score by ensemble; {by} is of the model as it was trained: "
            "leave it out"
        )
    return score.by_model(trained, by, data, held_part(trained), lambda: training_part(trained))


def _changed(folder: Path, data: Dataset) -> bool:
    """Whether these are others than the run's; not, where that is not known: of a model saved on its own."""
    now = data.fingerprint
    return files.json_object(folder / layout.ENVIRONMENT).get("fingerprint", now) != now


def changed(experiment: Experiment, changes: Iterable[str]) -> Experiment:
    """The experiment with `field=value` changes; a latent of another kind is not held to the former one's prior."""
    new = experiment.override(*changes)
    same = (
        kind_of(new.model) == kind_of(experiment.model) or new.model.prior != experiment.model.prior
    )
    return new if same else new.override("model.prior=auto")


def assignment(field: str, value: Any) -> str:
    """`field=value` that means this very value: text stays text, whatever it looks like."""
    return f"{field}={yaml.safe_dump(str(value) if isinstance(value, Path) else value)}"


def default_folder(source: str) -> Path:
    """runs/<the source's own name>."""
    name = (
        Path(source.split(":")[-1].replace("\\", "/")).resolve().name
    )  # `.` is the folder it stands for
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return Path("runs") / (name or "images")


def follow(run: Run) -> Iterable[Logged | Ended]:
    """The run's events under Ctrl-C protection; a run that ends well has its report written."""
    with interruptible() as asked:
        for event in run.events(asked):
            if isinstance(event, Ended) and event.why != "stopped" and run.leads:
                rows = run.data.subset(run.train_index), run.data.subset(run.val_index)
                sampler_choice.choose(event.trained, *rows)
                write_report(run.folder, event.trained, run.data, run.val_index)
            yield event


def _finish(run: Run) -> Trained:
    ended = [event for event in follow(run) if isinstance(event, Ended)]
    return ended[-1].trained
