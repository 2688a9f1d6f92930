"""Distributions that torch lacks, over the pixels of an image and over rows with missing cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution


class OptimalNormal(Distribution):
    """N(x; mean, v I) over (C, H, W), where v is the variance that fits the batch best.

    log p(x) = -|x - mean|^2 / (2 v) - D/2 log(2 pi v). v is the mean of (x - mean)^2 over batch and
    pixels, at least `floor`, and is constant in the gradient. For training only, because `log_prob`
    of a datum depends on its batch. `notify` is called once, with v.
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, mean: Tensor, notify: Callable[[Tensor], None], floor: float) -> None:
        self._mean, self.notify, self.floor, self._told = mean, notify, floor, False
        super().__init__(mean.shape[:-3], mean.shape[-3:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self._mean

    def log_prob(self, value: Tensor) -> Tensor:
        square = (value - self._mean) ** 2
        variance = square.detach().mean().clamp_min(self.floor)
        if not self._told:  # only once per batch, even if several costs use the same trace
            self.notify(variance)
        self._told = True
        pixel = -0.5 * (square / variance + torch.log(2 * math.pi * variance))
        return pixel.sum((-3, -2, -1))


class ContinuousBernoulliPixels(Distribution):
    """Continuous Bernoulli over images (C, H, W), x in [0, 1]: p(x) = C(r) exp(r x) / (1 + exp(r)).

    r are the logits, log C(r) = log(r / tanh(r / 2)), and the mean is 1 / (1 - exp(-r)) - 1 / r
    (Loaiza-Ganem & Cunningham 2019). This is exact for any logit. torch's own class clamps the
    probability: beyond logits of about 16 it is not a density and cannot reach 0 or 1.
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-3], logits.shape[-3:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_probs(value).sum((-3, -2, -1))

    def log_probs(self, value: Tensor) -> Tensor:
        """log p of every value in nats, shape (..., C, H, W)."""
        r = self.logits
        small = r.abs() < 0.05
        safe = torch.where(small, torch.ones_like(r), r)
        log_norm = torch.where(
            small, math.log(2) + r * r / 12, torch.log(safe / torch.tanh(safe / 2))
        )
        return value * r - F.softplus(r) + log_norm

    @property
    def mean(self) -> Tensor:
        r = self.logits
        small = r.abs() < 0.05
        safe = torch.where(small, torch.ones_like(r), r)
        return torch.where(small, 0.5 + r / 12, -1 / torch.expm1(-safe) - 1 / safe)

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = Size()) -> Tensor:
        """Images in [0, 1], shape sample_shape + batch_shape + (C, H, W), by inverting the distribution function."""
        with torch.no_grad():
            r = self.logits.expand(*sample_shape, *self.logits.shape).double()
            u = torch.rand(r.shape, dtype=torch.float64, device=r.device)
            safe = torch.where(r.abs() < 1e-6, torch.ones_like(r), r)
            flipped = (
                torch.log1p(u * torch.expm1(-safe.abs())) / -safe.abs()
            )  # for a falling density
            x = torch.where(r.abs() < 1e-6, u, torch.where(safe > 0, 1 - flipped, flipped))
            return x.clamp(0, 1).to(self.logits.dtype)


class DiscretisedLogisticMixture(Distribution):
    """A mixture of K logistics, rounded to `levels` grey levels on [0, 1], over images (C, H, W).

    P(x) = sum_k pi_k prod_c [s((x_c + d - m_kc) / s_kc) - s((x_c - d - m_kc) / s_kc)], where s is
    the logistic function and d half a level. The lowest and the highest level are open-ended, so
    the levels' probabilities sum to exactly one. The mean of a channel depends on the values of the
    channels before it (Salimans et al. 2017, PixelCNN++, eq. 1-3). Internally, values are on [-1,
    1].

    Shapes: logits (..., K, H, W); means, scales (..., K, C, H, W); mixing (..., K, C (C - 1) / 2,
    H, W).
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(
        self, logits: Tensor, means: Tensor, scales: Tensor, mixing: Tensor, levels: int = 256
    ) -> None:
        self.log_weights = F.log_softmax(logits, dim=-3)
        self.means, self.scales, self.mixing, self.levels = means, scales, mixing, levels
        super().__init__(logits.shape[:-3], means.shape[-3:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), value on the grid {0, 1/(levels-1), ..., 1}; shape: the batch shape, in nats."""
        return self._pixels(value).sum((-2, -1))

    def log_probs(self, value: Tensor) -> Tensor:
        """The same, split over the values (..., C, H, W).

        The channels of a pixel have one joint probability, so each gets an equal share of its
        logarithm.
        """
        channels = self.event_shape[0]
        shared = (self._pixels(value) / channels).unsqueeze(-3)
        return shared.expand(*shared.shape[:-3], channels, *shared.shape[-2:])

    def _pixels(self, value: Tensor) -> Tensor:
        x = (2 * value - 1).unsqueeze(-4)  # (..., 1, C, H, W)
        half = 1 / (self.levels - 1)
        middle = self._conditional_means(x)
        upper, lower = (x + half - middle) / self.scales, (x - half - middle) / self.scales
        # log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - exp(b - a)): no cancellation and no epsilon
        within = (
            F.logsigmoid(upper)
            + F.logsigmoid(-lower)
            + torch.log(-torch.expm1(-2 * half / self.scales))
        )
        inside = torch.where(x <= -1 + half, F.logsigmoid(upper), within)
        channel = torch.where(x >= 1 - half, F.logsigmoid(-lower), inside)
        return torch.logsumexp(self.log_weights + channel.sum(-3), dim=-3)

    @property
    def mean(self) -> Tensor:
        """E[x], shape (..., C, H, W).

        It is exact, apart from rounding, in the first channel. The other channels use the means of
        those before them.
        """
        means = _follow(
            self.means, self.mixing, lambda mean, c: _clipped_mean(mean, self.scales[..., c, :, :])
        )
        return ((self.log_weights.exp().unsqueeze(-3) * means).sum(-4) + 1) / 2

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = Size()) -> Tensor:
        """Images on the grid of grey levels, shape sample_shape + batch_shape + (C, H, W)."""
        with torch.no_grad():
            weights = self.log_weights.movedim(-3, -1).expand(*sample_shape, *self._moved_shape())
            pick = torch.distributions.Categorical(
                logits=weights, validate_args=False
            ).sample()  # (..., H, W)
            means, scales, mixing = (
                self._picked(t, pick) for t in (self.means, self.scales, self.mixing)
            )
            uniform = torch.rand_like(means).clamp(1e-6, 1 - 1e-6)
            noise = scales * torch.logit(uniform)
            grid = _follow(means, mixing, lambda mean, c: self._round(mean + noise[..., c, :, :]))
            return (grid + 1) / 2

    def _moved_shape(self) -> Size:
        return self.log_weights.movedim(-3, -1).shape

    def _picked(self, parameter: Tensor, pick: Tensor) -> Tensor:
        index = pick[..., None, None, :, :]
        full = parameter.expand(*pick.shape[:-2], *parameter.shape[-4:])
        return torch.take_along_dim(full, index, dim=-4).squeeze(-4)

    def _round(self, x: Tensor) -> Tensor:
        n = self.levels - 1
        return ((x.clamp(-1, 1) + 1) / 2 * n).round() / n * 2 - 1

    def _conditional_means(self, x: Tensor) -> Tensor:
        """Each channel's mean given the channels before it in x."""
        observed = x.expand(torch.broadcast_shapes(x.shape, self.means.shape))
        return self.means + _shift(observed, self.mixing)


def _clipped_mean(mean: Tensor, scale: Tensor) -> Tensor:
    """E[min(max(X, -1), 1)] of a logistic X: 1 - the integral of its distribution function over [-1, 1]."""
    return 1 - scale * (F.softplus((1 - mean) / scale) - F.softplus((-1 - mean) / scale))


def _shift(observed: Tensor, mixing: Tensor) -> Tensor:
    """What the channels before it add to each channel's mean, (..., C, H, W).

    It is computed from the observed channels and the pairwise mixing coefficients.
    """
    channels = observed.unbind(-3)
    nothing = torch.zeros_like(channels[0])
    total, pair = [nothing], 0
    for c in range(1, len(channels)):
        total.append(
            sum((mixing[..., pair + e, :, :] * channels[e] for e in range(c)), start=nothing)
        )
        pair += c
    return torch.stack(total, dim=-3)


def _follow(means: Tensor, mixing: Tensor, settle: Callable[[Tensor, int], Tensor]) -> Tensor:
    """The channels one by one: `settle` makes each from its mean given the channels before it."""
    done: list[Tensor] = []
    pair = 0
    for c in range(means.shape[-3]):
        mean = means[..., c, :, :] + sum(mixing[..., pair + e, :, :] * done[e] for e in range(c))
        done.append(settle(mean, c))
        pair += c
    return torch.stack(done, dim=-3)


class CellNormal(Distribution):
    """prod_c N(x_c; mean_c, exp(log_scale_c)^2) over rows (C,), in which cells may be missing.

    A missing cell (NaN) adds nothing and has no gradient. `log_scale` broadcasts over `mean` (...,
    C).
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        self._mean, self.log_scale = mean, log_scale
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self._mean

    def log_probs(self, value: Tensor) -> Tensor:
        """log p of every cell in nats, shape (..., C), 0 where it is missing."""
        there = ~value.isnan()
        error = (torch.where(there, value, 0.0) - self._mean) * torch.exp(-self.log_scale)
        return torch.where(
            there, -0.5 * error**2 - self.log_scale - 0.5 * math.log(2 * math.pi), 0.0
        )

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_probs(value).sum(-1)
