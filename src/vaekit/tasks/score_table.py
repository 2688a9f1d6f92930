"""Anomaly scores as a table: the score of each datum, whether it is flagged, and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.data.dataset import Dataset
from vaekit.data.registry import modality
from vaekit.tasks.score import Scores

SHOWN = 10
"""The number of flagged data that are shown, those with the highest scores."""

DIGITS = 6
"""The number of significant digits of scores in the table."""


def columns(new: Dataset, found: Scores, fpr: float) -> dict[str, Any]:
    """The columns of the table by name, each (N,). `odd` means a p-value of at most `fpr`."""
    table: dict[str, Any] = (
        {"file": np.array(new.files, object)} if new.files else {"row": np.arange(1, len(new) + 1)}
    )
    table |= {
        "score": significant(found.scores.numpy()),
        "p_value": significant(found.p_values.numpy()),
    }
    table["odd"] = found.p_values.numpy() <= fpr * (1 + 1e-6)  # a float32 1 / 51 counts as 1 / 51
    explain = modality(new.schema.modality).measures.explain
    further = explain(new, found, table["odd"])
    return table | {name: _rounded(values) for name, values in further.items()}


def _rounded(values: np.ndarray) -> np.ndarray:
    return significant(values) if values.dtype.kind == "f" else values


def oddest(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The `SHOWN` flagged data with the highest scores, the highest first."""
    rows = np.flatnonzero(table["odd"])
    first = rows[np.argsort(-table["score"][rows], kind="stable")][:SHOWN]
    names = [name for name in ("file", "row", "score", "p_value", "because") if name in table]
    return [{name: table[name][i : i + 1].tolist()[0] for name in names} for i in first]


def significant(values: np.ndarray) -> np.ndarray:
    """Numbers (N,) rounded to `DIGITS` significant digits."""
    size = np.abs(np.where(np.isfinite(values) & (values != 0), values, 1.0)).astype(float)
    places = DIGITS - 1 - np.floor(np.log10(size))
    up, down = (
        10.0 ** places.clip(0, 300),
        10.0 ** (-places).clip(0, 300),
    )  # whole powers of ten round exactly, their inverses do not
    return np.where(places >= 0, np.round(values * up) / up, np.round(values / down) * down)
