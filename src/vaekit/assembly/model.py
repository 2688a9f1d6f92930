"""Builds the model and the objective that an experiment describes."""

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
    """The objective for this number of training data, with the terms that the latents add."""
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
    """Initialise the model from training data before the first step.

    The output of the decoder starts at the middle of the data, and the parts with a `start` method
    (codebooks, pseudo-inputs) are started. raw (M, ...) are training data as stored; x (N, ...) are
    training data in the form of model input, with conditions `context` (N, F).
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
    """An untrained model for inspection. The random state is restored afterwards."""
    with torch.random.fork_rng():
        return build_model(network, schema).requires_grad_(False)


def count_cost(model: Model, schema: Schema) -> tuple[int, int]:
    """The number of parameters of the model, and of multiply-adds per datum in a forward pass.

    Costs per batch, such as the pseudo-inputs of a VampPrior, are not included.
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
    """Compute the objective once, to raise a VaekitError before training if it does not fit."""
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
    """A hierarchy of latents; the top one has the size of `network.latent`, and the prior."""
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
