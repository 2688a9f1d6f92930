"""The synthesizer as scikit-learn and its users meet it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from vaekit.data.tables import sampling as rows
from vaekit.data.tables.load import load
from vaekit.errors import VaekitError
from vaekit.estimators import VAESynthesizer
from vaekit.measures import row_quality


def frame(rows: int = 600, seed: int = 0) -> pl.DataFrame:
    """Words, whole numbers, floats, booleans and dates that follow each other, some missing."""
    random = np.random.default_rng(seed)
    place = random.choice(["north", "south", "west"], rows, p=[0.6, 0.3, 0.1])
    age = random.integers(18, 90, rows)
    income = np.round(np.exp(random.normal(8, 0.5, rows)) + 20 * age + 2000 * (place == "north"), 2)
    gain = np.where(random.random(rows) < 0.8, 0, random.integers(1, 9999, rows))
    owns = random.random(rows) < np.where(income > 5000, 0.9, 0.2)
    day = np.datetime64("2024-01-01") + random.integers(0, 365, rows).astype("timedelta64[D]")
    table = pl.DataFrame(
        {
            "place": place,
            "age": age,
            "income": income,
            "gain": gain,
            "owns": owns,
            "day": day.astype("datetime64[ms]"),
        }
    )
    return table.with_columns(
        pl.col("day").cast(pl.Date),
        pl.when(pl.int_range(rows) % 9 == 0).then(None).otherwise(pl.col("place")).alias("place"),
    )


def quick(**more: Any) -> VAESynthesizer:
    settings = {"max_steps": 150, "random_state": 0, "hidden": 64} | more
    return VAESynthesizer(**settings)


@pytest.fixture(scope="module")
def fitted() -> VAESynthesizer:
    return quick(max_steps=400).fit(frame())


@pytest.mark.slow
@parametrize_with_checks([VAESynthesizer()])
def test_scikit_learn_accepts_it_as_it_comes(estimator: Any, check: Any) -> None:
    check(estimator)


def test_rows_come_back_as_they_came(fitted: VAESynthesizer) -> None:
    made = fitted.sample(200)
    assert isinstance(made, pl.DataFrame)
    assert made.schema == frame().schema
    assert set(made["place"].drop_nulls()) <= {"north", "south", "west"}
    assert 0 < made["place"].null_count() < 60
    assert made["age"].is_between(18, 89).all()
    assert made["day"].null_count() == made["income"].null_count() == 0
    assert 0.65 < (made["gain"] == 0).mean() < 0.92


def test_rows_are_like_the_training_rows(fitted: VAESynthesizer) -> None:
    made = fitted.sample(600, random_state=1)
    real, drawn = (load(part, schema=fitted.schema_).raw.values.numpy() for part in (frame(), made))
    categories = np.array([column.discrete for column in fitted.schema_.columns])
    assert row_quality.column_error(real, drawn, categories) < 0.09
    assert row_quality.pair_error(real, drawn, categories) < 0.2
    found = row_quality.privacy(drawn, real, real, categories)
    assert found.copies == 0
    rich = (
        made.filter(pl.col("income") > 5000)["owns"].mean()
        - made.filter(pl.col("income") <= 5000)["owns"].mean()
    )
    assert rich > 0.2


def test_numpy_in_numpy_out() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3))
    x[::10, 1] = np.nan
    made = quick().fit(x).sample(50)
    assert isinstance(made, np.ndarray)
    assert made.shape == (50, 3)
    assert not np.isnan(made[:, [0, 2]]).any()


def test_pandas_in_pandas_out() -> None:
    pd = pytest.importorskip("pandas")
    known = pd.DataFrame(
        {"a": ["x", "y"] * 50, "b": np.arange(100.0) % 7, "c": np.arange(100) % 2 == 0}
    )
    made = quick(max_steps=20).fit(known).sample(10)
    assert isinstance(made, pd.DataFrame)
    assert list(made.dtypes) == list(known.dtypes)


def test_what_is_asked_for_is_what_comes(fitted: VAESynthesizer) -> None:
    made = fitted.sample(100, where={"place": "west"})
    assert (made["place"] == "west").all()
    both = fitted.sample(30, where={"owns": True, "gain": 0}, random_state=3)
    assert both["owns"].all()
    assert (both["gain"] == 0).all()
    assert len(fitted.sample(5, where={"age": 30})) == 5
    freely = fitted.sample(4000, random_state=4)
    given = fitted.sample(1000, where={"owns": True}, random_state=5)
    assert given["income"].median() == pytest.approx(
        freely.filter(pl.col("owns"))["income"].median(), rel=0.05
    )


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"plase": "west"}, "no such column.*place"),
        ({"place": "wst"}, "training did not see this value.*west"),
        ({"age": 200}, "outside the range seen in training"),
        ({"age": "old"}, "old"),
    ],
)
def test_what_cannot_be_had_is_said(fitted: VAESynthesizer, where: dict, says: str) -> None:
    with pytest.raises(VaekitError, match=says):
        fitted.sample(3, where=where)


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_so_many_rows_cannot_be_drawn(fitted: VAESynthesizer, n: Any) -> None:
    with pytest.raises(VaekitError, match="a whole number of at least 1"):
        fitted.sample(n)


@pytest.mark.parametrize(
    "wrong", [{"latent": 0}, {"max_steps": 0}, {"dropout": 1.0}, {"free_nats": -1}]
)
def test_parameters_that_mean_nothing_are_refused(wrong: dict) -> None:
    with pytest.raises(VaekitError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        VAESynthesizer(**wrong).fit(frame(50))


def test_no_rows_and_ten_thousand_columns_get_a_sentence(fitted: VAESynthesizer) -> None:
    with pytest.raises(VaekitError, match="has 0 rows; expected at least 1"):
        fitted.score_samples(frame()[:0])
    with pytest.raises(VaekitError, match="10,000 columns are more than the 2,000"):
        quick().fit(np.random.default_rng(0).random((4, 10_000)))


def test_what_hardly_ever_comes_is_refused(
    fitted: VAESynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "TRIES", 2000)
    monkeypatch.setattr(rows, "RAREST", 0.9)
    with pytest.raises(VaekitError, match="drawn rows are as asked; ask for fewer"):
        fitted.sample(10_000, where={"place": "west"})


def test_draws_repeat_by_seed_and_else_differ(fitted: VAESynthesizer) -> None:
    assert fitted.sample(20, random_state=7).equals(fitted.sample(20, random_state=7))
    assert not fitted.sample(20).equals(fitted.sample(20))
    first, second = (quick(max_steps=30).fit(frame(100)).sample(20) for _ in range(2))
    assert first.equals(second)


def test_scores_are_the_same_alone_and_tell_odd_rows(fitted: VAESynthesizer) -> None:
    held = frame(200, seed=1)
    scores = fitted.score_samples(held)
    assert scores.shape == (200,)
    assert np.isfinite(scores).all()
    assert np.array_equal(fitted.score_samples(held[3:5]), scores[3:5])
    odd = held.with_columns(pl.col("owns").not_())
    assert fitted.score_samples(odd).mean() < scores.mean() - 0.3
    assert fitted.score(held) == pytest.approx(scores.mean())


def test_a_clone_and_a_pickle_draw_the_same(fitted: VAESynthesizer) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    assert again.sample(10, random_state=1).equals(fitted.sample(10, random_state=1))
    assert clone(fitted).get_params() == fitted.get_params()


def test_columns_that_say_nothing_come_back() -> None:
    table = frame(120).with_columns(pl.lit(3).alias("three"), pl.col("age").alias("years"))
    made = quick(max_steps=20).fit(table).sample(15)
    assert made.columns == table.columns
    assert (made["three"] == 3).all()
    assert (made["years"] == made["age"]).all()


@pytest.mark.parametrize("few", [2, 5, 30])
def test_very_few_rows(few: int) -> None:
    made = quick(max_steps=10).fit(frame(40)[:few]).sample(8)
    assert len(made) == 8


@pytest.mark.parametrize("likelihood", ["gaussian", "student-t", "log-normal", "counts"])
def test_other_likelihoods(likelihood: str) -> None:
    model = quick(max_steps=60, likelihood=likelihood).fit(frame(200))
    made = model.sample(50)
    assert made.schema == frame().schema
    assert np.isfinite(model.score_samples(frame(20, 1))).all()


def test_z_is_used(fitted: VAESynthesizer) -> None:
    from vaekit.data.tables.columns.units import to_tensor

    x = to_tensor(load(frame(), schema=fitted.schema_).raw.values, fitted.schema_)
    means = fitted.model_.encode(x)[0].mean
    assert int((means.var(0) > 0.01).sum()) >= 3  # active units


def test_high_cardinality_is_cheap() -> None:
    random = np.random.default_rng(0)
    words = np.array([f"w{i:04}" for i in range(5000)])[random.integers(0, 5000, 20_000)]
    table = pl.DataFrame({"word": words, "x": random.normal(size=20_000)})
    model = quick(max_steps=5, kinds={"word": "category"}).fit(table)
    assert model.schema_.columns[0].size > 1000
    assert sum(p.numel() for p in model.model_.parameters()) * 4 < 4e6


@pytest.mark.parametrize("seed", [0, 1])
def test_the_mean_score_is_below_what_no_model_can_reach(seed) -> None:
    """E[log p(x)] <= -H of the data, for every p: a bound whose noise is the same for all rows may lie far above."""
    x = np.random.default_rng(seed).normal(size=(2000, 1))
    model = VAESynthesizer(likelihood="gaussian", max_steps=60, random_state=seed).fit(x)
    best = -0.5 * np.log(
        2 * np.pi * np.e * x.var()
    )  # in nats, of columns with unit variance like this
    assert model.score(np.random.default_rng(9).normal(size=(2000, 1))) < best + 0.1
