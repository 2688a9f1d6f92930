"""Coupling flows: a learned prior over latents, and a posterior beyond a diagonal normal.

A coupling keeps some dimensions as they are and transforms the others, by an affine map and a
monotonic rational-quadratic spline that depend on the kept ones (Dinh et al. 2017; Durkan et al.
2019, section 3). The spline's arithmetic is zuko's. The couplings are our own: zuko's search for
their mask in every call (`nonzero`), which does not fit in a single compiled graph, and would
compute the spline in bfloat16 under autocast. Here, networks follow autocast and splines run in
float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Transform

from vaekit.distributions.families import bounded

BINS = 8
"""The number of pieces of a spline. It transforms [-5, 5] and keeps values outside as they are."""

FLATTEST = 1e-2
"""The smallest slope of a spline; one over it is the greatest.

Within these limits a spline can be inverted in float32.
"""


class FlowPrior(nn.Module):
    """p(z | c) = N(f(z; c); 0, I) |det df/dz|, where f is an affine map and couplings.

    At the start it is N(0, I). The batch shape is () without a context, else (B,). The density
    needs f, and sampling needs its inverse.
    """

    def __init__(
        self, latent: int, context: int = 0, transforms: int = 4, hidden: int = 128
    ) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.zeros(latent))
        self.log_scale = nn.Parameter(torch.zeros(latent))
        self.couplings = Couplings(latent, context, transforms, hidden)
        self.conditional = context > 0

    def forward(self, context: Tensor | None = None) -> Normalised:
        log_scale = bounded(self.log_scale, -8, 8)
        return Normalised(
            self.couplings, context if self.conditional else None, self.location, log_scale
        )

    @torch.no_grad()
    def standardise(self, z: Tensor) -> None:
        """Set shift and scale so that latents like z (N, Z) get mean 0 and variance 1 at the
        splines.
        """
        self.location.copy_(z.mean(0))
        self.log_scale.copy_(z.std(0).clamp_min(1e-3).log())


class FlowPosterior(nn.Module):
    """A family: raw (..., 2 Z + features) to q(z | x).

    z = mean + scale f(e; h) with e ~ N(0, I) and f couplings. The first 2 Z raw numbers are mean
    and log standard deviation, as in `vaekit.distributions.families.normal`, and q starts as that
    normal. The rest are h, through which the couplings depend on x (Rezende & Mohamed 2015, eq.
    13-15).
    """

    def __init__(
        self, latent: int, features: int = 64, transforms: int = 4, hidden: int = 64
    ) -> None:
        super().__init__()
        self.latent, self.features = latent, features
        self.couplings = Couplings(latent, features, transforms, hidden)

    def forward(self, raw: Tensor) -> CoupledNormal:
        mean, log_scale, features = raw.split((self.latent, self.latent, self.features), dim=-1)
        return CoupledNormal(self.couplings, features, mean.float(), bounded(log_scale, -6, 6))

    def outputs(self) -> int:
        """The number of raw outputs that the network must give."""
        return 2 * self.latent + self.features


class Couplings(nn.Module):
    """y = f(x; c) over vectors: couplings in a row, each on other dimensions than the one before.

    At the start f(x) ~ x. x (..., Z) and c (B, F) or None give y (..., Z) and log |det dy/dx|
    (...), in nats.
    """

    def __init__(self, latent: int, context: int, transforms: int, hidden: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Coupling(latent, context, hidden) for _ in range(transforms))
        kept = latent // 2
        for i, step in enumerate(
            self.steps
        ):  # every other coupling transforms what the one before it kept
            order = torch.arange(latent).roll(-kept) if i % 2 else torch.randperm(latent)
            cast(Coupling, step).order.copy_(order)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(())
        for step in self.steps:
            x, log_det = step(x, context)
            total = total + log_det
        return x, total

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The x that `forward` maps to y, and log |det dy/dx| there."""
        total = y.new_zeros(())
        for step in reversed(self.steps):
            y, log_det = cast(Coupling, step).inverse(y, context)
            total = total + log_det
        return y, total


class Coupling(nn.Module):
    """(a, b) -> (a, spline(b exp(s) + t)) on the permuted dimensions.

    (a, c) determine s, t and the spline.
    """

    order: Tensor

    def __init__(self, latent: int, context: int, hidden: int) -> None:
        super().__init__()
        from zuko.transforms import (
            MonotonicRQSTransform,  # here, so that importing vaekit stays fast
        )

        self.spline: Callable[..., Transform] = MonotonicRQSTransform
        self.kept = latent // 2
        self.net = Conditioner(
            self.kept, context, hidden, (latent - self.kept) * (2 + 3 * BINS - 1)
        )
        self.register_buffer("order", torch.arange(latent))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, b = self._split(x.index_select(-1, self.order))
        shift, log_scale, spline = self._bend(a, context)
        y, log_slope = cast(Any, spline).call_and_ladj(b * log_scale.exp() + shift)
        return torch.cat((a, y), dim=-1), (log_slope + log_scale).sum(-1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The x that `forward` maps to y, and log |det dy/dx| there."""
        a, bent = self._split(y)
        shift, log_scale, spline = self._bend(a, context)
        straight = spline.inv(bent)
        log_slope = spline.log_abs_det_jacobian(straight, bent)
        x = torch.cat((a, (straight - shift) * (-log_scale).exp()), dim=-1)
        return x.index_select(-1, self.order.argsort()), (log_slope + log_scale).sum(-1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., : self.kept], x[..., self.kept :]

    def _bend(self, a: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Transform]:
        raw = self.net(a, context).float().unflatten(-1, (-1, 2 + 3 * BINS - 1))
        shift, log_scale, widths, heights, slopes = raw.split((1, 1, BINS, BINS, BINS - 1), dim=-1)
        return (
            shift.squeeze(-1),
            bounded(log_scale.squeeze(-1), -2, 2),
            self.spline(widths, heights, slopes, slope=FLATTEST),
        )


class Conditioner(nn.Module):
    """Two hidden layers from (a, c) to the parameters of a coupling; its outputs start at zero.

    The context is added in the first layer, so that one context serves any number of draws.
    """

    def __init__(self, kept: int, context: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.of_kept = nn.Linear(kept, hidden, bias=False) if kept else None
        self.of_context = nn.Linear(context, hidden, bias=False) if context else None
        self.middle = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, a: Tensor, context: Tensor | None) -> Tensor:
        h = self.bias if self.of_kept is None else self.bias + self.of_kept(a)
        if self.of_context is not None:
            h = h + self.of_context(context)
        return self.head(F.silu(self.middle(F.silu(h))))


class Normalised(Distribution):
    """The density of a z that couplings map to a standard normal.

    e = f((z - location) / scale; c) ~ N(0, I), so log p(z) = log N(e; 0, I) + log |det df| - sum
    log scale.
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(
        self, couplings: Couplings, context: Tensor | None, location: Tensor, log_scale: Tensor
    ) -> None:
        self.couplings, self.context, self.location, self.log_scale = (
            couplings,
            context,
            location,
            log_scale,
        )
        batch = Size() if context is None else context.shape[:-1]
        super().__init__(batch, location.shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        z = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape))
        e, log_det = self.couplings((z - self.location) * (-self.log_scale).exp(), self.context)
        return _log_standard_normal(e) + log_det - self.log_scale.sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = Size()) -> Tensor:
        """Latents of shape sample_shape + batch + (Z,), through the inverse; no gradient."""
        return self._at(
            torch.randn(self._extended_shape(Size(sample_shape)), device=self.location.device)
        )

    @property
    def mean(self) -> Tensor:
        """The latent at e = 0, the middle of the normal: a typical latent, not the expectation."""
        return self._at(self.location.new_zeros(self.batch_shape + self.event_shape))

    def _at(self, e: Tensor) -> Tensor:
        return self.location + self.log_scale.exp() * self.couplings.inverse(e, self.context)[0]


class CoupledNormal(Distribution):
    """z = mean + scale f(e; h) with e ~ N(0, I) and f couplings.

    log q(z) = log N(e; 0, I) - log |det df| - sum log scale. For the latest draw, e is known and
    nothing is inverted; for any other z, f is inverted.
    """

    arg_constraints: ClassVar[dict] = {}
    has_rsample = True

    def __init__(
        self, couplings: Couplings, features: Tensor, location: Tensor, log_scale: Tensor
    ) -> None:
        self.couplings, self.features, self.location, self.log_scale = (
            couplings,
            features,
            location,
            log_scale,
        )
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(location.shape[:-1], location.shape[-1:], validate_args=False)

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = Size()) -> Tensor:
        e = torch.randn(self._extended_shape(Size(sample_shape)), device=self.location.device)
        z, log_det = self._at(e)
        self._drawn = z, self._density(e, log_det)
        return z

    @torch.no_grad()
    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = Size()) -> Tensor:
        return self._at(
            torch.randn(self._extended_shape(Size(sample_shape)), device=self.location.device)
        )[0]

    def log_prob(self, value: Tensor) -> Tensor:
        if self._drawn is not None and value is self._drawn[0]:
            return self._drawn[1]
        return self._density(
            *self.couplings.inverse(
                (value - self.location) * (-self.log_scale).exp(), self.features
            )
        )

    @property
    def mean(self) -> Tensor:
        """The latent at e = 0, the middle of the base normal.

        It is the posterior's code: near the expectation, but not equal to it.
        """
        return self._at(torch.zeros_like(self.location))[0]

    @property
    def variance(self) -> Tensor:
        """The variance of the flow, made linear around e = 0.

        Its slopes are differences over one standard deviation to both sides.
        """
        unit = torch.eye(self.event_shape[0], device=self.location.device)
        ends = unit.view(-1, *(1 for _ in self.batch_shape), *self.event_shape).expand(
            -1, *self.location.shape
        )
        return ((self._at(ends)[0] - self._at(-ends)[0]) / 2).square().sum(0)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> CoupledNormal:
        parts = (self.features, self.location, self.log_scale)
        return CoupledNormal(
            self.couplings, *(part.expand(*batch_shape, part.shape[-1]) for part in parts)
        )

    def _at(self, e: Tensor) -> tuple[Tensor, Tensor]:
        bent, log_det = self.couplings(e, self.features)
        return self.location + self.log_scale.exp() * bent, log_det

    def _density(self, e: Tensor, log_det: Tensor) -> Tensor:
        return _log_standard_normal(e) - log_det - self.log_scale.sum(-1)


def _log_standard_normal(e: Tensor) -> Tensor:
    return -0.5 * (e.square().sum(-1) + e.shape[-1] * math.log(2 * math.pi))
