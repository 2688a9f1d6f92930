"""The laws of the way in and the way back: values to raw to model units and back, and to cells again."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vaekit import VaekitError
from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.columns.encode import encode
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.columns.units import from_tensor, from_units, to_tensor, to_units
from vaekit.data.tables.load import load
from vaekit.data.tables.read import dates
from vaekit.data.tables.schema import Column, Reason, TableSchema

pytest.importorskip("polars")
import polars as pl

numbers = st.floats(-1e6, 1e6, allow_nan=False)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


@given(
    st.lists(st.integers(-5_000_000, 5_000_000), min_size=2, max_size=50, unique=True),
    st.integers(0, 6),
    st.floats(1e-3, 1e6),
)
def test_decimals_come_back_where_float32_tells_them_apart(
    whole: list[int], decimals: int, scale: float
) -> None:
    values = torch.tensor([n / 10**decimals for n in whole], dtype=torch.float64)
    column = Column(
        name="n", kind="number", decimals=decimals, mean=float(values.mean()), scale=scale
    )
    assert torch.equal(from_units(column, to_units(column, values)), values)


@given(
    st.lists(numbers, min_size=1, max_size=50),
    numbers,
    st.floats(1e-3, 1e6),
    st.sampled_from([None, 0, 1, 3]),
)
def test_model_units_survive_a_round_trip(
    values: list[float], mean: float, scale: float, decimals: int | None
) -> None:
    column = Column(name="n", kind="number", decimals=decimals, mean=mean, scale=scale)
    raw = from_units(column, to_units(column, torch.tensor(values, dtype=torch.float64)))
    units = to_units(column, raw)
    again = from_units(column, units)
    assert torch.allclose(again, raw, rtol=0, atol=float((raw - mean).abs().max()) * 2**-23 + 1e-12)
    assert torch.allclose(to_units(column, again), units, rtol=2**-22, atol=1e-30)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=20))
def test_whatever_a_net_says_becomes_a_cell_that_there_is(units: list[float]) -> None:
    x = torch.tensor(units)
    category = Column(name="c", kind="category", classes=("a", "b", "c"))
    codes = from_units(category, x)
    assert ((codes >= 0) & (codes <= 2) & (codes == codes.round()) | codes.isnan()).all()
    count = Column(name="n", kind="count", decimals=0, mean=3, scale=2, low=1, high=9)
    assert (from_units(count, x)[~x.isnan()] >= 0).all()
    clipped = from_units(count, x, clip=True)
    assert ((clipped >= 1) & (clipped <= 9) | clipped.isnan()).all()
    assert (from_units(count, x).isnan() == x.isnan()).all()


@given(
    st.lists(st.datetimes(datetime(1791, 1, 1), datetime(2149, 1, 1)), min_size=1, max_size=20),
    st.data(),
)
def test_dates_are_read_as_they_are_written(times: list[datetime], data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(dates.FORMATS))
    words = [moment.strftime(form) for moment in times]
    days = dates.parse(words, form)
    assert not np.isnan(days).any()
    assert dates.write(days, form) == words
    assert [math.floor(day) for day in days] == [
        (datetime.strptime(word, form) - datetime(1970, 1, 1)).days if "%Y" in form else 0
        for word in words
    ]
    bare = [word.lstrip("0") for word in words]
    assert dates.guess(bare) or "%Y%m" in form or any(not word[:1].isdigit() for word in bare)


@pytest.mark.parametrize(
    "word", ["2023-02-29", "2023-00-10", "2023-13-01", "2023-01-32", "24:00", "2023-1-1x", "ä", ""]
)
def test_what_is_no_date_is_none(word: str) -> None:
    assert dates.guess([word]) == ""
    assert np.isnan(dates.parse([word], "%Y-%m-%d")).all()


words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=8
)
missing = st.none()
BLANK = {"", "?", "na", "n/a", "nan", "null"}
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "Int64": st.integers(-(2**40), 2**40),
    "Int8": st.integers(-128, 127),
    "UInt64": st.integers(0, 2**52),
    "Float64": st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300),
    "Float32": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "Boolean": st.booleans(),
    "String": words,
    "Categorical": st.sampled_from(["x", "y z", "ß", "0"]),
    "Date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "Datetime": st.datetimes(datetime(1800, 1, 1), datetime(2149, 1, 1)),
    "Time": st.times(),
}


@settings(max_examples=150)
@given(st.data())
def test_any_column_comes_back_cell_by_cell(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(sorted(CELLS)))
    cells = data.draw(st.lists(CELLS[dtype] | missing, min_size=2, max_size=30))
    frame = pl.DataFrame(
        {"v": pl.Series(cells, dtype=getattr(pl, dtype)), "n": [i % 2 for i in range(len(cells))]}
    )
    known = (
        {(cell or "").strip().lower() for cell in cells} - BLANK
        if dtype in ("String", "Categorical")
        else set()
    )
    kinds = {"v": "category"} if dtype in ("String", "Categorical") and known else {}
    schema = load(frame, kinds=kinds).schema
    raw, notes = encode(frame, schema)
    assert not notes
    back = as_frame(decode(raw, schema), schema)
    if "v" not in back.columns:
        assert next(left for left in schema.left_out if left.name == "v").reason in ("id", "text")
        return
    assert back["v"].dtype == frame["v"].dtype
    expected = (
        [None if word is None else str(word).strip() for word in frame["v"]]
        if kinds
        else frame["v"].to_list()
    )
    expected = [None if kinds and (w or "").lower() in BLANK else w for w in expected]
    assert back["v"].to_list() == expected


@given(
    st.lists(
        st.tuples(st.integers(-999, 999), st.sampled_from("abc"), st.booleans()),
        min_size=30,
        max_size=60,
    )
)
def test_rows_in_model_units_are_rows_again(rows: list[tuple[int, str, bool]]) -> None:
    frame = pl.DataFrame(rows, schema=["n", "c", "b"], orient="row")
    assume(frame["n"].n_unique() > 1 and frame["n"].min() <= 900)
    frame = frame.with_columns(
        pl.when(pl.col("n") > 900).then(None).otherwise(pl.col("n")).alias("n")
    )
    table = load(frame, kinds={"n": "number", "c": "category"})
    x = to_tensor(table.raw.values, table.schema)
    assert x.dtype == torch.float32
    assert same(from_tensor(x, table.schema), table.raw.values)
    assert same(from_tensor(x, table.schema, clip=True), table.raw.values)
    assert as_frame(decode(table.raw.values, table.schema), table.schema).equals(frame)


def test_what_was_left_out_comes_back_where_it_is_known() -> None:
    n = 60
    values = [i * i % 37 / 4 for i in range(n)]
    frame = pl.DataFrame(
        {
            "one": [date(2020, 2, 29)] * n,
            "v": values,
            "key": list(range(n)),
            "again": values,
            "nothing": pl.Series([None] * n, dtype=pl.Int64),
            "c": ["ab"[i % 2] for i in range(n)],
            "t": ["xyz"[i % 3] for i in range(n)],
            "age": [20 + i % 23 for i in range(n)],
        }
    )
    table = load(frame, condition=["age", "c"], target="t")
    back = as_frame(
        decode(table.raw.values, table.schema, table.context, table.labels), table.schema
    )
    assert back.equals(frame.drop("key"))
    assert list(decode(table.raw.values, table.schema)) == ["one", "v", "again", "nothing"]
    with pytest.raises(VaekitError, match=r"expected rows of shape \(N, 1\)"):
        decode(torch.zeros(2, 3), table.schema)


def test_the_rare_class_and_missing_cells_are_written() -> None:
    column = Column(
        name="c", kind="category", dtype="Int64", classes=("3", "7", "(other)"), other=True
    )
    schema = TableSchema(columns=(column,))
    cells = decode(torch.tensor([[0.0], [2.0], [math.nan]], dtype=torch.float64), schema)["c"]
    assert cells.tolist() == ["3", "(other)", None]


def test_whole_numbers_stay_in_the_range_of_their_type() -> None:
    columns = tuple(
        Column(name=d, kind="number", dtype=d, decimals=0)
        for d in ("Int8", "UInt8", "UInt64", "Int64")
    )
    wild = torch.tensor([[1e30] * 4, [-1e30] * 4], dtype=torch.float64)
    cells = decode(wild, TableSchema(columns=columns))
    assert cells["Int8"].tolist() == [127, -128]
    assert cells["UInt8"].tolist() == [255, 0]
    assert cells["UInt64"].tolist()[1] == 0
    assert cells["Int64"].tolist()[0] > 9e18


def test_times_keep_their_steps() -> None:
    start = datetime(2020, 1, 1, 9)
    frame = pl.DataFrame(
        {
            "minute": [start + timedelta(minutes=i * i % 97) for i in range(60)],
            "clock": [time(i % 24, 30) for i in range(60)],
            "zoned": pl.Series(
                [start + timedelta(hours=i * 7 % 59) for i in range(60)]
            ).dt.replace_time_zone("Asia/Tokyo"),
        }
    )
    table = load(frame)
    assert [column.step for column in table.schema.columns] == [
        60_000_000,
        60_000_000,
        3_600_000_000,
    ]
    x = to_tensor(table.raw.values, table.schema)
    near = from_tensor(x + 1e-4 * torch.randn_like(x), table.schema)
    assert as_frame(decode(near, table.schema), table.schema).equals(frame)


def test_a_column_of_the_source_is_written_or_named_as_unwritten() -> None:
    rows = 60
    frame = pl.DataFrame(
        {
            "n": [i % 37 / 4 for i in range(rows)],
            "again": [i % 37 / 4 for i in range(rows)],
            "always": ["x"] * rows,
            "nothing": pl.Series([None] * rows, dtype=pl.String),
            "key": [f"k{i}" for i in range(rows)],
            "serial": [2**60 + i * i for i in range(rows)],
            "remark": [f"row {i} says so" for i in range(rows)],
            "split": ["test" if i % 5 == 0 else "train" for i in range(rows)],
            "label": ["ab"[i % 2] for i in range(rows)],
            "dropped": [i % 11 / 8 for i in range(rows)],
            "double": [i % 37 / 2 for i in range(rows)],
        }
    )
    table = load(frame, target="label", kinds={"dropped": "drop"}, constraints=["double = n * 2"])
    reasons = {left.reason for left in table.schema.left_out}
    assert reasons == set(get_args(Reason))
    written = decode(table.raw.values, table.schema)
    unwritten = {left.name for left in table.schema.unwritten}
    assert unwritten == {"key", "serial", "remark", "split", "label", "dropped"}
    assert {*written} == {*frame.columns} - unwritten
