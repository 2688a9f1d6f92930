"""A data set of rows."""

from __future__ import annotations

from dataclasses import dataclass

from vaekit.data.dataset import Dataset, Progress, Resident
from vaekit.data.tables.schema import TableSchema

__all__ = ["Progress", "Table"]


@dataclass(frozen=True)
class Table(Dataset[TableSchema]):
    """Rows with their context and labels.

    `raw` holds the modelled columns (N, C), float64, in their own units (see `Column`). `context`
    holds the conditions of each row, `labels` the target. `skipped` and `files` are always empty,
    because a table is read completely or not at all.
    """

    raw: Resident
    test: Table | None = None
