"""The Kullback-Leibler divergence from a prior to a posterior.

It is exact if a closed form is registered for the two distribution types.
"""

from __future__ import annotations

from functools import cache

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence
from torch.distributions.kl import _KL_MEMOIZE, _dispatch_kl


def kl(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p) in nats: the closed form, shape (B,), or else an estimate from the draw z ~ q.

    The estimate is log q(z) - log p(z). Closed forms are those in
    `torch.distributions.register_kl`; register one there for a new pair of types.
    """
    return kl_divergence(q, p) if has_closed_form(q, p) else q.log_prob(z) - p.log_prob(z)


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether KL(q || p) is registered for this pair of distribution types."""
    if isinstance(q, Independent) and isinstance(p, Independent):
        same = q.reinterpreted_batch_ndims == p.reinterpreted_batch_ndims
        return (
            same
            and _is_registered(Independent, Independent)
            and has_closed_form(q.base_dist, p.base_dist)
        )
    return _is_registered(type(q), type(p))


def _is_registered(q: type[Distribution], p: type[Distribution]) -> bool:
    return _lookup(q, p)  # type: ignore[arg-type]


# The decorator `torch.compiler.assume_constant_result` sets this. We do not use it because it imports the compiler,
# which takes as long as importing torch.
_is_registered._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _lookup(q: type[Distribution], p: type[Distribution]) -> bool:
    form = _KL_MEMOIZE[q, p] = _dispatch_kl(
        q, p
    )  # so that a compiled step finds it and does not dispatch
    return form is not NotImplemented
