"""What the page of an evaluation says of numbers: good, fair or bad, and by which thresholds."""

from __future__ import annotations

import copy
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from vaekit.data.tables.compared import Tables
from vaekit.data.tables.evaluation import evaluation
from vaekit.data.tables.quality import rows
from vaekit.data.tables.schema import Column, TableSchema
from vaekit.data.tables.verdicts import cautions, verdicts
from vaekit.measures.row_quality import privacy

FINE = {
    "column_error": 0.01,
    "pair_error": 0.02,
    "two_sample": 0.5,
    "floor": {"column_error": 0.01, "pair_error": 0.02, "two_sample": 0.5},
    "privacy": {
        "copies": 0.0,
        "held_copies": 0.0,
        "near_copies": 0.01,
        "held_near_copies": 0.01,
        "ratio": 0.8,
        "held_ratio": 0.8,
        "closer": 0.5,
        "membership": 0.5,
    },
    "utility": {"f1": 0.8, "auroc": 0.9, "floor": {"f1": 0.8, "auroc": 0.9}},
}
WORSE = {
    "single columns": ("column_error", 1),
    "pairs of columns": ("pair_error", 1),
    "told apart": ("two_sample", 1),
    "useful": ("utility auroc", -1),
    "copies": ("privacy copies", 1),
    "near copies": ("privacy near_copies", 1),
    "distance ratio": ("privacy ratio", -1),
    "closer": ("privacy closer", 1),
    "membership": ("privacy membership", 1),
}
ORDER = ("good", "fair", "bad")


def changed(path: str, by: float) -> dict:
    numbers = copy.deepcopy(FINE)
    *inside, name = path.split()
    place = numbers[inside[0]] if inside else numbers
    place[name] += by
    return numbers


def marks(numbers: dict, held: int = 100_000) -> dict[str, str]:
    return {verdict.about: verdict.mark for verdict in verdicts(numbers, held, 100_000, "y")}


def test_as_good_as_training_rows_is_good() -> None:
    assert marks(FINE) == dict.fromkeys(WORSE, "good")


@pytest.mark.parametrize("about", WORSE)
def test_the_further_off_the_worse_the_word_and_only_there(about: str) -> None:
    path, sign = WORSE[about]
    found = [
        marks(changed(path, sign * step)) for step in (0.0, 0.0005, 0.007, 0.035, 0.09, 0.12, 0.4)
    ]
    places = [ORDER.index(part[about]) for part in found]
    assert places == sorted(places)
    assert set(places) == {0, 1, 2}
    assert all(part[other] == "good" for part in found for other in WORSE if other != about)
    assert marks(changed(path, -sign * 0.01))[about] == "good"


def test_what_chance_explains_is_not_held_against_the_model() -> None:
    """Rows that nothing was learned from are told apart a little, where they are few."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(200):
        near, far = random.normal(size=(2, 30))
        found.append((near[:, None] > far).mean())  # an AUROC of nothing
    bad = [
        marks(changed("privacy membership", value - 0.5), 30)["membership"] == "bad"
        for value in found
    ]
    assert np.mean(np.array(found) > 0.6) > 0.05
    assert np.mean(bad) < 0.05


@pytest.mark.parametrize(("training", "held"), [(1800, 200), (5000, 500)])
@pytest.mark.parametrize("leaked", [0.05, 0.0])
def test_training_rows_but_for_a_rounding_are_no_good(
    training: int, held: int, leaked: float
) -> None:
    """One new row in twenty is a training row and a millionth, which no other measure sees."""
    train, apart, new = (
        np.random.default_rng(0).normal(size=(training * 2 + held, 6))[part]
        for part in (
            slice(training),
            slice(training, training + held),
            slice(training + held, None),
        )
    )
    count = int(leaked * training)
    new[:count] = train[:count] + 1e-6
    found = asdict(privacy(new, train, apart, np.zeros(6, bool)))
    said = {v.about: v.mark for v in verdicts(FINE | {"privacy": found}, held, training)}
    assert said["near copies"] == ("bad" if leaked else "good")
    assert found["near_copies"] == pytest.approx(0.01 + leaked, abs=0.01)
    assert found["copies"] == 0


def test_thresholds_are_stated_as_they_are_used() -> None:
    (said,) = (v for v in verdicts(FINE, 100_000, 100_000, "y") if v.about == "told apart")
    good, bad = (float(word) for word in re.findall(r"\d\.\d+", said.threshold))
    for step, mark in (
        (good - 1e-6, "good"),
        (good + 1e-6, "fair"),
        (bad - 1e-6, "fair"),
        (bad + 1e-6, "bad"),
    ):
        assert marks(changed("two_sample", step))["told apart"] == mark


def test_a_column_that_cannot_be_learned_says_nothing_of_the_rows() -> None:
    numbers = FINE | {"utility": {"r2": -0.5, "floor": {"r2": 0.02}}}
    (said,) = (v for v in verdicts(numbers, 1000, 1000, "y") if v.about == "useful")
    assert said.mark == "fair"
    assert "cannot be learned" in said.threshold


def test_few_rows_and_rows_that_were_trained_on_are_told() -> None:
    assert cautions(FINE, 1000) == []
    assert "Only 50" in cautions(FINE, 50)[0]
    assert "that the model has not seen" in cautions(changed("privacy held_copies", 0.9), 1000)[0]


# The page


@pytest.fixture(scope="module")
def table() -> Tables:
    """Good columns, and a pair of them whose dependence the new rows have not."""
    random = np.random.default_rng(0)
    parts = []
    for dependent in (False, True, True):
        a = random.normal(size=(300, 1))
        b = a + 0.1 * random.normal(size=(300, 1)) if dependent else random.normal(size=(300, 1))
        parts.append(
            np.hstack((a, b, random.normal(size=(300, 1)), random.integers(0, 2, (300, 1))))
        )
    numbers = [
        Column(name=name, kind="number", low=-4, high=4) for name in ("<b>one", "two", "three")
    ]
    schema = TableSchema(
        columns=(*numbers, Column(name="four", kind="category", classes=("no", "yes")))
    )
    return Tables(schema, *parts)


def page_of(table: Tables, target: str | None) -> str:
    results = rows(table, target)
    estimate = {"value": 1.0, "error": 0.1, "n": 300}
    said = verdicts(results["samples"], 300, 300, target)
    return evaluation("title & all", results | {"elbo": estimate, "seed": 0}, table, said, target)


def test_the_page_stands_alone_and_names_what_is_worst(table: Tables) -> None:
    page = page_of(table, "four")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<b>one" not in page
    assert "&lt;b&gt;one" in page
    assert "title &amp; all" in page
    pairs = page.split("<h2>Pairs of columns</h2>")[1]
    assert pairs.index("&lt;b&gt;one and two") < pairs.index("and three")
    assert page.index("<strong>Bad.") < page.index("<strong>Good.")
    assert "tested on held-out rows" in page
    assert "--target" in page_of(table, None)


def test_a_table_of_one_column_has_no_pairs(table: Tables) -> None:
    alone = Tables(
        TableSchema(columns=table.schema.columns[1:2]),
        *(part[:, 1:2] for part in (table.made, table.seen, table.real)),
    )
    page = page_of(alone, None)
    assert "nan" not in page.split("</style>")[1].replace("data:image", "").split("<h2>Columns")[0]
    assert "Pairs of columns" not in page


def test_what_the_page_does_not_measure_or_draw_is_said(table: Tables) -> None:
    columns = table.schema.columns
    order = (*(column.name for column in columns), "a < b")
    schema = TableSchema(columns=columns, order=order, constraints=('"a < b" = two + three',))
    page = page_of(replace(table, schema=schema), None)
    assert "Not measured, because computed from other columns: a &lt; b." in page
    assert "for the 4 columns of the 6 worst pairs" in page
    assert "Not measured" not in page_of(table, None)
