"""The data of a run's own source, split as in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit import files
from vaekit.assembly.settle import split, with_schema
from vaekit.config import Experiment
from vaekit.data.dataset import Dataset, Schema
from vaekit.data.location import locate
from vaekit.data.registry import modality
from vaekit.disk import layout
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained


def read_again(
    experiment: Experiment, schema: Schema, folder: Path | None, **options: Any
) -> Dataset:
    """The data of the run in `folder`, in the form of its training, from any working directory.

    The form stays the same even if what was chosen automatically would be chosen differently now.
    """
    facts = files.json_object(folder / layout.ENVIRONMENT) if folder else {}
    data = locate(experiment.data, facts.get("paths", {}))
    return modality(schema.modality).source.reread(data, schema, **options)


def own_part(trained: Trained, tell: Callable[[str], None] = lambda sentence: None) -> Dataset:
    """The data of the run's own source that it was not trained on: its test part, or the held-out
    part if there is no test part."""
    data = own_data(trained)
    part = data.test or data.subset(split(trained.experiment, len(data))[1])
    which = "its test part" if data.test else "held out in training"
    tell(f"{trained.modality.counted(len(part))} of {trained.experiment.data.source}: {which}")
    return part


def training_part(trained: Trained) -> Dataset:
    """The data that the run was trained on."""
    data = own_data(trained)
    return data.subset(split(trained.experiment, len(data))[0])


def held_part(trained: Trained) -> Dataset:
    """The data that the run held out of training, even if there is a test part."""
    own = own_data(trained)
    return own.subset(split(trained.experiment, len(own))[1])


def own_data(trained: Trained) -> Dataset:
    """The run's own data in the form of its training. Raises VaekitError if they have changed."""
    schema, seed = trained.schema, trained.experiment.train.seed
    data = read_again(trained.experiment, schema, trained.folder)
    source, plural = trained.experiment.data.source, trained.modality.plural
    if data.schema.shape != schema.shape:
        raise VaekitError(
            f"{source}: the data have another shape than in training; name the data to use"
        )
    if trained.folder and _changed(trained.folder, data):
        raise VaekitError(
            f"{source}: the {plural} have changed since training, so it is not known which were "
            "held out; name the data to use, or put them back as they were"
        )
    return modality(schema.modality).values.freeze(
        with_schema(data, schema), seed
    )  # the same drawn bits as in training


def _changed(folder: Path, data: Dataset) -> bool:
    """Whether these data differ from the run's. False if that is not known (a model that was saved
    without its run)."""
    now = data.fingerprint
    return files.json_object(folder / layout.ENVIRONMENT).get("fingerprint", now) != now
