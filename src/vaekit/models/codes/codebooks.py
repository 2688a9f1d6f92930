"""Codebooks: modules that replace features (B, D, *grid) by the nearest of K codes.

The T = prod(grid) * depth codes of a datum are in the grid's row-major order, with the levels of a
position side by side. Everything runs in float32, even under autocast.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

CELLS = 2**26
"""The largest number of distances between features and codes that are in memory at a time."""

POINTS_PER_CODE = 64
"""The number of features per code that k-means uses; more do not improve it."""


class Quantised(NamedTuple):
    """The result of a codebook for features (B, D, *grid)."""

    z: Tensor
    """(B, D, *grid): exactly the codes; the gradient goes straight through to the features."""
    indices: Tensor
    """(B, T), int64."""
    commitment: Tensor
    """(B,): squared distance of the features from their codes; trains the features only."""
    codebook_cost: Tensor
    """(B,): the same distance; trains the codes only. It is 0 if they do not learn by gradient."""


class AnyCodebook(nn.Module, ABC):
    """`size` K codes of `dim` D numbers; `depth` of them are summed at each position."""

    def __init__(self, size: int, dim: int, depth: int = 1) -> None:
        super().__init__()
        self.size, self.dim, self.depth = size, dim, depth

    @abstractmethod
    def forward(self, features: Tensor) -> Quantised:
        """Replace features (B, D, *grid) by their codes."""

    @abstractmethod
    def indices(self, z: Tensor) -> Tensor:
        """(N, D, *grid) -> (N, T): the codes of quantised features."""

    @abstractmethod
    def lookup(self, indices: Tensor, grid: Sequence[int]) -> Tensor:
        """(N, T) -> (N, D, *grid): the quantised features of codes."""

    @abstractmethod
    def fit(self, features: Tensor) -> None:
        """Look at features (N, D, *grid) of the data once, before training."""


class Codebook(AnyCodebook):
    """K codes that follow the features by moving averages. Van den Oord et al. 2017, appendix A.1.

    Of N features, n_k are nearest to code e_k, and their sum is s_k. In training, after the codes
    were looked up:

        usage_k <- d usage_k + (1 - d) n_k / N,    sums_k <- d sums_k + (1 - d) s_k / N,
        e_k = sums_k / usage_k

    The usage in the last line is Laplace-smoothed by `SMOOTHING` fair shares 1/K. Then each code
    whose usage is below `revive` fair shares is replaced by a feature of the batch, drawn with
    probability proportional to its squared distance from its own code. The new code starts with
    `GRANT` times that usage, which fades in ln(GRANT) / (1 - d) steps if no features come to it.
    Usage is a fraction of the batch, so the batch size does not matter. Counts and sums are those
    of all processes.
    """

    SMOOTHING, GRANT = 1e-5, 2.0

    codes: Tensor
    usage: Tensor
    sums: Tensor

    def __init__(self, size: int, dim: int, decay: float = 0.99, revive: float = 0.1) -> None:
        super().__init__(size, dim)
        self.decay, self.revive = decay, revive
        self._granted = max(self.GRANT * revive, self.SMOOTHING) / size
        self.register_buffer("codes", torch.empty(size, dim).uniform_(-1 / size, 1 / size))
        self.register_buffer(
            "usage", torch.zeros(size)
        )  # so that all codes are revived if `fit` was not called
        self.register_buffer("sums", torch.zeros(size, dim))

    def forward(self, features: Tensor) -> Quantised:
        features = features.float()
        indices = nearest(_rows(features, self.dim), self.codes)
        found = _grid(F.embedding(indices, self.codes), features.shape)
        commitment = _squares(features - found)
        if self.training:
            self._follow(_rows(features.detach(), self.dim), _rows(found, self.dim), indices)
        z = straight_through(found, features)
        return Quantised(z, indices.view(len(z), -1), commitment, torch.zeros_like(commitment))

    def indices(self, z: Tensor) -> Tensor:
        """(N, D, *grid) -> (N, T): the nearest codes."""
        return nearest(_rows(z, self.dim), self.codes).view(len(z), -1)

    def lookup(self, indices: Tensor, grid: Sequence[int]) -> Tensor:
        """(N, T) -> (N, D, *grid)."""
        return _lookup(self.codes, indices, grid)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set the codes by k-means on features (N, D, *grid)."""
        self._reset(k_means(_rows(features.float(), self.dim), self.size))

    def _reset(self, codes: Tensor) -> None:
        self.codes.copy_(codes)
        self.usage.fill_(self._granted)
        self.sums.copy_(codes * self._granted)

    @torch.no_grad()
    def _follow(self, points: Tensor, found: Tensor, indices: Tensor) -> None:
        counts, sums = tally(points, indices, self.size)
        picked = points[far_from_code((points - found).square().sum(1), self.size)]
        counts, sums, picked = _shared(counts, sums, picked)
        usage = self.usage.lerp(counts / counts.sum(), 1 - self.decay)
        sums = self.sums.lerp(sums / counts.sum(), 1 - self.decay)
        codes = sums / _smoothed(usage, self.SMOOTHING / self.size)[:, None]
        dead = (
            usage < self.revive / self.size
        )  # after the update, which would overwrite the new codes
        self.codes.copy_(torch.where(dead[:, None], picked, codes))
        self.sums.copy_(torch.where(dead[:, None], picked * self._granted, sums))
        self.usage.copy_(torch.where(dead, self._granted, usage))


class LearnedCodebook(AnyCodebook):
    """K codes that learn by gradient, from the codebook cost only. Van den Oord et al. 2017, eq. 3."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__(size, dim)
        self.codes = nn.Parameter(torch.empty(size, dim).uniform_(-1 / size, 1 / size))

    def forward(self, features: Tensor) -> Quantised:
        features = features.float()
        indices = nearest(_rows(features, self.dim), self.codes.detach())
        found = _grid(F.embedding(indices, self.codes), features.shape)
        z = straight_through(found, features)
        commitment, cost = _squares(features - found.detach()), _squares(features.detach() - found)
        return Quantised(z, indices.view(len(z), -1), commitment, cost)

    def indices(self, z: Tensor) -> Tensor:
        """(N, D, *grid) -> (N, T): the nearest codes."""
        return nearest(_rows(z, self.dim), self.codes.detach()).view(len(z), -1)

    def lookup(self, indices: Tensor, grid: Sequence[int]) -> Tensor:
        """(N, T) -> (N, D, *grid)."""
        return _lookup(self.codes, indices, grid)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set the codes by k-means on features (N, D, *grid)."""
        self.codes.copy_(k_means(_rows(features.float(), self.dim), self.size))


class ResidualCodebook(AnyCodebook):
    """`depth` codebooks, each for the residual of those before it: z = sum_d e_d.

    Zeghidour et al. 2021, algorithm 1. The commitment is the sum over levels of the squared
    distance that is left (Lee et al. 2022, eq. 7).
    """

    BEAM = 16

    def __init__(
        self, depth: int, size: int, dim: int, decay: float = 0.99, revive: float = 0.1
    ) -> None:
        super().__init__(size, dim, depth)
        self.levels = nn.ModuleList(Codebook(size, dim, decay, revive) for _ in range(depth))

    def forward(self, features: Tensor) -> Quantised:
        features = features.float()
        rest, found = features, []
        for level in self.levels:
            found.append(level(rest))
            rest = rest - found[-1].z.detach()
        z = straight_through(torch.stack([part.z.detach() for part in found]).sum(0), features)
        commitment, cost = (torch.stack([part[i] for part in found]).sum(0) for i in (2, 3))
        return Quantised(
            z, torch.stack([part.indices for part in found], dim=2).flatten(1), commitment, cost
        )

    def indices(self, z: Tensor) -> Tensor:
        """(N, D, *grid) -> (N, T): the codes whose sum is nearest to z.

        This is a beam search of width `BEAM`. Taking the nearest code at each level would not
        always recover the codes of a sum.
        """
        rest = _rows(z.float(), self.dim)[:, None]  # (M, beam, D)
        path = rest.new_zeros((len(rest), 1, 0), dtype=torch.long)
        for level in self.levels:
            codes = cast(Codebook, level).codes
            gaps = torch.cdist(rest, codes).flatten(1)  # (M, beam * K)
            best = gaps.topk(min(self.BEAM, gaps.shape[1]), largest=False).indices
            parent, code = best // self.size, best % self.size
            path = torch.cat((path.take_along_dim(parent[..., None], 1), code[..., None]), dim=2)
            rest = rest.take_along_dim(parent[..., None], 1) - codes[code]
        winner = rest.square().sum(2).argmin(1)
        return path[torch.arange(len(path), device=path.device), winner].view(len(z), -1)

    def lookup(self, indices: Tensor, grid: Sequence[int]) -> Tensor:
        """(N, T) -> (N, D, *grid)."""
        parts = indices.unflatten(1, (-1, self.depth)).unbind(2)
        return torch.stack(
            [cast(Codebook, c).lookup(i, grid) for c, i in zip(self.levels, parts, strict=True)]
        ).sum(0)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set the codes of each level by k-means on the residual of the levels before it."""
        rest = features.float()
        for level in cast(list[Codebook], self.levels):
            level.fit(rest)
            rest = rest - level.lookup(level.indices(rest), rest.shape[2:])


class ScalarCodebook(AnyCodebook):
    """Finite scalar quantisation: channel i is squashed and rounded to L_i values.

    Mentzer et al. 2024, section 3.1. u_i = (1 + e) (L_i - 1) / 2 tanh(f_i + s_i) - o_i and z_i =
    round(u_i) / floor(L_i / 2), with e = `MARGIN`. For even L_i, o_i = 1/2 and s_i is such that f_i
    = 0 gives u_i = 0; for odd L_i, both are 0. There are K = prod(L_i) codes; nothing is learned,
    so nothing can collapse. The gradient passes through the rounding. Levels below 5 learn poorly
    (section 4.1). With 2, a feature would have to pass -3.8 to change its value, so 2 is refused.
    """

    MARGIN = 1e-3

    levels: Tensor
    strides: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__(math.prod(levels), len(levels))
        if not levels or min(levels) < 3 or max(levels) > 255:
            raise ValueError(
                f"levels must be one or more whole numbers from 3 to 255, got {list(levels)}"
            )
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        strides = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def forward(self, features: Tensor) -> Quantised:
        flat = features.float().reshape(*features.shape[:2], -1)
        self._check(flat)
        half = self.levels[:, None] // 2
        raw = self._squashed(flat)
        z = straight_through(raw.round() / half, raw / half).reshape(features.shape)
        nothing = torch.zeros_like(flat[:, 0, 0])
        return Quantised(z, self._indices(raw.round()), nothing, nothing)

    def indices(self, z: Tensor) -> Tensor:
        """(N, D, *grid) -> (N, T), for z on the grid of codes."""
        flat = z.float().reshape(*z.shape[:2], -1)
        return self._indices((flat * (self.levels[:, None] // 2)).round())

    def lookup(self, indices: Tensor, grid: Sequence[int]) -> Tensor:
        """(N, T) -> (N, D, *grid)."""
        levels, strides = self.levels[:, None], self.strides[:, None]
        digits = indices[:, None] // strides % levels
        return ((digits - levels // 2) / (levels // 2)).reshape(len(indices), self.dim, *grid)

    def fit(self, features: Tensor) -> None:
        """Does nothing, because the codes are fixed."""

    def _squashed(self, features: Tensor) -> Tensor:
        levels = self.levels[:, None]
        reach = (levels - 1) * (1 + self.MARGIN) / 2
        offset = 0.5 * (levels % 2 == 0)
        return torch.tanh(features + torch.atanh(offset / reach)) * reach - offset

    def _indices(self, rounded: Tensor) -> Tensor:
        digits = rounded.long() + self.levels[:, None] // 2
        return (digits * self.strides[:, None]).sum(1)

    def _check(self, flat: Tensor) -> None:
        if flat.shape[1] != self.dim:
            raise ValueError(
                f"{self.dim} levels need features of {self.dim} channels, got {flat.shape[1]}"
            )


def straight_through(value: Tensor, carrier: Tensor) -> Tensor:
    """Exactly `value`, but its gradient goes to `carrier` instead (Bengio et al. 2013)."""
    return value.detach() + (carrier - carrier.detach())


def nearest(points: Tensor, codes: Tensor) -> Tensor:
    """The index of the code (K, D) nearest to each point (M, D), shape (M,).

    It is argmin_k |e_k|^2 / 2 - <x, e_k>.
    """
    with torch.no_grad(), torch.autocast(points.device.type, enabled=False):
        points, codes = points.float(), codes.float()
        middle = codes.mean(
            0
        )  # far from the origin, differences of large numbers would lose digits
        points, codes = points - middle, codes - middle
        half = codes.square().sum(1) / 2
        few = max(1, CELLS // len(codes))
        return torch.cat(
            [torch.addmm(half, part, codes.T, alpha=-1).argmin(1) for part in points.split(few)]
        )


def tally(points: Tensor, indices: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many points (M, D) have each index, shape (size,), and their sums, shape (size, D)."""
    counts = points.new_zeros(size).index_add(0, indices, torch.ones_like(points[:, 0]))
    return counts, points.new_zeros(size, points.shape[1]).index_add(0, indices, points)


def far_from_code(squares: Tensor, count: int) -> Tensor:
    """`count` indices of points, drawn (with repetition) in proportion to their squares (M,).

    The squares are squared distances from their codes.
    """
    heights = (squares.double() + 1e-12).cumsum(0)
    throws = torch.rand(count, device=squares.device, dtype=torch.float64) * heights[-1]
    return torch.searchsorted(heights, throws).clamp_max(len(squares) - 1)


def k_means(points: Tensor, size: int, rounds: int = 10) -> Tensor:
    """`size` centres (size, D) of points (M, D) by Lloyd's algorithm.

    An empty cluster moves to a far point. The start is points that are far from each other. In each
    round as many are added as there are already, drawn in proportion to their squared distances
    from those (Arthur & Vassilvitskii 2007 draw one at a time).
    """
    points = points[torch.randperm(len(points), device=points.device)[: POINTS_PER_CODE * size]]
    centres = points[:1]
    while len(centres) < size:
        new = _far(
            points, centres, nearest(points, centres), min(len(centres), size - len(centres))
        )
        centres = torch.cat((centres, new))
    for _ in range(rounds):
        indices = nearest(points, centres)
        counts, sums = tally(points, indices, size)
        far = _far(points, centres, indices, size)
        centres = torch.where((counts > 0)[:, None], sums / counts.clamp_min(1)[:, None], far)
    return centres


def _far(points: Tensor, codes: Tensor, indices: Tensor, count: int) -> Tensor:
    return points[far_from_code((points - codes[indices]).square().sum(1), count)]


def _shared(counts: Tensor, sums: Tensor, picked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Counts and sums over all processes, and the first process's picks, in one exchange."""
    if not (dist.is_available() and dist.is_initialized()):
        return counts, sums, picked
    both = torch.cat(
        (counts[:, None], sums, picked if dist.get_rank() == 0 else torch.zeros_like(picked)), dim=1
    )
    dist.all_reduce(both)
    sums, picked = both[:, 1:].chunk(2, dim=1)
    return both[:, 0], sums, picked


def _smoothed(usage: Tensor, little: float) -> Tensor:
    """Laplace smoothing: adds a little to each share and keeps their sum."""
    total = usage.sum()
    return (usage + little) / (total + little * len(usage)) * total


def _rows(features: Tensor, dim: int) -> Tensor:
    """(B, D, *grid) -> (B * positions, D)."""
    if features.shape[1] != dim:
        raise ValueError(
            f"codes of {dim} numbers need features of {dim} channels, got {features.shape[1]}"
        )
    return features.reshape(*features.shape[:2], -1).transpose(1, 2).reshape(-1, dim)


def _grid(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """(B * positions, D) -> (B, D, *grid)."""
    return rows.view(shape[0], -1, shape[1]).transpose(1, 2).reshape(tuple(shape))


def _lookup(codes: Tensor, indices: Tensor, grid: Sequence[int]) -> Tensor:
    return _grid(F.embedding(indices.flatten(), codes), (len(indices), codes.shape[1], *grid))


def _squares(difference: Tensor) -> Tensor:
    """(B, ...) -> (B,): the summed squares."""
    return difference.square().flatten(1).sum(1)
