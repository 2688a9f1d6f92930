"""How odd data are under a run, how surely, and where: by a detector of rows, or by what the run's own model says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vaekit.anomaly import Detector, NumericRows, fit, p_values
from vaekit.core.kl import kl
from vaekit.core.random import own_noise, seeded
from vaekit.core.trace import Model
from vaekit.data import Dataset
from vaekit.data.tables import TableSchema
from vaekit.errors import VaekitError
from vaekit.measures import bounds
from vaekit.tasks.trained import Trained

FORM = 3
"""In which form a run keeps its detector: one in another is fitted anew."""

BY = ("ensemble", "reconstruction", "elbo", "nll", "latent")
"""What data are scored by: the detector, or four numbers of the run's model."""

DRAWS = 16
"""Draws of z for `elbo` and `nll`, by each datum's own noise."""

TOGETHER = {"images": 64, "tables": 512}
"""How many data go through the model together."""


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


class RowScores:
    """A detector of a run's training rows."""

    def __init__(self, plain: NumericRows, detector: Detector) -> None:
        self.plain, self.detector = plain, detector

    @staticmethod
    def fitted(table: Dataset, schema: TableSchema, seed: int, contamination: float) -> RowScores:
        raw = table.raw.take(torch.arange(len(table)))
        if len(raw) < 2:
            raise VaekitError(
                f"the detector learns from the run's training rows, at least 2; this run has {len(raw)}, beside what "
                "it held out: train on more rows, or score by reconstruction"
            )
        plain = NumericRows.learned(schema.sizes, raw)
        detector = fit(plain.fitted(raw), seed=seed, contamination=contamination, least=plain.least)
        return RowScores(plain, detector)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain data from which `restored` makes the same detector."""
        tensors, config = self.detector.state()
        rarity = {f"rarity.{i}": part for i, part in enumerate(self.plain.rarity)}
        return {f"detector.{name}": tensor for name, tensor in tensors.items()} | rarity, {
            "config": config
        }

    @staticmethod
    def restored(
        tensors: dict[str, Tensor], about: dict[str, Any], schema: TableSchema
    ) -> RowScores:
        own = {
            name.removeprefix("detector."): t
            for name, t in tensors.items()
            if name.startswith("detector.")
        }
        rarity = [tensors[f"rarity.{i}"] for i in range(len(schema.columns))]
        return RowScores(NumericRows(schema.sizes, rarity), Detector.restored(own, about["config"]))

    def __call__(self, table: Dataset) -> Scores:
        parts = self.detector.attributions(self.plain(table.raw.take(torch.arange(len(table)))))
        scores = parts.sum(1)
        calibration = self.detector.calibration
        return Scores(
            scores, p_values(calibration, scores), self.plain.by_column(parts), len(calibration)
        )


# By the run's own model


def suits(trained: Trained, by: str) -> None:
    """A VaekitError where data of this run cannot be scored so, and what can be done instead."""
    if by not in BY:
        raise VaekitError(f"score by {by}: expected {', '.join(BY[:-1])} or {BY[-1]}")
    if by == "ensemble" and trained.schema.modality != "tables":
        raise VaekitError(
            "score by ensemble: this is a detector of rows, and this run is of images: use reconstruction"
        )
    if by in ("ensemble", "reconstruction"):
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
    suits(trained, by)
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


@torch.no_grad()
def _scored(trained: Trained, data: Dataset, score: Score) -> tuple[Tensor, Tensor]:
    """The score of all data, some at a time, as many each time: products of one shape round alike."""
    found, size = [], TOGETHER[trained.schema.modality]
    for x, context in trained.batches(data):
        for i in range(0, len(x), size):
            n = min(size, len(x) - i)
            some = None if context is None else _filled(context[i : i + n], size)
            found.append(
                [part[:n].cpu() for part in score(trained.model, _filled(x[i : i + n], size), some)]
            )
    parts, rest = zip(*found, strict=True)
    return torch.cat(parts), torch.cat(rest)


def _filled(x: Tensor, size: int) -> Tensor:
    """So many rows, of which the last is repeated to fill."""
    return torch.cat((x, x[-1:].expand(size - len(x), *x.shape[1:])))


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
    with seeded(0):
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
