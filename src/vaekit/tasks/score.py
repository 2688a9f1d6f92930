"""How odd data are under a run, how surely, and where: by a detector of rows, or by what the run's own model says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vaekit.anomaly import p_values
from vaekit.core.fixed_batches import batch_size, in_fixed_batches
from vaekit.core.kl import kl
from vaekit.core.random import own_noise, seeded
from vaekit.core.trace import Model
from vaekit.data.dataset import Dataset
from vaekit.data.modality import Tell
from vaekit.disk import checkpoint
from vaekit.disk.layout import DETECTOR
from vaekit.errors import VaekitError
from vaekit.measures import bounds
from vaekit.tasks import given
from vaekit.tasks.own_data import held_part, own_part, training_part

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained

DETECTED = "ensemble"
"""The score of a detector."""

BY = ("ensemble", "reconstruction", "elbo", "nll", "latent")
"""What data are scored by: the detector, or four numbers of the run's model."""

DRAWS = 16
"""Draws of z for `elbo` and `nll`, by each datum's own noise."""


@dataclass(frozen=True)
class Scores:
    """Scores (N,), higher = more anomalous; conformal p-values (N,); what each place adds, (N, *shape); of how many
    data the p-values are; and what no place adds but the latents, (N,), where there is such a thing: parts and rest
    add up to the score."""

    scores: Tensor
    p_values: Tensor
    parts: Tensor
    calibrated: int
    rest: Tensor | None = None


def score(
    trained: Trained,
    data: Any,
    by: str | None,
    seed: int,
    contamination: float,
    tell: Tell,
) -> Scores:
    """How odd `data` are under the run, by one of `BY`; of the run's own data, those that it was not trained on.

    Without `by` it is the detector of the kind of data, or the reconstruction where there is none. `seed` and
    `contamination` are of the detector. Raises VaekitError.
    """
    by = by or usual(trained)
    require_suits(trained, by)
    options = reading_options(trained, by)
    data = own_part(trained, tell) if data is None else given.dataset(trained, data, **options)
    if by == DETECTED:
        return _detected(trained, data, seed, contamination, tell)
    if contamination:
        raise VaekitError(
            f"contamination is for the score by {DETECTED}; {by} is of the model as it was trained: leave it out"
        )
    return by_model(trained, by, data, held_part(trained), lambda: training_part(trained))


def reading_options(trained: Trained, by: str) -> Mapping[str, Any]:
    """How data are read that are to be scored: a detector may want them in a way of its own."""
    detector = trained.modality.measures.detector
    return detector.read if detector is not None and by == DETECTED else {}


def usual(trained: Trained) -> str:
    """What data of this kind are scored by when nothing is said."""
    return DETECTED if trained.modality.measures.detector else "reconstruction"


def _detected(
    trained: Trained, data: Dataset, seed: int, contamination: float, tell: Tell
) -> Scores:
    """Scores by a detector of the run's training data, fitted once and kept in the run's folder."""
    found = trained.modality.measures.detector
    assert found is not None
    if trained.folder is None:
        raise VaekitError(
            "a detector is fitted to a run's own data and kept in its folder; this model has none"
        )

    def made() -> tuple[dict[str, Tensor], dict[str, Any]]:
        tell(f"fitting a detector to the training {trained.modality.plural}, once")
        return found.fit(training_part(trained), trained.schema, seed, contamination)

    key = {"seed": seed, "contamination": contamination, "form": found.form}
    tensors, about = checkpoint.kept(trained.folder / DETECTOR, key, made)
    return Scores(*found.score(tensors, about, trained.schema, data))


# By the run's own model


def require_suits(trained: Trained, by: str) -> None:
    """A VaekitError where data of this run cannot be scored so, and what can be done instead."""
    if by not in BY:
        raise VaekitError(f"score by {by}: expected {', '.join(BY[:-1])} or {BY[-1]}")
    if by == DETECTED and trained.modality.measures.detector is None:
        raise VaekitError(
            f"score by {by}: there is no detector of {trained.modality.name}, which this run is of: use reconstruction"
        )
    if by in (DETECTED, "reconstruction"):
        return
    several, posterior = len(trained.shapes) > 1, trained.experiment.model.posterior
    if several or trained.kind != "continuous" or posterior != "normal":
        kind = "several latents" if several else f"latents that are {trained.kind}"
        kind = (
            kind
            if several or trained.kind != "continuous"
            else f"posteriors of the kind {posterior}"
        )
        raise VaekitError(
            f"score by {by}: this is for one normal latent; this model has {kind}: use reconstruction"
        )


def by_model(
    trained: Trained, by: str, data: Dataset, held: Dataset, learned: Callable[[], Dataset]
) -> Scores:
    """Scores of `data` in nats (of `latent`: in standard deviations), p-values by the `held` data, not trained on.

    reconstruction: -log p(x | z) at the mean of q(z | x). elbo: E_q[-log p(x | z)] + KL(q || p), minus the bound. nll:
    -log p(x) by importance sampling. latent: the Mahalanobis distance of the mean of q(z | x) under mean and covariance
    of those of the `learned` data. A datum has the same score alone as among others.
    """
    require_suits(trained, by)
    score = _latent(trained, learned()) if by == "latent" else OF_MODEL[by]
    parts, rest = _scored(trained, data, score)
    calibration = _total(*_scored(trained, held, score)).sort().values
    scores = _total(parts, rest)
    p = p_values(calibration, scores)
    return Scores(scores, p, parts, len(calibration), None if by == "reconstruction" else rest)


Score = Callable[[Model, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""What each value of data x (B, *shape) adds to their scores, of the shape of x, and what the latents do, (B,)."""


def _total(parts: Tensor, rest: Tensor) -> Tensor:
    return parts.flatten(1).double().sum(1) + rest.double()


def _scored(trained: Trained, data: Dataset, score: Score) -> tuple[Tensor, Tensor]:
    """The score of all data; of each, the same alone as among others."""
    size = batch_size(trained.schema.dims)
    with seeded(0):  # models draw, and what they draw is not used
        found = [
            in_fixed_batches(partial(_moved, score, trained.model), size, x, context)
            for x, context in trained.batches(data)
        ]
    parts, rest = zip(*found, strict=True)
    return torch.cat(parts), torch.cat(rest)


def _moved(score: Score, model: Model, x: Tensor, context: Tensor | None) -> list[Tensor]:
    return [part.cpu() for part in score(model, x, context)]


def _reconstruction(model: Model, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    means = [q.mean for q in model.encode(x, context)]
    return -_log_probs(model.decode(means, context), x), x.new_zeros(len(x))


def _elbo(model: Model, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    cost, z, q, p = _drawn(model, x, context)
    rate = kl(q, p, z)
    return cost.mean(0), rate if rate.dim() == 1 else rate.mean(
        0
    )  # in closed form, or at the draws


def _nll(model: Model, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """The values' costs are those of the draws by their weights; the latents' is the rest."""
    cost, z, q, p = _drawn(model, x, context)
    weight = p.log_prob(z) - q.log_prob(z) - cost.flatten(2).sum(2)  # (S, B)
    share = weight.softmax(0).view(*weight.shape, *[1] * (x.dim() - 1))
    parts = (share * cost).sum(0)
    return parts, math.log(DRAWS) - weight.logsumexp(0) - parts.flatten(1).sum(1)


def _drawn(
    model: Model, x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor, Distribution, Distribution]:
    """The cost of each value at draws z (S, B, *) from q(z | x), by each datum's own noise; z, q and p."""
    (draw,) = model(x, context).draws
    noise = own_noise(x, DRAWS, tuple(draw.z.shape[1:]))
    z = draw.posterior.mean + draw.posterior.stddev * noise
    return -_log_probs(model.decode((z,), context), x), z, draw.posterior, draw.prior


OF_MODEL: dict[str, Score] = {"reconstruction": _reconstruction, "elbo": _elbo, "nll": _nll}


def _latent(trained: Trained, learned: Dataset) -> Score:
    """Fitted to the codes of the data that were learned; the covariance is brought a thousandth towards a sphere."""
    codes = bounds.posterior_means(trained.model, trained.batches(learned)).double().cpu()
    spread = torch.cov(codes.T).reshape(codes.shape[1], -1)
    floor = 1e-3 * spread.diagonal().mean().clamp_min(1e-9)
    factor = torch.linalg.cholesky(spread + floor * torch.eye(len(spread), dtype=spread.dtype))
    return partial(_distance, codes.mean(0), factor)


def _distance(
    centre: Tensor, factor: Tensor, model: Model, x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    (q,) = model.encode(x, context)
    gap = (q.mean.cpu().double() - centre)[..., None]
    return torch.zeros_like(x), torch.linalg.solve_triangular(factor, gap, upper=False).norm(
        dim=(1, 2)
    )


def _log_probs(likelihood: Distribution, x: Tensor) -> Tensor:
    """log p of every value, of its own shape; what several values have in common is dealt out evenly."""
    if isinstance(likelihood, Independent):
        return likelihood.base_dist.log_prob(x)
    found = cast(Any, likelihood).log_probs(x)
    return found.expand(torch.broadcast_shapes(found.shape, x.shape))
