"""The anomaly score of rows of a table, the part of each column in it, and its p-value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.anomaly.config import DetectorConfig
from vaekit.anomaly.fused import FusedMembers
from vaekit.anomaly.members import build, explained
from vaekit.anomaly.neighbours import Nearest, groups, remembered
from vaekit.anomaly.scaling import Scaling
from vaekit.anomaly.training import train
from vaekit.core.fixed_batches import in_fixed_batches
from vaekit.core.random import seeded
from vaekit.core.threads import one_thread
from vaekit.errors import VaekitError
from vaekit.models.vae import VAE

CHUNK = 512
"""The number of rows in a batch for scoring."""

CELLS = 2_000_000
"""The most cells for calibration: of tables with many columns fewer rows are used, at least 500."""

MOST = 200_000
"""The most rows for training; of a larger table this number of rows is drawn at random."""

OFTEN = 3
"""A row that occurs this often is calibrated by its own score, since one occurrence more or less
hardly changes it. Tables with few classes have only a few different scores, and the held-out
scores, from a part of the members, are not among them."""

PARTS = ("unexplained", "nearest", "coarse")
"""The names of the three parts of a score."""


class Detector(nn.Module):
    """The anomaly score s(x) = u(x) + n(x) + g(x) of rows x (N, C), numbers in any units or NaN.

    u: the mean over the members of -log p(x | z), z the mean of q(z | x): the error of the VAEs.
    n: the distance to the nearest remembered training row.
    g: the mean, over small random groups of training rows, of the distance to the nearest row of a
        group. It is coarser than n, and a few anomalies among the training rows hardly change it.

    Each part is centred by its mean over held-out training rows and divided by its spread there; n
    has the weight `DetectorConfig.nearest`. Each part is a sum over the columns, and so is the
    score. Distances are between the means of the two views of `Scaling`; a missing cell is 0 there.
    """

    centre: Tensor
    spread: Tensor
    member_centre: Tensor
    member_spread: Tensor
    calibration: Tensor
    folded: FusedMembers

    def __init__(
        self,
        config: DetectorConfig,
        scaling: Scaling,
        model: VAE,
        nearest: Nearest,
        coarse: Nearest,
    ) -> None:
        super().__init__()
        self.config, self.scaling, self.model, self.nearest, self.coarse = (
            config,
            scaling,
            model,
            nearest,
            coarse,
        )
        columns = len(scaling.mean)
        self.register_buffer("member_centre", torch.zeros(config.members, 1, columns))
        self.register_buffer("member_spread", torch.ones(config.members, 1, 1))
        self.register_buffer("centre", torch.zeros(2, 1, columns))
        self.register_buffer("spread", torch.ones(2, 1, 1))
        self.register_buffer("calibration", torch.zeros(0, dtype=torch.float64))

    def scores(self, x: Tensor) -> Tensor:
        """The score of every row, (N,) float64: higher = more anomalous, typical rows near 0."""
        return self._of_rows(lambda parts: parts.sum(0).sum(1), x)

    def attributions(self, x: Tensor) -> Tensor:
        """What every column adds to the score, (N, C) float64; the columns add up to the score."""
        return self._of_rows(lambda parts: parts.sum(0), x)

    def parts(self, x: Tensor) -> Tensor:
        """What every column adds to each of `PARTS`, (3, N, C) float64."""
        return self._of_rows(lambda parts: parts.transpose(0, 1), x).transpose(0, 1)

    def p_values(self, x: Tensor) -> Tensor:
        """p = (1 + #{held-out scores >= s(x)}) / (n + 1), (N,): conformal p-values.

        Bates et al. 2023, eq. 2.

        For a new normal row P(p <= a) <= a approximately. It is not exact, since the held-out score
        of a row uses only the members that were not trained on it (Vovk 2015), but the score of a
        new row uses all members. Rows that occur `OFTEN` times are calibrated by their own score.
        """
        return p_values(self.calibration, self.scores(x))

    def threshold(self, fpr: float) -> float:
        """The score above which a row has p <= fpr; infinity with too few calibration rows."""
        n = len(self.calibration)
        above = int(fpr * (n + 1) + 1e-9) - 1  # the number of held-out scores that may be as high
        return float(self.calibration[n - 1 - above]) if above >= 0 else torch.inf

    def _of_rows(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`function` of the parts (3, B, C) of a batch of rows, (B, ...), for all rows x (N, C)."""
        return in_fixed_batches(lambda rows: [function(self._parts(rows))], CHUNK, x)[0]

    def _parts(self, rows: Tensor) -> Tensor:
        views = self.scaling(rows)
        return torch.stack((self.folded(views), *self._distances(views))).double()

    def _costs(self, views: Tensor) -> Tensor:
        """-log p of every cell for every member, in nats, (M, B, C)."""
        x = views[self.config.views()]
        return -explained(self.model, x).log_probs(x)

    def _distances(self, views: Tensor) -> Tensor:
        """The two distances, split over the columns, (2, B, C), centred and scaled."""
        return (_distances(_places(views), self.nearest, self.coarse) - self.centre) / self.spread

    def calibrate(self, costs: Tensor, distances: Tensor, folds: Tensor) -> Tensor:
        """Set centres and spreads from training rows as if new; returns held-out scores (N,).

        costs: -log p of every row under each member, (M, N, C). distances: (2, N, C). folds: the
        fold of every row, (N,); the members that left this fold out give the held-out score.
        """
        held = torch.tensor(self.config.folds_of_members())[:, None] == folds  # (M, N)
        for m, seen in enumerate(held):
            self.member_centre[m] = costs[m, seen].mean(0) if seen.any() else 0.0
            totals = (costs[m, seen] - self.member_centre[m]).sum(1)
            self.member_spread[m] = _spread(totals)
        self.centre.copy_(distances.mean(1, keepdim=True))
        self.spread.copy_(
            torch.stack([_spread(d) for d in (distances - self.centre).sum(2)])[:, None, None]
        )
        self.spread[0] /= self.config.nearest
        near = ((distances - self.centre) / self.spread).sum((0, 2))
        unexplained = ((costs - self.member_centre) / self.member_spread).sum(2)
        own = (unexplained * held).sum(0) / held.sum(0)
        self.fold()
        return (own + near).double()

    def fold(self) -> None:
        """Prepare `folded` for scoring, from the present weights, centres and spreads."""
        self.folded = FusedMembers(
            self.model, self.config.views(), self.member_centre, self.member_spread
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors and plain data from which `restored` rebuilds the detector."""
        return self.state_dict(), asdict(self.config)

    @staticmethod
    def restored(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Detector:
        """The detector with this `state`."""
        config = DetectorConfig(**{**about, "noise": tuple(about["noise"])})
        low, gaps = tensors["model.encoder.low"], tensors["model.encoder.gaps"]
        model = build(
            low, low.clone(), tensors["model.encoder.noise"], gaps, config.latent, config.hidden
        )
        distances = [Nearest(tensors[f"{name}.rows"]) for name in ("nearest", "coarse")]
        detector = Detector(config, Scaling(low.shape[2]), model.requires_grad_(False), *distances)
        detector.calibration = tensors["calibration"]
        detector.load_state_dict(tensors)
        detector.fold()
        return detector.eval()


def fit(
    x: Tensor,
    config: DetectorConfig | None = None,
    seed: int = 0,
    contamination: float = 0.0,
    least: Tensor | None = None,
) -> Detector:
    """A detector of rows that are unlike the rows x (N, C), numbers in any units, NaN if missing.

    least (C,): the smallest unit that each column may have, 0 for any.

    contamination: the share of the rows, in [0, 0.5], that are anomalies. If it is more than 0, a
    first detector scores the rows, and a second one is fitted without this share of the rows, those
    with the highest scores. The second one remembers no single rows, since a remembered anomaly
    would make similar anomalies look normal. P-values are then computed from the rows that were
    kept.
    """
    config = config or DetectorConfig()
    if x.dim() != 2 or len(x) < 2 or not x.shape[1]:
        raise VaekitError(
            f"expected a table of at least 2 rows and 1 column, got shape {tuple(x.shape)}"
        )
    if not 0 <= contamination <= 0.5:
        raise VaekitError(
            f"contamination={contamination:g}: expected a share of the rows between 0 and 0.5"
        )
    with seeded(seed), one_thread():
        detector = _fitted(x, config, least)
        if contamination:
            scores = detector.scores(x)
            kept = scores.argsort()[: max(2, round(len(x) * (1 - contamination)))].sort().values
            detector = _fitted(x[kept], replace(config, remembered=0), least)
    return detector


def p_values(calibration: Tensor, scores: Tensor) -> Tensor:
    """(1 + #{calibration >= s}) / (n + 1) for each s of scores (N,); the calibration scores (n,)
    must be sorted."""
    n = len(calibration)
    return (1.0 + n - torch.searchsorted(calibration, scores)) / (n + 1)


def _fitted(x: Tensor, config: DetectorConfig, least: Tensor | None) -> Detector:
    if len(x) > MOST:
        x = x[torch.randperm(len(x))[:MOST]]
    scaling = Scaling.fitted(x, least)
    views = scaling(x)
    folds = torch.randperm(len(x)) % config.parts
    model = train(views, folds, config)
    kept = remembered(len(x), config.remembered), groups(len(x), config.groups, config.group)
    places = _places(views)
    detector = Detector(config, scaling, model, *(Nearest(places[index]) for index in kept))
    some = torch.randperm(len(x))[: min(config.calibration, max(500, CELLS // x.shape[1]))]
    some = some[folds[some].argsort(stable=True)]
    found = [
        _as_new(detector, x, some[folds[some] == fold], folds != fold, kept, least)
        for fold in folds.unique()
    ]
    costs, distances = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    held = detector.calibrate(costs, distances, folds[some])
    detector.calibration = (
        torch.where(_times(views[0])[some] >= OFTEN, detector.scores(x[some]), held).sort().values
    )
    return detector.eval()


def _times(x: Tensor) -> Tensor:
    """How often each row of x (N, C), standardised, occurs, (N,); NaN equals only NaN."""
    generator = torch.Generator().manual_seed(0)
    known, gaps = torch.rand(2, x.shape[1], dtype=torch.float64, generator=generator)
    keys = (x.double().nan_to_num(0.0) * known + x.isnan() * gaps).sum(1)
    _, index, counts = keys.unique(return_inverse=True, return_counts=True)
    return counts[index]


@torch.no_grad()
def _as_new(
    detector: Detector,
    x: Tensor,
    rows: Tensor,
    others: Tensor,
    kept: tuple[Tensor, Tensor],
    least: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The costs (M, n, C) and distances (2, n, C) of rows of x, scaled by a fit to the `others`.

    So the rows are treated as new ones: their extremes can lie outside the range of the fitted
    rows, as those of new rows do.
    """
    scaling = Scaling.fitted(x[others], least)
    near, coarse = (
        Nearest(_places(scaling(x[index.flatten()])).unflatten(0, index.shape)) for index in kept
    )
    views = scaling(x[rows]).split(CHUNK, dim=1)
    costs = torch.cat([detector._costs(part) for part in views], dim=1)
    return costs, torch.cat([_distances(_places(part), near, coarse) for part in views], dim=1)


def _places(views: Tensor) -> Tensor:
    """The points between which distances are computed: the mean of the views (2, N, C), with 0 for
    a missing cell."""
    return views.mean(0).nan_to_num(0.0)


def _distances(places: Tensor, nearest: Nearest, coarse: Nearest) -> Tensor:
    """The two distances, split over the columns, (2, B, C)."""
    return torch.stack((nearest(places), coarse(places)))


def _spread(values: Tensor) -> Tensor:
    """The scale of values (n,) from their quartiles, at least 0.2 standard deviations."""
    if len(values) < 2:
        return values.new_ones(())
    low, high = torch.quantile(values, values.new_tensor([0.25, 0.75]))
    scale = torch.maximum((high - low) / 1.349, 0.2 * values.std())
    return torch.where(scale > 1e-6, scale, 1.0)
