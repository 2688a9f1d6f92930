"""Learn from the training rows where to cut measured columns into single values and bins."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vaekit.data.tables.columns.units import to_units
from vaekit.data.tables.read.dates import DAY
from vaekit.data.tables.schema import Column, TableSchema
from vaekit.distributions.bins import Grid

FEW, EACH = 128, 5
"""A column with at most FEW different values, each seen EACH times on average, has only points."""

FEWER, TWICE = 50, 2
"""So has a column with at most FEWER different values, each seen TWICE on average."""

BINS, ROWS, LEAST = 100, 20, 8
"""There are at most BINS bins with at least ROWS rows each, but at least LEAST bins."""

FINE = 8
"""The number of parts of a bin; the density is even within each part."""

EVEN = 0.02
"""The share of a bin's width that is spread evenly over its parts, so that none has width 0."""


def with_grids(schema: TableSchema, raw: Tensor) -> TableSchema:
    """The schema with points and edges of its measured columns, learned from raw rows (N, C)."""
    columns = zip(schema.columns, raw.double().cpu().numpy().T, strict=True)
    return schema.model_copy(
        update={"columns": tuple(c if c.discrete else with_grid(c, v) for c, v in columns)}
    )


def with_grid(column: Column, values: np.ndarray) -> Column:
    """A measured column with `points` and `edges` learned from values (N,), NaN where missing."""
    values = np.sort(values[~np.isnan(values)])
    points, rest = _parted(values)
    edges = _edges(rest, column, _bins(len(values))) if len(rest) else np.empty(0)
    return column.model_copy(
        update={"points": tuple(points.tolist()), "edges": tuple(edges.tolist())}
    )


def grid_of(column: Column) -> Grid:
    """The grid of a measured column in model units, from its points and edges or its quantiles."""
    edges = np.array(column.edges)
    if not len(column.points) and not len(edges):
        edges = _edges(np.array(column.knots or (column.low, column.high)), column, BINS // FINE)
    with torch.device("cpu"):  # a grid has values even if a model is built to be counted only
        points = to_units(column, torch.tensor(column.points, dtype=torch.float64))
        if not len(edges):
            return Grid(points, torch.zeros(0, FINE + 1))
        return Grid(
            points, torch.from_numpy(_rising(to_units(column, torch.from_numpy(edges)).numpy()))
        )


def _parted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that get a point of their own, and the rest of sorted values (N,)."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= max(min(FEW, len(values) // EACH), min(FEWER, len(values) // TWICE)):
        return distinct, values[:0]
    points = distinct[counts >= max(EACH, len(values) / _bins(len(values)) / 2)]
    return points, values[~np.isin(values, points)]


def _bins(rows: int) -> int:
    return max(LEAST, min(BINS, rows // ROWS))


def _edges(rest: np.ndarray, column: Column, bins: int) -> np.ndarray:
    """The knots of all bins, (B FINE + 1,), for sorted values (N,), with even shares in each bin.

    If values have steps, bins begin and end between two of them.
    """
    half = 0.5 * _step(column)
    bins = max(1, min(bins, len(np.unique(rest)) - 1))
    cuts = np.quantile(rest, np.linspace(0, 1, bins + 1), method="inverted_cdf") - half
    cuts[-1] = rest[-1] + half
    cuts = np.unique(cuts)
    if len(cuts) == 1:  # one value that repeats
        cuts = cuts[0] + np.array([-0.5, 0.5]) * (abs(cuts[0]) * 1e-6 + 1e-6)
    parts = [_knots(rest[(rest >= a) & (rest <= b)], a, b) for a, b in pairwise(cuts)]
    return np.concatenate([*(part[:-1] for part in parts), cuts[-1:]])


def _step(column: Column) -> float:
    """The step between values, in raw units; 0 if they have no steps."""
    if column.step:
        return column.step / DAY
    return 0.0 if column.decimals is None else 10.0**-column.decimals


def _knots(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The quantiles (FINE + 1,) of the values between low and high, no two of them equal."""
    at = np.linspace(0, 1, FINE + 1)
    even = low + (high - low) * at
    found = np.concatenate(([low], np.quantile(values, at[1:-1]), [high])) if len(values) else even
    return (1 - EVEN) * found + EVEN * even


def _rising(fine: np.ndarray) -> np.ndarray:
    """Knots (B F + 1,) in float32 as the knots of each bin, (B, F + 1), strictly ascending."""
    flat = fine.copy()
    for i in range(1, len(flat)):
        if flat[i] <= flat[i - 1]:
            flat[i] = np.nextafter(flat[i - 1], np.float32(np.inf))
    return np.stack([flat[i : i + FINE + 1] for i in range(0, len(flat) - 1, FINE)])
