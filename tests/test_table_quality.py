"""The measures of synthetic tables against answers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from vaekit.measures import row_quality

NUMBER, CATEGORY = np.array([False]), np.array([True])
MIXED = np.array([False, False, True])


def table(rows: int = 2000, seed: int = 0) -> np.ndarray:
    """Two numbers and a class that follows the first."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, rows))
    return np.stack((a, b, a + 0.3 * random.normal(size=rows) > 0), axis=1).astype(float)


def test_column_error_of_numbers_is_the_largest_gap() -> None:
    real, made = np.array([[1.0], [2], [3], [4]]), np.array([[3.0], [4], [5], [6]])
    assert row_quality.column_error(real, made, NUMBER) == pytest.approx(0.5)
    assert row_quality.column_error(real, real[::-1], NUMBER) == 0
    assert row_quality.column_error(real, real + 10, NUMBER) == 1


def test_column_error_of_numbers_is_that_of_scipy() -> None:
    from scipy.stats import ks_2samp

    a, b = table(300), table(200, 1) * 1.3 + 0.1
    assert row_quality.column_errors(a, b, MIXED)[0] == pytest.approx(
        ks_2samp(a[:, 0], b[:, 0]).statistic
    )


def test_column_error_of_categories_is_total_variation() -> None:
    real, made = np.array([[0.0], [0], [1], [1]]), np.array([[0.0], [1], [1], [7]])
    assert row_quality.column_error(real, made, CATEGORY) == pytest.approx(0.25)


@pytest.mark.parametrize("categories", [NUMBER, CATEGORY])
def test_missing_cells_count(categories: np.ndarray) -> None:
    real, made = np.array([[1.0], [1], [1], [np.nan]]), np.array([[1.0], [1], [np.nan], [np.nan]])
    assert row_quality.column_error(real, made, categories) == pytest.approx(0.25)
    assert row_quality.column_error(real, np.full((4, 1), np.nan), categories) == pytest.approx(
        0.75
    )


def test_pair_error_sees_what_columns_alone_do_not() -> None:
    real = np.repeat([[0.0, 0], [1, 1]], 50, axis=0)
    apart = np.repeat([[0.0, 0], [0, 1], [1, 0], [1, 1]], 25, axis=0)
    both = np.array([True, True])
    assert row_quality.column_error(real, apart, both) == 0
    assert row_quality.pair_error(real, apart, both) == pytest.approx(0.5)
    assert np.allclose(row_quality.pair_errors(real, apart, both), [[0, 0.5], [0.5, 0]])
    assert np.isnan(row_quality.pair_error(real[:, :1], apart[:, :1], CATEGORY))


def test_pair_error_bins_numbers_by_real_quantiles() -> None:
    real = np.stack((np.arange(1000.0), np.arange(1000.0)), axis=1)
    made = real.copy()
    made[:, 1] = made[::-1, 1]
    assert row_quality.pair_error(real, made, np.array([False, False])) == pytest.approx(1.0)
    assert row_quality.pair_error(real, real**3, np.array([False, False])) > 0.5


def test_two_sample_tells_what_differs_and_only_that() -> None:
    real = table()
    assert row_quality.two_sample(real, table(seed=1), MIXED) == pytest.approx(0.5, abs=0.05)
    assert row_quality.two_sample(real, real + np.array((5.0, 0, 0)), MIXED) > 0.99
    shuffled = table(seed=1)
    shuffled[:, 2] = np.random.default_rng(2).permutation(shuffled[:, 2])
    assert row_quality.two_sample(real, shuffled, MIXED) > 0.6


def test_utility_of_classes_and_numbers() -> None:
    train, test = table(), table(seed=1)
    useful = row_quality.utility(train, test, MIXED, target=2)
    assert useful.f1 > 0.85
    assert useful.auroc > 0.93
    assert np.isnan(useful.r2)
    noise = train.copy()
    noise[:, 2] = np.random.default_rng(0).integers(0, 2, len(noise))
    assert row_quality.utility(noise, test, MIXED, target=2).auroc == pytest.approx(0.5, abs=0.1)
    line = np.stack((train[:, 0], 2 * train[:, 0]), axis=1)
    number = row_quality.utility(line, line, np.array([False, False]), target=1)
    assert number.r2 > 0.99
    assert np.isnan(number.f1)


@pytest.mark.parametrize("missing", [[], [0], range(400)])
def test_a_category_is_one_to_trees_whatever_is_missing(missing: list[int]) -> None:
    """Classes whose numbers mean nothing: as a number the column would want a split at every one of them."""
    x = np.random.default_rng(0).integers(0, 200, (400, 2)).astype(float)
    x[list(missing), 0] = np.nan
    found = row_quality.trees("Classifier", x, np.array([True, False]), 0)
    assert found.categorical_features.tolist() == [True, False]
    assert found.fit(x, np.arange(400) % 2).predict(x).shape == (400,)


def test_utility_of_a_table_that_lacks_classes() -> None:
    train, test = table(), table(seed=1)
    one = train[train[:, 2] == 1]
    assert row_quality.utility(one, test, MIXED, target=2).auroc == 0.5
    three = test.copy()
    three[:50, 2] = 2
    assert 0.4 < row_quality.utility(train, three, MIXED, target=2).auroc < 0.95
    hole = train.copy()
    hole[:500, 2] = np.nan
    assert row_quality.utility(hole, test, MIXED, target=2).auroc > 0.9


def test_privacy_of_copies_and_of_fresh_rows() -> None:
    train, held, fresh = table(600), table(600, 1), table(600, 2)
    copied = row_quality.privacy(train[::-1], train, held, MIXED)
    assert copied.copies == 1
    assert copied.closer > 0.95
    assert copied.membership > 0.95
    assert copied.ratio == 0
    honest = row_quality.privacy(fresh, train, held, MIXED)
    assert honest.copies == 0
    assert honest.held_copies == 0
    assert honest.closer == pytest.approx(0.5, abs=0.06)
    assert honest.membership == pytest.approx(0.5, abs=0.06)
    assert honest.ratio == pytest.approx(honest.held_ratio, abs=0.08)


def test_privacy_looks_among_all_training_rows_whatever_is_held_out() -> None:
    train, held = table(3000), table(1000, 1)
    found = row_quality.privacy(train + np.array((1e-6, 1e-6, 0)), train, held, MIXED)
    assert found.ratio < 0.1
    assert found.near_copies > 0.9
    assert found.copies == 0
    few = row_quality.privacy(held[::-1], train, held, MIXED)
    assert few.ratio == few.held_ratio
    assert few.near_copies == few.held_near_copies < 0.05


def test_copies_with_missing_cells_are_copies() -> None:
    row = np.array([[1.0, np.nan, -0.0]])
    found = row_quality.privacy(
        np.array([[1.0, np.nan, 0.0]] * 3), np.repeat(row, 3, 0), row + 1, MIXED
    )
    assert found.copies == 1
    assert found.held_copies == 0


def test_copied_rows_are_known_by_all_their_cells() -> None:
    among = np.array([[1.0, np.nan], [0.0, 2.0]])
    rows = np.array([[1.0, np.nan], [-0.0, 2.0], [1.0, 2.0]])
    assert row_quality.copied(rows, among).tolist() == [True, True, False]
