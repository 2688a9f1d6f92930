"""The detector as a scikit-learn estimator."""

from __future__ import annotations

import io
from typing import Any

import joblib
import numpy as np
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


def test_signs_are_those_of_scikit_learn(detector: VAEDetector, rows: tuple[np.ndarray, np.ndarray]) -> None:
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


def test_it_survives_cloning_and_joblib(detector: VAEDetector, rows: tuple[np.ndarray, np.ndarray]) -> None:
    file = io.BytesIO()
    joblib.dump(detector, file)
    file.seek(0)
    again = joblib.load(file)
    assert np.array_equal(again.score_samples(rows[1]), detector.score_samples(rows[1]))
    assert clone(detector).get_params() == detector.get_params()


def test_it_takes_part_in_pipelines_and_searches(rows: tuple[np.ndarray, np.ndarray]) -> None:
    x = np.concatenate((rows[0][:80], rows[1][:20]))
    pipeline = make_pipeline(StandardScaler(), VAEDetector(max_steps=5, random_state=0))
    search = GridSearchCV(pipeline, {"vaedetector__latent": [2, 4]}, cv=KFold(2, shuffle=True), scoring=_auroc)
    search.fit(x, np.repeat([1, 0], (80, 20)))
    assert search.best_score_ > 0.5


def _auroc(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    return float(roc_auc_score(y, model.decision_function(x)))


def test_missing_cells_are_taken(rows: tuple[np.ndarray, np.ndarray]) -> None:
    x = rows[0][:100].copy()
    x[::7, 1] = np.nan
    gappy = VAEDetector(max_steps=10, random_state=0).fit(x)
    assert np.isfinite(gappy.score_samples(x)).all()


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
