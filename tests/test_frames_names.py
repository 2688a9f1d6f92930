"""Frames whose columns are called like the attributes of frames, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from vaekit.data.tables.load import load
from vaekit.errors import VaekitError
from vaekit.estimators import VAEDetector, VAESynthesizer, VAETransformer

NAMES = [
    *("dtype", "shape", "values", "index", "T", "columns", "size", "dtypes", "name", "kind", "row"),
    *(
        "set_axis",
        "iloc",
        "schema",
        "collect",
        "split",
        "draw",
        "0",
        "",
        "__array__",
        "__dataframe__",
    ),
    *("__dataframe_namespace__", "__narwhals_dataframe__", "__arrow_c_stream__", "to_native"),
]
X = np.random.default_rng(0).normal(size=(60, len(NAMES)))
FRAMES: dict[str, Any] = {
    "pandas": pd.DataFrame(X, columns=NAMES),
    "polars": pl.DataFrame(X, schema=NAMES),
    "arrow": pa.table({name: X[:, i] for i, name in enumerate(NAMES)}),
    "numbers": pd.DataFrame(X),
    "mixed": pd.DataFrame(X, columns=[7, None, *NAMES[2:]]),
    "index": pd.DataFrame(X, columns=NAMES, index=pd.Index(range(60), name="dtype")),
    "levels": pd.DataFrame(X[:, :2], columns=pd.MultiIndex.from_tuples([("a", "T"), ("a", "")])),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_any_names_will_do(kind: str) -> None:
    frame = FRAMES[kind]
    rows = load(frame).raw.values.numpy()
    assert np.array_equal(rows, X[:, : rows.shape[1]])
    detector = VAEDetector(max_steps=2).fit(frame)
    assert detector.p_values(frame).shape == (60,)
    assert detector.attribute(frame).shape == rows.shape
    synthesizer = VAESynthesizer(max_steps=2).fit(frame)
    assert synthesizer.score_samples(frame).shape == (60,)
    assert len(synthesizer.sample(3)) == 3
    transformer = VAETransformer(2, max_steps=2).fit(frame)
    codes = transformer.transform(frame)
    assert codes.shape == (60, 2)
    assert codes.dtype == np.float64
    assert len(transformer.inverse_transform(codes)) == 60


def test_records_may_be_called_so_too() -> None:
    names = [name for name in NAMES if name]
    rows = load(np.rec.fromarrays(list(X[:, : len(names)].T), names=names)).raw.values.numpy()
    assert np.array_equal(rows, X[:, : len(names)])


@pytest.mark.parametrize("names", [["a", "a"], [0, "0"], ["", ""]])
def test_equal_names_are_refused(names: list) -> None:
    frame = pd.DataFrame(X[:, :2], columns=names)
    for estimator in (VAEDetector(), VAESynthesizer(), VAETransformer()):
        with pytest.raises(VaekitError, match="columns 1 and 2 are both"):
            estimator.fit(frame)


def test_a_float32_array_keeps_its_type() -> None:
    transformer = VAETransformer(2, max_steps=2).fit(X.astype(np.float32))
    assert transformer.transform(X.astype(np.float32)).dtype == np.float32


def test_advice_names_what_the_estimator_has() -> None:
    frame = pl.DataFrame({"size": [*map(str, range(60)), "big"], "n": [0.5 * i for i in range(61)]})
    for estimator in (VAESynthesizer(max_steps=2), VAETransformer(2, max_steps=2)):
        with pytest.raises(
            VaekitError, match=r"or say that they are classes: kinds=\{'size': 'category'\}"
        ):
            estimator.fit(frame)
        estimator.set_params(kinds={"size": "category"}).fit(frame)
    with pytest.raises(VaekitError, match="classes: give the column the type Categorical"):
        VAEDetector(max_steps=2).fit(frame)
    VAEDetector(max_steps=2).fit(frame.with_columns(pl.col("size").cast(pl.Categorical)))
    large = pl.DataFrame({"key": [str(2**60 + 3 * i * i) for i in range(60)], "n": frame["n"][:60]})
    made = VAESynthesizer(max_steps=2).fit(large)
    with pytest.raises(VaekitError, match=r"set kinds=\{'key': 'number'\} if rounding"):
        made.sample(2, where={"key": 1})
