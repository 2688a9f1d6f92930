"""Learn the statistics of a measured column: steps, quantiles, atoms, mean and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from vaekit.data.tables.read import dates
from vaekit.data.tables.read.cells import DIGITS, LARGEST, TEXT, Cells, decimals, runs
from vaekit.data.tables.schema import Column, Kind, TableSchema

KNOTS = 101
"""The number of quantiles that are kept, at even probabilities from 0 to 1."""

SHARE, LEAST = 0.02, 5
"""A value is an atom if it is in this share of the present cells, and in at least this number."""

NOISY = 0.1
"""At most this share of the cells has the noise of float arithmetic behind its decimals."""

TAIL = 0.005
"""The share of the values at either end that are clipped before mean and scale are computed."""


def measured(cells: Cells, kind: Kind, why: str, form: str = "") -> Column:
    """The column of numbers or dates, all finite or missing; `form` is the format of the dates."""
    distinct, counts = _runs_of(cells, form)
    whole = bool((distinct == np.round(distinct)).all())
    steps = None if kind == "date" else usual_decimals(distinct, counts)
    return Column(
        name=cells.name,
        kind=kind,
        dtype=_dtype(cells, kind, whole),
        why=why,
        decimals=steps,
        single=steps is None and kind != "date" and _is_single(distinct),
        format=form,
        step=resolution(distinct) if kind == "date" else 0,
        **_spread(distinct, counts),
    )


def usual_decimals(distinct: np.ndarray, counts: np.ndarray) -> int | None:
    """The decimals that the values (K,) need, which come `counts` (K,) times; None if too many.

    The noise of float arithmetic, as in 14.890999999999998, does not count if it is in few cells.
    """
    largest = float(np.abs(distinct).max(initial=0))
    for digits in range(DIGITS):
        if largest * 10.0**digits > LARGEST:
            break
        noise = np.abs(np.round(distinct, digits) - distinct)
        if counts[noise > 0].sum() <= NOISY * counts.sum() and noise.max() < 1e-6 * 10.0**-digits:
            return decimals(np.round(distinct, digits))
    return decimals(distinct)


def relearned(schema: TableSchema, raw: Tensor) -> TableSchema:
    """The schema with scales and quantiles of its measured columns, learned from rows (N, C)."""
    columns = zip(schema.columns, raw.double().cpu().numpy().T, strict=True)
    return schema.model_copy(update={"columns": tuple(_relearned(c, v) for c, v in columns)})


def _relearned(column: Column, values: np.ndarray) -> Column:
    present = np.sort(values[~np.isnan(values)])
    if column.discrete or not len(present):
        return column
    return column.model_copy(update=_spread(*runs(present)))


def _spread(distinct: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Fields of a column, from its different values (K,), ascending, and how often each comes."""
    present = np.repeat(distinct, counts)
    atom = counts >= max(LEAST, SHARE * len(present))
    mean, scale = standard(present)
    return {
        "mean": mean,
        "scale": scale,
        "knots": tuple(quantiles(present, np.linspace(0, 1, KNOTS)).tolist()),
        "atoms": tuple(distinct[atom].tolist()),
        "shares": tuple((counts[atom] / len(present)).tolist()),
    }


def _is_single(distinct: np.ndarray) -> bool:
    """Whether all values are numbers of 32 bits."""
    with np.errstate(over="ignore"):
        return bool((distinct == distinct.astype(np.float32)).all())


def values_of(cells: Cells, form: str) -> np.ndarray:
    """Raw values (N,) of a measured column, NaN where missing."""
    return cells.words.table(cells.days(form)) if form else cells.numbers.values


def _runs_of(cells: Cells, form: str) -> tuple[np.ndarray, np.ndarray]:
    if not form:
        return cells.runs
    values = values_of(cells, form)
    return runs(np.sort(values[~np.isnan(values)]))


def quantiles(present: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Quantiles of sorted values (N,), N > 0, with linear interpolation.

    Differences of values are not taken, because they may overflow.
    """
    places = probabilities * (len(present) - 1)
    below = np.floor(places).astype(int)
    part = places - below
    return present[below] * (1 - part) + present[np.minimum(below + 1, len(present) - 1)] * part


def standard(present: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of sorted values (N,), N > 0, with both ends clipped.

    The standard deviation is above zero: it is that of all values if the clipped ones are equal,
    and 1 if all values are equal.
    """
    low, high = quantiles(present, np.array([TAIL, 1 - TAIL]))
    for values in (present.clip(low, high), present):
        largest = float(np.abs(values).max()) or 1.0  # so that the squares do not overflow
        mean, scale = (
            float(part) * largest for part in ((values / largest).mean(), (values / largest).std())
        )
        if scale > 1e-9 * largest:
            return mean, scale
    return mean, 1.0


def resolution(days: np.ndarray) -> int:
    """The resolution of `days` (K,) in microseconds.

    It is the largest of day, hour, minute, second and microsecond that divides all of them.
    """
    micro = dates.micro(days)
    return next(
        (
            unit
            for unit in (dates.DAY, 3_600_000_000, 60_000_000, 1_000_000)
            if not (micro % unit).any()
        ),
        1,
    )


def _dtype(cells: Cells, kind: Kind, whole: bool) -> str:
    if cells.dtype != TEXT:
        return cells.dtype
    if kind == "date":
        return "String"
    inside = whole and max(-cells.runs[0][0], cells.runs[0][-1]) < 2**63
    return "Int64" if inside and not cells.numbers.pointed else "Float64"
