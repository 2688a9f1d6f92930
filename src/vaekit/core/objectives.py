"""What a trace costs: bounds on log p(x), and objectives made of named terms with schedules.

The bounds are sacred: nothing but the bound is in them. Whatever else a run pays for is a term of its own. Where a
paper changes only how a bound is differentiated (sticking the landing, DReG), the value stays the bound's.
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
"""A trace and its data to nats per datum, shape (B,) or (S, B); or (), of costs that only a whole batch has."""

Schedule = Callable[[float], float]
"""The fraction of the run that is done, in [0, 1], to a weight."""


def elbo(trace: Trace, x: Tensor, beta: float = 1.0) -> Tensor:
    """E_q[log p(x|z)] - beta KL(q || p) in nats, shape (B,) or (S, B). Kingma & Welling 2014, eq. 3."""
    return trace.likelihood.log_prob(x) - beta * trace.rate()


def iwae(trace: Trace, x: Tensor) -> Tensor:
    """log 1/S sum_s p(x, z_s) / q(z_s | x) in nats, shape (B,), of a trace with S draws. Burda et al. 2016, eq. 8."""
    log_weight = trace.log_weight(x)
    return torch.logsumexp(log_weight, dim=0) - math.log(log_weight.shape[0])


def miwae(trace: Trace, x: Tensor, groups: int) -> Tensor:
    """The mean of `groups` bounds `iwae` of S / groups draws each, in nats, shape (B,), of a trace with S draws.

    1/M sum_m log 1/K sum_k w_mk, S = M K. Rainforth et al. 2018, section 4. K is what tightens the bound, M what
    quietens the encoder's gradient.
    """
    log_weight = trace.log_weight(x)  # (M K, B)
    draws = log_weight.shape[0]
    if groups < 1 or draws % groups:
        raise ValueError(f"{draws} draws cannot be dealt out to {groups} equal groups")
    each = torch.logsumexp(log_weight.unflatten(0, (groups, -1)), dim=1) - math.log(
        draws // groups
    )  # (M, B)
    return each.mean(0)


def ciwae(trace: Trace, x: Tensor, weight: float) -> Tensor:
    """weight ELBO + (1 - weight) IWAE in nats, shape (B,), of a trace with S draws, over which the ELBO is averaged.

    Rainforth et al. 2018, section 4.
    """
    return weight * elbo(trace, x).mean(0) + (1 - weight) * iwae(trace, x)


def dreg(trace: Trace, x: Tensor) -> Tensor:
    """`iwae` in nats, shape (B,), with the doubly reparameterised gradient. Tucker et al. 2019, section 3.

    With v_s = w_s / sum_r w_r and q's parameters phi: grad_phi = sum_s v_s^2 (d log w_s / d z_s) (d z_s / d phi), which
    has the mean of IWAE's gradient and whose signal does not drown in noise as S grows; all other parameters (those of
    a prior made of the encoder too) have IWAE's own gradient, sum_s v_s grad log w_s.

    The one v_s comes from the logarithm of the sum. The other is a hook on the trace's z, which weighs all that comes
    back to z: ask for it once a trace, and pay for nothing else through z. A graph that a compiler ends between z and
    this bound would hide the decoder from the hook: see `Objective.one_graph`.
    """
    if len(trace.draws) != 1:
        raise ValueError(
            f"the doubly reparameterised gradient is known for one latent, and this model has {len(trace.draws)}; "
            "train it by the iwae or by sticking the landing"
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
    """The same distribution, through whose parameters no gradient flows: what is left is the path through a draw.

    A type is registered here, or has a method `detached` of its own. ValueError for those whose draws follow their
    parameters otherwise than by reparameterisation: there what is left would not have the right mean.
    """
    if hasattr(q, "detached"):
        return q.detached()
    raise ValueError(
        "this gradient is of posteriors whose draws are reparameterised by a mean and a scale, as normal ones are; "
        "train this model by the elbo, or give it a normal posterior"
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
    """KL(q || p) in nats per datum, summed over the draws, never clipped."""
    return trace.rate()


def path_rate(trace: Trace, x: Tensor) -> Tensor:
    """log q(z|x) - log p(z) at the draws, in nats, shape (B,) or (S, B): the rate, estimated, in whose gradient q's
    own parameters stand still ("sticking the landing", Roeder et al. 2017, section 3).

    What is left out, the score of q at its own draw, has mean zero, also where a posterior follows earlier draws. With
    a single latent and the exact posterior, what remains of the bound's gradient in q is zero, draw by draw.
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


WATCHED = Constant(0.0)
"""The schedule of what is logged and not paid for."""


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

    def __post_init__(self) -> None:
        paid = [term.cost for term in self.terms.values() if term.schedule != WATCHED]
        if negative_dreg in paid and len(paid) > 1:
            raise ValueError(
                "the doubly reparameterised gradient (dreg) weighs all that comes back to the latents, so no other "
                "term can be paid for beside it; use the iwae"
            )

    @property
    def one_graph(self) -> bool:
        """Whether a step that is compiled must be so in one graph (`fullgraph=True`) for its gradient to be right."""
        return any(term.cost is negative_dreg for term in self.terms.values())

    def weights(self, progress: float) -> list[float]:
        """The weight of every term when `progress` in [0, 1] of the run is done."""
        return [term.schedule(progress) for term in self.terms.values()]

    def costs(self, trace: Trace, x: Tensor) -> Tensor:
        """The mean of every term over the batch, shape (len(terms),)."""
        return torch.stack([term.cost(trace, x).mean() for term in self.terms.values()])

    def plus(self, name: str, term: Term) -> Objective:
        """This objective with one more term."""
        if name in self.terms:
            raise ValueError(f"the objective has a term '{name}' already")
        return replace(self, terms={**self.terms, name: term})

    def watching(self, name: str) -> Objective:
        """This objective with the term `name` logged only, for another that stands in for it."""
        if name not in self.terms or self.terms[name].schedule == WATCHED:
            raise ValueError(
                f"the objective does not pay for '{name}', so nothing can stand in for it"
            )
        return replace(
            self, terms={**self.terms, name: replace(self.terms[name], schedule=WATCHED)}
        )


def beta_elbo(beta: Schedule | float = 1.0, draws: tuple[int, ...] = ()) -> Objective:
    """distortion + beta rate. Higgins et al. 2017, eq. 4; beta = 1 is the negative ELBO."""
    return Objective({"distortion": Term(distortion), "rate": Term(rate, _schedule(beta))}, draws)


def sticking_the_landing(beta: Schedule | float = 1.0, draws: tuple[int, ...] = ()) -> Objective:
    """distortion + beta path_rate: the ELBO by Roeder et al. 2017; the rate in closed form is logged beside it."""
    terms = {
        "distortion": Term(distortion),
        "path_rate": Term(path_rate, _schedule(beta)),
        "rate": Term(rate, WATCHED),
    }
    return Objective(terms, draws)


def importance_weighted(draws: int) -> Objective:
    """The negative importance-weighted bound of `draws` draws; distortion and rate are logged beside it."""
    return _bound("iwae", negative_iwae, draws)


def multiply_weighted(groups: int, draws: int) -> Objective:
    """The negative mean of `groups` importance-weighted bounds, each of `draws` draws of its own."""
    return _bound("miwae", lambda trace, x: -miwae(trace, x, groups), groups * draws)


def convexly_weighted(draws: int, weight: float = 0.5) -> Objective:
    """The negative bound `ciwae`: `weight` of it the ELBO, the rest the importance-weighted bound of `draws` draws."""
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
