"""The Kullback-Leibler divergence from a prior to a posterior: exact where a closed form is registered on the pair."""

from __future__ import annotations

from functools import cache

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence
from torch.distributions.kl import _KL_MEMOIZE, _dispatch_kl


def kl(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p) in nats: closed form, shape (B,), else the one-draw estimate log q(z) - log p(z) at z ~ q.

    A closed form is whatever `torch.distributions.register_kl` knows of the two types; add one there, for a pair.
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


# What `torch.compiler.assume_constant_result` sets. The decorator imports the compiler, which takes as long as torch.
_is_registered._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _lookup(q: type[Distribution], p: type[Distribution]) -> bool:
    form = _KL_MEMOIZE[q, p] = _dispatch_kl(
        q, p
    )  # so that a compiled step finds it there, and need not dispatch
    return form is not NotImplemented
