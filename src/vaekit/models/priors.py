"""Priors over a latent vector: modules whose `forward(context)` returns p(z | context).

Its batch shape is () or (B,). `context` in a constructor is the length F of the context vector;
with 0, the prior ignores the context. A conditional prior starts as the unconditional one: the last
layer that reads the context starts at zero.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Size, Tensor, nn
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    Laplace,
    MixtureSameFamily,
    Normal,
)

from vaekit.distributions.families import bounded
from vaekit.nn import MLP

HEAD = 64
"""The number of hidden units between a context and the parameters that it changes."""


class StandardNormal(nn.Module):
    """N(0, I) over `latent` dimensions, whatever the context."""

    zero: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def forward(self, context: Tensor | None = None) -> Independent:
        return Independent(Normal(self.zero, torch.ones_like(self.zero), validate_args=False), 1)


class UnitLaplace(nn.Module):
    """prod_j Laplace(z_j; 0, 1 / sqrt 2), with unit variance, whatever the context.

    Most values are near zero and few are far away. Unlike N(0, I), it distinguishes the axes from
    other directions (Barello et al. 2018).
    """

    zero: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def forward(self, context: Tensor | None = None) -> Independent:
        scale = torch.full_like(self.zero, math.sqrt(0.5))
        return Independent(Laplace(self.zero, scale, validate_args=False), 1)


class LearnedNormal(nn.Module):
    """N(m(c), diag(s(c)^2)), learned, starting at N(0, I).

    The batch shape is () without a context, else (B,).
    """

    def __init__(self, latent: int, context: int = 0) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(latent))
        self.log_scale = nn.Parameter(torch.zeros(latent))
        self.head = _head(context, 2 * latent)

    def forward(self, context: Tensor | None = None) -> Independent:
        mean, log_scale = _moved(self.head, context, self.mean, self.log_scale)
        return Independent(Normal(mean, bounded(log_scale, -6, 6).exp(), validate_args=False), 1)


class NormalMixture(nn.Module):
    """sum_k pi_k(c) N(m_k(c), diag(s_k(c)^2)), all learned.

    The means start as draws from N(0, I).
    """

    def __init__(self, latent: int, components: int = 10, context: int = 0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent))
        self.log_scales = nn.Parameter(torch.zeros(components, latent))
        self.head = _head(context, components * (1 + 2 * latent))

    def forward(self, context: Tensor | None = None) -> MixtureOfNormals:
        logits, means, log_scales = _moved(
            self.head, context, self.logits, self.means, self.log_scales
        )
        return MixtureOfNormals(logits, means, bounded(log_scales, -6, 6).exp())


class VampPrior(nn.Module):
    """p(z | c) = sum_k pi_k(c) q(z | u_k, c_k), a mixture of the encoder's posteriors.

    The K pseudo-inputs u_k are learned. Tomczak & Welling 2018, eq. 9, with their uniform weights
    pi_k = 1/K if there is no context. With one, the pseudo-contexts c_k are learned as well, and
    the weights depend on the context. The rate is a one-draw estimate.

    encoder: the model's own, (x, context) -> q. It is borrowed, not a sub-module: its weights are
    registered, moved, trained and saved once, with the model, and a deep copy of the model shares
    them as well.
    pseudo_inputs: where they start, (K, *shape), within [low, high], the range in which they stay.
    """

    def __init__(
        self,
        encoder: nn.Module,
        pseudo_inputs: Tensor,
        low: float = 0.0,
        high: float = 1.0,
        context: int = 0,
    ) -> None:
        super().__init__()
        self._borrowed = (encoder,)  # in a tuple, where `nn.Module` doesn't see it
        self.low, self.high = low, high
        self.raw = nn.Parameter(self._unsquashed(pseudo_inputs))
        self.contexts = nn.Parameter(torch.zeros(len(pseudo_inputs), context)) if context else None
        self.head = _head(context, len(pseudo_inputs))

    def forward(self, context: Tensor | None = None) -> MixtureOfNormals | MixtureSameFamily:
        q = self._borrowed[0](self.pseudo_inputs(), self.contexts)
        (logits,) = _moved(self.head, context, self.raw.new_zeros(len(self.raw)))
        return mixture(logits, q)

    def pseudo_inputs(self) -> Tensor:
        """The pseudo-inputs as the encoder sees them, shape (K, *shape), within (low, high)."""
        return self.low + (self.high - self.low) * torch.sigmoid(self.raw)

    @torch.no_grad()
    def start(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the pseudo-inputs to training data x (N, *shape), with a little noise.

        Their contexts (N, F) become the pseudo-contexts. No datum is used twice while there are
        enough of them.
        """
        count = len(self.raw)
        rows = torch.cat(
            [torch.randperm(len(x), device=x.device) for _ in range(-(-count // len(x)))]
        )[:count]
        raw = self._unsquashed(x[rows].to(self.raw.dtype))
        self.raw.copy_(raw + NUDGE * torch.randn_like(raw))
        if self.contexts is not None and context is not None:
            self.contexts.copy_(context[rows])

    def _unsquashed(self, x: Tensor) -> Tensor:
        return torch.logit(((x - self.low) / (self.high - self.low)).clamp(EDGE, 1 - EDGE))


EDGE = 0.02
"""How far inside their range pseudo-inputs start, as a share of it.

There, the squashing still passes on a gradient.
"""

NUDGE = 0.1
"""Standard deviation, before squashing, of the noise that makes a datum a pseudo-input."""


class MixtureOfNormals(Distribution):
    """sum_k pi_k N(m_k, diag(s_k^2)) over vectors of length Z.

    Its density is computed by one matrix product: log N(z; m, s) = <(z^2, z), (-1 / (2 s^2), m /
    s^2)> - sum_j (m_j^2 / (2 s_j^2) + log s_j) - Z/2 log 2 pi. Its terms cancel, so the product
    runs in float64. For K components and B latents it is about ten times as fast as the differences
    (B, K, Z), and needs Z times less memory. On a device without float64 (mps), float32 loses about
    1e-7 (|z| / s)^2 nats.

    logits (K,) or (B, K); means and scales (K, Z) or (B, K, Z). Batch shape: the batch axes of
    either, broadcast.
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, logits: Tensor, means: Tensor, scales: Tensor) -> None:
        self.log_weights = torch.log_softmax(logits.float(), dim=-1)
        self.means, self.scales = means, scales
        batch = torch.broadcast_shapes(logits.shape[:-1], means.shape[:-2])
        super().__init__(batch, means.shape[-1:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value) in nats, value (..., *batch, Z); shape (..., *batch)."""
        return torch.logsumexp(self.log_weights + self._log_normals(value), dim=-1)

    def _log_normals(self, value: Tensor) -> Tensor:
        """log N(value; m_k, s_k) for all k, shape (..., *batch, K)."""
        wide = torch.float32 if value.device.type == "mps" else torch.float64
        z, means, scales = value.to(wide), self.means.to(wide), self.scales.to(wide)
        precisions = scales**-2
        weights = torch.cat((-0.5 * precisions, means * precisions), dim=-1)
        constants = -(0.5 * means**2 * precisions + scales.log()).sum(-1)
        constants = constants - 0.5 * z.shape[-1] * math.log(2 * math.pi)
        product = torch.einsum("...z,...kz->...k", torch.cat((z * z, z), dim=-1), weights)
        return (product + constants).to(self.means.dtype)

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = Size()) -> Tensor:
        """Latents of shape sample_shape + batch + (Z,); no gradient."""
        with torch.no_grad():
            pick = Categorical(
                logits=self.log_weights.expand(*self.batch_shape, -1), validate_args=False
            )
            index = pick.sample(Size(sample_shape))[..., None, None]
            means, scales = (
                torch.take_along_dim(
                    t.expand(*index.shape[:-2], *t.shape[-2:]), index, dim=-2
                ).squeeze(-2)
                for t in (self.means, self.scales)
            )
            return torch.normal(means, scales)

    @property
    def mean(self) -> Tensor:
        return (
            (self.log_weights.exp()[..., None] * self.means).sum(-2).expand(*self.batch_shape, -1)
        )

    @property
    def variance(self) -> Tensor:
        second = (self.log_weights.exp()[..., None] * (self.means**2 + self.scales**2)).sum(-2)
        return second.expand(*self.batch_shape, -1) - self.mean**2


def mixture(logits: Tensor, components: Distribution) -> MixtureOfNormals | MixtureSameFamily:
    """sum_k pi_k q_k for logits (..., K) and q of batch shape (K,).

    It is fast if the q_k are diagonal normals.
    """
    if isinstance(components, Independent) and isinstance(components.base_dist, Normal):
        return MixtureOfNormals(logits, components.base_dist.mean, components.base_dist.stddev)
    weights = Categorical(logits=logits, validate_args=False)
    if weights.batch_shape:
        components = components.expand(weights.batch_shape + components.batch_shape)
    return MixtureSameFamily(weights, components, validate_args=False)


def _head(context: int, outputs: int) -> MLP | None:
    """A network from a context of length `context` to what it adds to `outputs` parameters.

    It adds nothing at the start. Without a context, there is none.
    """
    if not context:
        return None
    head = MLP((context,), (HEAD,), (outputs,))
    nn.init.zeros_(head.head.weight)
    nn.init.zeros_(head.head.bias)
    return head


def _moved(head: MLP | None, context: Tensor | None, *parameters: Tensor) -> tuple[Tensor, ...]:
    """The parameters (B, *shape), each with the head's output for the context (B, F) added.

    Without a head, they are unchanged.
    """
    if head is None:
        return parameters
    shifts = head(context).float().split([p.numel() for p in parameters], dim=-1)
    return tuple(
        p + shift.unflatten(-1, p.shape) for p, shift in zip(parameters, shifts, strict=True)
    )
