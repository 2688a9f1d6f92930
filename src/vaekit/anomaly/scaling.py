"""Columns of any units on one footing: unit variance, and normal scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KNOTS = 256
"""A column's map to normal scores has at most so many corners."""

FARTHEST = 1e6
"""Standard deviations: whatever lies farther out counts as lying there, so that squares stay finite."""


class Scaling(nn.Module):
    """Numbers (N, C) of any units, NaN where missing, to two views of them, (2, N, C) float32.

    The first view is (x - mean) / deviation. The second is the normal score Phi^-1(F(x)) of the rows fitted: F is the
    share of rows below plus half of those equal, read off straight lines between at most `KNOTS` values. Beyond the
    values seen it goes on with slope 1 a standard deviation, so that what is farther out stays farther out.
    A column that never varied has the size of its value as its unit, or 1 if that is 0. No unit is below what is said
    to be the least.
    """

    mean: Tensor
    unit: Tensor
    knots: Tensor
    heights: Tensor

    def __init__(self, columns: int, knots: int = KNOTS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("unit", torch.ones(columns, dtype=torch.float64))
        self.register_buffer("knots", torch.zeros(columns, knots))
        self.register_buffer("heights", torch.zeros(columns, knots))

    def forward(self, x: Tensor) -> Tensor:
        standard = ((x.double() - self.mean) / self.unit).clamp(-FARTHEST, FARTHEST).float()
        return torch.stack((standard, self._scores(standard.T.contiguous()).T))

    @classmethod
    def fitted(cls, x: Tensor, least: Tensor | None = None) -> Scaling:
        """The scaling of the rows x (N, C); `least` (C,) are the smallest units that columns may have."""
        x = x.double()
        scaling = cls(x.shape[1])
        scaling.mean.copy_(x.nanmean(0).nan_to_num(0.0))
        spread = (x - scaling.mean).square().nanmean(0).sqrt().nan_to_num(0.0)
        size = scaling.mean.abs()
        still = torch.where(size > 0, size, 1.0)
        scaling.unit.copy_(torch.where(spread > 1e-12 * size, spread, still))
        if least is not None:
            scaling.unit.copy_(
                torch.maximum(scaling.unit, torch.where(least > 0, least, scaling.unit))
            )
        standard = ((x - scaling.mean) / scaling.unit).clamp(-FARTHEST, FARTHEST).float()
        for c, column in enumerate(standard.T):
            scaling.knots[c], scaling.heights[c] = _corners(
                column[~column.isnan()], scaling.knots.shape[1]
            )
        return scaling

    def _scores(self, x: Tensor) -> Tensor:
        """x (C, N) in standard deviations to normal scores."""
        inside = torch.maximum(torch.minimum(x, self.knots[:, -1:]), self.knots[:, :1])
        right = torch.searchsorted(self.knots, inside).clamp(1, self.knots.shape[1] - 1)
        left_x, right_x = self.knots.gather(1, right - 1), self.knots.gather(1, right)
        left_y, right_y = self.heights.gather(1, right - 1), self.heights.gather(1, right)
        share = (inside - left_x) / (right_x - left_x).clamp_min(1e-12)
        return torch.lerp(left_y, right_y, share) + (x - inside)


def _corners(values: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Where a column's map to normal scores bends, (most,) values and (most,) scores; the last is repeated to fill."""
    if not len(values):
        return torch.zeros(most), torch.zeros(most)
    seen, counts = values.unique(return_counts=True)
    below = (counts.cumsum(0) - counts / 2) / len(values)
    scores = torch.special.ndtri(below.double()).float()
    if len(seen) > most:  # corners evenly spread over the scores, so that the tails have theirs
        wanted = torch.linspace(float(scores[0]), float(scores[-1]), most)
        index = torch.searchsorted(scores, wanted).clamp_max(len(seen) - 1).unique()
        seen, scores = seen[index], scores[index]
    rest = most - len(seen)
    return torch.cat((seen, seen[-1:].expand(rest))), torch.cat((scores, scores[-1:].expand(rest)))
