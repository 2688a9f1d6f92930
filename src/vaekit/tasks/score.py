"""Anomaly scores of data under a run, from a detector of rows or from the run's own model.

With p-values, and with the part of each value in the score.
"""

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
"""The name of the score of a detector."""

BY = ("ensemble", "reconstruction", "elbo", "nll", "latent")
"""The names of all scores: the detector's, and four of the run's own model."""

DRAWS = 16
"""The number of draws of z for `elbo` and `nll`; the noise depends only on the datum."""


@dataclass(frozen=True)
class Scores:
    """Anomaly scores of N data. Parts and rest add up to the score.

    scores: (N,), higher = more anomalous.
    p_values: conformal p-values, (N,).
    parts: what each value of a datum adds to the score, (N, *shape); a detector may look at more
        values than the model has.
    calibrated: the number of data that the p-values are computed from.
    rest: what the latents add, (N,); None if the score has no such part.
    """

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
    """The anomaly scores of `data` under the run; `data` None: the run's own data that it was not
    trained on.

    `by` is one of `BY`; None is the detector of the kind of data, or the reconstruction if there is
    no detector. `seed` and `contamination` are parameters of the detector. Raises VaekitError.
    """
    by = by or usual(trained)
    require_suits(trained, by)
    options = reading_options(trained, by)
    data = own_part(trained, tell) if data is None else given.dataset(trained, data, **options)
    if by == DETECTED:
        return _detected(trained, data, seed, contamination, tell)
    if contamination:
        raise VaekitError(
            f"contamination: only the score by {DETECTED} uses it, not the score by {by}; "
            "leave it out"
        )
    return by_model(trained, by, data, held_part(trained), lambda: training_part(trained))


def reading_options(trained: Trained, by: str) -> Mapping[str, Any]:
    """The options for reading the data to score: a detector may need its own."""
    detector = trained.modality.measures.detector
    return detector.read if detector is not None and by == DETECTED else {}


def usual(trained: Trained) -> str:
    """The default score for this kind of data."""
    return DETECTED if trained.modality.measures.detector else "reconstruction"


def _detected(
    trained: Trained, data: Dataset, seed: int, contamination: float, tell: Tell
) -> Scores:
    """Scores by a detector, fitted once to the run's training data and kept in its folder."""
    found = trained.modality.measures.detector
    assert found is not None
    if trained.folder is None:
        raise VaekitError(
            "a detector is fitted to the data of a run and kept in its folder; this model has none"
        )

    def made() -> tuple[dict[str, Tensor], dict[str, Any]]:
        tell(f"fitting a detector to the training {trained.modality.plural}, once")
        return found.fit(training_part(trained), trained.schema, seed, contamination)

    key = {"seed": seed, "contamination": contamination, "form": found.form}
    tensors, about = checkpoint.kept(trained.folder / DETECTOR, key, made)
    if note := found.passed_over(trained.schema):
        tell(note)
    return Scores(*found.score(tensors, about, trained.schema, data))


# Scores by the run's own model


def require_suits(trained: Trained, by: str) -> None:
    """Raise a VaekitError that says what to do instead if this score does not suit the run."""
    if by not in BY:
        raise VaekitError(f"score by {by}: expected {', '.join(BY[:-1])} or {BY[-1]}")
    if by == DETECTED and trained.modality.measures.detector is None:
        raise VaekitError(
            f"score by {by}: there is no detector for {trained.modality.name}, the data of this "
            "run; use reconstruction"
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
            f"score by {by}: expected a model with one normal latent; this model has {kind}; "
            "use reconstruction"
        )


def by_model(
    trained: Trained, by: str, data: Dataset, held: Dataset, learned: Callable[[], Dataset]
) -> Scores:
    """Scores of `data` by the run's own model, with p-values from the scores of the `held` data.

    reconstruction: -log p(x | z) in nats, z the mean of q(z | x).
    elbo: E_q[-log p(x | z)] + KL(q || p), minus the ELBO, in nats.
    nll: -log p(x) by importance sampling, in nats.
    latent: the Mahalanobis distance of the mean of q(z | x), under the mean and covariance of these
        means over the `learned` data, in standard deviations.

    `held` data were not trained on. A datum has the same score alone as among others.
    """
    require_suits(trained, by)
    score = _latent(trained, learned()) if by == "latent" else OF_MODEL[by]
    parts, rest = _scored(trained, data, score)
    calibration = _total(*_scored(trained, held, score)).sort().values
    scores = _total(parts, rest)
    p = p_values(calibration, scores)
    return Scores(scores, p, parts, len(calibration), None if by == "reconstruction" else rest)


Score = Callable[[Model, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""(model, x (B, *shape), context) -> what each value of x adds to the score, in the shape of x, and
what the latents add, (B,)."""


def _total(parts: Tensor, rest: Tensor) -> Tensor:
    return parts.flatten(1).double().sum(1) + rest.double()


def _scored(trained: Trained, data: Dataset, score: Score) -> tuple[Tensor, Tensor]:
    """The parts and the rest of all scores. A datum has the same score alone as among others."""
    size = batch_size(trained.schema.dims)
    with seeded(0):  # the model draws latents, but those draws are not used
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
    )  # (B,) in closed form, or (S, B) at the draws


def _nll(model: Model, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """A value's part is its mean cost over the draws, weighted by the importance weights; the rest
    of the NLL is the part of the latents."""
    cost, z, q, p = _drawn(model, x, context)
    weight = p.log_prob(z) - q.log_prob(z) - cost.flatten(2).sum(2)  # (S, B)
    share = weight.softmax(0).view(*weight.shape, *[1] * (x.dim() - 1))
    parts = (share * cost).sum(0)
    return parts, math.log(DRAWS) - weight.logsumexp(0) - parts.flatten(1).sum(1)


def _drawn(
    model: Model, x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor, Distribution, Distribution]:
    """-log p of each value at draws z (S, B, *) from q(z | x); then z, q and p. The noise of a draw
    depends only on its datum."""
    (draw,) = model(x, context).draws
    noise = own_noise(x, DRAWS, tuple(draw.z.shape[1:]))
    z = draw.posterior.mean + draw.posterior.stddev * noise
    return -_log_probs(model.decode((z,), context), x), z, draw.posterior, draw.prior


OF_MODEL: dict[str, Score] = {"reconstruction": _reconstruction, "elbo": _elbo, "nll": _nll}


def _latent(trained: Trained, learned: Dataset) -> Score:
    """The Mahalanobis distance, fitted to the posterior means of the `learned` data. A thousandth
    of the mean variance is added to the covariance's diagonal, so that it can be inverted."""
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
    """log p of every value, in the shape of x; parts of several values are divided equally."""
    if isinstance(likelihood, Independent):
        return likelihood.base_dist.log_prob(x)
    found = cast(Any, likelihood).log_probs(x)
    return found.expand(torch.broadcast_shapes(found.shape, x.shape))
