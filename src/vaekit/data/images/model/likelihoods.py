"""The likelihoods of images, by the names that users type."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaekit.distributions.families import (
    AnalyticNormal,
    FixedNormal,
    LearnedLaplace,
    LearnedScaleNormal,
    LogisticMixture,
    PixelBernoulli,
    PixelContinuousBernoulli,
    PixelNormal,
)
from vaekit.errors import VaekitError, require_number

NAMES = {
    "bernoulli": "pixels in {0, 1}; grey images are binarised, which is reported",
    "bce": "the same as bernoulli: summed binary cross-entropy, in nats",
    "continuous-bernoulli": "grey levels in [0, 1] with the normaliser that cross-entropy lacks",
    "gaussian": "one shared variance, set to the value that fits best (optimal sigma-VAE)",
    "gaussian-sigmoid": "the same, with a sigmoid that keeps means within [0, 1]: the default for grey and colour",
    "gaussian-learned": "one shared variance, learned by gradient descent",
    "gaussian-pixel": "a variance for every pixel, from the decoder",
    "gaussian:S": "fixed standard deviation S, on pixels in [0, 1]",
    "mse": "the same as gaussian:1: half the summed squared error, plus a constant",
    "laplace": "absolute error, one shared learned scale",
    "logistic-mixture:K": "probabilities of the 256 grey levels; bits per dimension apply (default: K = 10)",
}

EXAMPLES = {"gaussian": "gaussian:0.1", "logistic-mixture": "logistic-mixture:10"}
"""Examples of the likelihoods that take a number after a colon."""


@dataclass(frozen=True)
class Likelihood:
    """How the raw output of the decoder's network becomes p(x | z)."""

    family: nn.Module
    outputs: int
    """The number of raw channels that the decoder must give."""
    discrete: bool = False
    """Whether it gives probabilities, not densities. If so, bits per dimension can be computed."""
    binary: bool = False
    """Whether x must be in {0, 1}."""
    start: Callable[[Tensor], Tensor] | None = None
    """A picture (C, H, W) to the raw output whose mean is about this picture, to initialise the decoder."""


def likelihood(name: str, channels: int) -> Likelihood:
    """The likelihood called `name`. Raises a VaekitError that suggests a known name."""
    word, _, argument = name.partition(":")
    if word in EXAMPLES:
        require_number("likelihood", name, EXAMPLES[word])
    if name in _MAKERS:
        return _MAKERS[name](channels)
    if word == "gaussian":
        return Likelihood(FixedNormal(_number(name, argument)), channels, start=_same)
    if word == "logistic-mixture":
        mixture = LogisticMixture(channels, _whole(name, argument or "10"))
        return Likelihood(mixture, mixture.outputs(), discrete=True)
    from vaekit.config import nearest

    raise VaekitError(f"there is no likelihood '{name}'{nearest(name, list(NAMES))}")


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise VaekitError(f"likelihood '{name}': expected a positive number after the colon")
    return value


def _whole(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise VaekitError(
            f"likelihood '{name}': expected a whole number of at least 1 after the colon"
        )
    return int(text)


def _same(mean: Tensor) -> Tensor:
    return mean


def _logit(mean: Tensor) -> Tensor:
    return torch.logit(mean.clamp(0.001, 0.999))


def _bernoulli(channels: int) -> Likelihood:
    return Likelihood(PixelBernoulli(), channels, discrete=True, binary=True, start=_logit)


_MAKERS: dict[str, Callable[[int], Likelihood]] = {
    "bernoulli": _bernoulli,
    "bce": _bernoulli,
    "continuous-bernoulli": lambda c: Likelihood(PixelContinuousBernoulli(), c, start=_logit),
    "gaussian": lambda c: Likelihood(AnalyticNormal(), c, start=_same),
    "gaussian-sigmoid": lambda c: Likelihood(AnalyticNormal(squash=torch.sigmoid), c, start=_logit),
    "gaussian-learned": lambda c: Likelihood(LearnedScaleNormal(), c, start=_same),
    "gaussian-pixel": lambda c: Likelihood(PixelNormal(), 2 * c, start=_same),
    "mse": lambda c: Likelihood(FixedNormal(1.0), c, start=_same),
    "laplace": lambda c: Likelihood(LearnedLaplace(), c, start=_same),
}
