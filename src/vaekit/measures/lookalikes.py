"""Which rows of a class look like rows of another one, and which of these to refuse among new rows."""

from __future__ import annotations

import numpy as np

TREES, MOST = 200, 20_000
"""The number of trees in the forest, and the most real rows that it learns from."""

UNUSUAL = 0.02
"""The share of the real rows of a class, those with the fewest votes, that are unlike the others."""


class Lookalikes:
    """Extremely random trees that tell the classes of real rows apart (Geurts et al. 2006).

    A row looks like another class if the trees, with all classes weighed equally, give its own class
    fewer votes than another, or fewer than all but `UNUSUAL` of its real rows. Thresholds are drawn
    at random, so in a gap between two classes the votes change little by little. For a real row
    only trees vote that did not learn from it.

    rows (N, C): floats, NaN where missing. labels (N,): class numbers 0..K-1, NaN where missing.
    shares (K,): about the share of new real rows of each class that look like another.
    """

    def __init__(self, rows: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0) -> None:
        from sklearn.ensemble import ExtraTreesClassifier

        known = np.flatnonzero(~np.isnan(labels))
        known = np.random.default_rng(seed).permutation(known)[:MOST]
        own = labels[known].astype(int)
        self.forest = ExtraTreesClassifier(
            TREES,
            class_weight="balanced_subsample",
            bootstrap=True,
            oob_score=_agreement,
            random_state=seed,
        )
        self.forest.fit(_bounded(rows[known]), own)
        votes = np.nan_to_num(self.forest.oob_decision_function_)
        self.least, self.shares = np.zeros(classes), np.ones(classes)
        for place, label in enumerate(self.forest.classes_):
            some = votes[own == label]
            self.least[label] = np.quantile(some[:, place], UNUSUAL, method="lower")
            alike = self._alike(some, int(label))
            self.shares[label] = (alike.sum() + 0.5) / (len(some) + 1)

    def among(self, rows: np.ndarray, label: int) -> np.ndarray:
        """Which rows (N, C), meant to be of this class, look like another, bool (N,)."""
        return self._alike(self.forest.predict_proba(_bounded(rows)), label)

    def kept(self, label: int, share: float) -> float:
        """The probability with which a new row that looks like another class is kept.

        If the share of such rows is above that of real rows, then it is that of real rows
        afterwards: p share / (p share + 1 - share) = real share.
        """
        real = float(self.shares[label])
        return 1.0 if share <= real else real * (1 - share) / (share * (1 - real))

    def _alike(self, votes: np.ndarray, label: int) -> np.ndarray:
        place = self.forest.classes_.tolist().index(label)
        own = votes[:, place]
        return np.asarray((own < self.least[label]) | (own < votes.max(axis=1)))


def _agreement(labels: np.ndarray, votes: np.ndarray) -> float:
    return float((labels == votes).mean())


def _bounded(rows: np.ndarray) -> np.ndarray:
    """Rows within float32, which the trees compute in."""
    return rows.clip(-1e38, 1e38)
