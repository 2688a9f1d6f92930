"""The data of a run's own source, in the parts that training made of them."""

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
    """The data of the run in `folder` in the form that they had then, from whatever folder it is called.

    The form stays also where the choice that was left to us is now another.
    """
    facts = files.json_object(folder / layout.ENVIRONMENT) if folder else {}
    data = locate(experiment.data, facts.get("paths", {}))
    return modality(schema.modality).source.reread(data, schema, **options)


def own_part(trained: Trained, tell: Callable[[str], None] = lambda sentence: None) -> Dataset:
    """The data of the run's own source that it was not trained on: its test part, else what was held out."""
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
    """What the run held out of training, whatever test part there is."""
    own = own_data(trained)
    return own.subset(split(trained.experiment, len(own))[1])


def own_data(trained: Trained) -> Dataset:
    """The run's own data as it was trained on them; a VaekitError if they are others now."""
    schema, seed = trained.schema, trained.experiment.train.seed
    data = read_again(trained.experiment, schema, trained.folder)
    source, plural = trained.experiment.data.source, trained.modality.plural
    if data.schema.shape != schema.shape:
        raise VaekitError(
            f"{source}: is not what the run was trained on any more; name the data to use"
        )
    if trained.folder and _changed(trained.folder, data):
        raise VaekitError(
            f"{source}: other {plural} than in training, so which were held out is not known any more; "
            "name the data to use, or put them back as they were"
        )
    return modality(schema.modality).values.freeze(
        with_schema(data, schema), seed
    )  # the bits that the run was trained and measured on


def _changed(folder: Path, data: Dataset) -> bool:
    """Whether these are others than the run's; not, where that is not known: of a model saved on its own."""
    now = data.fingerprint
    return files.json_object(folder / layout.ENVIRONMENT).get("fingerprint", now) != now
