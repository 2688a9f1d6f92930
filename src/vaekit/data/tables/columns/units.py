"""Convert raw values to model units and back, column by column.

`to_tensor` converts to model units, `from_tensor` converts back. A value comes back exactly if its
column's steps (10^-decimals, or a date's step) are wider than the resolution of float32 there,
|value - mean| * 2^-24. That holds for whole numbers within 8 million of the mean, and for cents
within 80 thousand. Beyond, the result is the nearest step to the nearest float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.data.tables.read.dates import DAY
from vaekit.data.tables.schema import Column, TableSchema


def to_units(column: Column, values: Tensor) -> Tensor:
    """Raw values (...) as float32 model units: (value - mean) / scale, or the class number.

    NaN stays NaN.
    """
    if column.discrete:
        return values.float()
    return ((values.double() - column.mean) / column.scale).float()


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
    return rounded(column, values)


def rounded(column: Column, values: Tensor) -> Tensor:
    """Raw values (...) rounded to the column's steps: its decimals, or a date's resolution."""
    if column.step:
        whole = values.floor()
        return (whole * DAY + ((values - whole) * (DAY / column.step)).round() * column.step) / DAY
    if column.decimals is None:
        return values
    return values.round(decimals=column.decimals)


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
