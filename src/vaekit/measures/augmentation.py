"""Do generated data help a classifier that has few real data? It learns from real and generated
data, and is tested on real data.

The functions do not depend on the generator: they call `make(seed)`. Every number is a mean over
seeds, with a new draw and a new classifier for each, and its standard error (nan if nothing is
random). The standard error does not include the choice of the test data, which are the same for
all. Rows are arrays (N, C) as in `row_quality`; pictures are as for a `Judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.measures.classifier import Count, jittered, train_judge, unit
from vaekit.measures.row_quality import trees, utility

Table = dict[str, dict[str, dict[str, float]]]
"""Name of the measure -> training data -> `value` and `error`."""

Rows = Callable[[int], np.ndarray]
"""seed -> rows (N, C)."""

Labelled = tuple[Tensor, Tensor]
"""Pictures (N, C, H, W), uint8 or floats in [0, 1], and their labels (N,), int64."""

SEEDS = (0, 1, 2)

STEPS, BATCH = 300, 64
"""The training steps of a classifier of pictures, and its batch size, for all training data."""

NO_SMOTE = "it needs one more package: pip install 'vaekit[augmentation]'"


# Rows


def of_classes(
    train: np.ndarray,
    test: np.ndarray,
    categories: np.ndarray,
    target: int,
    make: Rows,
    goal: int,
    seeds: Sequence[int] = SEEDS,
) -> Table:
    """The scores on `test` of boosted trees and logistic regression that predict the class in
    column `target`.

    They learn from the `train` rows alone, and from these with every class filled up to `goal` rows
    by repetition, by SMOTE, or by the rows of `make`. SMOTE is left out if imbalanced-learn is not
    installed.
    """
    sides: dict[str, Rows] = {
        "real": lambda seed: train[:0],
        "repeated": lambda seed: repeated(train, target, goal, seed),
        "SMOTE": lambda seed: smote(train, categories, target, goal, seed),
        "generated": make,
    }
    if not can_smote():
        del sides["SMOTE"]
    return _of_rows(train, test, categories, target, sides, seeds)


def of_numbers(
    train: np.ndarray,
    test: np.ndarray,
    categories: np.ndarray,
    target: int,
    make: Rows,
    seeds: Sequence[int] = SEEDS,
) -> Table:
    """The scores on `test` of boosted trees and ridge regression that predict the number in column
    `target`.

    They learn from the `train` rows, from these rows taken twice, and from these and the same
    number of rows of `make`. The rows taken twice are a control: with few rows trees gain from
    repetition, since a leaf needs a least number.
    """
    sides: dict[str, Rows] = {
        "real": lambda seed: train[:0],
        "repeated": lambda seed: train,
        "generated": make,
    }
    return _of_rows(train, test, categories, target, sides, seeds)


def can_smote() -> bool:
    """Whether imbalanced-learn is installed."""
    return find_spec("imblearn") is not None


def repeated(rows: np.ndarray, target: int, goal: int, seed: int = 0) -> np.ndarray:
    """Repeated rows that fill every class of column `target` up to `goal` rows; within a class all
    rows are repeated equally often."""
    random = np.random.default_rng(seed)
    again = [
        np.resize(random.permutation(np.flatnonzero(rows[:, target] == k)), goal - have)
        for k, have in _lacking(rows, target, goal).items()
    ]
    return rows[np.concatenate([*again, np.zeros(0, int)])]


def smote(
    rows: np.ndarray, categories: np.ndarray, target: int, goal: int, seed: int = 0
) -> np.ndarray:
    """New rows between a row and one of its five nearest of the same class (SMOTE, SMOTE-NC: Chawla
    et al. 2002).

    They fill every class of column `target` up to `goal` rows, except classes of a single row.
    Missing cells are first filled with the median of numbers and the most frequent category.
    """
    counts = _counts(rows, target)
    alone = np.isin(rows[:, target], [k for k, n in counts.items() if n < 2]) | np.isnan(
        rows[:, target]
    )
    whole = _filled(rows[~alone], categories)
    lacking = _lacking(whole, target, goal)
    if not lacking:
        return rows[:0]
    others = np.arange(rows.shape[1]) != target
    near = min(5, min(counts[k] for k in lacking) - 1)
    sampler = _sampler(categories[others], dict.fromkeys(lacking, goal), near, seed)
    x, y = sampler.fit_resample(whole[:, others], whole[:, target].astype(int))
    made = np.insert(x, target, y, axis=1)[len(whole) :]
    return np.asarray(made, float)


def linear(kind: str, x: np.ndarray, categories: np.ndarray, seed: int) -> Any:
    """Scikit-learn's logistic or ridge regression on standardised numbers and one-hot classes."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    columns = make_column_transformer(
        (numbers, ~categories), (OneHotEncoder(handle_unknown="ignore"), categories)
    )
    return make_pipeline(
        columns, LogisticRegression(max_iter=2000) if kind == "Classifier" else Ridge()
    )


LEARNERS = {"trees": trees, "linear": linear}


def _of_rows(
    train: np.ndarray,
    test: np.ndarray,
    categories: np.ndarray,
    target: int,
    sides: Mapping[str, Rows],
    seeds: Sequence[int],
) -> Table:
    found: Table = {}
    for side, make in sides.items():
        tables = [np.concatenate((train, make(seed))) for seed in seeds]
        for name, learner in LEARNERS.items():
            pairs = zip(tables, seeds, strict=True)
            scores = [
                asdict(utility(table, test, categories, target, seed, learner))
                for table, seed in pairs
            ]
            for measure in (word for word, value in scores[0].items() if value == value):
                found.setdefault(f"{name} {measure}", {})[side] = _spread(
                    [score[measure] for score in scores]
                )
    return found


def _counts(rows: np.ndarray, target: int) -> dict[float, int]:
    values, counts = np.unique(rows[~np.isnan(rows[:, target]), target], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _lacking(rows: np.ndarray, target: int, goal: int) -> dict[float, int]:
    """The number of rows of each class that has fewer than `goal`."""
    return {k: have for k, have in _counts(rows, target).items() if have < goal}


def _filled(rows: np.ndarray, categories: np.ndarray) -> np.ndarray:
    return np.stack(
        [_whole(column, discrete) for column, discrete in zip(rows.T, categories, strict=True)],
        axis=1,
    )


def _whole(column: np.ndarray, discrete: bool) -> np.ndarray:
    known = column[~np.isnan(column)]
    if len(known) in (0, len(column)):
        return np.nan_to_num(column)
    usual = np.bincount(known.astype(int)).argmax() if discrete else np.median(known)
    return np.where(np.isnan(column), usual, column)


def _sampler(categories: np.ndarray, goals: dict[float, int], near: int, seed: int) -> Any:
    """The SMOTE of imbalanced-learn for these columns."""
    from imblearn import over_sampling

    told = {"sampling_strategy": goals, "k_neighbors": near, "random_state": seed}
    if not categories.any():
        return over_sampling.SMOTE(**told)
    return (
        over_sampling.SMOTEN(**told)
        if categories.all()
        else over_sampling.SMOTENC(np.flatnonzero(categories).tolist(), **told)
    )


# Pictures


def of_pictures(
    train: Labelled,
    test: Labelled,
    classes: int,
    make: Callable[[int], Labelled],
    seeds: Sequence[int] = SEEDS,
    steps: int = STEPS,
    progress: Count | None = None,
) -> Table:
    """The accuracy on `test` of a small convolutional classifier (`classifier.train_judge`) of
    `classes` classes.

    It learns, always for the same number of steps, from the `train` pictures unchanged; from these
    with small random transforms (rotation, shift, scale); from half real pictures and half pictures
    of `make`; and from the latter with the transforms.
    """
    sides = {"real": (False, unit), "transforms": (False, jittered)}
    sides |= {"generated": (True, unit), "generated, transforms": (True, jittered)}
    made = {seed: halves(train, make(seed)) for seed in seeds}
    found: dict[str, dict[str, float]] = {}
    for done, (side, (more, change)) in enumerate(sides.items()):
        learned = [(made[seed] if more else train, seed) for seed in seeds]
        found[side] = _spread(
            [accuracy(data, test, classes, change, seed, steps) for data, seed in learned]
        )
        if progress:
            progress(done + 1, len(sides))
    return {"accuracy": found}


def accuracy(
    data: Labelled,
    test: Labelled,
    classes: int,
    change: Callable[[Tensor], Tensor],
    seed: int,
    steps: int = STEPS,
) -> float:
    """The accuracy on `test` of a classifier trained on `data`; `change` is applied to batches."""
    return train_judge(*data, classes, seed, steps, BATCH, change=change).accuracy(*test)


def halves(real: Labelled, made: Labelled) -> Labelled:
    """Pictures and labels, half real and half made; the smaller part is repeated."""
    n = max(len(real[0]), len(made[0]))
    parts = [
        (unit(x[index]), y[index]) for x, y in (real, made) for index in [torch.arange(n) % len(x)]
    ]
    x, y = zip(*parts, strict=True)
    return torch.cat(x), torch.cat(y)


# Both


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Their mean and its standard error."""
    drawn = len(set(values)) > 1
    return {
        "value": float(np.mean(values)),
        "error": float(np.std(values, ddof=1) / len(values) ** 0.5) if drawn else np.nan,
    }
