"""From words to objects: the one place where the names in an experiment become models and objectives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vaekit.config import Cost, Network, nearest
from vaekit.data.conditions import sizes
from vaekit.data.images import ImageSchema
from vaekit.data.images.likelihoods import Likelihood, likelihood
from vaekit.data.images.networks import CONVOLUTIONAL, DENSE, convolutional, dense, start_at
from vaekit.errors import VaekitError
from vaekit.families import normal
from vaekit.nn import ConditionEmbedding
from vaekit.objectives import Cyclical, LinearWarmup, Objective, Schedule, beta_elbo, importance_weighted
from vaekit.priors import LearnedNormal, NormalMixture, StandardNormal
from vaekit.trace import Model
from vaekit.vae import VAE, Conditional, Conditioned

PRIORS: dict[str, Callable[..., nn.Module]] = {
    "standard": lambda latent, context: StandardNormal(latent),
    "learned": LearnedNormal,
    "mixture": NormalMixture,
}


def model(network: Network, schema: ImageSchema) -> Model:
    """The untrained model that a resolved `network` describes, for data of this schema."""
    columns = sizes(schema.conditions)
    context = network.condition_width if columns else 0
    pixels = likelihood(network.likelihood, schema.channels)
    encoder, decoder = _nets(network, schema, pixels, context)
    vae = VAE(
        Conditional(encoder, normal, event_dim=3),
        prior(network.prior, network.latent, context),
        Conditional(decoder, pixels.family),
    )
    if not columns:
        return vae
    embedding = ConditionEmbedding(columns, context, network.condition_dropout)
    return Conditioned(vae, embedding, len(columns))


@torch.no_grad()
def start(model: Model, network: Network, schema: ImageSchema, mean: Tensor, x: Tensor, context: Tensor | None) -> None:
    """Before the first step: the decoder begins at the mean picture (C, H, W), and what learns from data looks at some.

    x (N, C, H, W) are training images as the model sees them, `context` (N, F) what is known of them.
    """
    inner, known = model, None
    model.eval()
    if isinstance(model, Conditioned) and context is not None:
        inner, known = model.model, model.embedding(context)
    begin = likelihood(network.likelihood, schema.channels).start
    if begin is not None:
        start_at(inner.decoder.net, begin(mean))  # type: ignore[union-attr, arg-type]
    for part in inner.modules():
        if hasattr(part, "start"):
            part.start(x, known)  # type: ignore[operator]


def cost(network: Network, schema: ImageSchema) -> tuple[int, int]:
    """How many parameters the model has, and how many multiply-adds one image's forward pass takes."""
    with torch.random.fork_rng():
        untrained = model(network, schema)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            untrained(torch.zeros(1, *schema.shape))
    return sum(p.numel() for p in untrained.parameters()), counter.get_total_flops() // 2


def prior(word: str, latent: int, context: int = 0) -> nn.Module:
    """`standard`, `learned` or `mixture:K` over `latent` dimensions."""
    name, _, argument = word.partition(":")
    if name not in PRIORS or (argument and name != "mixture"):
        raise VaekitError(f"there is no prior '{word}'{nearest(word, ['standard', 'learned', 'mixture:10'])}")
    if name != "mixture":
        return PRIORS[name](latent, context)
    return NormalMixture(latent, _whole(f"prior '{word}'", argument or "10"), context)


def objective(cost: Cost) -> Objective:
    """What `cost` describes: the ELBO with a scheduled beta, or an importance-weighted bound."""
    name, _, argument = cost.bound.partition(":")
    if name == "iwae":
        if cost.beta != 1:
            raise VaekitError(
                f"objective.beta={cost.beta:g}: the iwae bound has no beta; leave it at 1 or use the elbo"
            )
        return importance_weighted(_whole(f"bound '{cost.bound}'", argument))
    if cost.bound != "elbo":
        raise VaekitError(f"there is no bound '{cost.bound}'{nearest(cost.bound, ['elbo', 'iwae:5'])}")
    return beta_elbo(_schedule(cost))


def _schedule(cost: Cost) -> Schedule:
    if cost.cycles:
        return Cyclical(cost.beta, cost.cycles, cost.warmup or 1e-9)
    return LinearWarmup(cost.beta, cost.warmup)


def _nets(network: Network, schema: ImageSchema, pixels: Likelihood, context: int) -> tuple[nn.Module, nn.Module]:
    if network.architecture == "conv":
        if network.hidden is not None:
            raise VaekitError("model.hidden belongs to the mlp; for conv use model.size, or model.architecture=mlp")
        return convolutional(schema.shape, *CONVOLUTIONAL[network.size], network.latent, pixels.outputs, context)
    widths = network.hidden or DENSE[network.size]
    return dense(schema.shape, widths, network.latent, pixels.outputs, network.activation, context)


def _whole(what: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise VaekitError(f"{what}: expected a whole number of at least 1 after the colon")
    return int(text)
