"""Distributions of numbers on a line that is cut into bins and single values."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Size, Tensor, nn
from torch.distributions import Categorical, Distribution

Shape = Size | list[int] | tuple[int, ...]

TAIL, FARTHEST = 0.01, 1e6
"""The share of the mass of an outermost bin, or of a point of a line of points, that lies at values
never seen, and the largest distance from the seen ones.

Distances are in widths of the bin, or spacings of the points; greater ones count as `FARTHEST`.
"""

SAME = 1e-6
"""A value is at a point if it is as close to it as float32 can tell."""


def _tail(gap: Tensor, width: Tensor) -> Tensor:
    """The log density at a distance `gap` >= 0 from the seen values: width / (width + gap)^2.

    It falls slowly, so that no single value decides the mean over many: -28 nats at `FARTHEST`.
    """
    far = (gap / width).clamp_max(FARTHEST)
    return -2 * torch.log1p(far) - width.log()


class Grid(nn.Module):
    """The line, cut into A single values (points) and B adjacent bins.

    These are K = A + B places in order of value. points (A,), ascending. knots (B, F + 1): each
    bin's quantiles at evenly spaced probabilities, ascending; the last knot of a bin is the first
    of the next. Between two knots the density of a bin is constant. A value outside all bins
    belongs to the nearest bin, which has `TAIL` of its mass out there, in a tail of the bin's width.
    Without bins, a value between points belongs to the nearest point, which has `TAIL` of its mass
    around it: half on each side, evenly as far as the middle to the next point, and in a tail
    beyond the last one. Draws are never outside and never between points.
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
        """log p(x | its place) in nats, (...): of a bin a density, of a point its probability."""
        if not len(self.knots):
            return self._around_point(x, self.order[place])
        bins = self.order[place] - len(self.points)
        knots = self.knots[bins.clamp_min(0)]  # (..., F + 1)
        fine = knots.shape[-1] - 1
        cell = (x[..., None] >= knots[..., 1:-1]).sum(-1, keepdim=True)
        width = knots.diff(dim=-1).gather(-1, cell).squeeze(-1)
        ends = (bins == 0).to(x.dtype) + (bins == len(self.knots) - 1).to(x.dtype)
        inside = torch.log1p(-TAIL * ends) - (fine * width).log()
        gap = torch.maximum(knots[..., 0] - x, x - knots[..., -1])
        outside = math.log(TAIL) + _tail(gap.clamp_min(0), knots[..., -1] - knots[..., 0])
        density = torch.where(gap > 0, outside, inside)
        return torch.where(bins < 0, torch.zeros_like(x), density)

    def _around_point(self, x: Tensor, point: Tensor) -> Tensor:
        """log p(x | the point number `point`) where there are only points."""
        points, near = self.points, self.points[point]
        spacing = (
            (points[-1:] - points[:1]) / max(1, len(points) - 1)
            if len(points) > 1
            else near.new_ones(1)
        )
        halves = torch.cat(
            (spacing, points.diff() / 2, spacing)
        )  # to the left of each point, and of the end
        half = torch.where(x < near, halves[point], halves[point + 1])
        gap = (x - near).abs()
        beyond = (x < points[0]) | (x > points[-1])
        around = math.log(TAIL / 2) + torch.where(beyond, _tail(gap, half), -half.log())
        return torch.where(gap <= SAME * (1 + near.abs()), math.log1p(-TAIL), around)

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
