"""What a trace costs: bounds on log p(x), and objectives made of named terms with schedules.

A bound contains nothing but the bound. Everything else that a run optimises is a separate term.
Where a paper changes only the gradient of a bound (sticking the landing, DReG), the value stays
that of the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, Normal

from vaekit.core.trace import Draw, Trace

Cost = Callable[[Trace, Tensor], Tensor]
"""Maps a trace and its data to nats per datum, shape (B,) or (S, B), or () for a whole batch."""

Schedule = Callable[[float], float]
"""Maps the fraction of the run that is done, in [0, 1], to a weight."""


def elbo(trace: Trace, x: Tensor, beta: float = 1.0) -> Tensor:
    """E_q[log p(x|z)] - beta KL(q || p) in nats, shape (B,) or (S, B). Kingma & Welling 2014, eq. 3."""
    return trace.likelihood.log_prob(x) - beta * trace.rate()


def iwae(trace: Trace, x: Tensor) -> Tensor:
    """log 1/S sum_s p(x, z_s) / q(z_s | x) in nats, shape (B,), of a trace with S draws. Burda et al. 2016, eq. 8."""
    log_weight = trace.log_weight(x)
    return torch.logsumexp(log_weight, dim=0) - math.log(log_weight.shape[0])


def miwae(trace: Trace, x: Tensor, groups: int) -> Tensor:
    """The mean of `groups` bounds `iwae` in nats, shape (B,), for a trace with S draws.

    Each bound uses S / groups of the draws: 1/M sum_m log 1/K sum_k w_mk, S = M K. Rainforth et al.
    2018, section 4. A larger K tightens the bound; a larger M makes the encoder's gradient less
    noisy.
    """
    log_weight = trace.log_weight(x)  # (M K, B)
    draws = log_weight.shape[0]
    if groups < 1 or draws % groups:
        raise ValueError(f"{draws} draws cannot be split into {groups} equal groups")
    each = torch.logsumexp(log_weight.unflatten(0, (groups, -1)), dim=1) - math.log(
        draws // groups
    )  # (M, B)
    return each.mean(0)


def ciwae(trace: Trace, x: Tensor, weight: float) -> Tensor:
    """weight ELBO + (1 - weight) IWAE in nats, shape (B,), for a trace with S draws.

    The ELBO is averaged over the draws. Rainforth et al. 2018, section 4.
    """
    return weight * elbo(trace, x).mean(0) + (1 - weight) * iwae(trace, x)


def dreg(trace: Trace, x: Tensor) -> Tensor:
    """`iwae` in nats, shape (B,), with the doubly reparameterised gradient.

    Tucker et al. 2019, section 3. With v_s = w_s / sum_r w_r and q's parameters phi: grad_phi =
    sum_s v_s^2 (d log w_s / d z_s) (d z_s / d phi). Its mean is that of IWAE's gradient, but its
    signal is not lost in noise as S grows. All other parameters (also those of a prior that is made
    of the encoder) have IWAE's own gradient, sum_s v_s grad log w_s.

    One factor v_s comes from the logarithm of the sum. The other comes from a hook on the trace's
    z, which multiplies every gradient that flows back to z. So call this once per trace, and
    optimise no other term that depends on z. If a compiler splits the graph between z and this
    bound, the hook misses the decoder's gradient: see `Objective.one_graph`.
    """
    if len(trace.draws) != 1:
        raise ValueError(
            f"the doubly reparameterised gradient is defined for one latent, but this model has {len(trace.draws)}; "
            "train it with the iwae or with sticking the landing"
        )
    (draw,) = trace.draws
    log_weight = trace.likelihood.log_prob(x) - _path_rate(draw)  # (S, B)
    share = torch.softmax(log_weight.detach(), dim=0)
    if draw.z.requires_grad:
        draw.z.register_hook(
            lambda slope: (
                slope * share.reshape(share.shape + (1,) * len(draw.posterior.event_shape))
            )
        )
    return torch.logsumexp(log_weight, dim=0) - math.log(log_weight.shape[0])


@singledispatch
def detached(q: Distribution) -> Distribution:
    """The same distribution with detached parameters: only the gradient through the draw remains.

    Register a type here, or give it a method `detached`. Raises ValueError if draws are not
    reparameterised by the parameters, because the remaining gradient would not have the right mean.
    """
    if hasattr(q, "detached"):
        return q.detached()
    raise ValueError(
        "this gradient needs a posterior whose draws are reparameterised by a mean and a scale, as with a normal "
        "one; train this model with the elbo, or give it a normal posterior"
    )


@detached.register(Normal)
@detached.register(Laplace)
def _(q: Normal | Laplace) -> Distribution:
    return type(q)(q.loc.detach(), q.scale.detach(), validate_args=False)


@detached.register(Independent)
def _(q: Independent) -> Distribution:
    return Independent(detached(q.base_dist), q.reinterpreted_batch_ndims, validate_args=False)


def distortion(trace: Trace, x: Tensor) -> Tensor:
    """-log p(x|z) in nats per datum."""
    return trace.distortion(x)


def rate(trace: Trace, x: Tensor) -> Tensor:
    """KL(q || p) in nats per datum, summed over the latents of the trace, never clipped."""
    return trace.rate()


def path_rate(trace: Trace, x: Tensor) -> Tensor:
    """log q(z|x) - log p(z) at the draws in nats, shape (B,) or (S, B), with q detached.

    This estimates the rate, with the gradient of "sticking the landing" (Roeder et al. 2017,
    section 3): q's parameters get theirs through the draw only. The part that is left out, the
    score of q at its own draw, has mean zero, even if a posterior depends on earlier draws. With a
    single latent and the exact posterior, the rest of the bound's gradient in q is zero for every
    draw.
    """
    return sum((_path_rate(draw) for draw in trace.draws[1:]), start=_path_rate(trace.draws[0]))


def _path_rate(draw: Draw) -> Tensor:
    return detached(draw.posterior).log_prob(draw.z) - draw.prior.log_prob(draw.z)


def negative_dreg(trace: Trace, x: Tensor) -> Tensor:
    """-dreg in nats per datum, shape (B,)."""
    return -dreg(trace, x)


def negative_iwae(trace: Trace, x: Tensor) -> Tensor:
    """-iwae in nats per datum, shape (B,)."""
    return -iwae(trace, x)


@dataclass(frozen=True)
class Constant:
    """The same weight throughout the run."""

    weight: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.weight


@dataclass(frozen=True)
class LinearWarmup:
    """Rises from 0 to `weight` over the first `fraction` of the run, then stays constant.

    Step k of n (from 0) has the progress k / n, so with `fraction` 1 the last step has (n - 1) / n
    of `weight`.
    """

    weight: float = 1.0
    fraction: float = 0.1

    def __call__(self, progress: float) -> float:
        return self.weight if progress >= self.fraction else self.weight * progress / self.fraction


@dataclass(frozen=True)
class Cyclical:
    """`cycles` cycles: each rises from 0 to `weight` over its first `rise`, then stays.

    Fu et al. 2019. With `rise` 1 a cycle ends one step before `weight`, as `LinearWarmup` does.
    """

    weight: float = 1.0
    cycles: int = 4
    rise: float = 0.5

    def __call__(self, progress: float) -> float:
        if progress >= 1:
            return self.weight
        within = progress * self.cycles % 1
        return self.weight * min(1.0, within / self.rise)


WATCHED = Constant(0.0)
"""The schedule of a term that is logged but not optimised."""


@dataclass(frozen=True)
class Term:
    """A cost and its weight over the run."""

    cost: Cost
    schedule: Schedule = field(default_factory=Constant)


@dataclass(frozen=True)
class Objective:
    """A weighted sum of named costs, each in nats per datum. A term of weight 0 is only logged.

    `draws` is the number of draws per datum that the costs need: () for one, (S,) for S.
    """

    terms: Mapping[str, Term]
    draws: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        paid = [term.cost for term in self.terms.values() if term.schedule != WATCHED]
        if negative_dreg in paid and len(paid) > 1:
            raise ValueError(
                "the doubly reparameterised gradient (dreg) changes every gradient that flows back to the latents, "
                "so no other term can have a weight beside it; use the iwae instead"
            )

    @property
    def one_graph(self) -> bool:
        """Whether a compiled step must be one graph (`fullgraph=True`) for a correct gradient."""
        return any(term.cost is negative_dreg for term in self.terms.values())

    def weights(self, progress: float) -> list[float]:
        """The weight of every term at `progress`, the fraction of the run done, in [0, 1]."""
        return [term.schedule(progress) for term in self.terms.values()]

    def costs(self, trace: Trace, x: Tensor) -> Tensor:
        """The mean of every term over the batch, shape (len(terms),)."""
        return torch.stack([term.cost(trace, x).mean() for term in self.terms.values()])

    def plus(self, name: str, term: Term) -> Objective:
        """This objective with one more term."""
        if name in self.terms:
            raise ValueError(f"the objective already has a term '{name}'")
        return replace(self, terms={**self.terms, name: term})

    def watching(self, name: str) -> Objective:
        """This objective with the term `name` only logged, because another term replaces it."""
        if name not in self.terms or self.terms[name].schedule == WATCHED:
            raise ValueError(
                f"the objective has no optimised term '{name}', so nothing can replace it"
            )
        return replace(
            self, terms={**self.terms, name: replace(self.terms[name], schedule=WATCHED)}
        )


def beta_elbo(beta: Schedule | float = 1.0, draws: tuple[int, ...] = ()) -> Objective:
    """distortion + beta rate. Higgins et al. 2017, eq. 4; beta = 1 is the negative ELBO."""
    return Objective({"distortion": Term(distortion), "rate": Term(rate, _schedule(beta))}, draws)


def sticking_the_landing(beta: Schedule | float = 1.0, draws: tuple[int, ...] = ()) -> Objective:
    """distortion + beta path_rate: the ELBO by Roeder et al. 2017.

    The closed-form rate is logged too.
    """
    terms = {
        "distortion": Term(distortion),
        "path_rate": Term(path_rate, _schedule(beta)),
        "rate": Term(rate, WATCHED),
    }
    return Objective(terms, draws)


def importance_weighted(draws: int) -> Objective:
    """The negative importance-weighted bound of `draws` draws.

    Distortion and rate are logged too.
    """
    return _bound("iwae", negative_iwae, draws)


def multiply_weighted(groups: int, draws: int) -> Objective:
    """The negative mean of `groups` importance-weighted bounds, each with its own `draws` draws."""
    return _bound("miwae", lambda trace, x: -miwae(trace, x, groups), groups * draws)


def convexly_weighted(draws: int, weight: float = 0.5) -> Objective:
    """The negative `ciwae`: `weight` ELBO + (1 - `weight`) IWAE, with `draws` draws."""
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of the ELBO must lie between 0 and 1, got {weight:g}")
    return _bound("ciwae", lambda trace, x: -ciwae(trace, x, weight), draws)


def doubly_reparameterised(draws: int) -> Objective:
    """The negative importance-weighted bound of `draws` draws with the gradient of `dreg`."""
    return _bound("dreg", negative_dreg, draws)


def _bound(name: str, cost: Cost, draws: int) -> Objective:
    if draws < 1:
        raise ValueError(f"a bound needs at least one draw, got {draws}")
    terms = {name: Term(cost), "distortion": Term(distortion, WATCHED), "rate": Term(rate, WATCHED)}
    return Objective(terms, (draws,))


def _schedule(weight: Schedule | float) -> Schedule:
    return weight if callable(weight) else Constant(weight)
