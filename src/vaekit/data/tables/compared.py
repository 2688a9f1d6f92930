"""New rows beside real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vaekit.data.tables.schema import TableSchema


@dataclass(frozen=True)
class Tables:
    """Rows (N, C) of raw values: `made` are new, `seen` are training rows, `real` unseen rows."""

    schema: TableSchema
    made: np.ndarray
    seen: np.ndarray
    real: np.ndarray

    @property
    def categories(self) -> np.ndarray:
        """Which columns are categories, bool (C,)."""
        return np.array([column.discrete for column in self.schema.columns])
