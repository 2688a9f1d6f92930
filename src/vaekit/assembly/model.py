"""The model and the objective that an experiment describes."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.assembly import latents, priors
from vaekit.assembly.objectives import Setting, objective
from vaekit.config import Experiment, Network
from vaekit.core.extra_costs import rate_of
from vaekit.core.objectives import WATCHED, Objective, Term
from vaekit.core.trace import Model
from vaekit.data.conditions import sizes
from vaekit.data.dataset import Schema
from vaekit.data.registry import modality
from vaekit.errors import VaekitError
from vaekit.models.hierarchy import Hierarchy, TopEncoder
from vaekit.models.vae import VAE, Conditioned
from vaekit.nn import ConditionEmbedding


def build_model(network: Network, schema: Schema) -> Model:
    """The untrained model that a resolved `network` describes, for data of this schema."""
    columns = sizes(schema.conditions)
    context = network.condition_width if columns else 0
    inner = _unconditional(network, schema, context)
    if not columns:
        return inner
    return Conditioned(
        inner, ConditionEmbedding(columns, context, network.condition_dropout), len(columns)
    )


def build_objective(experiment: Experiment, data: int, schema: Schema) -> Objective:
    """The experiment's objective over `data` training images, with the terms that its latents bring."""
    network = experiment.model
    kind = latents.latent(network, schema)
    levels = {
        f"rate_{i + 1}": Term(rate_of(i), WATCHED)
        for i in range(network.levels)
        if network.levels > 1
    }
    return objective(
        experiment.objective,
        Setting(max(2, data), kind.shape[0], kind.kind, {**kind.terms, **levels}),
    )


@torch.no_grad()
def start_model(
    model: Model, network: Network, schema: Schema, raw: Tensor, x: Tensor, context: Tensor | None
) -> None:
    """Before the first step: the decoder begins at the middle of the data, and what learns from data looks at some.

    raw (M, ...) are training data as stored, x (N, ...) some as the model sees them, `context` (N, F) what is known.
    """
    inner, known = model, None
    model.eval()
    if isinstance(model, Conditioned) and context is not None:
        inner, known = model.model, model.embedding(context)
    modality(schema.modality).model.init_decoder(inner.decoder, network, schema, raw)  # type: ignore[union-attr, arg-type]
    for part in inner.modules():
        if callable(begins := getattr(part, "start", None)):
            begins(x, known)


def build_untrained(network: Network, schema: Schema) -> Model:
    """A model to look at, made without moving the random numbers of the one to be trained."""
    with torch.random.fork_rng():
        return build_model(network, schema).requires_grad_(False)


def count_cost(model: Model, schema: Schema) -> tuple[int, int]:
    """How many parameters the model has, and how many multiply-adds a further image adds to a forward pass.

    What a batch costs whatever its size, such as the pseudo-inputs of a VampPrior, is not in it.
    """
    with torch.random.fork_rng():
        one, two = (_flops(model, torch.zeros(n, *schema.shape)) for n in (1, 2))
    return sum(p.numel() for p in model.parameters()), (two - one) // 2


@torch.no_grad()
def _flops(model: Model, x: Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


@torch.no_grad()
def require_fit(model: Model, schema: Schema, objective: Objective) -> None:
    """Let the objective have a trace of the model, so that what does not fit is told before anything starts."""
    with torch.random.fork_rng():
        x = torch.zeros(2, *schema.shape)
        try:
            objective.costs(model(x, None, objective.draws), x)
        except ValueError as error:
            raise VaekitError(f"this objective does not fit this model: {error}") from None


def _unconditional(network: Network, schema: Schema, context: int) -> Model:
    made, kind = latents.latent(network, schema), modality(schema.modality).model
    if network.levels > 1:
        return _hierarchy(network, schema, made, context)
    encoding, decoder = kind.parts(network, schema, (made.features, made.shape), context)
    encoder = made.encoder(encoding)
    prior = priors.prior(network.prior, priors.LatentSetting(made, encoder, schema.shape, context))
    return VAE(encoder, prior, decoder)


def _hierarchy(network: Network, schema: Schema, top: latents.Latent, context: int) -> Hierarchy:
    """Latents on top of each other: the top one has the latent's length, and the prior."""
    kind = modality(schema.modality)
    if kind.model.hierarchy is None:
        raise VaekitError(
            f"levels={network.levels}: there is no hierarchy for {kind.name}; use levels=1"
        )
    built = kind.model.hierarchy(network, schema, latents.of_levels(network), context)
    encoder = TopEncoder(built.rise, built.top)
    built.prior = priors.prior(
        network.prior, priors.LatentSetting(top, encoder, schema.shape, context)
    )
    return built
