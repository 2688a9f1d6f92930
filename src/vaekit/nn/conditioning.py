"""Conditions as a vector, which a network gets beside its input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConditionEmbedding(nn.Module):
    """Maps rows of conditions (B, F), NaN where unknown, to vectors (B, width).

    `sizes` gives the number of classes of each column; 0 means that the column is a number. Each
    class has a vector, and so has "unknown". A number comes with a flag that says whether it is
    known. In training, a whole row is made unknown with probability `dropout`, and so is each of
    its columns on its own. So any condition can be left out later (Ho & Salimans 2022).
    """

    def __init__(self, sizes: Sequence[int], width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout, self.columns = dropout, len(sizes)
        self.categories = [i for i, size in enumerate(sizes) if size]
        self.numbers = [i for i, size in enumerate(sizes) if not size]
        self.embed = nn.ModuleList(nn.Embedding(sizes[i] + 1, width) for i in self.categories)
        self.measure = nn.Linear(2 * len(self.numbers), width) if self.numbers else None
        self.mix = nn.Linear(width, width)

    def forward(self, context: Tensor) -> Tensor:
        context = self._drop(context) if self.training and self.dropout else context
        known = ~context.isnan()
        parts = []
        for table, i in zip(self.embed, self.categories, strict=True):
            last = table.num_embeddings - 1  # type: ignore[operator]
            parts.append(table(torch.where(known[:, i], context[:, i], last).long()))
        if self.measure is not None:
            values = context.nan_to_num(0.0)[:, self.numbers]
            parts.append(self.measure(torch.cat((values, known[:, self.numbers].float()), dim=1)))
        return self.mix(F.silu(torch.stack(parts).sum(0)))

    def _drop(self, context: Tensor) -> Tensor:
        fate = torch.rand(len(context), 1 + self.columns, device=context.device) < self.dropout
        return torch.where(fate[:, :1] | fate[:, 1:], math.nan, context)
