"""Rules between columns: read as they are written, reckoned with as Python would, and never run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaekit import VaekitError
from vaekit.data.tables.rules.grammar import parse, require_sense

NAMES = ("a", "b", "c", "mean radius", "education-num", "price ($)")
NUMBER = st.floats(-50, 50).map(lambda x: round(x, 3))


def written(depth: int = 3) -> st.SearchStrategy[tuple[str, str]]:
    """Sums as we write them, and as Python does, with columns as v[...]."""
    number = st.integers(0, 99).map(lambda n: (f"{n / 4:g}", f"{n / 4:g}"))
    column = st.sampled_from(NAMES).map(lambda n: (f"`{n}`" if " " in n else n, f"v[{n!r}]"))
    if not depth:
        return number | column
    inner = written(depth - 1)
    pair = st.tuples(inner, st.sampled_from("+-*/"), inner).map(
        lambda t: (f"({t[0][0]}) {t[1]} {t[2][0]}", f"({t[0][1]}) {t[1]} {t[2][1]}")
    )
    minus = inner.map(lambda t: (f"-({t[0]})", f"-({t[1]})"))
    return pair | minus | number | column


@settings(max_examples=300, deadline=None)
@given(written(), st.lists(st.tuples(*[NUMBER] * len(NAMES)), min_size=1, max_size=5))
def test_a_sum_is_what_python_makes_of_it(
    sums: tuple[str, str], rows: list[tuple[float, ...]]
) -> None:
    """Precedence, brackets and signs; where Python divides by zero there is no value."""
    ours, pythons = sums
    values = {
        name: np.array(column) for name, column in zip(NAMES, zip(*rows, strict=True), strict=True)
    }
    found = parse(f"x = {ours}", [*NAMES, "x"]).computed(values)
    for i, got in enumerate(found):
        try:
            expected = eval(
                pythons, {"v": {name: float(column[i]) for name, column in values.items()}}
            )
        except (ZeroDivisionError, OverflowError):
            expected = math.nan
        if not math.isfinite(expected):
            assert math.isnan(got)
        else:
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-9) or abs(expected) > 1e12


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a >= 18", {"a": [17, 18, 19]}, [False, True, True]),
        ("a > 18", {"a": [17, 18, 19]}, [False, False, True]),
        ("0 <= a < 1", {"a": [-0.1, 0, 0.5, 1]}, [False, True, True, False]),
        ("a <= b", {"a": [0.1 + 0.2, 2], "b": [0.3, 1]}, [True, False]),
        ("a < b", {"a": [0.3], "b": [0.1 + 0.2]}, [False]),  # equal but for how floats are
        ("a - b - c >= 0", {"a": [0.3], "b": [0.2], "c": [0.1]}, [True]),
        ("a >= 0", {"a": [math.nan, -1]}, [True, False]),
        ("a / b <= 1", {"a": [5, 5, 1], "b": [0, 1, 1]}, [True, False, True]),
        ("a = b + c", {"a": [3, 4], "b": [1, 1], "c": [2, 2]}, [True, False]),
        ("b + c == a", {"a": [3, 4], "b": [1, math.nan], "c": [2, 2]}, [True, True]),
        (
            "mean radius <= 2 * education-num",
            {"mean radius": [4, 5], "education-num": [2, 2]},
            [True, False],
        ),
        (
            "'price ($)' = \"mean radius\"*1e1",
            {"price ($)": [10, 1], "mean radius": [1, 1]},
            [True, False],
        ),
        ("a - b = c", {"a": [5.0], "b": [2.0], "c": [3.0]}, [True]),
    ],
)
def test_rules_hold_or_do_not(
    text: str, values: dict[str, list[float]], expected: list[bool]
) -> None:
    columns = {name: np.array(cells, float) for name, cells in values.items()}
    assert parse(text, NAMES).holds(columns).tolist() == expected


@pytest.mark.parametrize(
    ("text", "target", "sources"),
    [
        ("a = b * c", "a", {"b", "c"}),
        ("b * c = a", "a", {"b", "c"}),
        ("a=b", "a", {"b"}),
        ("a >= b", "", None),
    ],
)
def test_an_equality_computes_the_column_that_is_alone(
    text: str, target: str, sources: set[str] | None
) -> None:
    rule = parse(text, NAMES)
    assert rule.target == target
    assert sources is None or set(rule.names) == {target} | sources


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from("+-*/"),
    st.sampled_from("+-*/"),
    st.booleans(),
    st.tuples(*[st.floats(0.5, 9)] * 3),
)
def test_what_is_solved_for_gives_the_target(
    one: str, two: str, last: bool, cells: tuple[float, ...]
) -> None:
    text = f"x = a {one} (b {two} c)" if last else f"x = (a {one} b) {two} c"
    rule = parse(text, ["a", "b", "c", "x"])
    values = {name: np.array([cell]) for name, cell in zip("abc", cells, strict=True)}
    values["x"] = rule.computed(values)
    for name in "abc":
        found = rule.solved(name, values | {name: np.array([math.nan])})
        if not np.isnan(values["x"][0]) and not np.isnan(found[0]):
            assert rule.computed(values | {name: found}) == pytest.approx(
                values["x"], rel=1e-6, abs=1e-6
            )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os') = 1", "there is no column '__import__'"),
        ("a.__class__ = b", "'.__class__ = b' means nothing here"),
        ("a = b; c", "'; c' means nothing here"),
        ("a = b[0]", "means nothing here"),
        ("a = lambda", "there is no column 'lambda'"),
        ("a = prise", "there is no column 'prise'; did you mean 'price"),
        ("a = 'b", "means nothing here"),
        ("a", "compares nothing"),
        ("", "ends early"),
        ("a >=", "ends early; expected a column or a number"),
        ("a >= >= b", "'>=' has no place there"),
        ("a = (b + c", "ends early; expected a closing bracket"),
        ("a = b) + c", "has no place there"),
        ("a b >= 2", "'b' has no place there"),
        ("a = ()", "has no place there"),
        ("1 <= 2", "names no column"),
        ("a + b = c + 1", "a single column on one side"),
        ("a = b = c", "a single column on one side"),
        ("0 <= a = b", "a single column on one side"),
        ("a = a + b", "cannot be computed from itself"),
        ("a != b", "means nothing here"),
        ("a ** 2 >= 0", "has no place there"),
        ("a >= 2023-02-30", "there is no day 2023-02-30"),
        ("a >= " + "(" * 5000 + "1", "shorten it"),
        ("a >= " + "-" * 5000 + "1", "shorten it"),
        ("a >= 3rd", "there is no column '3rd'"),
    ],
)
def test_what_is_no_rule_gets_a_sentence(text: str, said: str) -> None:
    with pytest.raises(VaekitError) as caught:
        parse(text, ("a", "b", "c", "price"))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab01 .=<>+-*/()'`\"_e\n[]{}:\\", max_size=40))
def test_any_text_is_a_rule_or_a_sentence(text: str) -> None:
    try:
        rule = parse(text, ("a", "b", "ab"))
    except VaekitError:
        return
    assert rule.holds({name: np.ones(3) for name in ("a", "b", "ab")}).shape == (3,)


@pytest.mark.parametrize(
    "text", ["a >= 2023-01-01", "b >= a", "b - a <= 30", "b = a + 30", "a < b < 2024-01-01"]
)
def test_dates_are_compared_with_dates(text: str) -> None:
    require_sense(parse(text, NAMES), ["a", "b"])


@pytest.mark.parametrize(
    "text", ["a >= 5", "c >= 2023-01-01", "a + b >= a", "a - b >= 2023-01-01", "b = 2 * a"]
)
def test_dates_are_not_compared_with_numbers(text: str) -> None:
    with pytest.raises(VaekitError, match="compares dates with numbers"):
        require_sense(parse(text, NAMES), ["a", "b"])
