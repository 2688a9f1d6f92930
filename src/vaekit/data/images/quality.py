"""Measures of images: how close new ones are to real ones, whether they help a classifier, disentanglement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from vaekit.core.random import seeded
from vaekit.data.images.collection import Images
from vaekit.data.images.load import load_factors
from vaekit.data.images.model.binarise import prepare
from vaekit.data.images.model.likelihoods import likelihood
from vaekit.data.images.schema import to_tensor
from vaekit.data.modality import FEWEST, Measured, Parts, TrainedModel, require_enough
from vaekit.errors import VaekitError
from vaekit.measures import augmentation, bounds, row_quality
from vaekit.measures.classifier import Judge, train_judge, which_way_up
from vaekit.measures.disentanglement import disentanglement, mig, sap
from vaekit.measures.feature_distances import fidelity

MOST = 10_000
"""The largest number of images that are compared with as many samples."""

ALONE = "it needs several factors, but only one is given"

MADE = 1000
"""The smallest number of new pictures; if there are more real ones, as many as these are made."""


def samples(parts: Parts, **options: Any) -> Measured:
    """How close new images are to images that the model has not seen, in the features of a judge.

    The judge is a classifier of the training images: of their classes, or of which way up they are if no classes are
    known. `floor` is the same measure for as many training images, which is what a perfect model would get.
    """
    trained, training, other, seed = parts.trained, parts.training(), parts.other, parts.seed
    n = min(MOST, len(other), len(training))
    if n < FEWEST:
        raise VaekitError(
            f"samples: expected at least {FEWEST} images that were not trained on, to compare with; there are {n}"
        )
    judge = _judge(parts, training)
    real, seen = (_pixels(images, n, seed) for images in (other, training))
    made = trained.draw(n, seed, _reading(trained))
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
    return Measured({"samples": result} | _asked(trained, judge, training, n, seed))


def helps(parts: Parts, **options: Any) -> Measured:
    """Whether images that the model makes help a classifier of the training images, tested on other images.

    New images are made by `between`, and compared with ordinary transforms. Test images are left out if they equal
    a training image or have no known class. Raises VaekitError.
    """
    trained, training, seed = parts.trained, parts.training(), parts.seed
    train, test = (_labelled(_classed(images)) for images in (training, parts.other))
    rows = (x.flatten(1).numpy() for x, _ in (test, train))
    new = ~torch.from_numpy(row_quality.copied(*rows))
    test = test[0][new], test[1][new]
    require_enough(len(test[0]), "images of a known class")
    make = partial(between, trained, training, max(MADE, len(train[0])))
    seeds = [seed + k for k in augmentation.SEEDS]
    told = partial(parts.progress, "training classifiers")
    classes = max(2, len(training.schema.classes))
    found = augmentation.of_pictures(train, test, classes, make, seeds, augmentation.STEPS, told)
    return Measured({"augmentation": found | {"n_real": len(train[0]), "n_test": len(test[0])}})


def between(trained: TrainedModel, images: Images, n: int, seed: int = 0) -> augmentation.Labelled:
    """n new images (n, C, H, W) in [0, 1] and their classes (n,): each lies between two of `images` of one class.

    z = m + s e with e ~ N(0, I); (m, s) lies on the line between the posteriors' means and standard deviations of
    the two images. Raises VaekitError.
    """
    if trained.kind != "continuous":
        raise VaekitError(
            f"augmentation: needs continuous latents, to make images between two others; these are {trained.kind}"
        )
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
    """For each of `index` (n,), the index of a random datum with the same label; labels are (N,)."""
    counts = torch.bincount(labels)
    first, each = counts.cumsum(0) - counts, labels[index]
    return labels.argsort()[first[each] + (torch.rand(len(index)) * counts[each]).long()]


def _classed(images: Images) -> Images:
    """At most `MOST` images of known class, evenly spread."""
    labels = torch.full((len(images),), -1) if images.labels is None else images.labels.cpu()
    index = torch.nonzero(labels >= 0)[:, 0]
    if not len(index):
        raise VaekitError(f"augmentation: {images.source} has no images of known classes to learn")
    return images.subset(
        index[torch.linspace(0, len(index) - 1, min(len(index), MOST)).round().long()]
    )


def _labelled(images: Images) -> augmentation.Labelled:
    return _all(images), cast(Tensor, images.labels).cpu()


def ordered(
    parts: Parts, factors: str = "label", table: str | None = None, **options: Any
) -> Measured:
    """How well single latent dimensions represent single known factors, over all of the run's images."""
    images, trained = parts.everything(), parts.trained
    names = [name.strip() for name in factors.split(",")]
    known = load_factors(images, names, trained.experiment.data.array, table)
    return Measured(latents(trained, images, known, parts.seed))


def latents(
    trained: TrainedModel, images: Images, factors: Tensor, seed: int = 0
) -> dict[str, Any]:
    """How well single latent dimensions represent single known factors (N, F) of the images."""
    codes = bounds.posterior_means(trained.model, trained.batches(images, seed)).cpu()
    try:
        if factors.shape[1] > 1:
            return {"disentanglement": asdict(disentanglement(codes, factors, seed=seed))}
        few = {"mig": mig(codes, factors), "sap": sap(codes, factors, seed), "n": len(codes)}
        return {"disentanglement": few, "left_out": dict.fromkeys(("dci", "factorvae"), ALONE)}
    except ValueError as error:
        raise VaekitError(f"disentanglement: {error}") from None


def _asked(
    trained: TrainedModel, judge: Judge, training: Images, n: int, seed: int
) -> dict[str, Any]:
    """How often the judge finds the wanted class in samples; {} if the model is not conditioned on classes."""
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
            trained.draw(each, seed + k, reading, {field.name: name}), torch.full((each,), k)
        )
        for k, name in enumerate(field.classes)
    ]
    return {"named": {"mean": sum(named) / len(named), "least": min(named), "n": each * len(named)}}


def _reading(trained: TrainedModel) -> str:
    """Samples if pixels are bits, because those of real pictures are drawn too; means if they are grey levels."""
    pixels = likelihood(trained.experiment.model.likelihood, 1)
    return "sample" if pixels.binary else "mean"


def _pixels(images: Images, n: int, seed: int) -> Tensor:
    """n images, evenly spread, as the model sees them."""
    index = torch.linspace(0, len(images) - 1, n).round().long()
    generator = torch.Generator().manual_seed(seed)
    return torch.cat(
        [prepare(images.raw.take(part), images.schema, generator) for part in index.split(1024)]
    )


def _judge(parts: Parts, training: Images) -> Judge:
    """The judge of these images. It is trained once and kept in the cache."""
    schema, seed = training.schema, parts.seed
    learned = "turns" if training.labels is None else f"{len(schema.classes)}"
    name = f"judge-{training.fingerprint[:24]}-{schema.binarise}-{learned}-{seed}"
    return Judge.from_state(*parts.cached(name, lambda: _taught(parts, training)))


def _taught(parts: Parts, training: Images) -> tuple[dict[str, Tensor], dict[str, Any]]:
    x, seed = _pixels(training, min(len(training), 100_000), parts.seed), parts.seed
    if training.labels is None:
        x, y = which_way_up(x, seed)
        classes = int(y.max()) + 1
    else:
        index = torch.linspace(0, len(training) - 1, len(x)).round().long()
        y, classes = training.labels[index], max(2, len(training.schema.classes))
        x, y = x[y >= 0], y[y >= 0]
    told = partial(parts.progress, "training a judge")
    with seeded(seed):
        return train_judge(x, y, classes, seed, progress=told).state()


def _all(images: Images) -> Tensor:
    return to_tensor(images.raw.take(torch.arange(len(images))), images.schema)


def check(schema: Any, metrics: Sequence[str], **options: Any) -> None:
    """Raise a VaekitError for options of measures that were not asked for."""
    for name, value in options.items():
        if value is not None and "disentanglement" not in metrics:
            raise VaekitError(
                f"--{name} {value}: is for disentanglement; add --metrics {','.join([*metrics, 'disentanglement'])}"
            )


MEASURES = {"samples": samples, "disentanglement": ordered, "augmentation": helps}
"""The metrics of `vaekit evaluate --metrics` for images, by name."""
