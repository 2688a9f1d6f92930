"""Networks for rows: encoders that embed cells, and decoders to a likelihood for each column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.data.tables.model.bins import grid_of
from vaekit.data.tables.model.likelihoods import ColumnFamily, family
from vaekit.data.tables.schema import Column, TableSchema
from vaekit.distributions.bins import Grid
from vaekit.distributions.rows import Cell, ChainedColumns, Columns
from vaekit.nn import MLP

WIDTH = 16
"""The size of a cell's embedding."""

REACH = 32
"""The largest number of preceding columns that a column depends on directly.

It depends on columns farther away only through the latents.
"""

MANY, RANK = 256, 32
"""With more outputs than `MANY`, the output matrix of a column's network has rank `RANK`."""


class CellEmbedding(nn.Module):
    """Cells (N,) of one column as vectors (N, width); a missing cell has a vector of its own.

    A class has its own vector. A number has the vector of its place on the column's grid, plus the
    sum of steps over all places up to it, so that what is learned at one place also helps the
    places around it (piecewise linear encoding, Gorishniy et al. 2022, section 3.2). A place's own
    vector starts at 0, so that it contains only what the data teach.
    """

    def __init__(self, column: Column, width: int = WIDTH) -> None:
        super().__init__()
        self.grid: Grid | None = None if column.discrete else grid_of(column)
        self.size = column.size if self.grid is None else len(self.grid)
        own = (
            torch.randn(self.size + 1, width)
            if self.grid is None
            else torch.zeros(self.size + 1, width)
        )
        self.own = nn.Parameter(own)
        self.steps = (
            None
            if self.grid is None
            else nn.Parameter(torch.randn(self.size, width) / self.size**0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        lost = x.isnan()
        known = torch.where(lost, torch.zeros_like(x), x)
        place = (known.long() if self.grid is None else self.grid.place(known)).clamp(
            0, self.size - 1
        )
        return F.embedding(torch.where(lost, self.size, place), self._table())

    def _table(self) -> Tensor:
        """The vectors of all places, and last that of a missing cell: (K + 1, width)."""
        if self.steps is None:
            return self.own
        sums = self.steps.cumsum(0)
        return self.own + F.pad(sums - 0.5 * sums[-1:], (0, 0, 0, 1))


HIDE = 0.1
"""The mean share of cells that are hidden from an encoder in training.

It learns from them what a missing cell is.
"""


def hidden(x: Tensor) -> Tensor:
    """Rows (B, C) with random cells made NaN; the share in each row is between 0 and 2 `HIDE`."""
    share = 2 * HIDE * torch.rand(len(x), 1, device=x.device)
    return x.masked_fill(torch.rand(x.shape, device=x.device) < share, torch.nan)


class RowEncoder(nn.Module):
    """Rows (B, C), NaN where missing, and a context (B, F) to raw (B, outputs).

    In training, some cells are hidden from it. The bound stays valid, whatever q sees.
    """

    def __init__(
        self,
        schema: TableSchema,
        outputs: int,
        hidden: Sequence[int] = (256, 256),
        context: int = 0,
    ) -> None:
        super().__init__()
        self.cells = nn.ModuleList(CellEmbedding(column) for column in schema.columns)
        self.net = MLP((len(schema.columns) * WIDTH,), hidden, (outputs,), context=context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = hidden(x) if self.training else x
        cells = [embed(cell) for embed, cell in zip(self.cells, x.unbind(-1), strict=True)]
        return self.net(torch.cat(cells, dim=-1), context)


class PlainEncoder(nn.Module):
    """Rows (B, C), NaN where missing, and a context (B, F) to raw (B, outputs).

    Numbers are used as they are, so it is smoother than `RowEncoder`, which cuts numbers into
    places. A number that may be missing has a second input that says whether it is. Classes are
    embedded. In training, some cells are hidden if `hides`.
    """

    def __init__(
        self,
        schema: TableSchema,
        outputs: int,
        hidden: Sequence[int] = (256, 256),
        context: int = 0,
        hides: bool = True,
    ) -> None:
        super().__init__()
        self.hides = hides
        numbers = [i for i, column in enumerate(schema.columns) if not column.discrete]
        self.register_buffer("measured", torch.tensor(numbers, dtype=torch.long))
        gaps = [i for i in numbers if schema.columns[i].missing]
        self.register_buffer("lost", torch.tensor(gaps, dtype=torch.long))
        self.places = [i for i, column in enumerate(schema.columns) if column.discrete]
        self.cells = nn.ModuleList(CellEmbedding(schema.columns[i]) for i in self.places)
        width = len(self.measured) + len(self.lost) + WIDTH * len(self.places)
        self.net = MLP((width,), hidden, (outputs,), context=context)

    measured: Tensor
    lost: Tensor

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = hidden(x) if self.training and self.hides else x
        numbers = torch.nan_to_num(x.index_select(-1, self.measured), nan=0.0)
        bits = x.index_select(-1, self.lost).isnan().to(x.dtype)
        classes = [cell(x[:, i]) for i, cell in zip(self.places, self.cells, strict=True)]
        return self.net(torch.cat((numbers, bits, *classes), dim=-1), context)


class CellNet(nn.Module):
    """(N, inputs) to (N, outputs) through a hidden layer and a residual layer.

    With many outputs, the output matrix has low rank.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.enter, self.middle = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)
        self.narrow = nn.Linear(hidden, RANK, bias=False) if outputs > MANY else None
        self.leave = nn.Linear(RANK if self.narrow is not None else hidden, outputs)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        h = self._dropped(F.silu(self.enter(x)))
        h = h + self._dropped(F.silu(self.middle(h)))
        return self.leave(h if self.narrow is None else self.narrow(h))

    @torch.no_grad()
    def begin(self, raw: Tensor) -> None:
        """Start near the raw output `raw` (outputs,) for every input."""
        self.leave.weight.mul_(0.3)
        self.leave.bias.copy_(raw)

    def _dropped(self, h: Tensor) -> Tensor:
        """Dropout with uniform random numbers, on a CPU twice as fast as torch's own."""
        if not self.training or not self.dropout:
            return h
        kept = torch.rand_like(h, dtype=torch.float32) >= self.dropout
        return h * kept / (1 - self.dropout)


class _Decoder(nn.Module):
    """The common part of both decoders: a family for each column."""

    def __init__(self, schema: TableSchema, likelihood: str) -> None:
        super().__init__()
        self.columns = len(schema.columns)
        self.families = nn.ModuleList(family(column, likelihood) for column in schema.columns)

    def family(self, column: int) -> ColumnFamily:
        return cast(ColumnFamily, self.families[column])


class RowDecoder(_Decoder):
    """p(x | z, c) with independent columns: z (..., Z) and a context (B, F) to `Columns` of batch shape (...)."""

    def __init__(
        self,
        schema: TableSchema,
        latent: int,
        hidden: Sequence[int] = (256, 256),
        context: int = 0,
        likelihood: str = "binned",
    ) -> None:
        super().__init__(schema, likelihood)
        self.sizes = [self.family(c).outputs for c in range(self.columns)]
        self.net = MLP((latent,), hidden, (sum(self.sizes),), context=context)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Columns:
        batch = z.shape[:-1]
        context = (
            None if context is None else context.expand(*batch, -1).reshape(-1, context.shape[-1])
        )
        raw = self.net(z.reshape(-1, z.shape[-1]), context).unflatten(0, batch)
        return Columns(
            [self.family(c)(part) for c, part in enumerate(raw.split(self.sizes, dim=-1))]
        )

    @torch.no_grad()
    def begin(self, x: Tensor) -> None:
        """Start from the distributions of the columns in rows x (N, C)."""
        self.net.head.weight.mul_(0.3)
        self.net.head.bias.copy_(
            torch.cat([self.family(c).begin(x[:, c]) for c in range(self.columns)])
        )


class ChainDecoder(_Decoder):
    """p(x | z, c) = prod_i p(x_i | x_(i-reach) ... x_(i-1), z, c).

    z (..., Z) and a context (B, F) to `ChainedColumns`. Each column has a network of its own, whose
    inputs are z, the context and the embeddings of the columns before it.
    """

    def __init__(
        self,
        schema: TableSchema,
        latent: int,
        hidden: int = 128,
        context: int = 0,
        dropout: float = 0.2,
        likelihood: str = "binned",
        reach: int = REACH,
    ) -> None:
        super().__init__(schema, likelihood)
        self.reach = reach
        self.embeddings = nn.ModuleList(CellEmbedding(column) for column in schema.columns[:-1])
        self.nets = nn.ModuleList(
            CellNet(
                latent + context + WIDTH * min(c, reach), hidden, self.family(c).outputs, dropout
            )
            for c in range(self.columns)
        )

    def forward(self, z: Tensor, context: Tensor | None = None) -> ChainedColumns:
        given = (
            z
            if context is None
            else torch.cat((z, context.expand(*z.shape[:-1], -1).to(z.dtype)), dim=-1)
        )
        return ChainedColumns(self, given)

    def embed(self, column: int, x: Tensor) -> Tensor:
        """Cells (N,) as vectors (N, WIDTH), or (N, 0) for the last column, which none follows."""
        return (
            self.embeddings[column](x) if column < len(self.embeddings) else x.new_zeros(len(x), 0)
        )

    def cell(self, column: int, given: Tensor, seen: Sequence[Tensor]) -> Cell:
        before = seen[max(0, column - self.reach) : column]
        return self.family(column)(self.nets[column](torch.cat((given, *before), dim=-1)))

    @torch.no_grad()
    def begin(self, x: Tensor) -> None:
        """Start from the distributions of the columns in rows x (N, C)."""
        for c, net in enumerate(self.nets):
            cast(CellNet, net).begin(self.family(c).begin(x[:, c]))
