"""How close synthetic rows are to real ones, how useful they are, and whether they are copies.

Tables are arrays (N, C) of float64: numbers in their own units, categories as class numbers,
missing cells as NaN. `categories` (C,) says which columns are categories. The measures do not
depend on how the rows were generated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

Learner = Callable[[str, np.ndarray, np.ndarray, int], Any]
"""("Classifier" or "Regressor", all rows of training and test, which columns are categories, seed)
-> an estimator."""

PAIRED = 100
"""In wider tables, reports compare only the first `PAIRED` columns in pairs."""

BINS = 10
"""The number of quantile bins of the real table for numbers, when columns are compared in pairs."""


@dataclass(frozen=True)
class Utility:
    """The scores on real rows of a learner trained on a table: macro F1 and AUROC for classes, R^2
    for a number."""

    f1: float = np.nan
    auroc: float = np.nan
    r2: float = np.nan


@dataclass(frozen=True)
class Privacy:
    """Whether synthetic rows are copies of training rows, with the same numbers for held-out rows.

    copies: the share of synthetic rows that equal a training row.
    held_copies: the same for held-out rows.
    near_copies: the share of synthetic rows that are `Copies.near` a training row.
    held_near_copies: the same for held-out rows; about `NEAR` if training rows do not repeat.
    ratio: the median over synthetic rows of the distance to the nearest training row divided by
        the distance to the second nearest.
    held_ratio: the same for held-out rows.
    closer: the share of synthetic rows that are nearer to the training rows than to an equal number
        of held-out rows; 1/2 if nothing leaks.
    membership: the AUROC with which the distance to the nearest synthetic row distinguishes
        training rows from held-out ones; 1/2 if nothing leaks.
    """

    copies: float
    held_copies: float
    near_copies: float
    held_near_copies: float
    ratio: float
    held_ratio: float
    closer: float
    membership: float


def column_errors(real: np.ndarray, made: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """The error of each column (C,), in [0, 1]: the Kolmogorov-Smirnov distance for numbers, the
    total variation for categories.

    In a category a missing cell counts as a level. The error of a number is the larger of the
    distance between the present numbers and the difference between the shares of missing cells.
    """
    pairs = zip(real.T, made.T, categories, strict=True)
    return np.array(
        [_variation(_levels(a, b)) if category else _distance(a, b) for a, b, category in pairs]
    )


def column_error(real: np.ndarray, made: np.ndarray, categories: np.ndarray) -> float:
    """The mean of `column_errors`."""
    return float(column_errors(real, made, categories).mean())


def pair_errors(real: np.ndarray, made: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """The total variation (C, C) between the joint distributions of every two columns, 0 on the
    diagonal.

    Numbers are put into `BINS` quantile bins of the real table, missing cells into a bin of their
    own.
    """
    columns = zip(real.T, made.T, categories, strict=True)
    codes = [_levels(a, b) if category else _binned(a, b) for a, b, category in columns]
    found = np.zeros((len(codes), len(codes)))
    for i, j in combinations(range(len(codes)), 2):
        width = max(int(part.max(initial=0)) for part in codes[j]) + 1
        joint = tuple(a * width + b for a, b in zip(codes[i], codes[j], strict=True))
        found[i, j] = found[j, i] = _variation((joint[0], joint[1]))
    return found


def pair_error(real: np.ndarray, made: np.ndarray, categories: np.ndarray) -> float:
    """The mean of `pair_errors` over all pairs; nan for a table with one column."""
    errors = pair_errors(real, made, categories)
    count = len(errors)
    return float(errors.sum() / (count * (count - 1))) if count > 1 else float("nan")


def two_sample(real: np.ndarray, made: np.ndarray, categories: np.ndarray, seed: int = 0) -> float:
    """The AUROC with which boosted trees distinguish synthetic rows from real ones, on the half of
    the rows that they were not trained on.

    It is 1/2 if they cannot. It is below 1/2 if the synthetic rows are copies of the real ones:
    then many test rows were trained on with the other label.
    """
    from sklearn.metrics import roc_auc_score

    x = np.concatenate((real, made))
    y = np.concatenate((np.zeros(len(real)), np.ones(len(made))))
    order = np.random.default_rng(seed).permutation(len(x))
    fit, test = np.array_split(order, 2)
    found = trees("Classifier", x, categories, seed).fit(x[fit], y[fit])
    return float(roc_auc_score(y[test], found.predict_proba(x[test])[:, 1]))


def trees(kind: str, x: np.ndarray, categories: np.ndarray, seed: int) -> Any:
    """Scikit-learn's histogram gradient boosting with default settings; categories with more than
    255 levels count as numbers."""
    import sklearn.ensemble as ensemble

    known = (column[~np.isnan(column)] for column in x.T)
    few = [len(np.unique(column)) <= 255 and column.max(initial=0) < 255 for column in known]
    return getattr(ensemble, f"HistGradientBoosting{kind}")(
        categorical_features=categories & np.array(few), random_state=seed
    )


def utility(
    train: np.ndarray,
    test: np.ndarray,
    categories: np.ndarray,
    target: int,
    seed: int = 0,
    learner: Learner = trees,
) -> Utility:
    """The scores on `test` of a learner, by default boosted trees, that is trained on `train` to
    predict column `target`.

    Rows without a target are left out. With more than two classes, the AUROC is the mean over the
    classes of the test rows of one class against the rest. A class that is missing in `train` is
    never predicted and has an AUROC of 1/2.
    """
    others = np.arange(train.shape[1]) != target
    (x, y), (to, be) = (
        (part[:, others], part[:, target]) for part in (_with(train, target), _with(test, target))
    )
    kind = "Classifier" if categories[target] else "Regressor"
    model = learner(kind, np.concatenate((x, to)), categories[others], seed)
    if kind == "Regressor":
        return Utility(r2=float(model.fit(x, y).score(to, be)))
    return _classified(model, x, y, to, be)


def privacy(
    made: np.ndarray, train: np.ndarray, held: np.ndarray, categories: np.ndarray, seed: int = 0
) -> Privacy:
    """Whether `made` rows are copies of `train` rows, compared with `held` rows; see `Privacy`.

    Distances are Euclidean; a number counts as its rank among the training rows in [0, 1], and
    different categories have distance 1. Ratios and near copies use all training rows, but at most
    `MOST`; `closer` and `membership` use as many training rows as there are held-out rows.
    """
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(seed)
    known, own, new = (part[random.permutation(len(part))[:MOST]] for part in (train, held, made))
    copies = Copies(known, categories)
    to_known, held_to_known = (copies.nearest(part) for part in (new, own))
    n = min(len(known), len(own))
    a, b, c = (_placed(part, known, categories) for part in (known[:n], own[:n], made))
    near = np.concatenate([_nearest(part, c)[:, 0] for part in (a, b)])
    return Privacy(
        copies=float(copied(made, train).mean()),
        held_copies=float(copied(held, train).mean()),
        near_copies=float(copies.near(to_known).mean()),
        held_near_copies=float(copies.near(held_to_known).mean()),
        ratio=_ratio(to_known),
        held_ratio=_ratio(held_to_known),
        closer=_closer(
            *(_nearest(_placed(new[:n], known, categories), part)[:, 0] for part in (a, b))
        ),
        membership=float(roc_auc_score(np.repeat((1, 0), n), -near)),
    )


def copied(rows: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Which rows (M, C) equal a row of `among` (N, C), bool (M,); missing cells count as equal."""
    known = {row.tobytes() for row in _plain(among)}
    return np.array([row.tobytes() in known for row in _plain(rows)], bool)


MOST = 10_000
"""The most rows of a table between which distances are computed."""

NEAR = 0.01
"""A row is a near copy if its distance to a training row is below this quantile of the distances of
training rows to their nearest other training row."""


# One column


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of the distribution functions of two columns, or the difference of
    their shares of missing cells if that is larger."""
    here, there = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    missing = abs(len(here) / len(a) - len(there) / len(b))
    if not len(here) or not len(there):
        return float(missing)
    points = np.concatenate((here, there))
    steps = [np.searchsorted(part, points, side="right") / len(part) for part in (here, there)]
    return float(max(missing, np.abs(steps[0] - steps[1]).max()))


def _variation(codes: tuple[np.ndarray, np.ndarray]) -> float:
    """The total variation: half the sum of differences of the shares of each level; levels are
    numbered from 0."""
    size = max(int(part.max(initial=0)) for part in codes) + 1
    a, b = (np.bincount(part, minlength=size) / len(part) for part in codes)
    return float(np.abs(a - b).sum() / 2)


def _levels(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of two columns with a common numbering; a missing cell is a value."""
    found = np.unique(np.concatenate((a, b)), return_inverse=True)[1]
    return found[: len(a)], found[len(a) :]


def _binned(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin number of every value of two columns: quantile bins of a, and one for NaN."""
    known = a[~np.isnan(a)]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS)) if len(known) else np.zeros(0)
    codes = [
        np.where(np.isnan(part), BINS, np.searchsorted(edges, part, side="right"))
        for part in (a, b)
    ]
    return codes[0], codes[1]


# Learners


def _with(table: np.ndarray, target: int) -> np.ndarray:
    return table[~np.isnan(table[:, target])]


def _classified(
    model: Any, x: np.ndarray, y: np.ndarray, to: np.ndarray, be: np.ndarray
) -> Utility:
    from sklearn.metrics import f1_score, roc_auc_score

    if len(np.unique(y)) < 2:
        return Utility(f1=float(f1_score(be, np.full(len(be), y[0]), average="macro")), auroc=0.5)
    model.fit(x, y)
    chances = dict(zip(model.classes_, model.predict_proba(to).T, strict=True))
    classes = np.unique(be)[1:] if len(np.unique(be)) == 2 else np.unique(be)
    areas = [roc_auc_score(be == k, chances[k]) if k in chances else 0.5 for k in classes]
    return Utility(
        f1=float(f1_score(be, model.predict(to), average="macro")), auroc=float(np.mean(areas))
    )


# Rows


def _plain(table: np.ndarray) -> np.ndarray:
    """The rows with one kind of NaN and of zero, so that equal values have equal bytes."""
    return np.ascontiguousarray(np.where(np.isnan(table), np.nan, table) + 0.0)


def _placed(table: np.ndarray, train: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """Rows as points: numbers as ranks in [0, 1], different categories at distance 1."""
    parts = [
        _corners(column, known) if category else _rank(column, known)
        for column, known, category in zip(table.T, train.T, categories, strict=True)
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _rank(column: np.ndarray, known: np.ndarray) -> np.ndarray:
    order = np.sort(known[~np.isnan(known)])
    rank = sum(np.searchsorted(order, column, side=side) for side in ("left", "right")) / (
        2 * max(1, len(order))
    )
    missing = np.isnan(column)
    return np.stack((np.where(missing, 0.5, rank), missing * 0.5), axis=1)


def _corners(column: np.ndarray, known: np.ndarray) -> np.ndarray:
    levels = np.unique(known[~np.isnan(known)])
    return (column[:, None] == levels) * 0.5**0.5


def _nearest(points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The distances (N, 2) to the nearest and to the second nearest point."""
    from sklearn.neighbors import NearestNeighbors

    return (
        NearestNeighbors(n_neighbors=min(2, len(among)), algorithm="brute")
        .fit(among)
        .kneighbors(points)[0]
    )


def _closer(to_train: np.ndarray, to_held: np.ndarray) -> float:
    return float(((to_train < to_held) + 0.5 * (to_train == to_held)).mean())


def _ratio(distances: np.ndarray) -> float:
    first, second = distances[:, 0], distances[:, -1]
    return float(np.median(np.where(second > 0, first / np.where(second > 0, second, 1), 1.0)))


class Copies:
    """Training rows (N, C), N > 0, as points, and the `distance` of a near copy; see `NEAR`."""

    def __init__(self, train: np.ndarray, categories: np.ndarray) -> None:
        self.train, self.categories = train, categories
        self.points = _placed(train, train, categories)
        self.distance = float(np.quantile(_nearest(self.points, self.points)[:, -1], NEAR))

    def nearest(self, rows: np.ndarray) -> np.ndarray:
        """The distances (M, 2) of rows (M, C) to the two nearest training rows, as in `privacy`."""
        return _nearest(_placed(rows, self.train, self.categories), self.points)

    def near(self, distances: np.ndarray) -> np.ndarray:
        """Which rows with distances (M, 2) are near copies, bool (M,)."""
        return distances[:, 0] < self.distance
