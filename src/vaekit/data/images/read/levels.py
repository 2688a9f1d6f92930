"""How the numbers of an array become raw values. All of them are read once to find out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from vaekit.errors import VaekitError

GRID = 1e-4  # the largest distance to k/255 of a float that counts as one of 256 levels
SLACK = 1e-6  # how far outside of [0, 1] a float may lie by rounding

Chunk = tuple[str, int, np.ndarray]
"""The name of an array, the index of the chunk's first row, and its rows."""


@dataclass(frozen=True)
class Reading:
    """The dtype of raw values, the conversion of a chunk to it, and a note for the user (or "")."""

    dtype: torch.dtype
    convert: Callable[[np.ndarray], np.ndarray]
    note: str


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint8, copy=False)


def _from_marks(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint8) * np.uint8(255)


def _from_levels(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1).astype(np.float32) * 255).astype(np.uint8)


def _as_floats(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 1).astype(np.float32)


BYTES = Reading(torch.uint8, _as_bytes, "")
MARKS = Reading(
    torch.uint8, _from_marks, "The values are only 0 and 1: they were read as black and white"
)
LEVELS = Reading(
    torch.uint8,
    _from_levels,
    "The values in [0, 1] are whole 255ths: they are kept as whole numbers",
)
FLOATS = Reading(
    torch.float32,
    _as_floats,
    "The values in [0, 1] are finer than 255ths: they are kept as float32",
)


def choose(chunks: Iterable[Chunk], dtype: np.dtype) -> Reading:
    """How to read arrays of one `dtype`, given as chunks. Raises VaekitError for values that aren't pixels."""
    if dtype.kind == "b":
        return MARKS
    return _choose_for_floats(chunks) if dtype.kind == "f" else _choose_for_integers(chunks, dtype)


def _choose_for_integers(chunks: Iterable[Chunk], dtype: np.dtype) -> Reading:
    high = 0
    for name, _, values in chunks:
        low, high = int(values.min()), max(high, int(values.max()))
        if low < 0 or high > 255:
            raise VaekitError(
                f"{name}: pixels are whole numbers 0..255 or floats 0..1, but these go from {low} to {high}: "
                "scale them and save them as uint8"
            )
        if dtype == np.uint8 and high > 1:
            break
    return BYTES if high > 1 else MARKS


def _choose_for_floats(chunks: Iterable[Chunk]) -> Reading:
    on_grid = True
    low, high = np.inf, -np.inf
    for name, first, values in chunks:
        _require_finite(name, first, values)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        if on_grid:
            levels = values.astype(np.float64) * 255
            on_grid = bool((np.abs(levels - np.rint(levels)) <= GRID * 255).all())
    if low < -SLACK or high > 1 + SLACK:
        raise VaekitError(
            f"{name}: floats must lie between 0 and 1, but these go from {low:g} to {high:g}: "
            "scale them to 0..1, or save whole numbers 0..255 as uint8"
        )
    return LEVELS if on_grid else FLOATS


def _require_finite(name: str, first: int, values: np.ndarray) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        where = np.unravel_index(int(bad.argmax()), values.shape)
        index = (first + int(where[0]), *(int(i) for i in where[1:]))
        raise VaekitError(
            f"{name}: the value at {list(index)} is {values[where]}: replace values that aren't finite numbers"
        )
