"""Score how odd rows are, with a detector that is fitted to a run's training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaekit.anomaly import UNSEEN, Detector, NumericRows, fit, p_values
from vaekit.data.dataset import Dataset
from vaekit.data.tables.columns.beside import raw_of, sizes_of, watched
from vaekit.data.tables.schema import TableSchema
from vaekit.errors import VaekitError

FEW = 5
"""The largest number of columns that are named as not looked at."""


@dataclass(frozen=True)
class RowDetector:
    """The detector of `vaekit.anomaly`, for rows of a schema."""

    form: int = 4
    read: Mapping[str, Any] = field(default_factory=lambda: {"unseen": UNSEEN})
    """The options for reading rows: classes that training did not see are a class of their own."""

    def fit(
        self, data: Dataset, schema: TableSchema, seed: int, contamination: float
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Fit the detector to rows. Returns tensors and plain data from which `score` restores it.

        Raises VaekitError if there are fewer than 2 rows.
        """
        raw = _watched(data, schema)
        if len(raw) < 2:
            raise VaekitError(
                f"the detector needs at least 2 training rows; this run has {len(raw)}, besides its held-out rows: "
                "train on more rows, or score by reconstruction"
            )
        plain = NumericRows.learned(sizes_of(watched(schema)), raw)
        found = fit(plain.fitted(raw), seed=seed, contamination=contamination, least=plain.least)
        tensors, config = found.state()
        rarity = {f"rarity.{i}": part for i, part in enumerate(plain.rarity)}
        kept = {f"detector.{name}": tensor for name, tensor in tensors.items()}
        return kept | rarity, {"config": config}

    def score(
        self, tensors: dict[str, Tensor], about: dict[str, Any], schema: TableSchema, data: Dataset
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Scores (N,), p-values (N,), the contribution of each column (N, W), and a number of rows.

        The columns are those of `watched`. The last is the number of rows that the p-values are based on.
        """
        plain, detector = restored(tensors, about, schema)
        parts = detector.attributions(plain(_watched(data, schema)))
        scores, calibration = parts.sum(1), detector.calibration
        by_column = plain.by_column(parts)
        return scores, p_values(calibration, scores), by_column, len(calibration)

    def passed_over(self, schema: TableSchema) -> str:
        """A sentence on the columns that are not looked at, and why; "" if all are."""
        unseen = ("id", "text", "large", "missing", "asked", "target", "computed")
        found = [f"{left.name} ({left.why})" for left in schema.left_out if left.reason in unseen]
        more = f" and {len(found) - FEW:,} more" if len(found) > FEW else ""
        return f"The score does not look at {', '.join(found[:FEW])}{more}" if found else ""


def _watched(data: Dataset, schema: TableSchema) -> Tensor:
    """The raw values (N, W) of the columns that the detector looks at."""
    raw = data.raw.take(torch.arange(len(data)))
    rest = getattr(data, "beside", None)
    rest = raw_of({}, schema, raw) if rest is None else rest
    return raw if rest is None else torch.cat((raw, rest), dim=1)


def restored(
    tensors: dict[str, Tensor], about: dict[str, Any], schema: TableSchema
) -> tuple[NumericRows, Detector]:
    """The detector that `RowDetector.fit` saved."""
    own = {
        name.removeprefix("detector."): tensor
        for name, tensor in tensors.items()
        if name.startswith("detector.")
    }
    sizes = sizes_of(watched(schema))
    rarity = [tensors[f"rarity.{i}"] for i in range(len(sizes))]
    return NumericRows(sizes, rarity), Detector.restored(own, about["config"])
