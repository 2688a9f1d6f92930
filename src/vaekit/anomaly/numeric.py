"""Rows of numbers and classes as plain numbers, which is what a `Detector` takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

FEW = 16
"""A category of at most so many classes is a column of 0 and 1 for each; of more, only how rare its class is."""

SELDOM = 4
"""A class seen more often is as rare with a row of its own as without."""

UNSEEN = -1.0
"""The raw value of a class that was not there when the classes were learned."""


class NumericRows:
    """Raw rows (N, C) as plain numbers (N, F): what is measured as it is, classes by themselves and how rare they are.

    Raw values are numbers, class numbers 0..K-1, `UNSEEN`, or NaN where missing. Of two classes one column says which;
    of 3 to `FEW` a column of 0 and 1 for each, and one of -log of the class's share; of others the latter alone. A
    class that was never seen is as rare as one seen half a time.

    `fitted` gives training rows as they would be if each were new: a rare class counts for one less. Otherwise no
    training row had a class that was never seen, and what is calibrated on them would not hold of new rows.

    sizes: for each column how many classes it has, K, 0 where it is measured. rarity: for each column -log of the
    shares of its classes and of the unseen one, (K + 1,), or (0,).
    """

    def __init__(self, sizes: Sequence[int], rarity: Sequence[Tensor]) -> None:
        self.sizes, self.rarity = tuple(sizes), list(rarity)
        widths = [1 + _spelled(size) for size in sizes]
        self.owner = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))

    @staticmethod
    def learned(sizes: Sequence[int], raw: Tensor) -> NumericRows:
        """By training rows (N, C)."""
        return NumericRows(
            sizes,
            [_rarity(size, values) for size, values in zip(sizes, raw.unbind(1), strict=True)],
        )

    def __call__(self, raw: Tensor) -> Tensor:
        """Rows (N, C) as (N, F) float64, NaN where a cell is missing."""
        if not any(self.sizes):
            return raw.double()
        columns = zip(self.sizes, raw.double().unbind(1), self.rarity, strict=True)
        return torch.cat([_plain(size, values, rarity) for size, values, rarity in columns], dim=1)

    def fitted(self, raw: Tensor) -> Tensor:
        """The training rows (N, C) themselves, (N, F) float64: a rare class as rare as without the row."""
        return NumericRows(self.sizes, [_without_one(part) for part in self.rarity])(raw)

    @property
    def least(self) -> Tensor:
        """The smallest units (F,) of the plain numbers: a nat for how rare a class is, none for the others."""
        return torch.cat([_least(size) for size in self.sizes]).double()

    def by_column(self, parts: Tensor) -> Tensor:
        """What plain numbers add (N, F) summed up for each column, (N, C)."""
        return parts.new_zeros(len(parts), len(self.sizes)).index_add_(1, self.owner, parts)


def _rarity(classes: int, values: Tensor) -> Tensor:
    """-log of the share of each class, and of one seen half a time, (K + 1,); (0,) of what is measured."""
    if not classes:
        return torch.zeros(0, dtype=torch.float64)
    counts = torch.bincount(values[values >= 0].long(), minlength=classes).double()
    return -((F.pad(counts, (0, 1)) + 0.5) / (counts.sum() + 0.5 * classes)).log()


def _spelled(classes: int) -> int:
    """How many columns of 0 and 1 classes have."""
    return classes if 2 < classes <= FEW else 0


def _without_one(rarity: Tensor) -> Tensor:
    """The rarity (K + 1,) of each class had it been seen once less, where it was seen at most `SELDOM` times.

    More often it makes no odds, and values that differ by nothing else from those of new rows would be new themselves.
    """
    if not len(rarity):
        return rarity
    counts = (rarity[-1] - rarity).exp() / 2  # and a half
    return torch.where(
        counts < SELDOM + 1, rarity[-1] - (2 * (counts - 1).clamp_min(0.5)).log(), rarity
    )


def _least(classes: int) -> Tensor:
    """The smallest units of a column's plain numbers."""
    return F.pad(torch.full((1,), float(classes not in (0, 2))), (0, _spelled(classes)))


def _plain(classes: int, values: Tensor, rarity: Tensor) -> Tensor:
    """(N, W), NaN where missing."""
    if not classes:
        return values[:, None]
    index = torch.where(values >= 0, values, classes).long()  # the missing ones' is of no account
    parts = [(rarity if classes != 2 else _ends(rarity))[index][:, None]]
    if _spelled(classes):
        parts.append(F.one_hot(index, classes + 1)[:, :classes].double())
    return torch.cat(parts, dim=1).masked_fill(values.isnan()[:, None], torch.nan)


def _ends(rarity: Tensor) -> Tensor:
    """0 and 1 for two classes; the unseen one lies beyond the rarer by how much rarer it is, in nats."""
    first, second, unseen = rarity.unbind()
    beyond = 1 + unseen - second if second > first else first - unseen
    return torch.stack((torch.zeros_like(first), torch.ones_like(first), beyond))
