"""What a trace costs: bounds on log p(x), and objectives made of named terms with schedules.

The bounds are sacred: nothing but the bound is in them. Whatever else a run pays for is a term of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vaekit.trace import Trace

Cost = Callable[[Trace, Tensor], Tensor]
"""A trace and its data to nats per datum, shape (B,) or (S, B)."""

Schedule = Callable[[float], float]
"""The fraction of the run that is done, in [0, 1], to a weight."""


def elbo(trace: Trace, x: Tensor, beta: float = 1.0) -> Tensor:
    """E_q[log p(x|z)] - beta KL(q || p) in nats, shape (B,) or (S, B). Kingma & Welling 2014, eq. 3."""
    return trace.likelihood.log_prob(x) - beta * trace.rate()


def iwae(trace: Trace, x: Tensor) -> Tensor:
    """log 1/S sum_s p(x, z_s) / q(z_s | x) in nats, shape (B,), of a trace with S draws. Burda et al. 2016, eq. 8."""
    log_weight = trace.log_weight(x)
    return torch.logsumexp(log_weight, dim=0) - math.log(log_weight.shape[0])


def distortion(trace: Trace, x: Tensor) -> Tensor:
    """-log p(x|z) in nats per datum."""
    return trace.distortion(x)


def rate(trace: Trace, x: Tensor) -> Tensor:
    """KL(q || p) in nats per datum, summed over the draws, never clipped."""
    return trace.rate()


def negative_iwae(trace: Trace, x: Tensor) -> Tensor:
    """-iwae in nats per datum, shape (B,)."""
    return -iwae(trace, x)


@dataclass(frozen=True)
class Constant:
    """The same weight throughout."""

    weight: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.weight


@dataclass(frozen=True)
class LinearWarmup:
    """From 0 to `weight` over the first `fraction` of the run, then held.

    Step k of n (from 0) sees the progress k / n, so with `fraction` 1 the last step has weight (n - 1) / n of `weight`.
    """

    weight: float = 1.0
    fraction: float = 0.1

    def __call__(self, progress: float) -> float:
        return self.weight if progress >= self.fraction else self.weight * progress / self.fraction


@dataclass(frozen=True)
class Cyclical:
    """`cycles` rises from 0 to `weight`, each over the first `rise` of its cycle, then held. Fu et al. 2019.

    With `rise` 1 a cycle ends a step short of `weight`, as `LinearWarmup` does.
    """

    weight: float = 1.0
    cycles: int = 4
    rise: float = 0.5

    def __call__(self, progress: float) -> float:
        if progress >= 1:
            return self.weight
        within = progress * self.cycles % 1
        return self.weight * min(1.0, within / self.rise)


@dataclass(frozen=True)
class Term:
    """A cost and its weight over the run."""

    cost: Cost
    schedule: Schedule = field(default_factory=Constant)


@dataclass(frozen=True)
class Objective:
    """A weighted sum of named costs, each in nats per datum; a term of weight 0 is only logged.

    `draws` is how many latents per datum the costs want: () for one, (S,) for S.
    """

    terms: Mapping[str, Term]
    draws: tuple[int, ...] = ()

    def weights(self, progress: float) -> list[float]:
        """The weight of every term when `progress` in [0, 1] of the run is done."""
        return [term.schedule(progress) for term in self.terms.values()]

    def costs(self, trace: Trace, x: Tensor) -> Tensor:
        """The mean of every term over the batch, shape (len(terms),)."""
        return torch.stack([term.cost(trace, x).mean() for term in self.terms.values()])


def beta_elbo(beta: Schedule | float = 1.0, draws: tuple[int, ...] = ()) -> Objective:
    """distortion + beta rate. Higgins et al. 2017, eq. 4; beta = 1 is the negative ELBO."""
    schedule = beta if callable(beta) else Constant(beta)
    return Objective({"distortion": Term(distortion), "rate": Term(rate, schedule)}, draws)


def importance_weighted(draws: int) -> Objective:
    """The negative importance-weighted bound of `draws` draws; distortion and rate are logged beside it."""
    watched = Constant(0.0)
    terms = {"iwae": Term(negative_iwae), "distortion": Term(distortion, watched), "rate": Term(rate, watched)}
    return Objective(terms, (draws,))
