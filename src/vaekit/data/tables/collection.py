"""A table with what is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaekit.data.tables.schema import TableSchema

Progress = Callable[[str, int, int], None]
"""Called with what is being done ("reading"), how many are done, and how many there are."""


class ResidentRows:
    """Rows held in one tensor (N, C), float64, on whichever device it lives."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, C)."""
        count, columns = self.values.shape
        return count, columns

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        return self.values.device

    def take(self, index: Tensor) -> Tensor:
        """The rows at `index`, int64 (B,) in 0..N-1: (B, C). Raises IndexError."""
        return self.values.index_select(0, index.to(self.values.device))

    def subset(self, index: Tensor) -> ResidentRows:
        """Only the rows at `index`, int64 (B,), in that order."""
        return ResidentRows(self.take(index))

    def to(self, device: torch.device | str) -> ResidentRows:
        return ResidentRows(self.values.to(device))


@dataclass(frozen=True)
class Table:
    """Rows and what is known of them.

    `raw` holds the modelled columns in their own units, see `Column`. `source` is as the user named it. `notes` are
    sentences that say what was decided, left out and converted. `test` is the source's own test part, if it has one.
    `context` is what `schema.conditions` say of each row, float32 (N, F), NaN where that is not known; None without
    conditions. `labels` is int64 (N,), -1 where the target is missing, or None without a target. `skipped` and
    `files` are always empty: a table is read whole or not at all.
    """

    raw: ResidentRows
    schema: TableSchema
    source: str
    labels: Tensor | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    test: Table | None = None
    context: Tensor | None = None

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def skipped_table(self) -> str:
        """The lines of skipped.tsv: none."""
        return ""

    @property
    def fingerprint(self) -> str:
        """A digest of the number of rows, the columns' names, the conditions and 64 rows: other data have another."""
        some = self.raw.take(torch.linspace(0, len(self) - 1, min(len(self), 64)).long())
        names = "\n".join((str(len(self)), *self.schema.names)).encode(errors="surrogateescape")
        known = b"" if self.context is None else self.context.numpy().tobytes()
        return hashlib.sha256(names + some.cpu().contiguous().numpy().tobytes() + known).hexdigest()

    def subset(self, index: Tensor) -> Table:
        """Only the rows at `index`, int64 (B,), in that order; the test part stays whole."""
        index = torch.as_tensor(index, dtype=torch.int64)
        labels = None if self.labels is None else self.labels.index_select(0, index.to(self.labels.device))
        context = None if self.context is None else self.context[index]
        return replace(self, raw=self.raw.subset(index), labels=labels, context=context)
