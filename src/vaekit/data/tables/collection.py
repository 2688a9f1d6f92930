"""A data set of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Progress, Resident
from vaekit.data.tables.schema import TableSchema

__all__ = ["Progress", "Table"]


@dataclass(frozen=True)
class Table(Dataset[TableSchema]):
    """Rows with their context and labels.

    `raw` holds the modelled columns (N, C), float64, in their own units (see `Column`), and `beside`
    those beside them (N, B), see `columns.beside`; None if they were not read. `context` holds the
    conditions of each row, `labels` the target. `skipped` and `files` are always empty,
    because a table is read completely or not at all.
    """

    raw: Resident
    test: Table | None = None
    beside: Tensor | None = None

    def subset(self, index: Tensor) -> Table:
        index = torch.as_tensor(index, dtype=torch.int64)
        part = super().subset(index)
        return part if self.beside is None else replace(part, beside=self.beside[index])
