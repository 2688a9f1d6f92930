"""Whether made data help a classifier that has few real ones: it learns from real and made data, and is tried on real.

Nothing here knows how the data were made: a maker is asked for them by a seed. Every figure is a mean over seeds, each
with a draw and a classifier of its own, with its standard error: nan where nothing in it is drawn. That of the test
data, which are the same for all, is not in it. Rows are arrays (N, C) as in `table_quality`; pictures are as a judge
sees them.
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
"""Measure, then what was learned from, then `value` and `error`."""

Rows = Callable[[int], np.ndarray]
"""A seed to rows (N, C)."""

Labelled = tuple[Tensor, Tensor]
"""Pictures (N, C, H, W), uint8 or floats in [0, 1], and their labels (N,), int64."""

SEEDS = (0, 1, 2)

STEPS, BATCH = 300, 64
"""What a classifier of pictures learns for, whatever it learns from."""

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
    """What boosted trees and logistic regression reach on `test` in naming the class in column `target`.

    They learn from the `train` rows; from these with every class filled up to `goal` rows by repeats, by SMOTE, and by
    what `make` gives. SMOTE is left out where imbalanced-learn is not installed.
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
    """What boosted trees and ridge regression reach on `test` in predicting the number in column `target`.

    They learn from the `train` rows, from these taken twice, and from these and what `make` gives, as many again:
    trees gain by mere repeats where there are few rows, since a leaf wants so many.
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
    """Rows again, drawn evenly, until every class of column `target` has `goal` of them."""
    random = np.random.default_rng(seed)
    again = [
        np.resize(random.permutation(np.flatnonzero(rows[:, target] == k)), goal - have)
        for k, have in _lacking(rows, target, goal).items()
    ]
    return rows[np.concatenate([*again, np.zeros(0, int)])]


def smote(
    rows: np.ndarray, categories: np.ndarray, target: int, goal: int, seed: int = 0
) -> np.ndarray:
    """Rows between a row and one of its nearest five of the same class (SMOTE, SMOTE-NC: Chawla et al. 2002).

    As many as every class of column `target` lacks to `goal`; of a class of one row none can be made. Missing cells
    are filled first, numbers with the median and categories with the commonest.
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
    """Logistic or ridge regression on standardised numbers and one-hot classes, as scikit-learn has them."""
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
    """How many rows each class has that has fewer than `goal`."""
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
    """Imbalanced-learn's SMOTE of these columns."""
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
    """The accuracy on `test` of a small convolutional classifier (`judge.train_judge`) of `classes` classes.

    It learns for the same number of steps from the `train` pictures as they are; from these a little turned, moved and
    scaled; from these and as many that `make` gives; from both, all a little turned, moved and scaled.
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
    """Of a classifier that learned from `data`, each batch seen through `change`, on `test`."""
    return train_judge(*data, classes, seed, steps, BATCH, change=change).accuracy(*test)


def halves(real: Labelled, made: Labelled) -> Labelled:
    """Pictures and labels of which half are real, repeated as often as it takes, and half made."""
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
