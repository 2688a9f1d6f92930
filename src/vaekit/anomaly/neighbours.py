"""The distance of a row from remembered rows, and the part of each column in it."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.core.fixed_batches import widened

BLOCK = 64
"""The number of values in a block in the search for the smallest."""


class Nearest(nn.Module):
    """The mean over groups of the distance from rows x (B, C) to the nearest row of a group, rows
    (G, S, C).

    If one remembered row equals x, it is taken to be x itself and is skipped, so that training rows
    are not their own neighbours.
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
        """Squared differences of the columns over the distance, (B, C); the sum is the distance."""
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
        """Squared differences (B, G, C) of x and the row with this index (B, G) of each group."""
        groups, size, columns = self.rows.shape
        place = index + torch.arange(0, groups * size, size)
        rows = (
            self.rows.view(-1, columns).index_select(0, place.flatten()).unflatten(0, place.shape)
        )
        return rows.sub_(x[:, None]).square_()


class _Own(threading.local):
    """The buffers of one thread."""

    def __init__(self) -> None:
        self.products: dict[int, Tensor] = {}  # by the number of columns


_own = _Own()


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, in a buffer that this thread's next product with the same number of columns
    overwrites: to allocate the memory each time would take longer than the product."""
    rows, columns = len(a), b.shape[1]
    kept = _own.products.get(columns)
    if kept is None or len(kept) < rows:
        kept = _own.products[columns] = a.new_empty(rows, columns)
    return torch.mm(a, b, out=kept[:rows])


def _argmin(values: Tensor) -> Tensor:
    """The index of the smallest value on the last axis. For many values, the smallest of each block
    is found first (5 times faster)."""
    if values.shape[-1] < 8 * BLOCK or values.shape[-1] % BLOCK:
        return values.argmin(-1)
    blocks = values.unflatten(-1, (-1, BLOCK))
    block = blocks.amin(-1).argmin(-1, keepdim=True)
    within = torch.take_along_dim(blocks, block[..., None], dim=-2).squeeze(-2).argmin(-1)
    return block.squeeze(-1) * BLOCK + within


def remembered(n: int, most: int) -> Tensor:
    """The indices of at most `most` of n rows, drawn by torch's global generator, as one group (1,
    S); with 0 there is no group, (0, 0)."""
    some = torch.randperm(n)[:most]
    return some[None] if len(some) else some.new_zeros(0, 0)


def groups(n: int, count: int, size: int) -> Tensor:
    """The indices of `count` random groups of `size` rows, but at most half of the n rows, drawn
    independently: (count, size)."""
    size = max(1, min(size, n // 2))
    return torch.stack([torch.randperm(n)[:size] for _ in range(count)])
