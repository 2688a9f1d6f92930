"""The detector as a scikit-learn estimator."""

from __future__ import annotations

import io
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from vaekit import VAEDetector
from vaekit.errors import VaekitError


@pytest.mark.slow
@parametrize_with_checks([VAEDetector(), VAEDetector(0.1, max_steps=5)])
def test_scikit_learn_takes_it_for_one_of_its_own(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Normal rows in three clumps, and rows from anywhere."""
    normal, _ = make_blobs(600, 4, centers=3, random_state=0)
    return normal, np.random.RandomState(1).uniform(-15, 15, (100, 4))


@pytest.fixture(scope="module")
def detector(rows: tuple[np.ndarray, np.ndarray]) -> VAEDetector:
    return VAEDetector(fpr=0.05, max_steps=100, random_state=0).fit(rows[0][:400])


def test_signs_are_those_of_scikit_learn(
    detector: VAEDetector, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    x = np.concatenate((rows[0][400:], rows[1]))
    normality, decision = detector.score_samples(x), detector.decision_function(x)
    assert roc_auc_score(np.repeat([1, 0], (200, 100)), normality) > 0.97
    assert np.array_equal(decision, normality - detector.offset_)
    assert np.array_equal(detector.predict(x) == -1, decision < 0)
    assert np.array_equal(detector.predict(x) == -1, detector.p_values(x) <= 0.05)
    assert np.allclose(-detector.attribute(x).sum(1), normality, rtol=0, atol=1e-9)


def test_false_alarms_come_at_the_rate_that_was_asked(
    detector: VAEDetector, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    assert 0.005 <= (detector.predict(rows[0][400:]) == -1).mean() <= 0.1


def test_a_share_of_anomalies_is_the_share_flagged(rows: tuple[np.ndarray, np.ndarray]) -> None:
    x = np.concatenate((rows[0][:450], rows[1][:50]))
    flagged = VAEDetector(0.1, max_steps=60, random_state=0).fit_predict(x) == -1
    assert flagged.sum() == 50
    assert flagged[450:].mean() > 0.8


def test_few_rows_promise_what_they_can() -> None:
    x = np.random.RandomState(0).randn(40, 3)
    few = VAEDetector(fpr=0.001, max_steps=10, random_state=0).fit(x)
    assert few.fpr_ == 1 / 41
    assert np.isfinite(few.offset_)


def test_it_survives_cloning_and_joblib(
    detector: VAEDetector, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    file = io.BytesIO()
    joblib.dump(detector, file)
    file.seek(0)
    again = joblib.load(file)
    assert np.array_equal(again.score_samples(rows[1]), detector.score_samples(rows[1]))
    assert clone(detector).get_params() == detector.get_params()


def test_it_takes_part_in_pipelines_and_searches(rows: tuple[np.ndarray, np.ndarray]) -> None:
    x = np.concatenate((rows[0][:80], rows[1][:20]))
    pipeline = make_pipeline(StandardScaler(), VAEDetector(max_steps=5, random_state=0))
    search = GridSearchCV(
        pipeline, {"vaedetector__latent": [2, 4]}, cv=KFold(2, shuffle=True), scoring=_auroc
    )
    search.fit(x, np.repeat([1, 0], (80, 20)))
    assert search.best_score_ > 0.5


def _auroc(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    return float(roc_auc_score(y, model.decision_function(x)))


def test_missing_cells_are_taken(rows: tuple[np.ndarray, np.ndarray]) -> None:
    x = rows[0][:100].copy()
    x[::7, 1] = np.nan
    gappy = VAEDetector(max_steps=10, random_state=0).fit(x)
    assert np.isfinite(gappy.score_samples(x)).all()


# Frames


def people(n: int, seed: int = 0) -> pd.DataFrame:
    """A key, a category that the height follows, a boolean, a date, a constant, and cells that lack."""
    random = np.random.default_rng(seed)
    colour = random.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1])
    height = random.normal(size=n) + 10 * (colour == "blue")
    return pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(n)],
            "colour": np.where(random.random(n) < 0.1, None, colour),
            "height": np.where(random.random(n) < 0.1, np.nan, height),
            "paid": random.choice(["yes", "no"], n),
            "always": "same",
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 300, n), "D"),
        }
    )


@pytest.fixture(scope="module")
def mixed() -> VAEDetector:
    return VAEDetector(max_steps=60, random_state=0).fit(people(400))


def test_a_frame_is_taken_as_it_is(mixed: VAEDetector) -> None:
    new = people(50, seed=1)
    parts = mixed.attribute(new)
    assert list(mixed.feature_names_in_) == list(new)
    assert parts.shape == new.shape
    assert not parts[:, 0].any()
    assert np.allclose(parts.sum(1), -mixed.score_samples(new), rtol=0, atol=1e-9)
    assert np.array_equal(mixed.score_samples(pl.from_pandas(new)), mixed.score_samples(new))
    assert np.array_equal(mixed.score_samples(new.iloc[[7]]), mixed.score_samples(new)[[7]])


@pytest.mark.parametrize(
    ("column", "word"), [("colour", "mauve"), ("paid", "perhaps"), ("always", "other")]
)
def test_a_class_that_was_never_seen_is_odd_and_not_missing(
    mixed: VAEDetector, column: str, word: str
) -> None:
    new = people(30, seed=2).assign(
        **{column: "red" if column == "colour" else "yes" if column == "paid" else "same"}
    )
    place = list(new).index(column)
    unseen, lacking = new.assign(**{column: word}), new.assign(**{column: None})
    seen = mixed.attribute(new)[:, place]
    assert (
        mixed.attribute(unseen)[:, place] > np.maximum(seen, mixed.attribute(lacking)[:, place]) + 1
    ).all()
    assert (mixed.p_values(unseen) < 0.05).all()


def test_numbers_of_a_frame_are_those_of_its_array(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """Also where there are but two values, or one, in the column: kinds are inferred of words alone."""
    x = np.column_stack((rows[0][:80], np.arange(80) % 2, np.ones(80), rows[0][:80, 0]))
    frame = pd.DataFrame(x, columns=[f"id{i}" for i in range(x.shape[1])])
    of_array, of_frame = (VAEDetector(max_steps=5, random_state=0).fit(data) for data in (x, frame))
    assert np.array_equal(of_array.attribute(x), of_frame.attribute(frame))


def test_a_frame_that_tells_no_rows_apart_is_told_so() -> None:
    with pytest.raises(VaekitError, match="no column tells rows apart"):
        VAEDetector(max_steps=5).fit(pd.DataFrame({"key": [f"k{i}" for i in range(20)]}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"contamination": "some"}, "contamination='some'"),
        ({"contamination": 0.6}, "contamination=0.6"),
        ({"fpr": 0}, "fpr=0"),
        ({"members": 5}, "members=5"),
        ({"max_steps": 0}, "steps=0"),
    ],
)
def test_settings_without_sense_are_refused_in_fit(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(VaekitError, match=said):
        VAEDetector(**wrong).fit(np.random.RandomState(0).randn(20, 2))


def long_tailed(random: np.random.Generator, n: int) -> pl.DataFrame:
    """Words of which new rows bring new ones for ever, and two numbers."""
    words = [f"k{k}" for k in random.zipf(1.6, n)]
    return pl.DataFrame({"word": words, "a": random.normal(size=n), "b": random.normal(size=n)})


def alike(random: np.random.Generator, n: int) -> pl.DataFrame:
    """Three words about as common as each other, and two numbers."""
    return pl.DataFrame(
        {
            "word": random.choice(list("abc"), n),
            "a": random.normal(size=n),
            "b": random.normal(size=n),
        }
    )


def heavy(random: np.random.Generator, n: int) -> np.ndarray:
    """20 numbers whose extremes lie ever farther out."""
    return random.lognormal(size=(n, 20)) * np.exp(0.5 * random.normal(size=(n, 1)))


def few(random: np.random.Generator, n: int) -> pl.DataFrame:
    """One column of two words: rows have two scores."""
    return pl.DataFrame({"word": random.choice(list("ab"), n, p=[0.9, 0.1])})


def counts(random: np.random.Generator, n: int) -> np.ndarray:
    """Three columns of small whole numbers."""
    return random.poisson(3, (n, 3)).astype(float)


@pytest.mark.parametrize("rows", [long_tailed, alike, heavy, few, counts])
def test_new_normal_rows_have_small_p_values_no_more_often_than_they_say(rows) -> None:
    """Whatever was fitted to the training rows must not have seen those that p-values are read from."""
    random = np.random.default_rng(0)
    p = VAEDetector(random_state=0).fit(rows(random, 400)).p_values(rows(random, 3000))
    for rate in (0.01, 0.05, 0.2):
        error = (rate * (1 - rate) * (1 / 400 + 1 / 3000)) ** 0.5
        assert np.mean(p <= rate) < rate + 3 * error
