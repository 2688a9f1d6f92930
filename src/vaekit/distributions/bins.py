"""Distributions of numbers on a line that is cut into bins and single values."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Size, Tensor, nn
from torch.distributions import Categorical, Distribution

Shape = Size | list[int] | tuple[int, ...]

TAIL, FARTHEST = 0.01, 1e6
"""The share of an outermost bin's mass that lies beyond all seen values, and the largest distance.

Distances are in widths of the bin; greater ones count as `FARTHEST`.
"""


def _tail(gap: Tensor, width: Tensor, inside: Tensor, per_unit: bool = False) -> Tensor:
    """`inside` where `gap`, the distance to the seen values, is 0; else the log of a falling tail.

    The tail has the mass `TAIL`. It is a density if `per_unit`, else a probability.
    """
    far = (gap / width).clamp_max(FARTHEST)
    outside = math.log(TAIL) - far - (width.log() if per_unit else 0.0)
    return torch.where(far > 1e-4, outside, inside)


class Grid(nn.Module):
    """The line, cut into A single values (points) and B adjacent bins.

    These are K = A + B places in order of value. points (A,), ascending. knots (B, F + 1): each
    bin's quantiles at evenly spaced probabilities, ascending; the last knot of a bin is the first
    of the next. Between two knots the density of a bin is constant. A value outside all bins
    belongs to the nearest bin, which has `TAIL` of its mass out there: an exponential tail as wide
    as the bin. Without bins, a value between points belongs to the nearest point, with a very low
    probability. Draws are never outside.
    """

    points: Tensor
    knots: Tensor
    order: Tensor
    rank: Tensor

    def __init__(self, points: Tensor, knots: Tensor) -> None:
        super().__init__()
        size = knots.shape[1]
        medians = (knots[:, (size - 1) // 2] + knots[:, size // 2]) / 2
        order = torch.argsort(torch.cat((points, medians)), stable=True)
        self.register_buffer("points", points)
        self.register_buffer("knots", knots)
        self.register_buffer("order", order)  # place -> index (points before bins)
        self.register_buffer("rank", torch.argsort(order))  # index -> place

    def __len__(self) -> int:
        return len(self.order)

    def place(self, x: Tensor) -> Tensor:
        """The places (...) of finite values x (...)."""
        x = x.contiguous()
        if not len(self.knots):
            return self.rank[self._nearest_point(x)]
        number = len(self.points) + torch.searchsorted(
            self.knots[1:, 0].contiguous(), x, right=True
        )
        if len(self.points):
            point = torch.searchsorted(self.points, x).clamp_max(len(self.points) - 1)
            number = torch.where(self.points[point] == x, point, number)
        return self.rank[number]

    def log_density(self, x: Tensor, place: Tensor) -> Tensor:
        """log p(x | its place) in nats, (...): 0 at a point."""
        if not len(self.knots):
            near = self.points[self.order[place]]
            step = self.points.diff().amin() if len(self.points) > 1 else torch.ones_like(near)
            return _tail((x - near).abs(), step, torch.zeros_like(x))
        bins = self.order[place] - len(self.points)
        knots = self.knots[bins.clamp_min(0)]  # (..., F + 1)
        fine = knots.shape[-1] - 1
        cell = (x[..., None] >= knots[..., 1:-1]).sum(-1, keepdim=True)
        width = knots.diff(dim=-1).gather(-1, cell).squeeze(-1)
        ends = (bins == 0).to(x.dtype) + (bins == len(self.knots) - 1).to(x.dtype)
        inside = torch.log1p(-TAIL * ends) - (fine * width).log()
        gap = torch.maximum(knots[..., 0] - x, x - knots[..., -1])
        density = _tail(gap, knots[..., -1] - knots[..., 0], inside, per_unit=True)
        return torch.where(bins < 0, torch.zeros_like(x), density)

    def draw(self, place: Tensor) -> Tensor:
        """A value (...) at each place (...)."""
        return self._at(place, torch.rand(place.shape, device=place.device))

    def middle(self, place: Tensor) -> Tensor:
        """The point, or the median of the bin, at each place (...)."""
        return self._at(place, torch.full(place.shape, 0.5, device=place.device))

    def _at(self, place: Tensor, u: Tensor) -> Tensor:
        """The values (...) below which a share u (...) of the mass of each place lies."""
        number = self.order[place]
        if not len(self.knots):
            return self.points[number]
        knots = self.knots[(number - len(self.points)).clamp_min(0)]
        step = u * (knots.shape[-1] - 1)
        cell = step.long().clamp_max(knots.shape[-1] - 2)[..., None]
        low, high = knots.gather(-1, cell).squeeze(-1), knots.gather(-1, cell + 1).squeeze(-1)
        value = torch.lerp(low, high, step - cell.squeeze(-1))
        if not len(self.points):
            return value
        return torch.where(
            number < len(self.points), self.points[number.clamp_max(len(self.points) - 1)], value
        )

    def _nearest_point(self, x: Tensor) -> Tensor:
        return torch.searchsorted((self.points[1:] + self.points[:-1]) / 2, x)


class Binned(Distribution):
    """A number on a grid: p(x) = softmax(logits)_k p(x | k), k the place of x; logits (..., K)."""

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, logits: Tensor, grid: Grid) -> None:
        self.logits, self.grid = logits.float(), grid
        super().__init__(logits.shape[:-1], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        place = self.grid.place(value)
        return pick(self.logits, place) + self.grid.log_density(value, place)

    def sample(self, sample_shape: Shape = Size()) -> Tensor:
        with torch.no_grad():
            return self.grid.draw(
                Categorical(logits=self.logits, validate_args=False).sample(Size(sample_shape))
            )

    @property
    def mean(self) -> Tensor:
        """The mean of the places' middles (points, and medians of bins)."""
        places = torch.arange(len(self.grid), device=self.logits.device)
        return self.logits.softmax(-1) @ self.grid.middle(places)

    @property
    def mode(self) -> Tensor:
        """The middle of the most likely place."""
        return self.grid.middle(self.logits.argmax(-1))


def pick(logits: Tensor, index: Tensor) -> Tensor:
    """log softmax(logits)_index; the leading axes of logits (..., K) and index (...) broadcast."""
    batch = torch.broadcast_shapes(logits.shape[:-1], index.shape)
    chosen = logits.expand(*batch, -1).gather(-1, index.expand(batch)[..., None]).squeeze(-1)
    return chosen - torch.logsumexp(logits, dim=-1)
