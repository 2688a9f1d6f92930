"""How far a row is from remembered ones, and by which columns."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.core.fixed_batches import widened

BLOCK = 64
"""Values looked at together in search of the least."""


class Nearest(nn.Module):
    """Distances from rows x (B, C) to the nearest row of each group, rows (G, S, C): the mean over the groups.

    One remembered row that equals x counts as x itself, so that training rows are not their own neighbours.
    """

    rows: Tensor
    table: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)
        flat = rows.flatten(0, 1)
        table = torch.cat((-2 * flat, flat.square().sum(1, keepdim=True)), dim=1).T.contiguous()
        self.register_buffer(
            "table", widened(table), persistent=False
        )  # (C + 1, G S and more): [x, 1] @ table = |x - row|^2 - |x|^2

    def forward(self, x: Tensor) -> Tensor:
        """The squared distance of every column over the distance, (B, C): its sum is the distance."""
        if not len(self.rows):
            return torch.zeros_like(x)
        square = _products(F.pad(x, (0, 1), value=1.0), self.table)
        square = square[:, : len(self.rows) * self.rows.shape[1]]
        square = square.unflatten(1, self.rows.shape[:2])  # (B, G, S)
        first = _argmin(square)
        parts = self._squares(x, first)  # (B, G, C)
        total = parts.sum(2, keepdim=True)
        same = total <= 1e-10 * (1 + x.square().sum(1)[:, None, None])
        if self.rows.shape[1] > 1 and bool(same.any()):
            square.scatter_(-1, first[..., None], torch.inf)
            parts = torch.where(same, self._squares(x, _argmin(square)), parts)
            total = parts.sum(2, keepdim=True)
        return parts.div_(total.sqrt().clamp_min(1e-12)).mean(1)

    def _squares(self, x: Tensor, index: Tensor) -> Tensor:
        """The squared differences (B, G, C) of x and the row of each group with that index, (B, G)."""
        groups, size, columns = self.rows.shape
        place = index + torch.arange(0, groups * size, size)
        rows = (
            self.rows.view(-1, columns).index_select(0, place.flatten()).unflatten(0, place.shape)
        )
        return rows.sub_(x[:, None]).square_()


class _Own(threading.local):
    """What a thread keeps for itself."""

    def __init__(self) -> None:
        self.products: dict[int, Tensor] = {}  # by how many columns


_own = _Own()


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, where this thread's next products of as many columns are written: to ask for so much memory again
    each time takes longer than to multiply."""
    rows, columns = len(a), b.shape[1]
    kept = _own.products.get(columns)
    if kept is None or len(kept) < rows:
        kept = _own.products[columns] = a.new_empty(rows, columns)
    return torch.mm(a, b, out=kept[:rows])


def _argmin(values: Tensor) -> Tensor:
    """Where the least of the last axis is; of many values, by way of the least of each block (5 times faster)."""
    if values.shape[-1] < 8 * BLOCK or values.shape[-1] % BLOCK:
        return values.argmin(-1)
    blocks = values.unflatten(-1, (-1, BLOCK))
    block = blocks.amin(-1).argmin(-1, keepdim=True)
    within = torch.take_along_dim(blocks, block[..., None], dim=-2).squeeze(-2).argmin(-1)
    return block.squeeze(-1) * BLOCK + within


def remembered(n: int, most: int) -> Tensor:
    """At most `most` of n rows, drawn by torch's global generator, as one group (1, S); with 0, no group at all."""
    some = torch.randperm(n)[:most]
    return some[None] if len(some) else some.new_zeros(0, 0)


def groups(n: int, count: int, size: int) -> Tensor:
    """`count` random groups of `size` out of n rows (at most half of them), drawn independently: (count, size)."""
    size = max(1, min(size, n // 2))
    return torch.stack([torch.randperm(n)[:size] for _ in range(count)])
