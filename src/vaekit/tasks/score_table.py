"""Scores as a table: how odd each datum is, whether it is flagged, and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.data.dataset import Dataset
from vaekit.data.registry import modality
from vaekit.tasks.score import Scores

SHOWN = 10
"""So many of the oddest are shown."""

DIGITS = 6
"""Scores are written to so many significant digits."""


def columns(new: Dataset, found: Scores, fpr: float) -> dict[str, Any]:
    """The columns of the table by name, (N,) each; data with a p-value of at most `fpr` are flagged as odd."""
    table: dict[str, Any] = (
        {"file": np.array(new.files, object)} if new.files else {"row": np.arange(1, len(new) + 1)}
    )
    table |= {
        "score": significant(found.scores.numpy()),
        "p_value": significant(found.p_values.numpy()),
    }
    table["odd"] = found.p_values.numpy() <= fpr * (1 + 1e-6)  # 1 / 51 in float32 is 1 / 51
    explain = modality(new.schema.modality).measures.explain
    further = explain(new, found, table["odd"])
    return table | {name: _rounded(values) for name, values in further.items()}


def _rounded(values: np.ndarray) -> np.ndarray:
    return significant(values) if values.dtype.kind == "f" else values


def oddest(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The first of the odd, the oddest first."""
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
    )  # whole powers of ten, so as to round well
    return np.where(places >= 0, np.round(values * up) / up, np.round(values / down) * down)
