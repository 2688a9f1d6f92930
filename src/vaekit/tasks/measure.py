"""Measures of a trained model that want more than its bound: how good its samples are, how its latents are ordered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vaekit.config import nearest
from vaekit.core.random import seeded
from vaekit.data import Dataset
from vaekit.data.images import Images, Progress
from vaekit.data.images.model.binarise import prepare
from vaekit.data.images.model.likelihoods import likelihood
from vaekit.data.storage.cache import default_folder
from vaekit.data.tables import Table, TableSchema, from_tensor
from vaekit.disk import checkpoint
from vaekit.errors import VaekitError
from vaekit.measures import augmentation, bounds, row_quality
from vaekit.measures.classifier import Judge, train_judge, which_way_up
from vaekit.measures.disentanglement import disentanglement, mig, sap
from vaekit.measures.feature_distances import fidelity
from vaekit.tasks.rows import balanced, drawn
from vaekit.tasks.trained import Trained, as_tensor

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
        raise VaekitError(
            f"samples are compared with at least {FEWEST} images that were not trained on; there are {n}"
        )
    judge = _judge(training, seed, progress)
    real, seen = (_pixels(images, n, seed) for images in (other, training))
    made = trained.generate(n, seed, _reading(trained))
    features = judge.features(real)
    result = asdict(fidelity(features, judge.features(made), min(5, n // 4), seed))
    floor = asdict(fidelity(features, judge.features(seen), min(5, n // 4), seed))
    result |= {"floor": {name: floor[name] for name in ("frechet", "kernel", "neighbours")}}
    known = (
        other.labels is not None and training.labels is not None and bool((other.labels >= 0).all())
    )
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
            "that has more, or measure the bound alone (metrics nll)"
        )
    schema = cast(TableSchema, trained.schema)
    index = torch.linspace(0, len(training) - 1, min(len(training), 10 * MOST)).round().long()
    context = None if training.context is None else training.context[index]
    with seeded(seed), torch.no_grad():
        x = drawn(trained.model, schema, len(index), context)
    return Tables(
        schema, from_tensor(x, schema, clip=True).numpy(), _raw(training.subset(index)), _raw(other)
    )


def rows(tables: Tables, target: str | None = None, seed: int = 0) -> dict[str, Any]:
    """How close new rows are to ones that the model has not seen, how useful, and whether they are copies.

    `floor` is the same measure of the training rows themselves: what a perfect model would get. With `target`, boosted
    trees learn that column from new rows and are tried on rows not seen.
    """
    schema, categories = tables.schema, tables.categories
    made, seen, real = tables.made, tables.seen, tables.real
    result: dict[str, Any] = _close(real, made, categories, seed) | {
        "floor": _close(real, seen, categories, seed)
    }
    result["privacy"] = asdict(row_quality.privacy(made, seen, real, categories, seed))
    if target is not None:
        place = schema.names.index(target)
        found, floor = (
            asdict(row_quality.utility(part, real, categories, place, seed))
            for part in (made, seen)
        )
        known = [measure for measure, value in found.items() if value == value]
        result["utility"] = {name: found[name] for name in known} | {
            "floor": {name: floor[name] for name in known}
        }
    return {"samples": result}


def _close(
    real: np.ndarray, made: np.ndarray, categories: np.ndarray, seed: int
) -> dict[str, float]:
    return {
        "column_error": row_quality.column_error(real, made, categories),
        "pair_error": row_quality.pair_error(
            *(part[..., : row_quality.PAIRED] for part in (real, made, categories))
        ),
        "two_sample": row_quality.two_sample(real, made, categories, seed),
    }


def _raw(data: Dataset) -> np.ndarray:
    return data.raw.take(torch.arange(len(data))).numpy()


FULLER, LEAST = 2, 500
"""Every class is filled up to so many times the rows of the commonest, and to so many rows at least."""

MADE = 1000
"""So many pictures are made, or as many as there are real ones."""


def helps_rows(
    trained: Trained, training: Dataset, other: Dataset, target: str | None, seed: int = 0
) -> dict[str, Any]:
    """Whether rows that the model makes help to learn the column `target` from the `training` rows, tried on `other`.

    Beside it stand rows of rare classes repeated, and SMOTE. Rows of `other` that equal a training row, or lack the
    target, are left out. Raises VaekitError.
    """
    schema = cast(TableSchema, trained.schema)
    place, discrete = _column(schema, target)
    train, test = (_table(_raw(part), part.context, schema, place) for part in (training, other))
    test = test[~row_quality.copied(test, train) & ~np.isnan(test[:, place])]
    _enough(len(test), "rows with a known " + str(target))
    categories = np.array([*(column.discrete for column in schema.columns), discrete])[
        : test.shape[1]
    ]
    seeds = [seed + k for k in augmentation.SEEDS]
    sizes = {"n_real": len(train), "n_test": len(test)}
    if not discrete:
        make = partial(_drawn, trained, training, place)
        return {
            "augmentation": augmentation.of_numbers(train, test, categories, place, make, seeds)
            | sizes
        }
    counts = np.unique(train[~np.isnan(train[:, place]), place], return_counts=True)[1]
    goal = max(FULLER * int(counts.max(initial=0)), LEAST)
    make = partial(_filled_up, trained, training, str(target), place, goal)
    found = augmentation.of_classes(train, test, categories, place, make, goal, seeds) | sizes
    left = {} if augmentation.can_smote() else {"left_out": {"SMOTE": augmentation.NO_SMOTE}}
    return {"augmentation": found | {"n_of_each_class": goal}} | left


def _column(schema: TableSchema, target: str | None) -> tuple[int, bool]:
    """Where a target stands, behind the modelled columns if it is a condition, and whether it is a category."""
    if target is None:
        raise VaekitError(
            "augmentation: name the column that a classifier shall learn as the target"
        )
    if target in schema.names:
        place = schema.names.index(target)
        return place, schema.columns[place].discrete
    told = [field.name for field in schema.conditions]
    if target not in told:
        raise VaekitError(
            f"target {target}: the model has no such column{nearest(target, [*schema.names, *told])}"
        )
    return len(schema.names) + told.index(target), bool(
        schema.conditions[told.index(target)].classes
    )


def _table(raw: np.ndarray, context: Tensor | None, schema: TableSchema, place: int) -> np.ndarray:
    """Rows with the column at `place`; what else the model was told of them is left out."""
    if place < len(schema.names):
        return raw
    told = (
        np.full(len(raw), np.nan)
        if context is None
        else context[:, place - len(schema.names)].numpy()
    )
    return np.column_stack((raw, told))


def _filled_up(
    trained: Trained, training: Dataset, target: str, place: int, goal: int, seed: int
) -> np.ndarray:
    schema = cast(TableSchema, trained.schema)
    with seeded(seed), torch.no_grad():
        made = balanced(
            trained.model, cast(Table, training), schema, target, goal, lambda sentence: None
        )
    return _table(made.raw.numpy(), made.context, schema, place)


def _drawn(trained: Trained, training: Dataset, place: int, seed: int) -> np.ndarray:
    """As many rows as there are training rows, told what those were."""
    schema = cast(TableSchema, trained.schema)
    with seeded(seed), torch.no_grad():
        x = drawn(trained.model, schema, len(training), training.context)
    return _table(from_tensor(x, schema, clip=True).numpy(), training.context, schema, place)


def helps_pictures(
    trained: Trained, training: Images, other: Images, seed: int = 0, progress: Progress = silent
) -> dict[str, Any]:
    """Whether images that the model makes help to learn the classes of the `training` images, tried on `other` ones.

    New images are those of `between`; beside them stand ordinary transforms. Images of `other` that equal a training
    image, or are of no known class, are left out. Raises VaekitError.
    """
    train, test = (_labelled(_classed(images)) for images in (training, other))
    rows = (x.flatten(1).numpy() for x, _ in (test, train))
    new = ~torch.from_numpy(row_quality.copied(*rows))
    test = test[0][new], test[1][new]
    _enough(len(test[0]), "images of a known class")
    make = partial(between, trained, training, max(MADE, len(train[0])))
    seeds = [seed + k for k in augmentation.SEEDS]
    told = partial(progress, "teaching classifiers")
    classes = max(2, len(training.schema.classes))
    found = augmentation.of_pictures(train, test, classes, make, seeds, augmentation.STEPS, told)
    return {"augmentation": found | {"n_real": len(train[0]), "n_test": len(test[0])}}


def between(trained: Trained, images: Images, n: int, seed: int = 0) -> augmentation.Labelled:
    """n new images (n, C, H, W) in [0, 1] and their classes (n,): each between two of `images` of one class.

    z = m + s e, with (m, s) on the line between the means and deviations of the posteriors of both, e ~ N(0, I). Raises
    VaekitError.
    """
    if trained.kind != "continuous":
        raise VaekitError(f"augmentation: there is nothing between codes that are {trained.kind}")
    known = _classed(images)
    x, labels = _labelled(known)
    codes = trained.encode(x, known.context)
    with seeded(seed):
        one = torch.arange(n) % len(x)
        other, way = _of_the_same(labels, one), torch.rand(n, 1)
        mean, scale = (
            torch.lerp(part[one], part[other], way) for part in (codes.mean, codes.scale)
        )
        z = mean + scale * torch.randn_like(mean)
    return trained.decode(z, None if known.context is None else known.context[one]), labels[one]


def _of_the_same(labels: Tensor, index: Tensor) -> Tensor:
    """For each of `index` (n,) a random one with the same of the labels (N,)."""
    counts = torch.bincount(labels)
    first, each = counts.cumsum(0) - counts, labels[index]
    return labels.argsort()[first[each] + (torch.rand(len(index)) * counts[each]).long()]


def _classed(images: Images) -> Images:
    """Those whose class is known, evenly spread and at most `MOST`."""
    labels = torch.full((len(images),), -1) if images.labels is None else images.labels.cpu()
    index = torch.nonzero(labels >= 0)[:, 0]
    if not len(index):
        raise VaekitError(f"augmentation: {images.source} has no images of known classes to learn")
    return images.subset(
        index[torch.linspace(0, len(index) - 1, min(len(index), MOST)).round().long()]
    )


def _labelled(images: Images) -> augmentation.Labelled:
    return as_tensor(images), cast(Tensor, images.labels).cpu()


def _enough(count: int, what: str) -> None:
    if count < FEWEST:
        raise VaekitError(
            f"augmentation: expected at least {FEWEST} {what} that were not trained on; there are {count}"
        )


def latents(trained: Trained, images: Images, factors: Tensor, seed: int = 0) -> dict[str, Any]:
    """How well single latent dimensions tell single known factors (N, F) of the images."""
    codes = bounds.posterior_means(trained.model, trained.batches(images, seed)).cpu()
    try:
        if factors.shape[1] > 1:
            return {"disentanglement": asdict(disentanglement(codes, factors, seed=seed))}
        few = {"mig": mig(codes, factors), "sap": sap(codes, factors, seed), "n": len(codes)}
        return {"disentanglement": few, "left_out": dict.fromkeys(("dci", "factorvae"), ALONE)}
    except ValueError as error:
        raise VaekitError(f"disentanglement: {error}") from None


def _asked(trained: Trained, judge: Judge, training: Images, n: int, seed: int) -> dict[str, Any]:
    """Of a model that is told the classes: how often the judge names what was asked for."""
    field = next(
        (
            f
            for f in trained.schema.conditions
            if f.classes == training.schema.classes and f.classes
        ),
        None,
    )
    if field is None:
        return {}
    each = max(1, n // len(field.classes))
    reading = _reading(trained)
    named = [
        judge.accuracy(
            trained.generate(each, seed + k, reading, {field.name: name}), torch.full((each,), k)
        )
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
    return torch.cat(
        [prepare(images.raw.take(part), images.schema, generator) for part in index.split(1024)]
    )


def _judge(training: Images, seed: int, progress: Progress) -> Judge:
    """The judge of these images, taught once and kept in the cache."""
    schema = training.schema
    learned = "turns" if training.labels is None else f"{len(schema.classes)}"
    path = (
        default_folder()
        / f"judge-{training.fingerprint[:24]}-{schema.binarise}-{learned}-{seed}.safetensors"
    )
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
        judge = train_judge(
            x,
            y,
            classes,
            seed,
            progress=lambda done, total: progress("teaching a judge", done, total),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save_tensors(path, *judge.state())
