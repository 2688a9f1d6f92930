"""Which rows are odd, by which columns, and how surely: the anomaly score of tables."""

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
"""Rows are scored so many at a time."""

CELLS = 2_000_000
"""Calibration takes so many cells at a time, at most."""

MOST = 200_000
"""More rows than so many are not trained on, but so many of them, drawn at random."""

OFTEN = 3
"""Of a row that is there so often, one more or less makes no odds: it is calibrated by the score that it has. Rows of
few classes have few scores, and those of single members, which left a row out, are none of them."""

PARTS = ("unexplained", "nearest", "coarse")
"""What a score is the sum of."""


class Detector(nn.Module):
    """The anomaly score s(x) = u(x) + n(x) + g(x) of rows x (N, C), numbers of any units, NaN where missing.

    u: the mean over the members of -log p(x | z), z the mean of q(z | x): what denoising VAEs cannot explain.
    n: the distance to the nearest of the remembered training rows.
    g: the mean distance to the nearest row of small groups of them: coarser, and hardly swayed by odd training rows.
    Each part is centred by its mean over held-out training rows and divided by its spread there, n counting half, and
    is a sum over the columns, so that the score is one. Distances are between the means of the two
    views of `Scaling`, a missing cell standing at 0.
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
        """What every column adds to the score, (N, C) float64; the sum over the columns is the score."""
        return self._of_rows(lambda parts: parts.sum(0), x)

    def parts(self, x: Tensor) -> Tensor:
        """What every column adds to each of `PARTS`, (3, N, C) float64."""
        return self._of_rows(lambda parts: parts.transpose(0, 1), x).transpose(0, 1)

    def p_values(self, x: Tensor) -> Tensor:
        """p = (1 + #{held-out scores >= s(x)}) / (n + 1), (N,): conformal p-values, Bates et al. 2023, eq. 2.

        For a new normal row P(p <= a) <= a, nearly: the held-out scores are those of the members that did not see the
        row (Vovk 2015), a new row's is the mean over all. Rows that are there `OFTEN` have their own.
        """
        return p_values(self.calibration, self.scores(x))

    def threshold(self, fpr: float) -> float:
        """The score above which a row has p <= fpr; infinity where the calibration rows are too few to tell."""
        n = len(self.calibration)
        above = int(fpr * (n + 1) + 1e-9) - 1  # so many held-out scores may be as high
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
        """The two distances by column, (2, B, C), centred and scaled."""
        return (_distances(_places(views), self.nearest, self.coarse) - self.centre) / self.spread

    def calibrate(self, costs: Tensor, distances: Tensor, folds: Tensor) -> Tensor:
        """Set centres and spreads by training rows as if they were new: of every one what it costs each member,
        (M, N, C), its distances, (2, N, C), and the fold that left it out, (N,). Gives their held-out scores (N,)."""
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
        """Make ready to score, by the weights, centres and spreads as they are now."""
        self.folded = FusedMembers(
            self.model, self.config.views(), self.member_centre, self.member_spread
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain data from which `restored` makes the same detector."""
        return self.state_dict(), asdict(self.config)

    @staticmethod
    def restored(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Detector:
        """The detector whose `state` this is."""
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
    """A detector of what is unlike the rows x (N, C), numbers of any units, NaN where missing.

    least (C,): the smallest units that columns may have, 0 for any.

    contamination: the share of the rows, in [0, 0.5], that may be anomalies themselves. Where it is more than 0, that
    share of them, by the scores of a first detector, is left out of a second, which remembers no single rows (an
    anomaly that is remembered vouches for its like). P-values are then by the rows that were kept.
    """
    config = config or DetectorConfig()
    if x.dim() != 2 or len(x) < 2 or not x.shape[1]:
        raise VaekitError(
            f"expected a table of at least 2 rows and 1 column, got the shape {tuple(x.shape)}"
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
    """(1 + #{calibration >= s}) / (n + 1) for scores (N,), by calibration scores (n,) that are sorted."""
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
    """How often each row of x (N, C), standardised, is there, (N,); a gap is like a gap only."""
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
    """What rows of x cost each member, (M, n, C), and how far they are, (2, n, C), had the scaling not seen them.

    A scaling that saw a row has its extremes within what it knows, and those of a new row lie beyond.
    """
    scaling = Scaling.fitted(x[others], least)
    near, coarse = (
        Nearest(_places(scaling(x[index.flatten()])).unflatten(0, index.shape)) for index in kept
    )
    views = scaling(x[rows]).split(CHUNK, dim=1)
    costs = torch.cat([detector._costs(part) for part in views], dim=1)
    return costs, torch.cat([_distances(_places(part), near, coarse) for part in views], dim=1)


def _places(views: Tensor) -> Tensor:
    """Where distances are measured: the mean of the views (2, N, C), a missing cell at 0."""
    return views.mean(0).nan_to_num(0.0)


def _distances(places: Tensor, nearest: Nearest, coarse: Nearest) -> Tensor:
    """The two distances by column, (2, B, C)."""
    return torch.stack((nearest(places), coarse(places)))


def _spread(values: Tensor) -> Tensor:
    """The scale of values (n,) in float32: by their quartiles, and not below a fifth of their standard deviation."""
    if len(values) < 2:
        return values.new_ones(())
    low, high = torch.quantile(values, values.new_tensor([0.25, 0.75]))
    scale = torch.maximum((high - low) / 1.349, 0.2 * values.std())
    return torch.where(scale > 1e-6, scale, 1.0)
