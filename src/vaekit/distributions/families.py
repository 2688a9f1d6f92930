"""Families: they turn the raw output of a network into a distribution, the last step of a part.

A family is a callable `raw -> Distribution`. A family with a parameter of its own (a scale) is a
module. Raw outputs are unbounded; exponentials and logarithms run in float32 even under autocast.
Scales are bounded smoothly.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Laplace, Normal

from vaekit.distributions.pixels import (
    ContinuousBernoulliPixels,
    DiscretisedLogisticMixture,
    OptimalNormal,
)

HALF_GREY_LEVEL = 0.5 / 255
"""The finest scale that 8-bit pixels on [0, 1] can support: a sharper density would reward rounding, not fit."""


LARGEST_LOGIT = 1 / HALF_GREY_LEVEL
"""The largest logit of a continuous Bernoulli; its mean is then half a grey level from the end."""


def bounded(raw: Tensor, low: float, high: float) -> Tensor:
    """A smooth map of the real line onto (low, high) in float32, with slope 1 where raw is the middle of the range."""
    middle, half = (low + high) / 2, (high - low) / 2
    return middle + half * torch.tanh((raw.float() - middle) / half)


def normal(raw: Tensor) -> Independent:
    """Diagonal normal over the last axis: raw (..., 2 Z) holds the mean and the log standard deviation in (-6, 6)."""
    mean, log_scale = raw.chunk(2, dim=-1)
    return Independent(
        Normal(mean.float(), bounded(log_scale, -6, 6).exp(), validate_args=False), 1
    )


class PixelBernoulli(nn.Module):
    """Bernoulli pixels for x in {0, 1}: raw (..., C, H, W) are logits; -log p is the summed cross-entropy."""

    def forward(self, raw: Tensor) -> Independent:
        return Independent(Bernoulli(logits=raw.float(), validate_args=False), 3)


class PixelContinuousBernoulli(nn.Module):
    """Continuous Bernoulli pixels for x in [0, 1] (Loaiza-Ganem & Cunningham 2019): raw (..., C, H, W) are logits."""

    def forward(self, raw: Tensor) -> ContinuousBernoulliPixels:
        return ContinuousBernoulliPixels(bounded(raw, -LARGEST_LOGIT, LARGEST_LOGIT))


class FixedNormal(nn.Module):
    """Normal pixels with one given standard deviation. At 1, -log p = half the squared error + D/2 log 2 pi ("MSE")."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, raw: Tensor) -> Independent:
        mean = raw.float()
        return Independent(Normal(mean, torch.full_like(mean, self.scale), validate_args=False), 3)


class _SharedScale(nn.Module):
    """One learned scale for all pixels, kept above half a grey level."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-1.0))

    def scale(self) -> Tensor:
        return bounded(self.log_scale, math.log(HALF_GREY_LEVEL), 4).exp()


class LearnedScaleNormal(_SharedScale):
    """Normal pixels with one standard deviation, which is learned by gradient.

    This is the sigma-VAE of Rybkin et al. 2021, section 3.1.
    """

    def forward(self, raw: Tensor) -> Independent:
        mean = raw.float()
        return Independent(Normal(mean, self.scale().expand_as(mean), validate_args=False), 3)


class LearnedLaplace(_SharedScale):
    """Laplace pixels with one learned scale.

    -log p of a pixel is its absolute error over the scale, plus log(2 scale).
    """

    def forward(self, raw: Tensor) -> Independent:
        mean = raw.float()
        return Independent(Laplace(mean, self.scale().expand_as(mean), validate_args=False), 3)


class PixelNormal(nn.Module):
    """Normal pixels, each with its own standard deviation.

    raw (..., 2 C, H, W) holds means and log standard deviations.
    """

    def forward(self, raw: Tensor) -> Independent:
        mean, log_scale = raw.chunk(2, dim=-3)
        scale = bounded(log_scale, math.log(HALF_GREY_LEVEL), 2).exp()
        return Independent(Normal(mean.float(), scale, validate_args=False), 3)


class AnalyticNormal(nn.Module):
    """Normal pixels with the analytically optimal shared variance.

    This is the optimal sigma-VAE of Rybkin et al. 2021, eq. 5. In training, the variance is the
    batch's mean squared error. It passes on no gradient (at the optimum its gradient is zero), and
    `variance` follows it as a moving average. In evaluation, the variance is this average, so that
    a datum's density does not depend on its batch. The mean is `squash` of the raw output: with a
    sigmoid it stays within (0, 1).
    """

    variance: Tensor
    seen: Tensor

    def __init__(
        self, momentum: float = 0.05, squash: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.momentum, self.squash = momentum, squash or Tensor.float
        self.register_buffer("variance", torch.tensor(1.0))
        self.register_buffer(
            "seen", torch.tensor(0.0)
        )  # batches so far: the first ones weigh more in the average

    def forward(self, raw: Tensor) -> Independent | OptimalNormal:
        mean = self.squash(raw.float())
        if self.training:
            return OptimalNormal(mean, self._follow, HALF_GREY_LEVEL**2)
        return Independent(
            Normal(mean, self.variance.sqrt().expand_as(mean), validate_args=False), 3
        )

    @torch.no_grad()
    def _follow(self, variance: Tensor) -> None:
        weight = (1 / (self.seen + 1)).clamp_min(self.momentum)
        self.variance.lerp_(torch.where(torch.isfinite(variance), variance, self.variance), weight)
        self.seen.add_(torch.isfinite(variance))


class LogisticMixture(nn.Module):
    """Discretised mixture of logistics for 8-bit pixels: a probability for each grey level.

    Salimans et al. 2017. raw (..., K (1 + 2 C + C (C - 1) / 2), H, W) holds mixture logits, means,
    log scales, and the coefficients with which a channel's mean depends on the channels before it.
    """

    def __init__(self, channels: int, components: int = 10) -> None:
        super().__init__()
        self.channels, self.components = channels, components

    def forward(self, raw: Tensor) -> DiscretisedLogisticMixture:
        c, k = self.channels, self.components
        raw = raw.float().unflatten(-3, (k, -1))  # (..., K, 1 + 2C + pairs, H, W)
        logits, means, log_scales, mixing = raw.split((1, c, c, c * (c - 1) // 2), dim=-3)
        scales = bounded(log_scales - 2, -7, 3).exp()
        return DiscretisedLogisticMixture(logits.squeeze(-3), means, scales, torch.tanh(mixing))

    def outputs(self) -> int:
        """The number of raw channels that the network must give."""
        return self.components * (1 + 2 * self.channels + self.channels * (self.channels - 1) // 2)
