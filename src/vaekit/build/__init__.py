"""From words to objects: the one place where the names in an experiment become models and objectives."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vaekit.build import latents, priors
from vaekit.build.objectives import Setting, objective
from vaekit.config import Experiment, Network
from vaekit.data.conditions import sizes
from vaekit.data.images import ImageSchema
from vaekit.data.images import networks as nets
from vaekit.data.images.likelihoods import Likelihood, likelihood
from vaekit.errors import VaekitError
from vaekit.hierarchy import Hierarchy, TopEncoder, conv_hierarchy, dense_hierarchy
from vaekit.nn import ConditionEmbedding
from vaekit.objectives import WATCHED, Objective, Term
from vaekit.terms import rate_of
from vaekit.trace import Model
from vaekit.vae import VAE, Conditional, Conditioned

__all__ = ["check", "cost", "model", "objective", "objective_of", "start", "untrained"]


def model(network: Network, schema: ImageSchema) -> Model:
    """The untrained model that a resolved `network` describes, for data of this schema."""
    columns = sizes(schema.conditions)
    context = network.condition_width if columns else 0
    inner = _unconditional(network, schema, context)
    if not columns:
        return inner
    return Conditioned(inner, ConditionEmbedding(columns, context, network.condition_dropout), len(columns))


def objective_of(experiment: Experiment, data: int, schema: ImageSchema) -> Objective:
    """The experiment's objective over `data` training images, with the terms that its latents bring."""
    network = experiment.model
    kind = latents.latent(network, nets.grid(schema.shape))
    levels = {f"rate_{i + 1}": Term(rate_of(i), WATCHED) for i in range(network.levels) if network.levels > 1}
    return objective(experiment.objective, Setting(max(2, data), kind.shape[0], kind.kind, {**kind.terms, **levels}))


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
        nets.start_at(inner.decoder.net, begin(mean))  # type: ignore[union-attr, arg-type]
    for part in inner.modules():
        if callable(begins := getattr(part, "start", None)):
            begins(x, known)


def untrained(network: Network, schema: ImageSchema) -> Model:
    """A model to look at, made without moving the random numbers of the one to be trained."""
    with torch.random.fork_rng():
        return model(network, schema).requires_grad_(False)


def cost(model: Model, schema: ImageSchema) -> tuple[int, int]:
    """How many parameters the model has, and how many multiply-adds a further image adds to a forward pass.

    What a batch costs whatever its size, such as the pseudo-inputs of a VampPrior, is not in it.
    """
    with torch.random.fork_rng():
        one, two = (_flops(model, torch.zeros(n, *schema.shape)) for n in (1, 2))
    return sum(p.numel() for p in model.parameters()), (two - one) // 2


@torch.no_grad()
def _flops(model: Model, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


@torch.no_grad()
def check(model: Model, schema: ImageSchema, objective: Objective) -> None:
    """Let the objective have a trace of the model, so that what does not fit is told before anything starts."""
    with torch.random.fork_rng():
        x = torch.zeros(2, *schema.shape)
        try:
            objective.costs(model(x, None, objective.draws), x)
        except ValueError as error:
            raise VaekitError(f"this objective does not fit this model: {error}") from None


def _unconditional(network: Network, schema: ImageSchema, context: int) -> Model:
    pixels = likelihood(network.likelihood, schema.channels)
    kind = latents.latent(network, nets.grid(schema.shape))
    if network.levels > 1:
        return _hierarchy(network, schema, kind, pixels, context)
    encoding, decoding = _nets(network, schema, kind, pixels, context)
    encoder = kind.encoder(encoding)
    prior = priors.prior(network.prior, priors.Setting(kind, encoder, schema.shape, context))
    return VAE(encoder, prior, Conditional(decoding, pixels.family, len(kind.shape)))


def _hierarchy(
    network: Network, schema: ImageSchema, kind: latents.Latent, pixels: Likelihood, context: int
) -> Hierarchy:
    """Latents on top of each other: the top one has the latent's length, and the prior."""
    sizes = latents.of_levels(network)
    if network.activation == "gated":
        raise VaekitError(f"levels={network.levels}: a hierarchy's layers cannot be gated; use model.activation=silu")
    if network.architecture == "conv":
        _refuse_dense(network)
        width, blocks = nets.CONVOLUTIONAL[network.size]
        stride = nets.first_stride(schema.shape)
        built = conv_hierarchy(
            schema.shape, pixels.outputs, sizes, width, blocks, pixels.family, stride, context=context
        )
    else:
        width, blocks = nets.LADDER[network.size]
        width = network.hidden[0] if network.hidden else width
        built = dense_hierarchy(
            schema.shape,
            pixels.outputs,
            sizes,
            width,
            blocks,
            pixels.family,
            network.activation,
            context,
            dropout=network.dropout,
        )
    top = TopEncoder(built.rise, built.top)
    built.prior = priors.prior(network.prior, priors.Setting(kind, top, schema.shape, context))
    return built


def _nets(
    network: Network, schema: ImageSchema, kind: latents.Latent, pixels: Likelihood, context: int
) -> tuple[nn.Module, nn.Module]:
    between = kind.features, kind.shape
    if network.architecture == "conv":
        _refuse_dense(network)
        return nets.convolutional(schema.shape, *nets.CONVOLUTIONAL[network.size], between, pixels.outputs, context)
    widths = network.hidden or nets.DENSE[network.size]
    return nets.dense(schema.shape, widths, between, pixels.outputs, network.activation, context, network.dropout)


def _refuse_dense(network: Network) -> None:
    """What only fully connected networks have."""
    for field in ("hidden", "dropout"):
        if getattr(network, field):
            raise VaekitError(f"model.{field} belongs to the mlp; leave it out for conv, or use model.architecture=mlp")
