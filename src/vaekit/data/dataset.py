"""What every kind of data has in common: a schema, data by index, and what is known of each datum."""

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
"""Called with the name of the work ("decoding"), the number of items done, and their total number."""


class Schema(BaseModel, frozen=True, extra="forbid"):
    """The form of a datum, saved as JSON beside a model. As text it describes such data ("images of 28x28x1").

    `modality` names the kind of data; `conditions` are the fields on which the model is conditioned.
    """

    modality: str
    conditions: tuple[Condition, ...] = ()

    @property
    def reported(self) -> dict[str, str]:
        """Facts, by name, that are reported beside every number measured on such data."""
        return {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts of a datum; () if they have none."""
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one datum as the model sees it."""
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
    """Data held in one tensor (N, ...), on any device."""

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

    `labels` is int64 (N,), -1 where the class is unknown, or None. `source` is the name that the user gave.
    `notes` are sentences that say what was decided, skipped and converted; `skipped` lists (file, reason).
    `files` are the names of the N files, relative to the source's folder, or () if the data are not files.
    `test` is the source's own test part, if it has one. `context` holds the values of `schema.conditions`,
    float32 (N, F), NaN where a value is unknown; it is None without conditions. `computed` holds the values
    that can be computed from the rest of the datum, float64 (N, K), as they were read; None if there are none.
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
        """The lines of skipped.tsv: a file and the reason why it was skipped, one file a line."""
        return "".join(f"{' '.join(name.split())}\t{reason}\n" for name, reason in self.skipped)

    @property
    def fingerprint(self) -> str:
        """A digest that identifies the data: of their number, names and conditions, and of 64 data, evenly spread."""
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
