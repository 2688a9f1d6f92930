"""Bounds and likelihoods of a model, and how much it uses its latents. All in float32 and nats.

`batches` is any iterable of (x, context) pairs, in which context may be None. It is iterated once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.core.random import seeded
from vaekit.core.trace import Model

Batches = Iterable[tuple[Tensor, Tensor | None]]

ACTIVE = 0.01
"""A latent dimension is active if the variance of its posterior mean over the data exceeds this
(Burda 2016)."""


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` data and its standard error over them."""

    value: float
    error: float
    n: int

    @staticmethod
    def of(values: Tensor) -> Estimate:
        values = values.double()
        error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return Estimate(values.mean().item(), error, len(values))


@dataclass(frozen=True)
class Bound:
    """The ELBO with beta = 1 and its two parts, each a mean over the data in nats: elbo = -(distortion + rate)."""

    elbo: Estimate
    distortion: Estimate
    rate: Estimate


def bound(model: Model, batches: Batches, seed: int = 0) -> Bound:
    """The evidence lower bound, one draw per datum. Kingma & Welling 2014, eq. 3."""
    pairs = list(_each(model, batches, seed, lambda x, c: _parts(model, x, c)))
    distortion, rate = (torch.cat(part) for part in zip(*pairs, strict=True))
    return Bound(Estimate.of(-distortion - rate), Estimate.of(distortion), Estimate.of(rate))


def elbos(model: Model, batches: Batches, seed: int = 0) -> Tensor:
    """The evidence lower bound of each datum in nats (N,), one draw per datum."""
    return torch.cat(list(_each(model, batches, seed, lambda x, c: -sum(_parts(model, x, c)))))


def rates(model: Model, batches: Batches, seed: int = 0) -> list[float]:
    """The mean KL of every latent in nats per datum, from the top of a hierarchy down; the sum is
    the KL of the bound."""
    each = _each(
        model,
        batches,
        seed,
        lambda x, c: torch.stack([draw.kl() for draw in model(x, c).draws], dim=1),
    )
    return torch.cat(list(each)).double().mean(0).tolist()


def nll(
    model: Model, batches: Batches, draws: int = 5000, rows: int = 8192, seed: int = 0
) -> Estimate:
    """-log p(x) by importance sampling with `draws` draws per datum, and its standard error over
    the data.

    NLL = -(logsumexp_k log w_k - log K), log w_k = log p(x, z_k) - log q(z_k | x), over all K
    draws. They are computed in chunks, with at most `rows` decoder rows in memory. In expectation
    it is an upper bound of -log p(x) that falls towards it as K grows (Burda et al. 2016, theorem
    1).
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    return Estimate.of(
        torch.cat(list(_each(model, batches, seed, lambda x, c: _nll(model, x, c, draws, rows))))
    )


def bits_per_dim(nats: float, dims: int) -> float:
    """Nats per datum as bits per dimension; meaningful for discrete likelihoods only."""
    return nats / (dims * math.log(2))


def posterior_means(model: Model, batches: Batches) -> Tensor:
    """The posterior means of all data, shape (N, Z), the latents side by side."""
    return torch.cat(list(_each(model, batches, 0, lambda x, c: _means(model, x, c))))


def active_units(means: Tensor) -> int:
    """The number of columns of the posterior means (N, Z) whose variance is above `ACTIVE`. Burda
    et al. 2016."""
    return int((means.var(dim=0) > ACTIVE).sum()) if len(means) > 1 else 0


def reconstruction_spread(model: Model, batches: Batches) -> float:
    """How much reconstructions of different data differ, relative to the data: 0 if the decoder
    ignores the code.

    The mean over the values v of x of min(1, sum (x'_v - x''_v)^2 / sum (x_v - y_v)^2), where y is
    another datum, and x' and x'' are decoded from the posterior means of x and of y, both with the
    context of x. It is 1 if every reconstruction is perfect. Missing values are left out; NaN if
    all data are equal.
    """
    parts = list(_each(model, batches, 0, lambda x, c: _differences(model, x, c)))
    decoded, real = torch.stack(parts).sum(0)
    differs = real > 0
    return float((decoded / real)[differs].clamp(max=1).mean())


def mutual_information(model: Model, batches: Batches, seed: int = 0) -> float:
    """I_q(x; z) = E[log q(z|x) - log q(z)] in nats, where q(z) is the mean posterior over the given
    data.

    Estimated with one draw per datum and all N posteriors (Hoffman & Johnson 2016), so that it
    cannot exceed log N. For models with one latent; a few thousand data are enough.
    """
    posteriors = list(_each(model, batches, seed, lambda x, c: _only(model.encode(x, c))))
    with torch.no_grad(), seeded(seed + 1):
        z = torch.cat([q.sample() for q in posteriors])
        few = max(1, CELLS // z.numel())
        joint = torch.cat([_log_density(rows, posteriors) for rows in z.split(few)])  # (N, N)
    return float((joint.diagonal() - torch.logsumexp(joint, dim=1) + math.log(len(z))).mean())


def code_use(model: Model, batches: Batches) -> dict[str, float]:
    """For a model with a codebook: the fraction of codes that the data use, and the perplexity, exp
    of the entropy of their frequencies. For a residual codebook, the means of these over its
    levels.
    """
    posteriors = [_only(q) for q in _each(model, batches, 0, model.encode)]
    size, depth = posteriors[0].size, posteriors[0].depth
    levels = torch.cat([q.indices for q in posteriors]).reshape(-1, depth).unbind(1)
    shares = [torch.bincount(level, minlength=size).double() / len(level) for level in levels]
    entropies = [-torch.xlogy(p, p).sum() for p in shares]
    used = sum(float((p > 0).double().mean()) for p in shares) / depth
    return {
        "codes": size,
        "codes_used": used,
        "perplexity": sum(math.exp(h) for h in entropies) / depth,
    }


CELLS = 2**24
"""The most values in memory at a time: pairs of a draw and a posterior, times the dimensions."""


def _each(model: Model, batches: Batches, seed: int, measure: Callable) -> Iterator:
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), seeded(seed):
            for x, context in batches:
                yield measure(x, context)
    finally:
        for part, training in modes:
            part.training = training


def _parts(model: Model, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    trace = model(x, context)
    return trace.distortion(x), trace.rate()


def _nll(model: Model, x: Tensor, context: Tensor | None, draws: int, rows: int) -> Tensor:
    few = max(1, rows // draws)  # the number of data in a chunk
    parts = zip(
        x.split(few), [None] * len(x) if context is None else context.split(few), strict=False
    )
    return torch.cat([_nll_of_few(model, a, c, draws, rows) for a, c in parts])


def _nll_of_few(model: Model, x: Tensor, context: Tensor | None, draws: int, rows: int) -> Tensor:
    chunk = max(1, min(draws, rows // len(x)))
    sizes = [chunk] * (draws // chunk) + [draws % chunk] * (draws % chunk > 0)
    weights = [torch.logsumexp(model(x, context, (k,)).log_weight(x), dim=0) for k in sizes]
    return math.log(draws) - torch.logsumexp(torch.stack(weights), dim=0)


def _means(model: Model, x: Tensor, context: Tensor | None) -> Tensor:
    return torch.cat([q.mean.flatten(1) for q in model.encode(x, context)], dim=1)


def _differences(model: Model, x: Tensor, context: Tensor | None) -> Tensor:
    """For every value, the sums of squared differences of neighbours in x (B, *shape): of their
    reconstructions and of themselves, (2, *shape)."""
    means = [q.mean for q in model.encode(x, context)]
    other = [mean.roll(1, dims=0) for mean in means]
    decoded = model.decode(tuple(means), context).mean - model.decode(tuple(other), context).mean
    real = x - x.roll(1, dims=0)
    return (
        torch.stack((decoded.where(real.isfinite(), 0), real.nan_to_num())).double().square().sum(1)
    )


def _only(posteriors: tuple[Any, ...]) -> Any:
    if len(posteriors) != 1:
        raise ValueError(f"expected a model with one latent, got one with {len(posteriors)}")
    return posteriors[0]


def _log_density(z: Tensor, posteriors: list[Distribution]) -> Tensor:
    """log q(z_i | x_j) for all i of z (I, *event) and all j, shape (I, J)."""
    return torch.cat([q.log_prob(z[:, None]) for q in posteriors], dim=1)


def in_words(estimate: Mapping[str, Any], digits: int = 2) -> str:
    """ "40.00 ± 1.96", or "40.00" if one datum gives no standard error (NaN; null in JSON)."""
    value, error = f"{estimate['value']:.{digits}f}", estimate["error"]
    return value if error is None or math.isnan(error) else f"{value} ± {error:.{digits}f}"
