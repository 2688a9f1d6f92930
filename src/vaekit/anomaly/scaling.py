"""Makes columns of any units comparable: by unit variance, and by normal scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KNOTS = 256
"""The most knots of the piecewise linear map from a column to normal scores."""

FARTHEST = 1e6
"""Values are clipped at this number of standard deviations, so that squares stay finite."""


class Scaling(nn.Module):
    """Two views (2, N, C), float32, of numbers (N, C) in any units, NaN for missing cells.

    The first view is (x - mean) / standard deviation. The second is the normal score Phi^-1(F(x)),
    where F is the share of fitted rows below x plus half of the share of equal ones, interpolated
    linearly between at most `KNOTS` values. Outside the fitted values it continues with slope 1 per
    standard deviation, so that farther values have farther scores. The unit of a constant column is
    the absolute value of its constant, or 1 if that is 0. No unit is below its `least`.
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
    """The knots of a column's map to normal scores: values (most,) and scores (most,). If there are
    fewer, the last one is repeated."""
    if not len(values):
        return torch.zeros(most), torch.zeros(most)
    seen, counts = values.unique(return_counts=True)
    below = (counts.cumsum(0) - counts / 2) / len(values)
    scores = torch.special.ndtri(below.double()).float()
    if len(seen) > most:  # knots evenly spaced in the scores, so that some are in the tails
        wanted = torch.linspace(float(scores[0]), float(scores[-1]), most)
        index = torch.searchsorted(scores, wanted).clamp_max(len(seen) - 1).unique()
        seen, scores = seen[index], scores[index]
    rest = most - len(seen)
    return torch.cat((seen, seen[-1:].expand(rest))), torch.cat((scores, scores[-1:].expand(rest)))
