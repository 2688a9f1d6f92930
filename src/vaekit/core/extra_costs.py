"""Costs beyond the bound, each a term of an objective: what a latent may carry, and how its dimensions should lie.

All are in nats per datum unless they say otherwise. Those that need a whole batch take it as it comes: with several
processes, each its own part. Those over one latent refuse a model of several. After S draws (z of shape (S, B, ...)),
each draw's batch stands by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.func import functional_call

from vaekit.core.trace import Draw, Trace

Rates = Callable[[Trace], Tensor]
"""A trace to its rates' means over the batch, shape (G,), a number for each group of latent dimensions."""


def of_each_dimension(trace: Trace) -> Tensor:
    """The mean rate of every latent dimension, all latents side by side, in nats, shape (Z,)."""
    return torch.cat([_dimension_rates(draw) for draw in trace.draws])


def of_each_latent(trace: Trace) -> Tensor:
    """The mean rate of every latent (of a hierarchy: every level) in nats, shape (L,)."""
    return torch.stack([draw.kl().mean() for draw in trace.draws])


def in_total(trace: Trace) -> Tensor:
    """The mean rate of all latents together in nats, shape (1,)."""
    return trace.rate().mean()[None]


def rate_of(level: int) -> Callable[[Trace, Tensor], Tensor]:
    """The cost KL(q || p) of one latent of several in nats, shape (B,) or (S, B); 0 is the top of a hierarchy."""

    def rate(trace: Trace, x: Tensor) -> Tensor:
        return trace.draws[level].kl()

    return rate


@dataclass(frozen=True)
class FreeBits:
    """sum_g max(nats, E_batch[rate_g]), shape (): stands in for the rate; the first nats cost the same as none.

    `rates` says what a group is: `of_each_dimension`, `of_each_latent` or `in_total`. A group below the floor has no
    gradient. Kingma et al. 2016, appendix C.8.
    """

    nats: float
    rates: Rates = of_each_dimension

    def __call__(self, trace: Trace, x: Tensor) -> Tensor:
        return self.rates(trace).clamp_min(self.nats).sum()


class TargetRate(nn.Module):
    """|E_batch[rate] - target|, shape (): stands in for the rate. Burgess et al. 2018; Alemi et al. 2018.

    The target rises from 0 to `nats` over the first `rise` of the run, so that what pays most is learned first. Weigh
    the term above the slope of distortion against rate where the target lies, else the rate stays where beta = that
    weight would leave it; but not far above (10, not 100), since its gradient is as long however near the target is.
    """

    progress: Tensor

    def __init__(self, nats: float, rise: float = 0.5) -> None:
        super().__init__()
        self.nats, self.rise = nats, rise
        self.register_buffer(
            "progress", torch.tensor(0.0)
        )  # the fraction of the run that is done; the run sets it

    def forward(self, trace: Trace, x: Tensor) -> Tensor:
        reached = (self.progress / self.rise).clamp_max(1.0) if self.rise > 0 else 1.0
        return (trace.rate().mean() - self.nats * reached).abs()


@dataclass(frozen=True)
class TotalCorrelation:
    """log q(z) - sum_d log q(z_d) at the draws in nats, shape (B,), q(z) being the mean posterior of `data` data.

    Its mean estimates the total correlation KL(q(z) || prod_d q(z_d)); weigh it by beta - 1 beside the ELBO for
    beta-TC-VAE (Chen et al. 2018, eq. 4). With the datum i that z came from and M = B - 1 others of the batch,

        q(z) ~= 1/N q(z | x_i) + (N - 1)/(N M) sum_{j != i} q(z | x_j),

    likewise for each q(z_d): minibatch stratified sampling (eq. S6), which has the mean q(z) as others are drawn from
    the N - 1 that are left. (The paper's code gives one of the others a weight of its own, the rest 1/M; this is the
    mean over which one.) The logarithm of an estimate is a little too low, most so for many dimensions that each tell
    data apart: compare values at one batch size only. Time and memory grow with B^2 Z.
    """

    data: int

    def __post_init__(self) -> None:
        if self.data < 2:
            raise ValueError(f"a total correlation is over at least two data, got {self.data}")

    def __call__(self, trace: Trace, x: Tensor) -> Tensor:
        draw = _only(trace)
        q = _factors(draw.posterior)
        each = q.log_prob(
            draw.z.unsqueeze(-1 - len(draw.posterior.event_shape))
        )  # (..., B, B, ...): z_i under x_j
        each = each.flatten(-len(draw.posterior.event_shape))
        if each.shape[-2] == 1:
            return each.sum((-1, -2)) * 0.0  # a datum alone says nothing of others
        weights = self._log_weights(each)
        joint = torch.logsumexp(each.sum(-1) + weights, dim=-1)
        alone = torch.logsumexp(each + weights[..., None], dim=-2).sum(-1)
        return joint - alone

    def _log_weights(self, each: Tensor) -> Tensor:
        """(B, B): of itself on the diagonal, of the others elsewhere."""
        batch, n = each.shape[-2], self.data
        own = torch.eye(batch, dtype=torch.bool, device=each.device)
        return torch.where(own, -math.log(n), math.log((n - 1) / (n * (batch - 1)))).to(each.dtype)


class FactorTC(nn.Module):
    """The total correlation of q(z) in nats, shape (B,), by a discriminator's log density ratio. Kim & Mnih 2018.

    D(z) ~= log q(z) - sum_d log q(z_d), learned by telling draws from draws whose dimensions were shuffled across the
    batch. The module is one cost and `discrimination` another; each is blind to the other's parameters, so that one
    optimiser serves both in one step (the paper's alternation is a matter of its code): add both,

        objective.plus("factor", Term(tc, Constant(10.0))).plus("discriminator", Term(tc.discrimination))

    `latent` is the number of latent dimensions. The shuffled draws are those of the same batch, not of a second one.
    """

    def __init__(self, latent: int, width: int = 256, hidden: int = 4) -> None:
        super().__init__()
        widths = [latent] + [width] * hidden
        layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, trace: Trace, x: Tensor) -> Tensor:
        still = {name: p.detach() for name, p in self.net.named_parameters()}
        return functional_call(self.net, still, (_flat(trace),)).squeeze(-1).float()

    def discrimination(self, trace: Trace, x: Tensor) -> Tensor:
        """-1/2 (log sigmoid D(z) + log(1 - sigmoid D(shuffled z))) in nats, shape (B,); log 2 where D knows nothing."""
        z = _flat(trace).detach()
        true, false = (self.net(value).squeeze(-1).float() for value in (z, shuffled(z)))
        return (F.softplus(-true) + F.softplus(false)) / 2


def shuffled(z: Tensor) -> Tensor:
    """z (..., B, Z) with every column in an order of its own: draws of prod_d q(z_d)."""
    return z.gather(-2, torch.rand_like(z).argsort(dim=-2))


def dip_i(trace: Trace, x: Tensor, diagonal: float = 10.0) -> Tensor:
    """sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2, shape (), of C = Cov_batch[E_q z]. Kumar et al. 2018, eq. 6.

    No nats: squared (co)variances. `diagonal` is the paper's ratio of its two weights.
    """
    return _distance_to_identity(_covariance(_means(_only(trace))), diagonal)


def dip_ii(trace: Trace, x: Tensor, diagonal: float = 1.0) -> Tensor:
    """As `dip_i`, of C = Cov_batch[E_q z] + E_batch[Cov_q z], the covariance of q(z). Kumar et al. 2018, eq. 7."""
    draw = _only(trace)
    within = _factors(draw.posterior).variance.flatten(-len(draw.posterior.event_shape)).mean(0)
    return _distance_to_identity(_covariance(_means(draw)) + torch.diag(within), diagonal)


MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(trace: Trace, x: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between q(z) and p(z), shape () or (S,). Tolstikhin 2018; Zhao et al. 2019.

    The mean over i != j of k(z_i, z_j) + k(p_i, p_j) - k(z_i, p_j) - k(p_i, z_j) with p_i ~ p, a draw each: unbiased
    (so now and then negative), also where p depends on a condition (Gretton et al. 2012, eq. 4). k(a, b) is the mean of
    C / (C + |a - b|^2) over C = 2 Z s, s in `MMD_SCALES`: for priors of about unit scale. No nats: between -2 and 2.
    The prior is not taught by it.
    """
    draw, z = _only(trace), _flat(trace)
    batch = z.shape[-2]
    p = _drawn(draw.prior, batch, z)
    excess = (
        _kernel(z, z) + _kernel(p, p) - 2 * _kernel(z, p)
    )  # summed over i and j, both mixed terms are the same
    own = torch.eye(batch, dtype=torch.bool, device=z.device)
    return excess.masked_fill(own, 0.0).sum((-1, -2)) / max(1, batch * (batch - 1))


def _drawn(prior: Distribution, batch: int, like: Tensor) -> Tensor:
    """Draws of the prior, one for each of z (..., B, Z), without gradient."""
    missing = like.shape[: like.dim() - 1 - len(prior.batch_shape)]
    return prior.sample(missing).reshape(like.shape)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """The inverse multiquadratic kernel of all pairs of a, b (..., B, Z), shape (..., B, B)."""
    square = (
        a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :] - 2 * _product(a, b.mT)
    )
    square = square.clamp_min(0.0)  # rounding may leave less
    widths = [2 * a.shape[-1] * scale for scale in MMD_SCALES]
    return sum((c / (c + square) for c in widths), start=torch.zeros_like(square)) / len(widths)


def _covariance(values: Tensor) -> Tensor:
    """The unbiased covariance (Z, Z) of values (B, Z); 0 of a single one."""
    centred = values - values.mean(0)
    return _product(centred.T, centred) / max(1, len(values) - 1)


def _distance_to_identity(covariance: Tensor, diagonal: float) -> Tensor:
    own = torch.diagonal(covariance)
    return covariance.square().sum() - own.square().sum() + diagonal * (own - 1).square().sum()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float32 whatever the autocast type: what is added up here nearly cancels."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def _only(trace: Trace) -> Draw:
    """The one draw of a trace; this term says nothing of several."""
    if len(trace.draws) != 1:
        raise ValueError(
            f"this term is about one latent, and the model has {len(trace.draws)}; leave it out, or use one level"
        )
    return trace.draws[0]


def _factors(q: Distribution) -> Distribution:
    """The dimensions of a factorised distribution, as batch dimensions."""
    if not isinstance(q, Independent):
        raise ValueError(
            "this term needs a latent whose dimensions are independent given the data, as those of a normal posterior "
            "are; leave it out, or give the model a normal posterior"
        )
    return q.base_dist


def _dimension_rates(draw: Draw) -> Tensor:
    """The mean over the batch of each dimension's KL(q || p) in nats, shape (Z,)."""
    if not (isinstance(draw.posterior, Independent) and isinstance(draw.prior, Independent)):
        raise ValueError(
            "a rate of each dimension needs a posterior and a prior whose dimensions are independent, as a normal and "
            "the standard one are; count free bits per latent or in total, as free-bits:4/latent or free-bits:4/total"
        )
    each = Draw(draw.z, draw.posterior.base_dist, draw.prior.base_dist).kl()
    return each.flatten(-len(draw.posterior.event_shape)).flatten(0, -2).mean(0)


def _flat(trace: Trace) -> Tensor:
    """The one latent's draws as vectors, (..., B, Z)."""
    draw = _only(trace)
    return draw.z.flatten(-len(draw.posterior.event_shape))


def _means(draw: Draw) -> Tensor:
    return _factors(draw.posterior).mean.flatten(-len(draw.posterior.event_shape))
