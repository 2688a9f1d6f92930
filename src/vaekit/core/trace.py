"""What models give to objectives: a model returns a trace, and an objective computes its cost.

Every posterior and likelihood in a trace has batch shape (B,), or (S, B) with S draws per datum. An
unconditional prior may have batch shape (), because the whole batch shares it. All
log-probabilities are in nats, summed over the datum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Size, Tensor, nn
from torch.distributions import Distribution

from vaekit.core.kl import kl


@dataclass(frozen=True, slots=True)
class Draw:
    """A latent z ~ q(z|x), the posterior q it was drawn from and its prior p."""

    z: Tensor
    posterior: Distribution
    prior: Distribution

    def kl(self) -> Tensor:
        """KL(q || p) in nats, shape (B,): closed form where one is registered, else log q(z) - log p(z) at the draw."""
        return kl(self.posterior, self.prior, self.z)

    def log_ratio(self) -> Tensor:
        """log p(z) - log q(z) at the draw, in nats, shape (B,) or (S, B)."""
        return self.prior.log_prob(self.z) - self.posterior.log_prob(self.z)


@dataclass(frozen=True, slots=True)
class Trace:
    """The latents that a model drew for a batch, and the likelihood p(x|z) given them."""

    draws: tuple[Draw, ...]
    likelihood: Distribution

    def rate(self) -> Tensor:
        """The sum of KL(q || p) over the latents in nats, shape (B,) or (S, B)."""
        return sum((draw.kl() for draw in self.draws[1:]), start=self.draws[0].kl())

    def distortion(self, x: Tensor) -> Tensor:
        """-log p(x|z) in nats, shape (B,) or (S, B)."""
        return -self.likelihood.log_prob(x)

    def log_weight(self, x: Tensor) -> Tensor:
        """log p(x, z) - log q(z|x) at the draws, in nats, shape (B,) or (S, B): the log importance weight."""
        return sum((draw.log_ratio() for draw in self.draws), start=self.likelihood.log_prob(x))


class Model(nn.Module, ABC):
    """p(x, z | c) with an inference model q(z | x, c): the methods that the rest of vaekit uses."""

    @abstractmethod
    def forward(
        self, x: Tensor, context: Tensor | None = None, draws: Size | tuple[int, ...] = ()
    ) -> Trace:
        """Infer latents of x (B, ...) and reconstruct x; `draws=(S,)` draws S latents per datum."""

    @abstractmethod
    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, ...]:
        """The posterior of every latent, each of batch shape (B,)."""

    @abstractmethod
    def decode(self, latents: Sequence[Tensor], context: Tensor | None = None) -> Distribution:
        """p(x | latents, context), with the latents' batch shape."""

    @abstractmethod
    def sample(self, n: int, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """Latents of n data, drawn from the prior; `context`, if given, has n rows."""

    def generate(self, n: int, context: Tensor | None = None) -> Distribution:
        """p(x | z) at n latents drawn from the prior, batch shape (n,); `context`, if given, has n rows."""
        return self.decode(self.sample(n, context), context)
