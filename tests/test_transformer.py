"""The transformer: scikit-learn's laws, and codes that tell of the rows."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from vaekit.errors import VaekitError
from vaekit.estimators import VAETransformer


@pytest.mark.slow
@parametrize_with_checks([VAETransformer()])
def test_scikit_learn_accepts_it_as_it_comes(estimator, check) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def fitted(iris) -> VAETransformer:
    return VAETransformer(n_components=2, random_state=0).fit(iris[0])


def test_two_dimensions_tell_of_four(fitted, iris) -> None:
    X, y = iris
    back = fitted.inverse_transform(fitted.transform(X))
    assert back.shape == X.shape
    left = ((X - back) ** 2).sum() / ((X - X.mean(0)) ** 2).sum()
    assert left < 0.05  # two principal components leave 0.023 of the variance, one 0.075
    assert LogisticRegression().fit(fitted.transform(X), y).score(fitted.transform(X), y) > 0.85


def test_the_same_seed_gives_the_same_codes(fitted, iris) -> None:
    again = clone(fitted).fit(iris[0])
    assert np.array_equal(again.transform(iris[0]), fitted.transform(iris[0]))


def test_it_stands_in_pipelines_and_searches(iris) -> None:
    X, y = iris
    pipe = make_pipeline(
        StandardScaler(), VAETransformer(max_steps=200, random_state=0), LogisticRegression()
    )
    search = GridSearchCV(pipe, {"vaetransformer__n_components": [1, 3]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.85
    assert pickle.loads(pickle.dumps(search)).predict(X[:3]).shape == (3,)


def test_frames_of_mixed_columns_with_missing_cells() -> None:
    pl = pytest.importorskip("polars")
    random = np.random.default_rng(0)
    kind = random.choice(["a", "b"], 200)
    size = np.where(kind == "a", 0.0, 5.0) + random.normal(size=200)
    frame = pl.DataFrame(
        {"kind": kind, "size": [None if i % 10 == 0 else s for i, s in enumerate(size)]}
    )
    model = VAETransformer(n_components=1, random_state=0).set_output(transform="polars").fit(frame)
    codes = model.transform(frame)
    assert codes.columns == ["vaetransformer0"]
    assert abs(np.corrcoef(codes["vaetransformer0"].to_numpy(), kind == "a")[0, 1]) > 0.8
    back = model.inverse_transform(codes.to_numpy())
    assert back.columns == frame.columns
    assert (back["kind"] == frame["kind"]).mean() > 0.9


@pytest.mark.parametrize("n", [0, 1.5, True, -3])
def test_dimensions_are_counted(iris, n) -> None:
    with pytest.raises(VaekitError, match="whole number of at least 1"):
        VAETransformer(n_components=n).fit(iris[0])
