"""Raw values to model units and back, column by column.

The way in is `to_tensor`, the way back `from_tensor`: exact on its image, which is to say that a value comes back as it
was if its column's steps (10^-decimals, or a date's step) are wider than what float32 tells apart there:
|value - mean| * 2^-24. A whole number within 8 million of the mean does, a cent within 80 thousand; beyond, the value
that comes back is the nearest step to the nearest float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.data.tables.read.dates import DAY
from vaekit.data.tables.schema import Column, TableSchema


def to_units(column: Column, values: Tensor) -> Tensor:
    """Raw values (...) as float32 model units: (value - mean) / scale, or the class number; NaN stays."""
    if column.discrete:
        return values.float()
    return ((values.double() - column.mean) / column.scale).float()


def from_units(column: Column, units: Tensor, clip: bool = False) -> Tensor:
    """The inverse of `to_units`, float64: rounded to the column's steps, or to a class there is; NaN stays.

    A count is never below zero. `clip` keeps what is measured within the range that was seen.
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
    """Raw values (...) on the column's steps: its decimals, or a date's resolution."""
    if column.step:
        whole = values.floor()
        return (whole * DAY + ((values - whole) * (DAY / column.step)).round() * column.step) / DAY
    if column.decimals is None:
        return values
    return values.round(decimals=column.decimals)


def to_tensor(raw: Tensor, schema: TableSchema) -> Tensor:
    """raw (..., C), float64, as x (..., C), float32 in model units; NaN where a cell is missing."""
    return torch.stack(
        [to_units(c, v) for c, v in zip(schema.columns, raw.unbind(-1), strict=True)], dim=-1
    )


def from_tensor(x: Tensor, schema: TableSchema, clip: bool = False) -> Tensor:
    """x (..., C) in model units as raw (..., C), float64; `clip` keeps numbers within the range that was seen."""
    return torch.stack(
        [from_units(c, u, clip) for c, u in zip(schema.columns, x.unbind(-1), strict=True)], dim=-1
    )


def prepare(raw: Tensor, schema: TableSchema, generator: torch.Generator | None = None) -> Tensor:
    """raw (B, C) to x, float32 (B, C), as `to_tensor`; tables draw nothing, so that the generator is left alone."""
    return to_tensor(raw, schema)
