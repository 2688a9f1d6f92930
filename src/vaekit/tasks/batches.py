"""Data in the form of model input, in batches or all at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Schema
from vaekit.data.registry import modality

ROWS = 512
"""The number of data in a batch."""


def batches(
    data: Dataset,
    schema: Schema,
    seed: int,
    device: torch.device | str = "cpu",
    index: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Batches of x (B, *shape) and context, of all data or of those at `index`.

    If values are drawn in the process (binary pixels), `seed` determines them.
    """
    generator, prepare = (
        torch.Generator().manual_seed(seed),
        modality(schema.modality).values.prepare,
    )
    for part in (torch.arange(len(data)) if index is None else index).split(ROWS):
        context = None if data.context is None else data.context[part].to(device)
        yield prepare(data.raw.take(part), schema, generator).to(device), context


def as_tensor(data: Dataset) -> Tensor:
    """All of a data set as one tensor (N, *shape)."""
    return modality(data.schema.modality).values.to_tensor(
        data.raw.take(torch.arange(len(data))), data.schema
    )


def first(context: Tensor | None, n: int) -> Tensor | None:
    """The first n rows of a context, if there is one."""
    return None if context is None else context[:n]
