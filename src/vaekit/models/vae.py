"""The variational autoencoder and the part that most models are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution

from vaekit.core.trace import Draw, Model, Trace


class Conditional(nn.Module):
    """p(output | value, context) = family(net(value, context)).

    The network's output is read as a distribution. `event_dim` is the number of trailing axes that
    form one value (1 for a latent vector, 3 for an image). All axes before them are batch axes,
    which are flattened into one for the network.
    """

    def __init__(
        self, net: nn.Module, family: Callable[[Tensor], Distribution], event_dim: int = 1
    ) -> None:
        super().__init__()
        self.net, self.family, self.event_dim = net, family, event_dim

    def forward(self, value: Tensor, context: Tensor | None = None) -> Distribution:
        batch = value.shape[: value.dim() - self.event_dim]
        if context is not None:
            context = context.expand(*batch, context.shape[-1]).flatten(0, len(batch) - 1)
        raw = self.net(value.flatten(0, len(batch) - 1), context)
        return self.family(raw.unflatten(0, batch))


class VAE(Model):
    """p(x, z | c) = p(z | c) p(x | z, c), with inference by q(z | x, c).

    Kingma & Welling 2014; Sohn et al. 2015. encoder: (x, context) -> q; prior: (context) -> p(z);
    decoder: (z, context) -> p(x | z). All are modules that return a
    `torch.distributions.Distribution`.
    """

    def __init__(self, encoder: nn.Module, prior: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.prior, self.decoder = encoder, prior, decoder

    def forward(
        self, x: Tensor, context: Tensor | None = None, draws: Size | tuple[int, ...] = ()
    ) -> Trace:
        q = self.encoder(x, context)
        z = q.rsample(Size(draws))
        return Trace((Draw(z, q, self.prior(context)),), self.decoder(z, context))

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, ...]:
        return (self.encoder(x, context),)

    def decode(self, latents: Sequence[Tensor], context: Tensor | None = None) -> Distribution:
        return self.decoder(latents[0], context)

    def sample(self, n: int, context: Tensor | None = None) -> tuple[Tensor, ...]:
        prior = self.prior(context)
        return (prior.sample(Size((n,)) if prior.batch_shape == Size() else Size()),)


class Conditioned(Model):
    """A model with conditions: `embedding` turns their rows (B, F) into the model's context.

    Unknown conditions are NaN. Without rows, all conditions of every datum are unknown: the model
    is p(x, z) as learned without conditions.
    """

    def __init__(self, model: Model, embedding: nn.Module, columns: int) -> None:
        super().__init__()
        self.model, self.embedding, self.columns = model, embedding, columns

    def forward(
        self, x: Tensor, context: Tensor | None = None, draws: Size | tuple[int, ...] = ()
    ) -> Trace:
        return self.model(x, self._embedded(context, x), draws)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, ...]:
        return self.model.encode(x, self._embedded(context, x))

    def decode(self, latents: Sequence[Tensor], context: Tensor | None = None) -> Distribution:
        nothing = latents[0].new_full(
            (1, self.columns), torch.nan
        )  # one row serves any batch shape
        return self.model.decode(latents, self.embedding(nothing if context is None else context))

    def sample(self, n: int, context: Tensor | None = None) -> tuple[Tensor, ...]:
        like = next(self.embedding.parameters())
        return self.model.sample(n, self._embedded(context, like.new_empty(n)))

    def _embedded(self, context: Tensor | None, like: Tensor) -> Tensor:
        return self.embedding(
            like.new_full((len(like), self.columns), torch.nan) if context is None else context
        )
