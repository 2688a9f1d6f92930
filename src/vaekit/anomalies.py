"""How odd data are under a run, how surely, and where: rows by a detector, pictures by what is not explained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vaekit import checkpoint
from vaekit.data import Dataset
from vaekit.data.tables import TableSchema
from vaekit.detect import Detector, Plain, fit, p_values
from vaekit.tasks import Trained

DETECTOR = "detector.safetensors"


@dataclass(frozen=True)
class Oddness:
    """Scores (N,), higher = more anomalous; conformal p-values (N,); and what each place adds, (N, *shape)."""

    scores: Tensor
    p_values: Tensor
    parts: Tensor


class RowScores:
    """A detector of a run's training rows, fitted once and kept in the run's folder."""

    def __init__(self, plain: Plain, detector: Detector) -> None:
        self.plain, self.detector = plain, detector

    @staticmethod
    def fitted(table: Dataset, schema: TableSchema, seed: int, contamination: float) -> RowScores:
        raw = table.raw.take(torch.arange(len(table)))
        plain = Plain.learned(schema.sizes, raw)
        return RowScores(plain, fit(plain(raw), seed=seed, contamination=contamination))

    def save(self, path: Path, about: dict[str, Any]) -> None:
        tensors, config = self.detector.state()
        rarity = {f"rarity.{i}": part for i, part in enumerate(self.plain.rarity)}
        own = {f"detector.{name}": tensor for name, tensor in tensors.items()}
        checkpoint.save_tensors(path, own | rarity, about | {"config": config})

    @staticmethod
    def read(path: Path, schema: TableSchema) -> RowScores:
        tensors, about = checkpoint.load_tensors(path)
        own = {name.removeprefix("detector."): t for name, t in tensors.items() if name.startswith("detector.")}
        rarity = [tensors[f"rarity.{i}"] for i in range(len(schema.columns))]
        return RowScores(Plain(schema.sizes, rarity), Detector.restored(own, about["config"]))

    def __call__(self, table: Dataset) -> Oddness:
        parts = self.detector.attributions(self.plain(table.raw.take(torch.arange(len(table)))))
        scores = parts.sum(1)
        return Oddness(scores, p_values(self.detector.calibration, scores), self.plain.by_column(parts))


def of_pictures(trained: Trained, images: Dataset, held: Dataset) -> Oddness:
    """-log p(x | z), z the mean of q(z | x), in nats, by pixel; p-values by the `held` images, not trained on."""
    parts = unexplained(trained, images)
    scores = parts.flatten(1).double().sum(1)
    calibration = unexplained(trained, held).flatten(1).double().sum(1).sort().values
    return Oddness(scores, p_values(calibration, scores), parts)


@torch.no_grad()
def unexplained(trained: Trained, images: Dataset) -> Tensor:
    """-log p(x_i | z) of every pixel, (N, C, H, W), at the mean of q(z | x); the channels of a pixel may share it."""
    found = []
    for x, context in trained.batches(images):
        means = [q.mean for q in trained.model.encode(x, context)]
        found.append(-_log_probs(trained.model.decode(means, context), x).cpu())
    return torch.cat(found)


def _log_probs(likelihood: Distribution, x: Tensor) -> Tensor:
    """log p of every value, of the shape of x; what several values have in common is dealt out evenly."""
    if isinstance(likelihood, Independent):
        return likelihood.base_dist.log_prob(x)
    return cast(Any, likelihood).log_probs(x).expand_as(x)
