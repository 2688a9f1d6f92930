"""Rows of numbers and classes as plain numbers, which is what a `Detector` takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

FEW = 16
"""A category of at most so many classes is a column of 0 and 1 for each; of more, only how rare its class is."""

UNSEEN = -1.0
"""The raw value of a class that was not there when the classes were learned."""


class Plain:
    """Raw rows (N, C) as plain numbers (N, F): what is measured as it is, classes by themselves and how rare they are.

    Raw values are numbers, class numbers 0..K-1, `UNSEEN`, or NaN where missing. Of two classes one column says which;
    of 3 to `FEW` a column of 0 and 1 for each, and one of -log of the class's share; of others the latter alone. A
    class that was never seen is as rare as one seen half a time.

    sizes: for each column how many classes it has, K, 0 where it is measured. rarity: for each column -log of the
    shares of its classes and of the unseen one, (K + 1,), or (0,).
    """

    def __init__(self, sizes: Sequence[int], rarity: Sequence[Tensor]) -> None:
        self.sizes, self.rarity = tuple(sizes), list(rarity)
        widths = [1 + (size if 2 < size <= FEW else 0) for size in sizes]
        self.owner = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))

    @staticmethod
    def learned(sizes: Sequence[int], raw: Tensor) -> Plain:
        """By training rows (N, C)."""
        return Plain(sizes, [_rarity(size, values) for size, values in zip(sizes, raw.unbind(1), strict=True)])

    def __call__(self, raw: Tensor) -> Tensor:
        """Rows (N, C) as (N, F) float64, NaN where a cell is missing."""
        if not any(self.sizes):
            return raw.double()
        columns = zip(self.sizes, raw.double().unbind(1), self.rarity, strict=True)
        return torch.cat([_plain(size, values, rarity) for size, values, rarity in columns], dim=1)

    def by_column(self, parts: Tensor) -> Tensor:
        """What plain numbers add (N, F) summed up for each column, (N, C)."""
        return parts.new_zeros(len(parts), len(self.sizes)).index_add_(1, self.owner, parts)


def _rarity(classes: int, values: Tensor) -> Tensor:
    """-log of the share of each class, and of one seen half a time, (K + 1,); (0,) of what is measured."""
    if not classes:
        return torch.zeros(0, dtype=torch.float64)
    counts = torch.bincount(values[values >= 0].long(), minlength=classes).double()
    return -((F.pad(counts, (0, 1)) + 0.5) / (counts.sum() + 0.5 * classes)).log()


def _plain(classes: int, values: Tensor, rarity: Tensor) -> Tensor:
    """(N, W), NaN where missing."""
    if not classes:
        return values[:, None]
    index = torch.where(values >= 0, values, classes).long()  # the missing ones' is of no account
    parts = [(rarity if classes != 2 else _ends(rarity))[index][:, None]]
    if 2 < classes <= FEW:
        parts.append(F.one_hot(index, classes + 1)[:, :classes].double())
    return torch.cat(parts, dim=1).masked_fill(values.isnan()[:, None], torch.nan)


def _ends(rarity: Tensor) -> Tensor:
    """0 and 1 for two classes; the unseen one lies beyond the rarer by how much rarer it is, in nats."""
    first, second, unseen = rarity.unbind()
    beyond = 1 + unseen - second if second > first else first - unseen
    return torch.stack((torch.zeros_like(first), torch.ones_like(first), beyond))
