"""The two protocols of anomaly detection over a file of tables: what is trained on, what is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

Array = np.ndarray
Scorer = Callable[[Array, Array, int], dict[str, Array]]
"""Rows to train on, rows to score and a seed, to scores (higher = more anomalous) by a suffix of the method's name."""


@dataclass(frozen=True)
class Task:
    """A table, a seed, and its rows, standardised by those to train on; a column constant there is only centred."""

    table: str
    seed: int
    train: Array
    test: Array
    anomalous: Array

    def auroc(self, scores: Array) -> float:
        """In hundredths; scores that are no numbers count as the highest."""
        return 100 * float(
            roc_auc_score(
                self.anomalous, np.nan_to_num(scores, nan=1e30, posinf=1e30, neginf=-1e30)
            )
        )


def tasks(data: Path, protocol: str, seeds: int) -> Iterator[Task]:
    """`semi`: half of the normal rows, drawn by the seed, to train on, the others and all anomalies to score.
    `unsupervised`: all rows to train on and to score."""
    with np.load(data) as file:
        for name in sorted((key[2:] for key in file if key.startswith("X_")), key=str.lower):
            x, y = file[f"X_{name}"].astype(np.float64), file[f"y_{name}"].astype(bool)
            for seed in range(seeds):
                train, test = _halves(y, seed) if protocol == "semi" else (np.arange(len(y)),) * 2
                yield Task(name, seed, *_standardised(x[train], x[test]), y[test])


def _halves(y: Array, seed: int) -> tuple[Array, Array]:
    normal = np.random.RandomState(seed).permutation(np.flatnonzero(~y))
    half = len(normal) // 2
    return normal[:half], np.concatenate((normal[half:], np.flatnonzero(y)))


def _standardised(train: Array, test: Array) -> tuple[Array, Array]:
    mean, deviation = train.mean(0), train.std(0)
    unit = np.where(deviation > 1e-8 * (1 + np.abs(mean)), deviation, 1.0)
    return (train - mean) / unit, (test - mean) / unit
