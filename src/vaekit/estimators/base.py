"""How the estimators check and read their input X."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_feature_names, validate_data
from torch import Tensor

from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.units import to_tensor
from vaekit.data.tables.load import load
from vaekit.data.tables.read.frames import Frame, frame_of, plainly_named
from vaekit.data.tables.schema import TableSchema
from vaekit.errors import VaekitError


def checked(estimator: BaseEstimator, X: Any, reset: bool) -> Frame:
    """X as a `Frame`. A data frame is used unchanged; anything else is checked by scikit-learn as
    an array (N, C). NaN are missing cells. `reset` is true in `fit`; an array then needs 2 rows."""
    if any(
        hasattr(type(X), name)
        for name in ("__dataframe__", "__narwhals_dataframe__", "__arrow_c_stream__")
    ):
        frame = frame_of(X)
        _check_feature_names(estimator, _named_alike(X), reset=reset)
        if reset:
            estimator.n_features_in_ = len(frame.names)
        elif not frame.rows:
            raise VaekitError(f"{frame.source} has 0 rows; expected at least 1")
        return frame
    least = 1 + reset
    X = validate_data(
        estimator,
        X,
        reset=reset,
        dtype=None,
        ensure_all_finite="allow-nan",
        ensure_min_samples=least,
    )
    return frame_of(X if X.dtype.kind != "O" else _numbers(X), "X")


def _named_alike(X: Any) -> Any:
    """The frame, whose names scikit-learn wants to be all strings or all of another type."""
    mixed = hasattr(type(X), "set_axis") and len({type(name) for name in X.columns}) > 1
    return plainly_named(X) if mixed else X


KINDS = re.compile(r"data\.kinds='?\{(.*?): (\w+)\}'?")
"""How the messages on columns name the setting of a run for their kinds."""


@contextmanager
def in_own_terms(has_kinds: bool = True) -> Iterator[None]:
    """Errors in the block name what the estimator has: its `kinds`, or else the types of the frame."""
    try:
        yield
    except VaekitError as error:
        told = r"kinds={'\1': '\2'}" if has_kinds else "give the column the type Categorical"
        raise VaekitError(KINDS.sub(told, str(error))) from None


def tensor(estimator: BaseEstimator, X: Any, schema: TableSchema) -> Tensor:
    """New rows read with the schema that was fitted: (N, C) in model units."""
    with in_own_terms():
        table: Table = load(checked(estimator, X, reset=False), schema=schema)
    return to_tensor(table.raw.values, schema)


def _numbers(X: np.ndarray) -> np.ndarray:
    """An array of objects as float64 if all cells are numbers, else unchanged."""
    try:
        return X.astype(np.float64)
    except (TypeError, ValueError):
        return X
