"""What every kind of data has in common: a form, data by index, and what is known of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor

from vaekit.data.conditions import Condition

Progress = Callable[[str, int, int], None]
"""Called with what is being done ("decoding"), how many are done, and how many there are."""


class Schema(BaseModel, frozen=True, extra="forbid"):
    """The form of a datum: plain data, saved as JSON beside a model; as text, what data of it are called.

    `modality` names the kind of data; `conditions` are the fields of what the model is told beside the datum.
    """

    modality: str
    conditions: tuple[Condition, ...] = ()

    @property
    def reported(self) -> dict[str, str]:
        """What is to be said beside every number that is measured on such data."""
        return {}

    @property
    def names(self) -> tuple[str, ...]:
        """What the parts of a datum are called, if anything."""
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one datum as the model sees it."""
        raise NotImplementedError

    @property
    def dims(self) -> int:
        """The number of values in one datum."""
        raise NotImplementedError


def counted(count: int, noun: str) -> str:
    """ "1 file", "2,000 files"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


S = TypeVar("S", bound=Schema)


class Raw(Protocol):
    """N stored data of one shape."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *shape of one)."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    def take(self, index: Tensor) -> Tensor:
        """The data at `index`, int64 (B,) in 0..N-1: (B, *shape of one) of the raw dtype. Raises IndexError."""
        ...

    def subset(self, index: Tensor) -> Raw:
        """Only the data at `index`, int64 (B,), in that order."""
        ...


class Resident:
    """Data held in one tensor (N, ...), on whichever device it lives."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        return self.values.device

    def take(self, index: Tensor) -> Tensor:
        return self.values.index_select(0, index.to(self.values.device))

    def subset(self, index: Tensor) -> Resident:
        return Resident(self.take(index))

    def to(self, device: torch.device | str) -> Resident:
        return Resident(self.values.to(device))


@dataclass(frozen=True)
class Dataset(Generic[S]):
    """Data and what is known of them.

    `labels` is int64 (N,), -1 where no class is known, or None. `source` is as the user named it. `notes`
    are sentences that say what was decided, skipped and converted; `skipped` lists (file, reason). `files`
    are the N names of the files, below the source's folder, or () where data don't come from such.
    `test` is the source's own test part, if it has one. `context` is what `schema.conditions` say of each datum,
    float32 (N, F), NaN where that is not known; None without conditions. `computed` are cells (N, K), float64, of what
    follows from the datum, as they came; None where nothing does.
    """

    raw: Raw
    labels: Tensor | None
    schema: S
    source: str
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    test: Dataset[S] | None = None
    context: Tensor | None = None
    computed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def skipped_table(self) -> str:
        """The lines of skipped.tsv: a file and its reason each."""
        return "".join(f"{' '.join(name.split())}\t{reason}\n" for name, reason in self.skipped)

    @property
    def fingerprint(self) -> str:
        """A digest of their number, their names, their conditions and 64 of them: other data have another."""
        some = self.raw.take(torch.linspace(0, len(self) - 1, min(len(self), 64)).long())
        names = "\n".join((str(len(self)), *self.files, *self.schema.names)).encode(
            errors="surrogateescape"
        )
        known = b"" if self.context is None else self.context.numpy().tobytes()
        return hashlib.sha256(names + some.cpu().contiguous().numpy().tobytes() + known).hexdigest()

    def subset(self, index: Tensor) -> Self:
        """Only the data at `index`, int64 (B,), in that order; the test part stays whole."""
        index = torch.as_tensor(index, dtype=torch.int64)
        labels = (
            None
            if self.labels is None
            else self.labels.index_select(0, index.to(self.labels.device))
        )
        files = tuple(self.files[i] for i in index.tolist()) if self.files else ()
        context = None if self.context is None else self.context[index]
        computed = None if self.computed is None else self.computed[index]
        raw = self.raw.subset(index)
        return replace(
            self, raw=raw, labels=labels, files=files, context=context, computed=computed
        )
