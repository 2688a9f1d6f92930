"""Disentanglement: does each known factor of the data have a latent dimension of its own? All
measures are in [0, 1].

They compare codes (N, Z), the posterior means, with the factors (N, F) that generated the data,
small integers. Both are tensors or arrays. A constant factor is left out. A high score in one
measure does not imply a high score in another, and all scores vary with the seed of training
(Locatello et al. 2019). So report several measures of several runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Factors = NDArray[np.int64]

BINS = 20
"""The number of bins of equal width into which `mig` divides a latent dimension."""

COLLAPSED = 0.01
"""A latent dimension is unused if the variance of its posterior mean over the data is not above
this (see active units, Burda et al. 2016)."""

TREES = 30
"""The number of trees in each forest of `dci`."""


@dataclass(frozen=True)
class Dci:
    """The three numbers of `dci`.

    disentanglement: does a dimension depend on only one factor?
    completeness: does only one dimension depend on a factor?
    informativeness: the accuracy with which all dimensions predict the factors of test data.
    """

    disentanglement: float
    completeness: float
    informativeness: float


@dataclass(frozen=True)
class Disentanglement:
    """The results of `disentanglement` on `n` data."""

    mig: float
    sap: float
    factorvae: float
    dci: Dci
    n: int


def disentanglement(
    codes: ArrayLike, factors: ArrayLike, limit: int = 10_000, seed: int = 0
) -> Disentanglement:
    """All measures of this module; `sap` and `dci`, which train classifiers, on at most `limit`
    data, drawn by `seed`."""
    z, v = _pair(codes, factors)
    some = np.random.default_rng(seed).permutation(len(z))[:limit]
    return Disentanglement(
        mig(z, v),
        sap(z[some], v[some], seed),
        factorvae_score(z, v, seed=seed),
        dci(z[some], v[some], seed),
        len(z),
    )


def mig(codes: ArrayLike, factors: ArrayLike, bins: int = BINS) -> float:
    """The mutual information gap. Chen et al. 2018, eq. 6.

    The mean over factors v of (I(z_1; v) - I(z_2; v)) / H(v), where z_1 and z_2 are the two
    dimensions with the highest mutual information I with v. I is estimated from a histogram. Its
    upward bias of about (bins - 1)(values - 1) / 2N nats does not depend on the dimension, so it
    cancels in the gap.
    """
    z, v = _pair(codes, factors)
    cut = np.stack([_cut(column, bins) for column in z.T])
    information = np.array([[_information(one, factor) for factor in v.T] for one in cut])
    return float(np.mean(_gap(information) / [_information(factor, factor) for factor in v.T]))


def sap(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> float:
    """Separated attribute predictability. Kumar et al. 2018, section 3.

    The mean over factors of the gap between the scores of the two dimensions that predict the
    factor best. The score of one dimension is the balanced accuracy of a decision tree with one
    leaf per value of the factor, trained on one half of the data and tested on the other. (The
    usual linear classifier cannot recognise the middle one of three values.)
    """
    z, v = _pair(codes, factors)
    learn, judge = _halves(len(z), seed)
    score = [[_told_by_one(column, factor, learn, judge, seed) for factor in v.T] for column in z.T]
    return float(np.mean(_gap(np.array(score))))


def dci(codes: ArrayLike, factors: ArrayLike, seed: int = 0) -> Dci:
    """Disentanglement, completeness and informativeness. Eastwood & Williams 2018, section 2.

    R[z, v] is the importance of dimension z in a random forest that predicts factor v. The forest
    is trained on one half of the data; informativeness is its mean accuracy on the other half. The
    disentanglement of a dimension is 1 - H(R[z, :]), H in units of log F; their mean, weighted by
    importance, is reported. The completeness of a factor is 1 - H(R[:, v]), H in units of log Z;
    their mean is reported.
    """
    z, v = _pair(codes, factors)
    learn, judge = _halves(len(z), seed)
    importance, accuracy = zip(
        *(_forest(z, factor, learn, judge, seed) for factor in v.T), strict=True
    )
    matrix = np.stack(importance, axis=1)  # (Z, F)
    weights = matrix.sum(1) / matrix.sum() if matrix.sum() else np.zeros(len(matrix))
    focus = weights @ _concentration(matrix)
    return Dci(float(focus), float(_concentration(matrix.T).mean()), float(np.mean(accuracy)))


def factorvae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    votes: int = 10_000,
    group: int = 64,
    seed: int = 0,
    collapsed: float = COLLAPSED,
) -> float:
    """The accuracy of a majority vote. Kim & Mnih 2018, section 4.

    For a vote, draw a factor, one of its values, and a `group` of data with that value; the vote is
    for the dimension with the smallest variance in the group, relative to its variance over all
    data. With one half of the votes each dimension is assigned to its most frequent factor; the
    accuracy is measured on the other half. Dimensions whose variance is not above `collapsed` are
    left out; if all are, the score is 0. The chance level is 1 / F.
    """
    z, v = _pair(codes, factors)
    z = z[:, z.var(0) > collapsed]
    if not z.shape[1]:
        return 0.0
    rng = np.random.default_rng(seed)
    standard = (z - z.mean(0)) / z.std(0)
    drawn = rng.integers(v.shape[1], size=votes)
    chosen = np.empty(votes, dtype=np.int64)
    for factor, column in enumerate(v.T):
        mine = np.flatnonzero(drawn == factor)
        chosen[mine] = [
            standard[rows].var(0).argmin() for rows in _groups(column, len(mine), group, rng)
        ]
    counts = np.zeros((z.shape[1], v.shape[1]))
    np.add.at(counts, (chosen[: votes // 2], drawn[: votes // 2]), 1)
    return float(np.mean(counts.argmax(1)[chosen[votes // 2 :]] == drawn[votes // 2 :]))


def _pair(codes: ArrayLike, factors: ArrayLike) -> tuple[FloatArray, Factors]:
    """The codes, and the factors that vary, with their values numbered from 0."""
    z, v = np.asarray(codes, dtype=np.float64), np.asarray(factors)
    if z.ndim != 2 or v.ndim != 2 or len(z) != len(v):
        raise ValueError(f"expected codes (N, Z) and factors (N, F), got {z.shape} and {v.shape}")
    if not np.isfinite(z).all():
        raise ValueError("expected codes that are finite numbers, got NaN or infinite values")
    numbered = [np.unique(column, return_inverse=True)[1] for column in v.T]
    varied = [column for column in numbered if column.any()]
    if not varied:
        raise ValueError("no factor varies over these data; use data with different factors")
    return z, np.stack(varied, axis=1)


def _gap(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best minus the second best score of each column of (Z, F); the best if Z is 1."""
    ordered = np.sort(score, axis=0)
    return ordered[-1] - ordered[-2] if len(score) > 1 else ordered[-1]


def _cut(column: FloatArray, bins: int) -> Factors:
    edges = np.histogram_bin_edges(column, bins)
    return np.digitize(column, edges[1:-1])


def _information(a: Factors, b: Factors) -> float:
    """I(a; b) in nats of two columns of integers from 0; for a column with itself, its entropy."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / apart[there])).sum())


def _halves(n: int, seed: int) -> tuple[Factors, Factors]:
    if n < 2:
        raise ValueError(
            "expected at least two data: one half is for training and the other for testing"
        )
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]


def _told_by_one(
    column: FloatArray, factor: Factors, learn: Factors, judge: Factors, seed: int
) -> float:
    from sklearn.tree import DecisionTreeClassifier

    leaves = max(2, len(np.unique(factor)))
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=seed)
    return _balanced(
        factor[judge], tree.fit(column[learn, None], factor[learn]).predict(column[judge, None])
    )


def _balanced(truth: Factors, told: Factors) -> float:
    """The balanced accuracy: all values of `truth` have the same weight."""
    return float(np.mean([np.mean(told[truth == value] == value) for value in np.unique(truth)]))


def _forest(
    z: FloatArray, factor: Factors, learn: Factors, judge: Factors, seed: int
) -> tuple[FloatArray, float]:
    """The importance (Z,) of every dimension for the factor (their sum is 1 or 0); the accuracy."""
    from sklearn.ensemble import RandomForestClassifier

    # All dimensions at every node: without the right one, a tree would split by a wrong one.
    forest: Any = RandomForestClassifier(
        TREES, max_features=None, min_samples_leaf=5, random_state=seed
    )
    forest.fit(z[learn], factor[learn])
    return forest.feature_importances_, float(np.mean(forest.predict(z[judge]) == factor[judge]))


def _concentration(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - H of each row of (I, J), scaled to sum 1, with H in units of log J: 1 if all is in one
    place, 0 if it is spread evenly or the row is 0."""
    if matrix.shape[1] == 1:
        return np.ones(len(matrix))
    total = matrix.sum(1, keepdims=True)
    share = np.where(total > 0, matrix / np.where(total > 0, total, 1), 1 / matrix.shape[1])
    there = np.where(share > 0, share, 1)
    return 1 + (share * np.log(there)).sum(1) / np.log(matrix.shape[1])


def _groups(column: Factors, count: int, group: int, rng: np.random.Generator) -> Any:
    """`count` groups of `group` rows. The rows of a group share one value of the column, which is
    drawn uniformly from the values that at least two data have."""
    order, sizes = np.argsort(column, kind="stable"), np.bincount(column)
    starts = np.cumsum(sizes) - sizes
    shared = np.flatnonzero(sizes > 1)  # a single datum has no variance
    if not len(shared):
        raise ValueError("all data have different values of a factor; bin it into fewer values")
    for value in rng.choice(shared, size=count):
        yield order[starts[value] + rng.integers(sizes[value], size=group)]
