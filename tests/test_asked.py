"""What people ask of new rows: values and ranges, of numbers, dates and classes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from vaekit import VaekitError
from vaekit.data.tables.load import load
from vaekit.data.tables.rules.where import asked
from vaekit.data.tables.schema import TableSchema
from vaekit.data.where import parse_where
from vaekit.estimators import VAESynthesizer

N = 600


def frame() -> pl.DataFrame:
    """Ages, incomes as classes that look like ranges, days, grades that are classes of numbers; some ages missing."""
    random = np.random.default_rng(0)
    age = random.integers(18, 90, N)
    rich = random.random(N) < age / 120
    table = pl.DataFrame(
        {
            "age": age,
            "income": np.where(rich, ">50K", "<=50K"),
            "joined": np.datetime64("2023-01-01") + random.integers(0, 365, N),
            "grade": random.integers(1, 6, N),
            "weight": (60 + age / 3 + random.normal(0, 9, N)).round(1),
        }
    )
    return table.with_columns(
        pl.when(pl.int_range(N) % 8 == 0).then(None).otherwise("age").alias("age")
    )


@pytest.fixture(scope="module")
def schema() -> TableSchema:
    return load(frame()).schema


@pytest.fixture(scope="module")
def fitted() -> VAESynthesizer:
    return VAESynthesizer(max_steps=200, hidden=48, random_state=0).fit(frame())


def day(text: str) -> float:
    return float(np.datetime64(text).astype("datetime64[D]").astype(int))


@pytest.mark.parametrize(
    ("where", "ranges"),
    [
        ({"age": (30, 40)}, {"age": (30, 40)}),
        ({"age": [60, None]}, {"age": (60, np.inf)}),
        ({"age": "30..40"}, {"age": (30, 40)}),
        ({"age": "..40"}, {"age": (-np.inf, 40)}),
        ({"age": ">=60"}, {"age": (60, np.inf)}),
        ({"age": "> 60"}, {"age": (np.nextafter(60, 61), np.inf)}),
        ({"age": "<60"}, {"age": (-np.inf, np.nextafter(60, 59))}),
        ({"joined": ">=2023-06-01"}, {"joined": (day("2023-06-01"), np.inf)}),
        ({"joined": "2023-06-01..2023-06-30"}, {"joined": (day("2023-06-01"), day("2023-06-30"))}),
        ({"joined": (dt.date(2023, 6, 1), None)}, {"joined": (day("2023-06-01"), np.inf)}),
        ({"grade": "2..4"}, {"grade": (2, 4)}),
        ({"grade": 3}, {}),
        ({"income": ">50K"}, {}),  # a class, although it looks like a range
        ({"age": 30, "weight": (70, 80)}, {"weight": (70, 80)}),
    ],
)
def test_ranges_are_read(
    schema: TableSchema, where: dict[str, Any], ranges: dict[str, Any]
) -> None:
    found = asked(where, schema)
    assert dict(found.ranges) == ranges
    known = [schema.names[i] for i in (~found.known.isnan()).nonzero()[:, 0].tolist()]
    assert set(known) == where.keys() - ranges.keys()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"age": ">90"}, "outside the range seen in training, 18 to 89"),
        ({"age": (40, 30)}, "the range is empty"),
        ({"age": ">old"}, "'old' is not a number"),
        ({"age": ">"}, "expected a number|no number"),
        ({"age": (1, 2, 3)}, "expected two ends"),
        (
            {"joined": ">=2025-01-01"},
            r"outside the range seen in training, 2023-01-\d\d to 2023-12-\d\d",
        ),
        ({"joined": "2025-01-01"}, r"outside the range seen in training, 2023-01-\d\d to"),
        ({"joined": ">soon"}, "where joined>soon: 'soon' is not a date; write it like 2023-01-01"),
        ({"income": ">60K"}, "a range is for numbers and dates, but this is a category"),
        (
            {"income": ("<=50K", ">50K")},
            "one class can be asked for at a time, such as '<=50K', and a range is for",
        ),
        ({"income": ["<=50K"]}, "one class can be asked for at a time"),
        (
            {"joined": "01/01/2023..01/02/2023"},
            r"where joined=01/01/2023\.\.01/02/2023: '01/01/2023' is not a date",
        ),
        ({"grade": ">7"}, "outside the range seen in training, 1 to 5"),
        ({"aeg": ">7"}, "did you mean 'age'"),
        ({"age": "old"}, "where age=old: 'old' is not a number"),
        (["age"], "expected a value or range by column"),
    ],
)
def test_what_cannot_be_is_said_at_once(schema: TableSchema, where: Any, said: str) -> None:
    with pytest.raises(VaekitError, match=said):
        asked(where, schema)


def test_dates_are_asked_as_written_or_as_2023_12_31(tmp_path) -> None:
    days = [f"{1 + i % 28:02}.{1 + i % 12:02}.2023" for i in range(100)]
    pl.DataFrame({"day": days, "x": range(5, 105)}).write_csv(tmp_path / "days.csv", separator=";")
    schema = load(tmp_path / "days.csv").schema
    assert (
        asked({"day": ">=2023-06-01"}, schema).ranges
        == asked({"day": ">=01.06.2023"}, schema).ranges
    )


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        ({"age": (30, 40)}, pl.col("age").is_between(30, 40)),
        ({"age": "<30"}, pl.col("age") < 30),
        (
            {"grade": "2..3", "weight": (None, 80)},
            pl.col("grade").is_between(2, 3) & (pl.col("weight") <= 80),
        ),
        (
            {"joined": ">=2023-10-01", "income": ">50K"},
            (pl.col("joined") >= pl.date(2023, 10, 1)) & (pl.col("income") == ">50K"),
        ),
    ],
)
def test_rows_in_a_range_are_the_models_rows_that_lie_in_it(
    fitted: VAESynthesizer, where: dict[str, Any], passes: pl.Expr
) -> None:
    """All pass, and the other columns are as in plain draws that happen to pass."""
    made = fitted.sample(2000, where=where, random_state=1)
    assert made.select(passes.all()).item()
    plain = fitted.sample(60_000, random_state=2).filter(passes)
    assert len(plain) > 1500
    for name in ("age", "weight"):
        spread = float(plain[name].std())
        assert made[name].mean() == pytest.approx(
            plain[name].mean(), abs=5 * spread * (1 / 2000 + 1 / len(plain)) ** 0.5
        )
    for share in (pl.col("income") == ">50K", pl.col("grade") == 3, pl.col("age").is_null()):
        one, other = (float(part.select(share.mean()).item()) for part in (made, plain))
        assert one == pytest.approx(other, abs=5 * (0.25 / 2000 + 0.25 / len(plain)) ** 0.5)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("age>60", {"age": ">60"}),
        ("age >= 60", {"age": ">= 60"}),
        ("age=30..40", {"age": "30..40"}),
        ("age<60", {"age": "<60"}),
        ("income=>50K", {"income": ">50K"}),
        ("income = <=50K", {"income": "<=50K"}),
        ("a>b=3", {"a>b": "3"}),
        ("a>b>3", {"a>b": ">3"}),
        ("label=7", {"label": "7"}),
        ("label=a=b", {"label": "a=b"}),
    ],
)
def test_words_of_the_command_line_are_taken_apart(word: str, expected: dict[str, str]) -> None:
    assert parse_where([word], ["age", "income", "a>b", "label"]) == expected


@pytest.mark.parametrize("words", [["age"], ["age>30", "age<40"], ["age=3", "age=3"]])
def test_words_that_ask_nothing_or_twice(words: list[str]) -> None:
    with pytest.raises(
        VaekitError, match=r"expected field=value|set it once, a range as age=30\.\.40"
    ):
        parse_where(words, ["age"])
