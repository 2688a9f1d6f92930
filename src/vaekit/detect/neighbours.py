"""How far a row is from remembered ones, and by which columns."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Nearest(nn.Module):
    """Distances from rows x (B, C) to the nearest row of each group, rows (G, S, C): the mean over the groups.

    A remembered row equal to x is taken for x itself, once, so that training rows are not their own neighbours.
    """

    rows: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)

    def forward(self, x: Tensor) -> Tensor:
        """The squared distance of every column over the distance, (B, C): its sum is the distance."""
        total = torch.zeros_like(x)
        for group in self.rows:
            total += _shares(x, group)
        return total / max(1, len(self.rows))


def _shares(x: Tensor, rows: Tensor) -> Tensor:
    square = rows.square().sum(1) - 2 * x @ rows.T  # (B, S), up to |x|^2
    nearest = square.argmin(1)
    gap = x - rows[nearest]
    same = gap.square().sum(1) <= 1e-10 * (1 + x.square().sum(1))
    if len(rows) > 1 and bool(same.any()):
        again = square[same].scatter(1, nearest[same, None], torch.inf).argmin(1)
        gap[same] = x[same] - rows[again]
    parts = gap.square()
    return parts / parts.sum(1, keepdim=True).sqrt().clamp_min(1e-12)


def remembered(rows: Tensor, most: int) -> Nearest:
    """At most `most` of the rows (N, C), drawn by torch's global generator, as one group; with 0, no group at all."""
    some = rows[torch.randperm(len(rows))[:most]]
    return Nearest(some[None] if len(some) else some.new_zeros(0, 0, rows.shape[1]))


def groups(rows: Tensor, count: int, size: int) -> Nearest:
    """`count` groups of `size` rows, or of half the rows if they are fewer, each drawn anew."""
    size = max(1, min(size, len(rows) // 2))
    return Nearest(torch.stack([rows[torch.randperm(len(rows))[:size]] for _ in range(count)]))
