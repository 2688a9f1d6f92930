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
from vaekit.data.tables import TableSchema, to_tensor
from vaekit.detect import Detector, fit, p_values
from vaekit.tasks import Trained

DETECTOR = "detector.safetensors"

FEW = 16
"""A category of at most so many classes is a column of 0 and 1 for each; of more, only how rare its class is."""


@dataclass(frozen=True)
class Oddness:
    """Scores (N,), higher = more anomalous; conformal p-values (N,); and what each place adds, (N, *shape)."""

    scores: Tensor
    p_values: Tensor
    parts: Tensor


class Plain:
    """Rows as plain numbers: a number as it is, a category by its classes (if few) and by how rare its class is.

    `owner` says for each plain number which column it belongs to.
    """

    def __init__(self, schema: TableSchema, rarity: list[Tensor]) -> None:
        self.schema, self.rarity = schema, rarity
        widths = [1 + (column.size if 2 < column.size <= FEW else 0) for column in schema.columns]
        self.owner = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))

    @staticmethod
    def learned(schema: TableSchema, raw: Tensor) -> Plain:
        """By training rows (N, C), raw."""
        shares = [_rarity(column.size, values) for column, values in zip(schema.columns, raw.unbind(1), strict=True)]
        return Plain(schema, shares)

    def __call__(self, raw: Tensor) -> Tensor:
        """Rows (N, C), raw, as (N, F) float32, NaN where a cell is missing."""
        columns = zip(self.schema.columns, to_tensor(raw, self.schema).unbind(1), self.rarity, strict=True)
        return torch.cat([_plain(column.size, values, rare) for column, values, rare in columns], dim=1)

    def by_column(self, parts: Tensor) -> Tensor:
        """What plain numbers add (N, F) summed up for each column, (N, C)."""
        sums = parts.new_zeros(len(parts), len(self.schema.columns))
        return sums.index_add_(1, self.owner, parts)


def _rarity(classes: int, values: Tensor) -> Tensor:
    """-log of each class's share, (K,); of what is measured, nothing."""
    counts = torch.bincount(values[~values.isnan()].long(), minlength=classes).float() if classes else torch.zeros(0)
    return -((counts + 0.5) / (counts.sum() + 0.5 * max(1, classes))).log()


def _plain(classes: int, values: Tensor, rarity: Tensor) -> Tensor:
    if not classes:
        return values[:, None]
    lost = values.isnan()[:, None]
    index = values.nan_to_num(0.0).long()
    parts = [rarity[index][:, None]] if classes != 2 else [values[:, None]]
    if 2 < classes <= FEW:
        parts.append(torch.nn.functional.one_hot(index, classes).float())
    return torch.cat(parts, dim=1).masked_fill(lost, torch.nan)


class RowScores:
    """A detector of a run's training rows, fitted once and kept in the run's folder."""

    def __init__(self, plain: Plain, detector: Detector) -> None:
        self.plain, self.detector = plain, detector

    @staticmethod
    def fitted(table: Dataset, schema: TableSchema, seed: int, contamination: float) -> RowScores:
        raw = table.raw.take(torch.arange(len(table)))
        plain = Plain.learned(schema, raw)
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
        return RowScores(Plain(schema, rarity), Detector.restored(own, about["config"]))

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
