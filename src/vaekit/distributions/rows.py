"""Distributions over rows of mixed columns: numbers, classes and missing cells.

A row is a vector (C,) in model units: numbers are standardised, classes are their numbers 0..K-1,
and a missing cell is NaN. Log-probabilities are in nats, summed over the row. They are densities
for measured numbers, and probabilities for classes, for single values of a `Grid` and for whether a
cell is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Categorical, Distribution

from vaekit.distributions.bins import Shape, pick


class Classes(Distribution):
    """A class number 0..K-1, as float: P(x = k) = softmax(logits)_k; logits (..., K)."""

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.float()
        super().__init__(logits.shape[:-1], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return pick(self.logits, value.long())

    def sample(self, sample_shape: Shape = Size()) -> Tensor:
        return (
            Categorical(logits=self.logits, validate_args=False).sample(Size(sample_shape)).float()
        )

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1).float()

    @property
    def mean(self) -> Tensor:
        """The most likely class, because classes have no mean."""
        return self.mode


class LogNormalUnits(Distribution):
    """A positive number v in units x = (v - shift) / scale, with log v ~ N(location, spread^2)."""

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, location: Tensor, spread: Tensor, shift: float, scale: float) -> None:
        self.location, self.spread, self.shift, self.scale = location, spread, shift, scale
        super().__init__(location.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        raw = (value * self.scale + self.shift).clamp_min(torch.finfo(value.dtype).tiny)
        away = (raw.log() - self.location) / self.spread
        constant = math.log(self.scale) - 0.5 * math.log(2 * math.pi)
        return constant - 0.5 * away**2 - self.spread.log() - raw.log()

    def sample(self, sample_shape: Shape = Size()) -> Tensor:
        with torch.no_grad():
            noise = torch.randn(*sample_shape, *self.batch_shape, device=self.location.device)
            return self._units((self.location + self.spread * noise).exp())

    @property
    def mean(self) -> Tensor:
        return self._units((self.location + 0.5 * self.spread**2).exp())

    @property
    def mode(self) -> Tensor:
        return self._units((self.location - self.spread**2).exp())

    def _units(self, raw: Tensor) -> Tensor:
        return (raw - self.shift) / self.scale


class CountUnits(Distribution):
    """A count v = 0, 1, ... in units x = (v - shift) / scale.

    v is negative binomial: its mean is m and its variance m + m^2 / r.
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, log_mean: Tensor, log_size: Tensor, shift: float, scale: float) -> None:
        self.log_mean, self.log_size, self.shift, self.scale = log_mean, log_size, shift, scale
        super().__init__(log_mean.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        count = (value * self.scale + self.shift).round().clamp_min(0)
        size, logits = self.log_size.exp(), self.log_mean - self.log_size
        ways = torch.lgamma(count + size) - torch.lgamma(size) - torch.lgamma(count + 1)
        return ways + count * F.logsigmoid(logits) + size * F.logsigmoid(-logits)

    def sample(self, sample_shape: Shape = Size()) -> Tensor:
        with torch.no_grad():
            size = self.log_size.exp().expand(*sample_shape, *self.batch_shape)
            rate = torch._standard_gamma(size) * (self.log_mean - self.log_size).exp()
            return self._units(torch.poisson(rate))

    @property
    def mean(self) -> Tensor:
        return self._units(self.log_mean.exp())

    @property
    def mode(self) -> Tensor:
        size = self.log_size.exp()
        return self._units(
            ((size - 1).clamp_min(0) * (self.log_mean - self.log_size).exp()).floor()
        )

    def _units(self, raw: Tensor) -> Tensor:
        return (raw - self.shift) / self.scale


@dataclass(frozen=True, slots=True)
class Cell:
    """One column's cells (B,): the distribution of present cells, and logits (B,) of being missing.

    Without `missing`, a NaN adds nothing to the log-probability and is never drawn.
    """

    present: Distribution
    missing: Tensor | None = None

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value) in nats; value (..., B) is NaN where the cell is missing."""
        lost = value.isnan()
        log_prob = self.present.log_prob(
            torch.where(lost, torch.zeros_like(value), value)
        ).masked_fill(lost, 0.0)
        if self.missing is None:
            return log_prob
        return log_prob + F.logsigmoid(torch.where(lost, self.missing, -self.missing))

    def sample(self, sample_shape: Shape = Size()) -> Tensor:
        """Values (*sample_shape, B), NaN where the cell is drawn as missing."""
        value = self.present.sample(Size(sample_shape))
        if self.missing is None:
            return value
        lost = torch.rand_like(value) < torch.sigmoid(self.missing)
        return value.masked_fill(lost, math.nan)

    def whole(self) -> Tensor:
        """Drawn values (B,), none of them missing."""
        return self.present.sample()

    def mean(self) -> Tensor:
        """The mean of a number or the most likely class, (B,), as if the cell were present."""
        return self.present.mean

    def mode(self) -> Tensor:
        """The most likely value (B,), as if the cell were present."""
        return self.present.mode


class Columns(Distribution):
    """Rows whose columns are independent: log p(x) = sum_c log p_c(x_c), event shape (C,)."""

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = tuple(cells)
        super().__init__(
            self.cells[0].present.batch_shape, Size((len(self.cells),)), validate_args=False
        )

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_probs(value).sum(-1)

    def log_probs(self, value: Tensor) -> Tensor:
        """The log-probability of each column, (..., C), in nats."""
        parts = [cell.log_prob(x) for cell, x in zip(self.cells, value.unbind(-1), strict=True)]
        return torch.stack(torch.broadcast_tensors(*parts), dim=-1)

    def sample(self, sample_shape: Shape = Size()) -> Tensor:
        return torch.stack([cell.sample(sample_shape) for cell in self.cells], dim=-1)

    def fill(
        self, known: Tensor, drawn: Callable[[Cell], Tensor] = Cell.sample
    ) -> tuple[Tensor, Tensor]:
        """Like `ChainedColumns.fill`, with cells that do not depend on each other."""
        with torch.no_grad():
            fixed = known.expand(*self.batch_shape, -1)
            rows = torch.stack([drawn(cell) for cell in self.cells], dim=-1)
            weight = self.log_probs(fixed).masked_fill(fixed.isnan(), 0.0).sum(-1)
            return torch.where(fixed.isnan(), rows, fixed), weight

    @property
    def mean(self) -> Tensor:
        """Means of numbers and most likely classes, (..., C)."""
        return torch.stack([cell.mean() for cell in self.cells], dim=-1)

    @property
    def mode(self) -> Tensor:
        return torch.stack([cell.mode() for cell in self.cells], dim=-1)


class ColumnChain(Protocol):
    """What a `ChainedColumns` is made of: how a column depends on the columns before it."""

    columns: int

    def embed(self, column: int, x: Tensor) -> Tensor:
        """Cells (N,) of one column as vectors (N, d)."""

    def cell(self, column: int, given: Tensor, seen: Sequence[Tensor]) -> Cell:
        """The column's cells (N,), given (N, G) and the vectors (N, d) of all columns before it."""


class ChainedColumns(Distribution):
    """Rows in which each column depends on those before it, event shape (C,).

    log p(x) = sum_c log p(x_c | x_1 ... x_(c-1), given). The leading axes of given (..., G) are the
    batch shape. `log_prob` takes one pass; sampling goes column by column.
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, chain: ColumnChain, given: Tensor) -> None:
        self.chain, self.given = chain, given
        super().__init__(given.shape[:-1], Size((chain.columns,)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_probs(value).sum(-1)

    def log_probs(self, value: Tensor) -> Tensor:
        """The log-probability of each column, (..., C), in nats."""
        batch = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        x = value.expand(*batch, -1).reshape(-1, self.chain.columns).unbind(-1)
        given = self._given(batch)
        seen = [self.chain.embed(c, x[c]) for c in range(self.chain.columns - 1)]
        cells = (self.chain.cell(c, given, seen[:c]) for c in range(self.chain.columns))
        return torch.stack([cell.log_prob(x[c]) for c, cell in enumerate(cells)], dim=-1).unflatten(
            0, batch
        )

    def sample(self, sample_shape: Shape = Size()) -> Tensor:
        batch = Size((*sample_shape, *self.batch_shape))
        return self._follow(batch, lambda cell: cell.sample())

    def fill(
        self, known: Tensor, drawn: Callable[[Cell], Tensor] = Cell.sample
    ) -> tuple[Tensor, Tensor]:
        """Rows in which `drawn` fills the NaN cells of known (..., C), and their log-weights (...).

        The log-weight is the sum of log p(known cell | cells before it), in nats. Rows drawn in
        this way with these weights are a sample of p(x | known).
        """
        fixed = known.expand(*self.batch_shape, -1).reshape(-1, self.chain.columns)
        weight = fixed.new_zeros(len(fixed))

        def settle(cell: Cell, column: int) -> Tensor:
            nonlocal weight
            value = fixed[:, column]
            weight = weight + torch.where(
                value.isnan(), torch.zeros_like(weight), cell.log_prob(value)
            )
            return torch.where(value.isnan(), drawn(cell), value)

        columns = iter(range(self.chain.columns))
        rows = self._follow(self.batch_shape, lambda cell: settle(cell, next(columns)))
        return rows, weight.reshape(self.batch_shape)

    @property
    def mean(self) -> Tensor:
        """The mean of each number and the most likely class, (..., C), column by column.

        Each is given the values before it.
        """
        return self._follow(self.batch_shape, Cell.mean)

    @property
    def mode(self) -> Tensor:
        """The most likely value of each column, (..., C), given the values before it."""
        return self._follow(self.batch_shape, Cell.mode)

    def _given(self, batch: Shape) -> Tensor:
        return self.given.expand(*batch, -1).reshape(-1, self.given.shape[-1])

    @torch.no_grad()
    def _follow(self, batch: Shape, settle) -> Tensor:  # type: ignore[no-untyped-def]
        """The columns (*batch, C) one after another: `settle` makes each from its cell."""
        given = self._given(batch)
        done: list[Tensor] = []
        seen: list[Tensor] = []
        for c in range(self.chain.columns):
            done.append(settle(self.chain.cell(c, given, seen)))
            seen.append(self.chain.embed(c, done[-1]))
        return torch.stack(done, dim=-1).reshape(*batch, self.chain.columns)
