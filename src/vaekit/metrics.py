"""Measures of a trained model that want more than its bound: how good its samples are, how its latents are ordered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vaekit import checkpoint, evaluate, table_quality
from vaekit.data import Dataset
from vaekit.data.images import Images, Progress
from vaekit.data.images.binarise import prepare
from vaekit.data.images.likelihoods import likelihood
from vaekit.data.images.packed import default_folder
from vaekit.data.tables import TableSchema, from_tensor
from vaekit.disentanglement import disentanglement, mig, sap
from vaekit.errors import VaekitError
from vaekit.fidelity import fidelity
from vaekit.judge import Judge, train_judge, which_way_up
from vaekit.rng import seeded
from vaekit.rows import drawn
from vaekit.tasks import Trained

MOST = 10_000
"""At most so many images are compared with as many samples."""

FEWEST = 20
"""Fewer images than this are no set to compare with."""


ALONE = "it is about telling several factors apart, and one is given"


def silent(what: str, done: int, total: int) -> None:
    pass


def samples(
    trained: Trained, training: Images, other: Images, seed: int = 0, progress: Progress = silent
) -> dict[str, Any]:
    """How close new images are to `other` ones, which the model has not seen, in the features of a judge.

    The judge is a classifier of the `training` images (of which way up they are, where no classes are known). `floor`
    is the same measure of as many training images: what a perfect model would get.
    """
    n = min(MOST, len(other), len(training))
    if n < FEWEST:
        raise VaekitError(f"samples are compared with at least {FEWEST} images that were not trained on; there are {n}")
    judge = _judge(training, seed, progress)
    real, seen = (_pixels(images, n, seed) for images in (other, training))
    made = trained.generate(n, seed, _reading(trained))
    features = judge.features(real)
    result = asdict(fidelity(features, judge.features(made), min(5, n // 4), seed))
    floor = asdict(fidelity(features, judge.features(seen), min(5, n // 4), seed))
    result |= {"floor": {name: floor[name] for name in ("frechet", "kernel", "neighbours")}}
    known = other.labels is not None and training.labels is not None and bool((other.labels >= 0).all())
    result["judge"] = {"learned": "classes" if training.labels is not None else "which way up"}
    if known:
        result["judge"]["accuracy"] = judge.accuracy(_pixels(other, len(other), seed), other.labels)  # type: ignore[arg-type]
    return {"samples": result} | _asked(trained, judge, training, n, seed)


@dataclass(frozen=True)
class Tables:
    """Rows (N, C) in raw values: new ones, those trained on, and real ones that the model has not seen."""

    schema: TableSchema
    made: np.ndarray
    seen: np.ndarray
    real: np.ndarray

    @property
    def categories(self) -> np.ndarray:
        """Which columns are categories, bool (C,)."""
        return np.array([column.discrete for column in self.schema.columns])


def tables(trained: Trained, training: Dataset, other: Dataset, seed: int = 0) -> Tables:
    """As many new rows as there are training rows, beside these and `other` ones."""
    if (n := min(len(other), len(training))) < FEWEST:
        raise VaekitError(
            f"samples are compared with at least {FEWEST} rows that were not trained on; there are {n}: name a table "
            "that has more, or measure the bound alone with --metrics nll"
        )
    schema = cast(TableSchema, trained.schema)
    index = torch.linspace(0, len(training) - 1, min(len(training), 10 * MOST)).round().long()
    context = None if training.context is None else training.context[index]
    with seeded(seed), torch.no_grad():
        x = drawn(trained.model, schema, len(index), context)
    return Tables(schema, from_tensor(x, schema, clip=True).numpy(), _raw(training.subset(index)), _raw(other))


def rows(tables: Tables, target: str | None = None, seed: int = 0) -> dict[str, Any]:
    """How close new rows are to ones that the model has not seen, how useful, and whether they are copies.

    `floor` is the same measure of the training rows themselves: what a perfect model would get. With `target`, boosted
    trees learn that column from new rows and are tried on rows not seen.
    """
    schema, categories = tables.schema, tables.categories
    made, seen, real = tables.made, tables.seen, tables.real
    result: dict[str, Any] = _close(real, made, categories, seed) | {"floor": _close(real, seen, categories, seed)}
    result["privacy"] = asdict(table_quality.privacy(made, seen, real, categories, seed))
    if target is not None:
        place = schema.names.index(target)
        found, floor = (asdict(table_quality.utility(part, real, categories, place, seed)) for part in (made, seen))
        known = [measure for measure, value in found.items() if value == value]
        result["utility"] = {name: found[name] for name in known} | {"floor": {name: floor[name] for name in known}}
    return {"samples": result}


def _close(real: np.ndarray, made: np.ndarray, categories: np.ndarray, seed: int) -> dict[str, float]:
    return {
        "column_error": table_quality.column_error(real, made, categories),
        "pair_error": table_quality.pair_error(
            *(part[..., : table_quality.PAIRED] for part in (real, made, categories))
        ),
        "two_sample": table_quality.two_sample(real, made, categories, seed),
    }


def _raw(data: Dataset) -> np.ndarray:
    return data.raw.take(torch.arange(len(data))).numpy()


def latents(trained: Trained, images: Images, factors: Tensor, seed: int = 0) -> dict[str, Any]:
    """How well single latent dimensions tell single known factors (N, F) of the images."""
    codes = evaluate.posterior_means(trained.model, trained.batches(images, seed)).cpu()
    try:
        if factors.shape[1] > 1:
            return {"disentanglement": asdict(disentanglement(codes, factors, seed=seed))}
        few = {"mig": mig(codes, factors), "sap": sap(codes, factors, seed), "n": len(codes)}
        return {"disentanglement": few, "left_out": dict.fromkeys(("dci", "factorvae"), ALONE)}
    except ValueError as error:
        raise VaekitError(f"disentanglement: {error}") from None


def _asked(trained: Trained, judge: Judge, training: Images, n: int, seed: int) -> dict[str, Any]:
    """Of a model that is told the classes: how often the judge names what was asked for."""
    field = next((f for f in trained.schema.conditions if f.classes == training.schema.classes and f.classes), None)
    if field is None:
        return {}
    each = max(1, n // len(field.classes))
    reading = _reading(trained)
    named = [
        judge.accuracy(trained.generate(each, seed + k, reading, {field.name: name}), torch.full((each,), k))
        for k, name in enumerate(field.classes)
    ]
    return {"named": {"mean": sum(named) / len(named), "least": min(named), "n": each * len(named)}}


def _reading(trained: Trained) -> str:
    """Bits are drawn, as those of real pictures are; grey levels are means."""
    pixels = likelihood(trained.experiment.model.likelihood, 1)
    return "sample" if pixels.binary else "mean"


def _pixels(images: Images, n: int, seed: int) -> Tensor:
    """n images, evenly spread, as the model sees them."""
    index = torch.linspace(0, len(images) - 1, n).round().long()
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([prepare(images.raw.take(part), images.schema, generator) for part in index.split(1024)])


def _judge(training: Images, seed: int, progress: Progress) -> Judge:
    """The judge of these images, taught once and kept in the cache."""
    schema = training.schema
    learned = "turns" if training.labels is None else f"{len(schema.classes)}"
    path = default_folder() / f"judge-{training.fingerprint[:24]}-{schema.binarise}-{learned}-{seed}.safetensors"
    if not path.is_file():
        _teach(path, training, seed, progress)
    return Judge.from_state(*checkpoint.load_tensors(path))


def _teach(path: Path, training: Images, seed: int, progress: Progress) -> None:
    x = _pixels(training, min(len(training), 100_000), seed)
    if training.labels is None:
        x, y = which_way_up(x, seed)
        classes = int(y.max()) + 1
    else:
        index = torch.linspace(0, len(training) - 1, len(x)).round().long()
        y, classes = training.labels[index], max(2, len(training.schema.classes))
        x, y = x[y >= 0], y[y >= 0]
    with seeded(seed):
        judge = train_judge(x, y, classes, seed, progress=lambda done, total: progress("teaching a judge", done, total))
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save_tensors(path, *judge.state())
