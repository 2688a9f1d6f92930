"""Rows of numbers and classes as plain numbers, the input of a `Detector`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

FEW = 16
"""A category with 3 to `FEW` classes has a column of 0 and 1 for each class; with more, only the
rarity of the class."""

SELDOM = 4
"""Classes that occur 1 to SELDOM times are equally rare.

Above this count, the rarity of a class is the same with and without the row itself.
"""

UNSEEN = -1.0
"""The raw value of a class that was not among the training rows."""


class NumericRows:
    """Raw rows (N, C) as plain numbers (N, F): numbers unchanged, classes as indicators and as
    their rarity.

    Raw values are numbers, class numbers 0..K-1, `UNSEEN`, or NaN for missing cells. The rarity of
    a class is -log of its share. Two classes are one column; 3 to `FEW` classes are a column of 0
    and 1 for each and a column of the rarity; other numbers of classes are only the rarity. An
    unseen class is as rare as a class that occurs half a time.

    `fitted` gives the training rows as if each were new: the count of a rare class is reduced by
    one. Without this no training row would have an unseen class, and the calibration on training
    rows would not be valid for new rows. Classes that occur 1 to `SELDOM` times count as equally
    rare, so that a new row of a rare class looks like training rows of rare classes.

    sizes: the number of classes K of each column, 0 for a column of numbers. rarity: for each
    column the rarity of its classes and of an unseen one, (K + 1,); (0,) for a column of numbers.
    """

    def __init__(self, sizes: Sequence[int], rarity: Sequence[Tensor]) -> None:
        self.sizes, self.rarity = tuple(sizes), list(rarity)
        widths = [1 + _spelled(size) for size in sizes]
        self.owner = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))

    @staticmethod
    def learned(sizes: Sequence[int], raw: Tensor) -> NumericRows:
        """Fitted to raw training rows (N, C) with these numbers of classes."""
        return NumericRows(
            sizes,
            [_rarity(size, values) for size, values in zip(sizes, raw.unbind(1), strict=True)],
        )

    def __call__(self, raw: Tensor) -> Tensor:
        """Rows (N, C) as (N, F) float64, NaN for missing cells."""
        if not any(self.sizes):
            return raw.double()
        columns = zip(self.sizes, raw.double().unbind(1), self.rarity, strict=True)
        return torch.cat([_plain(size, values, rarity) for size, values, rarity in columns], dim=1)

    def fitted(self, raw: Tensor) -> Tensor:
        """The training rows (N, C) as (N, F) float64: a rare class is as rare as it would be
        without the row."""
        return NumericRows(self.sizes, [_without_one(part) for part in self.rarity])(raw)

    @property
    def least(self) -> Tensor:
        """The smallest unit of each plain number (F,): 1 nat for the rarity of a class, 0 (none)
        for the others."""
        return torch.cat([_least(size) for size in self.sizes]).double()

    def by_column(self, parts: Tensor) -> Tensor:
        """The parts (N, F) of plain numbers, added up for each column, (N, C)."""
        return parts.new_zeros(len(parts), len(self.sizes)).index_add_(1, self.owner, parts)


def _rarity(classes: int, values: Tensor) -> Tensor:
    """The rarity of each class and of an unseen class (which counts as seen half a time), (K + 1,);
    (0,) for numbers."""
    if not classes:
        return torch.zeros(0, dtype=torch.float64)
    counts = torch.bincount(values[values >= 0].long(), minlength=classes).double()
    return -((F.pad(counts, (0, 1)) + 0.5) / (counts.sum() + 0.5 * classes)).log()


def _spelled(classes: int) -> int:
    """The number of columns of 0 and 1 for this number of classes."""
    return classes if 2 < classes <= FEW else 0


def _without_one(rarity: Tensor) -> Tensor:
    """The rarity (K + 1,) of each class if it had been seen once less, for classes seen at most
    `SELDOM` times.

    For other classes the difference is negligible, but any difference would make their values
    unlike those of new rows.
    """
    if not len(rarity):
        return rarity
    counts = (rarity[-1] - rarity).exp() / 2  # the counts plus one half
    return torch.where(
        counts < SELDOM + 1, rarity[-1] - (2 * (counts - 1).clamp_min(0.5)).log(), rarity
    )


def _coarse(rarity: Tensor) -> Tensor:
    """The rarity (K + 1,) with one value for all classes that occur 1 to `SELDOM` times."""
    counts = (rarity[-1] - rarity).exp() / 2  # the counts plus one half
    seldom = (counts > 1) & (counts < SELDOM + 1)
    return torch.where(seldom, rarity[-1] - math.log(SELDOM + 2), rarity)


def _least(classes: int) -> Tensor:
    """The smallest unit of each plain number of a column; see `NumericRows.least`."""
    return F.pad(torch.full((1,), float(classes not in (0, 2))), (0, _spelled(classes)))


def _plain(classes: int, values: Tensor, rarity: Tensor) -> Tensor:
    """The plain numbers (N, W) of one column, NaN for missing cells."""
    if not classes:
        return values[:, None]
    index = torch.where(values >= 0, values, classes).long()  # missing cells become NaN below
    parts = [(_coarse(rarity) if classes != 2 else _ends(rarity))[index][:, None]]
    if _spelled(classes):
        parts.append(F.one_hot(index, classes + 1)[:, :classes].double())
    return torch.cat(parts, dim=1).masked_fill(values.isnan()[:, None], torch.nan)


def _ends(rarity: Tensor) -> Tensor:
    """0 and 1 for two classes. An unseen class lies beyond the rarer one, at a distance equal to
    the difference of their rarities in nats."""
    first, second, unseen = rarity.unbind()
    beyond = 1 + unseen - second if second > first else first - unseen
    return torch.stack((torch.zeros_like(first), torch.ones_like(first), beyond))
