"""How odd rows are: by a detector that is fitted to a run's training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaekit.anomaly import UNSEEN, Detector, NumericRows, fit, p_values
from vaekit.data.dataset import Dataset
from vaekit.data.tables.schema import TableSchema
from vaekit.errors import VaekitError


@dataclass(frozen=True)
class RowDetector:
    """The detector of `vaekit.anomaly`, for rows of a schema."""

    form: int = 3
    read: Mapping[str, Any] = field(default_factory=lambda: {"unseen": UNSEEN})
    """For the detector a class that was never seen is one of its own."""

    def fit(
        self, data: Dataset, schema: TableSchema, seed: int, contamination: float
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Fit it to rows; tensors and plain data from which `score` makes the same one. Raises VaekitError."""
        raw = data.raw.take(torch.arange(len(data)))
        if len(raw) < 2:
            raise VaekitError(
                f"the detector learns from the run's training rows, at least 2; this run has {len(raw)}, beside what "
                "it held out: train on more rows, or score by reconstruction"
            )
        plain = NumericRows.learned(schema.sizes, raw)
        found = fit(plain.fitted(raw), seed=seed, contamination=contamination, least=plain.least)
        tensors, config = found.state()
        rarity = {f"rarity.{i}": part for i, part in enumerate(plain.rarity)}
        kept = {f"detector.{name}": tensor for name, tensor in tensors.items()}
        return kept | rarity, {"config": config}

    def score(
        self, tensors: dict[str, Tensor], about: dict[str, Any], schema: TableSchema, data: Dataset
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Scores (N,), p-values (N,), what each column adds (N, C), and of how many rows the p-values are."""
        plain, detector = restored(tensors, about, schema)
        parts = detector.attributions(plain(data.raw.take(torch.arange(len(data)))))
        scores, calibration = parts.sum(1), detector.calibration
        by_column = plain.by_column(parts)
        return scores, p_values(calibration, scores), by_column, len(calibration)


def restored(
    tensors: dict[str, Tensor], about: dict[str, Any], schema: TableSchema
) -> tuple[NumericRows, Detector]:
    """The detector that `RowDetector.fit` kept."""
    own = {
        name.removeprefix("detector."): tensor
        for name, tensor in tensors.items()
        if name.startswith("detector.")
    }
    rarity = [tensors[f"rarity.{i}"] for i in range(len(schema.columns))]
    return NumericRows(schema.sizes, rarity), Detector.restored(own, about["config"])
