"""Costs beyond the bound: how much a latent may carry, and how its dimensions are distributed.

Each cost is a term of an objective, in nats per datum unless its docstring says otherwise. A cost
that needs a whole batch uses the batch of its own process only. A cost that is defined for one
latent refuses a model with several. With S draws per datum (z of shape (S, B, ...)), each draw's
batch is treated separately.
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
"""Maps a trace to the mean rate over the batch of each group of latent dimensions, shape (G,)."""


def of_each_dimension(trace: Trace) -> Tensor:
    """The mean rate of every latent dimension in nats, shape (Z,); several latents are joined."""
    return torch.cat([_dimension_rates(draw) for draw in trace.draws])


def of_each_latent(trace: Trace) -> Tensor:
    """The mean rate of every latent (in a hierarchy: of every level) in nats, shape (L,)."""
    return torch.stack([draw.kl().mean() for draw in trace.draws])


def in_total(trace: Trace) -> Tensor:
    """The mean rate of all latents together in nats, shape (1,)."""
    return trace.rate().mean()[None]


def rate_of(level: int) -> Callable[[Trace, Tensor], Tensor]:
    """The cost KL(q || p) of one latent in nats, shape (B,) or (S, B).

    `level` is its number; 0 is the top of a hierarchy.
    """

    def rate(trace: Trace, x: Tensor) -> Tensor:
        return trace.draws[level].kl()

    return rate


@dataclass(frozen=True)
class FreeBits:
    """sum_g max(nats, E_batch[rate_g]), shape (); replaces the rate.

    Kingma et al. 2016, appendix C.8. `rates` selects the groups: `of_each_dimension`,
    `of_each_latent` or `in_total`. Below `nats`, the cost of a group is constant, so the first
    `nats` are free and the group has no gradient.
    """

    nats: float
    rates: Rates = of_each_dimension

    def __call__(self, trace: Trace, x: Tensor) -> Tensor:
        return self.rates(trace).clamp_min(self.nats).sum()


class TargetRate(nn.Module):
    """|E_batch[rate] - target|, shape (); replaces the rate.

    Burgess et al. 2018; Alemi et al. 2018. The target rises from 0 to `nats` over the first
    fraction `rise` of the run, so that the model first learns what reduces the distortion most. The
    weight of this term must be above the slope of distortion against rate at the target; otherwise
    the rate stays where beta = weight would leave it. The weight should not be far above that slope
    (10, not 100), because the gradient does not get smaller near the target.
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
    """log q(z) - sum_d log q(z_d) at the draws in nats, shape (B,), q(z) being the mean posterior.

    Its mean estimates the total correlation KL(q(z) || prod_d q(z_d)). Added to the ELBO with
    weight beta - 1, it gives beta-TC-VAE (Chen et al. 2018, eq. 4). N is `data`, the number of
    data; i is the datum that z was drawn for, and the batch has M = B - 1 others:

        q(z) ~= 1/N q(z | x_i) + (N - 1)/(N M) sum_{j != i} q(z | x_j),

    and likewise for each q(z_d). This is minibatch stratified sampling (eq. S6). Its mean is q(z),
    because the others are drawn from the remaining N - 1 data. (The paper's code gives one of the
    others a different weight and the rest 1/M; this is the mean over the choice of that one.) The
    logarithm of an estimate is a little too low, most of all with many dimensions that each tell
    the data apart. So compare values at one batch size only. Time and memory grow with B^2 Z.
    """

    data: int

    def __post_init__(self) -> None:
        if self.data < 2:
            raise ValueError(f"a total correlation needs at least 2 data, got {self.data}")

    def __call__(self, trace: Trace, x: Tensor) -> Tensor:
        draw = _only(trace)
        q = _factors(draw.posterior)
        each = q.log_prob(
            draw.z.unsqueeze(-1 - len(draw.posterior.event_shape))
        )  # (..., B, B, ...): log q(z_i | x_j)
        each = each.flatten(-len(draw.posterior.event_shape))
        if each.shape[-2] == 1:
            return each.sum((-1, -2)) * 0.0  # a single datum has nothing to compare with
        weights = self._log_weights(each)
        joint = torch.logsumexp(each.sum(-1) + weights, dim=-1)
        alone = torch.logsumexp(each + weights[..., None], dim=-2).sum(-1)
        return joint - alone

    def _log_weights(self, each: Tensor) -> Tensor:
        """Log weights (B, B): a datum's own posterior on the diagonal, the others elsewhere."""
        batch, n = each.shape[-2], self.data
        own = torch.eye(batch, dtype=torch.bool, device=each.device)
        return torch.where(own, -math.log(n), math.log((n - 1) / (n * (batch - 1)))).to(each.dtype)


class FactorTC(nn.Module):
    """The total correlation of q(z) in nats, shape (B,), estimated by a discriminator.

    Kim & Mnih 2018. The discriminator D(z) ~= log q(z) - sum_d log q(z_d) learns to tell draws from
    draws whose dimensions were shuffled across the batch. The module is one cost and
    `discrimination` is another. Neither gives the other's parameters a gradient, so one optimiser
    trains both in one step (the paper's code alternates between them). Add both:

        objective.plus("factor", Term(tc, Constant(10.0))).plus("discriminator", Term(tc.discrimination))

    `latent` is the number of latent dimensions. The shuffled draws come from the same batch, not
    from a second one.
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
        """-1/2 (log sigmoid D(z) + log(1 - sigmoid D(shuffled z))) in nats, shape (B,).

        It is log 2 where D cannot tell the two apart.
        """
        z = _flat(trace).detach()
        true, false = (self.net(value).squeeze(-1).float() for value in (z, shuffled(z)))
        return (F.softplus(-true) + F.softplus(false)) / 2


def shuffled(z: Tensor) -> Tensor:
    """z (..., B, Z) with each column permuted separately over the batch: draws of prod_d q(z_d)."""
    return z.gather(-2, torch.rand_like(z).argsort(dim=-2))


def dip_i(trace: Trace, x: Tensor, diagonal: float = 10.0) -> Tensor:
    """sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2 with C = Cov_batch[E_q z], shape ().

    Kumar et al. 2018, eq. 6. The unit is not nats but squared (co)variances. `diagonal` is the
    ratio of the paper's two weights.
    """
    return _distance_to_identity(_covariance(_means(_only(trace))), diagonal)


def dip_ii(trace: Trace, x: Tensor, diagonal: float = 1.0) -> Tensor:
    """Like `dip_i` with C = Cov_batch[E_q z] + E_batch[Cov_q z], the covariance of q(z).

    Kumar et al. 2018, eq. 7.
    """
    draw = _only(trace)
    within = _factors(draw.posterior).variance.flatten(-len(draw.posterior.event_shape)).mean(0)
    return _distance_to_identity(_covariance(_means(draw)) + torch.diag(within), diagonal)


MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(trace: Trace, x: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between q(z) and p(z), shape () or (S,).

    Tolstikhin 2018; Zhao et al. 2019. It is the mean over i != j of k(z_i, z_j) + k(p_i, p_j) -
    k(z_i, p_j) - k(p_i, z_j), with one prior draw p_i ~ p for each z_i. The estimate is unbiased
    (so it can be negative), even if p depends on a condition (Gretton et al. 2012, eq. 4). k(a, b)
    is the mean of C / (C + |a - b|^2) over C = 2 Z s with s in `MMD_SCALES`, which suits priors of
    about unit scale. The unit is not nats; values lie between -2 and 2. The prior gets no gradient.
    """
    draw, z = _only(trace), _flat(trace)
    batch = z.shape[-2]
    p = _drawn(draw.prior, batch, z)
    excess = (
        _kernel(z, z) + _kernel(p, p) - 2 * _kernel(z, p)
    )  # the two mixed terms have the same sum over i and j
    own = torch.eye(batch, dtype=torch.bool, device=z.device)
    return excess.masked_fill(own, 0.0).sum((-1, -2)) / max(1, batch * (batch - 1))


def _drawn(prior: Distribution, batch: int, like: Tensor) -> Tensor:
    """Draws of the prior, one for each z of `like` (..., B, Z), without gradient."""
    missing = like.shape[: like.dim() - 1 - len(prior.batch_shape)]
    return prior.sample(missing).reshape(like.shape)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """The inverse multiquadratic kernel of all pairs of a and b (..., B, Z), shape (..., B, B)."""
    square = (
        a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :] - 2 * _product(a, b.mT)
    )
    square = square.clamp_min(0.0)  # rounding can make it negative
    widths = [2 * a.shape[-1] * scale for scale in MMD_SCALES]
    return sum((c / (c + square) for c in widths), start=torch.zeros_like(square)) / len(widths)


def _covariance(values: Tensor) -> Tensor:
    """The unbiased covariance (Z, Z) of values (B, Z); zeros for a single row."""
    centred = values - values.mean(0)
    return _product(centred.T, centred) / max(1, len(values) - 1)


def _distance_to_identity(covariance: Tensor, diagonal: float) -> Tensor:
    own = torch.diagonal(covariance)
    return covariance.square().sum() - own.square().sum() + diagonal * (own - 1).square().sum()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float32 even under autocast, because the sums made of it nearly cancel."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def _only(trace: Trace) -> Draw:
    """The only draw of a trace. Raises ValueError if there are several."""
    if len(trace.draws) != 1:
        raise ValueError(
            f"this term is defined for one latent, but the model has {len(trace.draws)}; leave the term out, or use "
            "one level"
        )
    return trace.draws[0]


def _factors(q: Distribution) -> Distribution:
    """The dimensions of a factorised distribution, as batch dimensions."""
    if not isinstance(q, Independent):
        raise ValueError(
            "this term needs a latent whose dimensions are independent given the data, as with a normal posterior; "
            "leave the term out, or give the model a normal posterior"
        )
    return q.base_dist


def _dimension_rates(draw: Draw) -> Tensor:
    """The mean over the batch of each dimension's KL(q || p) in nats, shape (Z,)."""
    if not (isinstance(draw.posterior, Independent) and isinstance(draw.prior, Independent)):
        raise ValueError(
            "a rate of each dimension needs a posterior and a prior whose dimensions are independent, such as a "
            "normal posterior and the standard prior; otherwise use free bits per latent or in total: "
            "free-bits:4/latent or free-bits:4/total"
        )
    each = Draw(draw.z, draw.posterior.base_dist, draw.prior.base_dist).kl()
    return each.flatten(-len(draw.posterior.event_shape)).flatten(0, -2).mean(0)


def _flat(trace: Trace) -> Tensor:
    """The draws of the only latent as vectors (..., B, Z)."""
    draw = _only(trace)
    return draw.z.flatten(-len(draw.posterior.event_shape))


def _means(draw: Draw) -> Tensor:
    return _factors(draw.posterior).mean.flatten(-len(draw.posterior.event_shape))
