"""Guidance: makes a condition count for more in a prediction (Ho & Salimans 2022).

`extrapolate(given, blind, weight)` is blind + weight (given - blind) in the parameters that a
network gives: logits or means. `given` is the prediction with the condition, `blind` the one
without. The result is `given` at weight 1 and `blind` at 0; above 1 the condition counts for more
than the model learned. For Bernoulli pixels, and for normal pixels with a shared scale, it is
exactly the density proportional to p(x|z,c)^w p(x|z)^(1-w).
"""

from __future__ import annotations

from functools import singledispatch

from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Laplace, Normal

from vaekit.distributions.pixels import ContinuousBernoulliPixels, DiscretisedLogisticMixture


@singledispatch
def extrapolate(given: Distribution, blind: Distribution, weight: float) -> Distribution:
    """The distribution at `weight` on the line from `blind` to `given`, of the same type."""
    raise TypeError(
        f"guidance does not support {type(given).__name__}; register it with extrapolate.register"
    )


def _line(given: Tensor, blind: Tensor, weight: float) -> Tensor:
    return blind + weight * (given - blind)


@extrapolate.register
def _(given: Independent, blind: Independent, weight: float) -> Independent:
    return Independent(
        extrapolate(given.base_dist, blind.base_dist, weight), given.reinterpreted_batch_ndims
    )


@extrapolate.register
def _(given: Bernoulli, blind: Bernoulli, weight: float) -> Bernoulli:
    return Bernoulli(logits=_line(given.logits, blind.logits, weight), validate_args=False)


@extrapolate.register
def _(given: Normal, blind: Normal, weight: float) -> Normal:
    return Normal(_line(given.loc, blind.loc, weight), given.scale, validate_args=False)


@extrapolate.register
def _(given: Laplace, blind: Laplace, weight: float) -> Laplace:
    return Laplace(_line(given.loc, blind.loc, weight), given.scale, validate_args=False)


@extrapolate.register
def _(
    given: ContinuousBernoulliPixels, blind: ContinuousBernoulliPixels, weight: float
) -> ContinuousBernoulliPixels:
    return ContinuousBernoulliPixels(_line(given.logits, blind.logits, weight))


@extrapolate.register
def _(
    given: DiscretisedLogisticMixture, blind: DiscretisedLogisticMixture, weight: float
) -> DiscretisedLogisticMixture:
    weights = _line(given.log_weights, blind.log_weights, weight)
    means = _line(given.means, blind.means, weight)
    return DiscretisedLogisticMixture(weights, means, given.scales, given.mixing, given.levels)
