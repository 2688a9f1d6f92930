"""Convert raw values to model units and back, column by column.

`to_tensor` converts to model units, `from_tensor` converts back. A value comes back exactly if its
column's steps (10^-decimals, or a date's step) are wider than the resolution of float32 there,
|value - mean| * 2^-24. That holds for whole numbers within 8 million of the mean, and for cents
within 80 thousand. Beyond, the result is the nearest step to the nearest float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vaekit.data.tables.read.dates import DAY
from vaekit.data.tables.schema import Column, TableSchema


def to_units(column: Column, values: Tensor) -> Tensor:
    """Raw values (...) as float32 model units: (value - mean) / scale, or the class number.

    NaN stays NaN.
    """
    if column.discrete:
        return folded(column, values).float()
    return ((values.double() - column.mean) / column.scale).float()


def folded(column: Column, values: Tensor) -> Tensor:
    """Raw values (...) of a category with its rare words as one class, K-1; NaN stays NaN."""
    return values.clamp(max=max(0, column.size - 1)) if column.rare else values


def fold(raw: Tensor, schema: TableSchema) -> Tensor:
    """Raw rows (..., C) with the rare words of each category as one class."""
    if not any(column.rare for column in schema.columns):
        return raw
    columns = zip(schema.columns, raw.unbind(-1), strict=True)
    return torch.stack([folded(column, values) for column, values in columns], dim=-1)


def unfold(raw: Tensor, columns: Sequence[Column]) -> Tensor:
    """Raw rows (N, C) where each cell of the class K-1 of rare words is one of them.

    It is drawn from the global generator, each word as often as training rows had it.
    """
    if not any(column.rare for column in columns):
        return raw
    parts = zip(columns, raw.unbind(1), strict=True)
    return torch.stack([_unfolded(column, values) for column, values in parts], dim=1)


def _unfolded(column: Column, values: Tensor) -> Tensor:
    pooled = values == column.size - 1
    count = int(pooled.sum())
    if not column.rare or not count:
        return values
    upto = torch.tensor(column.times, dtype=torch.float64).cumsum(0)
    drawn = torch.rand(count, dtype=torch.float64) * upto[-1]
    words = torch.searchsorted(upto, drawn, right=True).clamp(max=len(upto) - 1)
    return values.masked_scatter(pooled, (column.size + words).to(values))


def from_units(column: Column, units: Tensor, clip: bool = False) -> Tensor:
    """The inverse of `to_units`, float64: rounded to the column's steps, or to an existing class.

    NaN stays NaN. A count is never negative. `clip` clips measured values to the range that was
    seen in training.
    """
    if column.discrete:
        return units.double().round().clamp(0, max(0, column.size - 1))
    values = units.double() * column.scale + column.mean
    if column.kind == "count":
        values = values.clamp(min=0)
    if clip:
        values = values.clamp(column.low, column.high)
    return _as_seen(column, units, rounded(column, values))


def _as_seen(column: Column, units: Tensor, values: Tensor) -> Tensor:
    """The values (...), those that model units cannot tell from a point of the column as that point."""
    if not column.points:
        return values
    points = torch.tensor(column.points, dtype=torch.float64, device=values.device)
    above = torch.searchsorted(points, values.contiguous()).clamp_max(len(points) - 1)
    low, high = points[(above - 1).clamp_min(0)], points[above]
    near = torch.where(values - low < high - values, low, high)
    told = units.double().abs() * column.scale * 2**-23 + values.abs() * 2**-50
    return torch.where((values - near).abs() <= told, near, values)


def rounded(column: Column, values: Tensor) -> Tensor:
    """Raw values (...) rounded to the column's steps: its decimals, or a date's resolution."""
    if column.step:
        whole = values.floor()
        return (whole * DAY + ((values - whole) * (DAY / column.step)).round() * column.step) / DAY
    if column.decimals is None:
        return values.float().double() if column.single else values
    return values.round(decimals=column.decimals) + 0.0  # no -0.0


def to_tensor(raw: Tensor, schema: TableSchema) -> Tensor:
    """Raw values (..., C), float64, as x (..., C), float32 in model units; NaN where missing."""
    return torch.stack(
        [to_units(c, v) for c, v in zip(schema.columns, raw.unbind(-1), strict=True)], dim=-1
    )


def from_tensor(x: Tensor, schema: TableSchema, clip: bool = False) -> Tensor:
    """x (..., C) in model units as raw values (..., C), float64; for `clip` see `from_units`."""
    return torch.stack(
        [from_units(c, u, clip) for c, u in zip(schema.columns, x.unbind(-1), strict=True)], dim=-1
    )


def prepare(raw: Tensor, schema: TableSchema, generator: torch.Generator | None = None) -> Tensor:
    """As `to_tensor`: raw (B, C) to x, float32 (B, C). `generator` is unused: nothing is random."""
    return to_tensor(raw, schema)
