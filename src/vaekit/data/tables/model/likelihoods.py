"""The likelihoods of columns: from raw network output to the distribution of a column's cells.

A family is a module. `forward(raw (..., outputs))` returns a `Cell` of batch shape (...).
`begin(x)` returns the one raw output that fits all values x (N,) together: the decoder's last bias
starts there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, StudentT

from vaekit.data.tables.model.bins import grid_of
from vaekit.data.tables.schema import Column
from vaekit.distributions.bins import Binned
from vaekit.distributions.families import bounded
from vaekit.distributions.rows import Cell, Classes, CountUnits, LogNormalUnits
from vaekit.errors import VaekitError

NAMES = {
    "binned": "numbers: probabilities of single values and of bins with even density in their parts",
    "gaussian": "numbers: normal, with a mean and a variance from the decoder",
    "gaussian-shared": "numbers: normal, with a mean from the decoder and one variance per column",
    "student-t": "numbers: Student's t, location, scale, degrees of freedom from the decoder",
    "log-normal": "columns of positive numbers: log-normal; other numbers: binned",
    "counts": "counts: negative binomial; other numbers: binned",
}
"""The likelihoods of measured columns. Categories and booleans are categorical with each."""

SMOOTH = 0.5
"""The number that is added to each count before initial probabilities are computed."""


class Present(nn.Module, ABC):
    """The distribution of a column's present cells, from raw (..., outputs)."""

    outputs: int

    @abstractmethod
    def forward(self, raw: Tensor) -> Distribution:
        """The distribution, batch shape (...)."""

    @abstractmethod
    def begin(self, x: Tensor) -> Tensor:
        """The raw output (outputs,) that fits finite values x (N,), N > 0."""


class ColumnFamily(nn.Module):
    """The distribution of a column's cells: `present` for present ones, a logit for missing ones."""

    def __init__(self, present: Present, missing: bool) -> None:
        super().__init__()
        self.present, self.missing = present, missing
        self.outputs = present.outputs + missing

    def forward(self, raw: Tensor) -> Cell:
        if not self.missing:
            return Cell(self.present(raw))
        return Cell(self.present(raw[..., 1:]), raw[..., 0].float())

    def begin(self, x: Tensor) -> Tensor:
        """The raw output (outputs,) that fits values x (N,), NaN where missing."""
        lost = x.isnan()
        known = x[~lost]
        raw = self.present.begin(known) if len(known) else torch.zeros(self.present.outputs)
        share = (lost.sum() + SMOOTH) / (len(x) + 2 * SMOOTH)
        return torch.cat((torch.logit(share)[None], raw)) if self.missing else raw


class ClassFamily(Present):
    """K classes: raw (..., K) are logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.outputs = classes

    def forward(self, raw: Tensor) -> Classes:
        return Classes(raw)

    def begin(self, x: Tensor) -> Tensor:
        return _log_shares(x.long(), self.outputs)


class BinnedFamily(Present):
    """A number on the column's grid: raw (..., K) are the logits of its points and bins."""

    def __init__(self, column: Column) -> None:
        super().__init__()
        self.grid = grid_of(column)
        self.outputs = len(self.grid)

    def forward(self, raw: Tensor) -> Binned:
        return Binned(raw, self.grid)

    def begin(self, x: Tensor) -> Tensor:
        return _log_shares(self.grid.place(x), self.outputs)


class GaussianFamily(Present):
    """N(mean, scale^2) in model units: raw (..., 2) holds the mean and the log scale in (-6, 6)."""

    outputs = 2

    def forward(self, raw: Tensor) -> Normal:
        mean, log_scale = raw.float().unbind(-1)
        return Normal(mean, bounded(log_scale, -6, 6).exp(), validate_args=False)

    def begin(self, x: Tensor) -> Tensor:
        return torch.stack((x.mean(), _log_spread(x)))


class SharedGaussianFamily(Present):
    """N(mean, scale^2) in model units: raw (..., 1) is the mean.

    The scale is one learned number for the column, in (e^-6, e^6). This is the sigma-VAE, Rybkin et
    al. 2021, section 3.1, applied to each column.
    """

    outputs = 1

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, raw: Tensor) -> Normal:
        mean = raw.float().squeeze(-1)
        return Normal(
            mean, bounded(self.log_scale, -6, 6).exp().expand_as(mean), validate_args=False
        )

    @torch.no_grad()
    def begin(self, x: Tensor) -> Tensor:
        self.log_scale.copy_(_log_spread(x))
        return x.mean()[None]


class StudentFamily(Present):
    """Student's t in model units: raw (..., 3) holds location, log scale in (-6, 6), and log (degrees - 2)."""

    outputs = 3

    def forward(self, raw: Tensor) -> StudentT:
        location, log_scale, log_degrees = raw.float().unbind(-1)
        degrees = 2 + bounded(log_degrees, -4, 6).exp()
        return _ModalStudent(
            degrees, location, bounded(log_scale, -6, 6).exp(), validate_args=False
        )

    def begin(self, x: Tensor) -> Tensor:
        return torch.stack((x.mean(), _log_spread(x), torch.tensor(1.0)))


class LogNormalFamily(Present):
    """A log-normal positive number: raw (..., 2) holds the mean and log spread of its logarithm.

    The mean is relative to the logarithm of the column's mean; the log spread is in (-6, 3).
    """

    outputs = 2
    location: Tensor

    def __init__(self, column: Column) -> None:
        super().__init__()
        self.shift, self.scale = column.mean, column.scale
        self.centre = math.log(max(column.mean, 1e-30))

    def forward(self, raw: Tensor) -> LogNormalUnits:
        location, log_spread = raw.float().unbind(-1)
        return LogNormalUnits(
            location + self.centre, bounded(log_spread, -6, 3).exp(), self.shift, self.scale
        )

    def begin(self, x: Tensor) -> Tensor:
        logs = (x * self.scale + self.shift).clamp_min(1e-30).log()
        return torch.stack((logs.mean() - self.centre, _log_spread(logs)))


class CountFamily(Present):
    """A negative binomial count: raw (..., 2) holds the log mean and the log size, in (-6, 12).

    The log mean is relative to that of the column.
    """

    outputs = 2

    def __init__(self, column: Column) -> None:
        super().__init__()
        self.shift, self.scale = column.mean, column.scale
        self.centre = math.log(max(column.mean, 1e-3))

    def forward(self, raw: Tensor) -> CountUnits:
        log_mean, log_size = raw.float().unbind(-1)
        return CountUnits(
            bounded(log_mean, -20, 20) + self.centre,
            bounded(log_size, -6, 12),
            self.shift,
            self.scale,
        )

    def begin(self, x: Tensor) -> Tensor:
        counts = (x.double() * self.scale + self.shift).clamp_min(0)
        mean, variance = counts.mean().clamp_min(1e-6), counts.var(correction=0)
        size = mean**2 / (variance - mean).clamp_min(1e-4 * mean)
        return torch.stack((mean.log() - self.centre, size.log())).float()


def family(column: Column, name: str = "binned") -> ColumnFamily:
    """The family of a column's cells. Raises a VaekitError for an unknown name."""
    if name not in NAMES:
        from vaekit.config import nearest

        raise VaekitError(
            f"there is no likelihood '{name}' for columns{nearest(name, list(NAMES))}"
        )
    present = ClassFamily(column.size) if column.discrete else _measured(column, name)
    return ColumnFamily(present, column.missing)


def _measured(column: Column, name: str) -> Present:
    if name == "log-normal" and column.low <= 0:
        name = "binned"
    if name == "counts" and column.kind != "count":
        name = "binned"
    return _MAKERS[name](column)


_MAKERS: dict[str, Callable[[Column], Present]] = {
    "binned": BinnedFamily,
    "gaussian": lambda column: GaussianFamily(),
    "gaussian-shared": lambda column: SharedGaussianFamily(),
    "student-t": lambda column: StudentFamily(),
    "log-normal": LogNormalFamily,
    "counts": CountFamily,
}


class _ModalStudent(StudentT):
    """Student's t with a mode, which torch does not define."""

    @property
    def mode(self) -> Tensor:
        return self.loc


def _log_shares(places: Tensor, count: int) -> Tensor:
    shares = torch.bincount(places, minlength=count).float() + SMOOTH
    return (shares / shares.sum()).log()


def _log_spread(x: Tensor) -> Tensor:
    return x.std(correction=0).clamp_min(1e-2).log()
