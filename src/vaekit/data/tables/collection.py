"""A table with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from vaekit.data.dataset import Dataset, Progress, Resident
from vaekit.data.tables.schema import TableSchema

__all__ = ["Progress", "Table"]


@dataclass(frozen=True)
class Table(Dataset[TableSchema]):
    """Rows and what is known of them.

    `raw` holds the modelled columns (N, C), float64, in their own units, see `Column`; `context` what
    `schema.conditions` say of each row, `labels` the target. `skipped` and `files` are always empty: a table is read
    whole or not at all.
    """

    raw: Resident
    test: Table | None = None
