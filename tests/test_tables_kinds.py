"""What columns are taken for, and what is told of it."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
import torch

from vaekit import VaekitError
from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.columns.encode import encode
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.columns.infer import infer
from vaekit.data.tables.columns.units import from_tensor, to_tensor
from vaekit.data.tables.load import load
from vaekit.data.tables.read.cells import Cells
from vaekit.data.tables.schema import OTHER, Column, LeftOut, TableSchema, describe

pytest.importorskip("polars")
import polars as pl

N = 400


def decided(values: Any, name: str = "column", kind: str = "") -> Column | LeftOut:
    """What a column of a frame in memory is taken for."""
    import narwhals.stable.v2 as nw

    series = nw.from_native(pl.Series(name, values), series_only=True)
    return infer(Cells(name, series, lambda i: f"row {i}"), kind)


def kind(values: Any, name: str = "column") -> str:
    """The kind of a column, or why it is left out."""
    found = decided(values, name)
    return found.kind if isinstance(found, Column) else found.reason


def repeated(*values: Any) -> list[Any]:
    return [
        values[i * i % len(values)] if len(values) > 2 else values[i % len(values)]
        for i in range(N)
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([i * i % 397 / 7 for i in range(N)], "number"),
        ([str(i * i % 397 / 7) for i in range(N)], "number"),
        ([i * i % 397 for i in range(N)], "count"),
        ([i * i % 397 - 5 for i in range(N)], "number"),
        ([None if i % 9 == 0 else i * i % 397 for i in range(N)], "count"),
        (["?" if i % 9 == 0 else str(i * i % 397) for i in range(N)], "count"),
        ([i % 20 for i in range(N)], "category"),
        ([i % 21 for i in range(N)], "count"),
        ([i % 20 for i in range(N - 1)], "count"),
        ([f"0{i % 10}{i * i % 10}" for i in range(N)], "category"),
        (repeated("red", "green", "blue"), "category"),
        (repeated("yes", "no"), "boolean"),
        (repeated("Y", "n"), "boolean"),
        (["yes", "no", "NA"] * 120, "boolean"),
        (["yes", "no", "unknown"] * 120, "category"),
        (["yes", "no", "None"] * 120, "category"),
        (["true", "false", "Unknown", "?"] * 120, "category"),
        (["0", "1", "unknown"] * 120, "boolean"),
        (["2020-01-05", "2021-02-03", "2021-02-04", "unknown"] * 120, "date"),
        (repeated("yes", "maybe"), "category"),
        (repeated(0, 1), "boolean"),
        (repeated("0", "1"), "boolean"),
        (repeated(1, 2), "category"),
        (repeated(True, False), "boolean"),
        ([f"2020-01-{i % 28 + 1:02}" for i in range(N)], "date"),
        ([f"{i % 28 + 1}.{i % 12 + 1}.2020" for i in range(N)], "date"),
        ([f"{i % 24:02}:{i % 60:02}" for i in range(N)], "date"),
        ([date(2020, 1, 1 + i % 30) for i in range(N)], "date"),
        ([7] * N, "constant"),
        (["x"] * N, "constant"),
        (["x", None] * (N // 2), "category"),
        ([None] * N, "missing"),
        (["NA", ""] * (N // 2), "missing"),
        ([f"A{i:05}" for i in range(N)], "id"),
        (list(range(N)), "id"),
        (list(range(N, 0, -1)), "id"),
        ([f"a sentence of number {i}" for i in range(N)], "text"),
        ([f"w{i * i % 397}" for i in range(N)], "text"),
        ([[1]] * N, "text"),
    ],
)
def test_kinds(values: list[Any], expected: str) -> None:
    assert kind(values) == expected


def test_names_tell_ids_codes_and_times() -> None:
    rising = [3 * i * i + 7 for i in range(N)]
    assert kind(rising) == "count"
    assert kind(rising, "customer_id") == "id"
    mixed = [i * 7919 % 100_003 for i in range(1, N)]  # the rows that a filter left, in any order
    for name in ("rownames", "RowNames", "row.names", "row_id", "row number", "Unnamed: 0", "...1"):
        assert kind(mixed, name) == "id", name
    assert kind(mixed, "rows") == kind(mixed, "arrow names") == "count"
    assert kind(list(range(1900, 1900 + N)), "year") == "count"
    assert decided(list(range(1900, 1900 + N)), "year").why.endswith("1900 to 2299")
    assert decided(list(range(9900, 9900 + N)), "year").why.endswith("9,900 to 10,299")
    codes = [98_001 + i % 30 for i in range(20 * 30)]
    assert kind(codes) == "count"
    assert kind(codes, "zipcode") == "category"


def test_few_rows_make_no_ids() -> None:
    assert kind(["a", "b", "c"]) == "category"
    assert kind([1, 2, 3]) == "count"


def test_a_category_keeps_its_classes_in_order() -> None:
    found = decided(["10", "9", "b", "a"] * (N // 4))
    assert isinstance(found, Column)
    assert found.classes == ("9", "10", "a", "b")


def test_none_and_unknown_are_classes_among_words_and_others_are_not() -> None:
    assert kind([str(i * i % 397) if i % 12 else "none" for i in range(N)]) == "count"
    found = decided(["none", "shed", "unknown", "garage", "", "?", "NA"] * 60)
    assert isinstance(found, Column)
    assert found.classes == ("garage", "none", "shed", "unknown")


def test_a_third_answer_comes_back_as_it_was_written() -> None:
    answers = pl.DataFrame({"answer": ["yes", "no", "unknown", "yes", None] * (N // 5)})
    table = load(answers)
    assert table.schema.columns[0].classes == ("no", "unknown", "yes")
    assert decode(table.raw.values, table.schema)["answer"].tolist() == answers["answer"].to_list()
    asked = load(answers, kinds={"answer": "boolean"})
    assert asked.schema.columns[0].classes == ("no", "yes")
    assert asked.raw.values[:5, 0].nan_to_num(-1).tolist() == [1, 0, -1, 1, -1]
    again = load(answers, schema=asked.schema, unseen=-7.0)  # unknown is not a class never seen
    assert again.raw.values[:5, 0].nan_to_num(-1).tolist() == [1, 0, -1, 1, -1]


def test_rare_levels_share_a_class_where_there_are_too_many() -> None:
    words = [f"common {i % 30}" for i in range(900)] + [f"rare {i}" for i in range(200)]
    found = decided(words)
    assert isinstance(found, Column)
    assert found.other
    assert found.classes[-1] == OTHER
    assert len(found.classes) == 31
    assert "200 rare ones" in found.why
    few = decided([f"common {i % 30}" for i in range(900)] + ["once"])
    assert isinstance(few, Column)
    assert not few.other


def test_ten_thousand_classes_at_most_are_kept_and_cost_little() -> None:
    words = [f"w{i % 12_000}" for i in range(60_000)]
    found = decided(words)
    assert isinstance(found, Column)
    assert found.size == 10_000
    assert found.classes[-1] == OTHER
    assert decided([f"w{i % 5000}" for i in range(30_000)]).model_dump()["other"] is False


def test_kinds_can_be_forced() -> None:
    number = [i * i % 397 for i in range(N)]
    forced = decided(number, kind="category")
    assert isinstance(forced, Column)
    assert forced.kind == "category"
    assert forced.classes[:2] == ("0", "1")
    texts = decided([f"w{i * i % 397}" for i in range(N)], kind="category")
    assert isinstance(texts, Column)
    assert not texts.other
    ids = decided(list(range(N)), kind="number")
    assert isinstance(ids, Column)
    dropped = decided(number, kind="drop")
    assert isinstance(dropped, LeftOut)
    assert dropped.reason == "asked"
    for values, wanted, said in [
        (["a", "b"] * 9, "number", "'a' is not a number"),
        (["a", "b", "c"] * 9, "boolean", "3 different values"),
        ([-1, 2] * 9, "count", "cannot be a count"),
        (["a", "b"] * 9, "date", "expected dates"),
        (["a", "b"] * 9, "numbers", "no kind 'numbers'"),
        ([date(2020, 1, 1), date(2020, 1, 2)] * 9, "number", "holds dates"),
        ([1, 2] * 9, "date", "expected dates"),
    ]:
        with pytest.raises(VaekitError, match=said):
            decided(values, kind=wanted)


@pytest.mark.parametrize("wanted", ["number", "count", "category", "boolean", "date"])
def test_a_kind_cannot_make_something_of_nothing(wanted: str) -> None:
    nothing, one = (
        decided([None] * 9, kind=wanted),
        decided([1] * 9, kind=wanted) if wanted != "date" else None,
    )
    assert isinstance(nothing, LeftOut)
    assert nothing.reason == "missing"
    assert one is None or (isinstance(one, LeftOut) and one.reason == "constant")


def test_booleans_may_be_numbers() -> None:
    frame = pl.DataFrame({"b": repeated(True, False)})
    table = load(frame, kinds="number")
    assert table.schema.columns[0].kind == "number"
    assert as_frame(decode(table.raw.values, table.schema), table.schema).equals(frame)


def test_a_plain_array_of_numbers_has_no_categories() -> None:
    table = load(np.stack([np.arange(N) % 7, np.arange(N) % 2, np.arange(N) % 9 / 4], axis=1))
    assert [column.kind for column in table.schema.columns] == ["count", "boolean", "number"]
    asked = load(np.stack([np.arange(N) % 7, np.arange(N) % 5], axis=1), kinds="category")
    assert [column.size for column in asked.schema.columns] == [7, 5]


def frame(**more: Any) -> pl.DataFrame:
    return pl.DataFrame({"n": [i * i % 397 / 7 for i in range(N)], "c": repeated("a", "b"), **more})


def test_what_is_left_out_is_told_by_name_and_reason() -> None:
    table = load(
        frame(
            key=list(range(N)), one=[1] * N, again=frame()["n"], nothing=[None] * N, c2=frame()["c"]
        )
    )
    assert table.schema.names == ("n", "c")
    assert {left.name: left.reason for left in table.schema.left_out} == {
        "key": "id",
        "one": "constant",
        "again": "duplicate",
        "nothing": "missing",
        "c2": "duplicate",
    }
    assert "Left out, an id of the rows: key" in table.notes
    lines = describe(table.schema)
    assert len(lines) == 7
    assert lines[0].split()[:2] == ["n", "number"]
    assert "repeats n" in lines[4]


def test_a_schema_goes_through_json_and_back() -> None:
    schema = load(
        frame(d=["2020-01-05", "2021-02-03", None, "2020-12-31"] * (N // 4), one=[1] * N),
        condition=["c"],
    ).schema
    assert TableSchema.model_validate_json(schema.model_dump_json()) == schema


def test_the_transform_knows_quantiles_atoms_and_steps() -> None:
    values = [0.0] * 200 + [i / 4 for i in range(200)]
    (column,) = load(pl.DataFrame({"v": values})).schema.columns
    assert len(column.knots) == 101
    assert column.knots[0] == column.low == 0
    assert column.knots[-1] == column.high == 49.75
    assert list(column.knots) == sorted(column.knots)
    assert column.atoms == (0.0,)
    assert column.shares == (201 / 400,)
    assert column.decimals == 2


def test_one_wild_value_does_not_set_the_scale() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=2000)
    values[0] = 1e9
    (column,) = load(pl.DataFrame({"v": values})).schema.columns
    assert 0.8 < column.scale < 1.2
    extreme = load(pl.DataFrame({"v": [1e308, -1e308, 0.5] * 20})).schema.columns[0]
    assert np.isfinite([extreme.mean, extreme.scale]).all()


def test_conditions_and_targets_are_not_modelled() -> None:
    table = load(frame(age=[20 + i % 50 for i in range(N)]), condition=["c", "age"], target="c")
    assert table.schema.names == ("n",)
    assert [field.kind for field in table.schema.conditions] == ["category", "number"]
    assert [column.name for column in table.schema.given] == ["c", "age"]
    assert table.context is not None
    assert table.context.shape == (N, 2)
    assert table.context[:3, 0].tolist() == [0, 1, 0]
    assert abs(float(table.context[:, 1].mean())) < 1e-5
    assert table.labels is not None
    assert table.labels[:3].tolist() == [0, 1, 0]
    assert table.schema.classes == ("a", "b")
    assert table.schema.target == "c"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"condition": ["c", "c"]}, "named twice"),
        ({"condition": ["d"]}, "there is no column 'd'"),
        ({"target": "d"}, "there is no column 'd'"),
        ({"target": "n"}, "is measured"),
        ({"kinds": {"d": "number"}}, "there is no column 'd'"),
        ({"condition": ["n", "c"]}, "no column is left to model"),
        ({"condition": ["one"]}, "cannot be a condition or the labels: always 1"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], said: str) -> None:
    source = frame(one=[1] * N) if "one" in str(options) else frame()
    with pytest.raises(VaekitError, match=said):
        load(source, **options)


def test_new_rows_in_the_form_of_a_model() -> None:
    table: Table = load(frame(yes=repeated("No", "Yes")), condition=["c"])
    schema = table.schema
    new = pl.DataFrame(
        {"more": [1, 2, 3], "yes": ["YES", "true", "perhaps"], "n": ["1.5", "", "7"]}
    )
    known = load(new, schema=schema)
    assert known.raw.values[:, 0].nan_to_num(-1).tolist() == [1.5, -1, 7]
    assert known.raw.values[:, 1].nan_to_num(-1).tolist() == [1, 1, -1]
    assert known.context is not None
    assert known.context.isnan().all()
    assert known.notes == (
        "Not known to the model, so ignored: more",
        "Not known of these rows, so left open: c",
        "yes: 1 cell of classes that training did not see (perhaps), read as missing",
    )
    with pytest.raises(VaekitError, match="lacks the column 'n'"):
        load(new.drop("n"), schema=schema)
    with pytest.raises(VaekitError, match=r"column 'n', row 1 \(from 0\): 'x' is not a number"):
        encode(pl.DataFrame({"n": ["1", "x"], "yes": ["Yes", "No"]}), schema)


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row_fit_a_model_and_teach_nothing(rows: int) -> None:
    table = load(
        frame(day=["2020-01-05", "2021-02-03"] * (N // 2), yes=repeated(True, False)),
        condition=["c"],
    )
    few = load(
        frame(day=["2020-01-05", "2021-02-03"] * (N // 2), yes=repeated(True, False)).head(rows),
        schema=table.schema,
    )
    assert few.raw.shape == (rows, 3)
    assert torch.equal(few.raw.values, table.raw.values[:rows])
    with pytest.raises(VaekitError, match="needs at least 2"):
        load(frame().head(rows))


def test_unseen_classes_join_the_rare_ones_where_there_is_a_class_for_them() -> None:
    words = [f"common {i % 30}" for i in range(900)] + [f"rare {i}" for i in range(200)]
    schema = load(pl.DataFrame({"w": words})).schema
    raw, notes = encode(pl.DataFrame({"w": ["common 3", "new", "rare 7", None]}), schema)
    words = schema.columns[0].words
    assert [words[int(i)] for i in raw[:3, 0].tolist()] == ["common 3", OTHER, "rare 7"]
    assert raw[3].isnan().all()
    assert "read as (other)" in notes[0]


def test_a_subset_keeps_everything_in_step() -> None:
    table = load(frame(age=[20 + i % 50 for i in range(N)]), condition=["age"], target="c")
    part = table.subset(torch.tensor([5, 3]))
    assert len(part) == 2
    assert torch.equal(part.raw.values, table.raw.values[[5, 3]])
    assert table.context is not None
    assert part.context is not None
    assert torch.equal(part.context, table.context[[5, 3]])
    assert part.labels is not None
    assert part.labels.tolist() == [1, 1]
    assert part.fingerprint != table.fingerprint
    assert load(frame()).fingerprint == load(frame()).fingerprint


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        (
            "rooms",
            np.arange(400) % 13 + 1,
            "13 different whole numbers, 1 to 13: 30 rows each on average",
        ),
        (
            "rooms",
            np.arange(200) % 13 + 1,
            "13 different whole numbers, 1 to 13: fewer than 20 rows each on average, so numbers, not classes",
        ),
        (
            "visits",
            np.arange(900) % 41,
            "41 different whole numbers, 0 to 40: more than 20, so numbers, not classes",
        ),
        (
            "zip",
            np.arange(900) % 30 + 98001,
            "98001 to 98030: 30 rows each on average, codes by the column's name",
        ),
        (
            "zip",
            np.arange(400) % 30 + 98001,
            "98001 to 98030: fewer than 20 rows each on average, so numbers, not classes",
        ),
        (
            "year",
            np.arange(900) % 26 + 1990,
            "26 different whole numbers, 1990 to 2015: more than 20",
        ),
        (
            "income",
            np.arange(900) * 97 % 901 + 10_000,
            "900 different whole numbers, 10,000 to 10,900",
        ),
    ],
)
def test_the_reason_says_why_and_writes_numbers_as_people_do(
    name: str, values: np.ndarray, why: str
) -> None:
    random = np.random.default_rng(0)
    (column,) = load(pl.DataFrame({name: random.permutation(values)})).schema.columns
    assert why in column.why


LARGE = {
    "few floats": lambda n: [2**60 + i for i in range(n)],
    "one float": lambda n: [2**60 + i % 50 for i in range(n)],
    "past int64": lambda n: [10**25 + i for i in range(n)],
    "below zero": lambda n: [-(10**17) - 3 * i for i in range(n)],
}


@pytest.mark.parametrize("rows", [400, 3000])
@pytest.mark.parametrize("values", LARGE.values(), ids=LARGE)
def test_whole_numbers_that_floats_cannot_tell_apart_are_left_out_and_why(
    values: Any, rows: int, tmp_path
) -> None:
    path = tmp_path / "large.csv"
    path.write_text(
        "\n".join(["a,v", *(f"{i % 7 + 0.5},{value}" for i, value in enumerate(values(rows)))])
    )
    (left,) = load(path).schema.left_out
    assert (left.name, left.reason) == ("v", "large")
    assert (
        "beyond 2^53, which floats cannot represent exactly; "
        "set data.kinds='{v: number}' if rounding does not matter" in left.why
    )
    if max(map(abs, values(rows))) < 2**63:
        assert decided(values(rows)).reason == "large"


@pytest.mark.parametrize("value", [2.0**60, 1e25])
def test_large_numbers_of_floats_are_numbers(value: float, tmp_path) -> None:
    values = [value * (1 + i * i / 1000) for i in range(N)]
    assert isinstance(decided(values), Column)
    path = tmp_path / "large.csv"
    path.write_text("\n".join(["v", *map(repr, (float(f"{v:.3e}") for v in values))]))
    assert not load(path).schema.left_out
    assert not load(np.array([2**60 + 1000 * i for i in range(N)])[:, None]).schema.left_out


@pytest.mark.parametrize("value", [10**17, 2**62, 10**19, 10**25])
def test_large_whole_numbers_taken_for_numbers_come_back_but_for_a_rounding(
    value: int, tmp_path
) -> None:
    values = [value + i * i * value // 10**6 for i in range(N)]
    path = tmp_path / "large.csv"
    path.write_text("\n".join(["v", *map(str, values)]))
    table = load(path, kinds={"v": "number"})
    back = decode(table.raw.take(torch.arange(N)), table.schema)["v"]
    assert np.allclose(back.astype(float), [float(v) for v in values], rtol=1e-9, atol=0)
    far = torch.tensor([[1e30], [-1e30]], dtype=torch.double)
    ends = decode(from_tensor(to_tensor(far, table.schema), table.schema, clip=True), table.schema)[
        "v"
    ]
    assert np.allclose(
        ends.astype(float), [float(max(values)), float(min(values))], rtol=1e-6, atol=0
    )


def test_codes_of_many_digits_keep_them_all(tmp_path) -> None:
    codes = [str(10**24 + i % 9) for i in range(N)]
    path = tmp_path / "codes.csv"
    path.write_text("\n".join(["v", *codes]))
    table = load(path, kinds={"v": "category"})
    assert decode(table.raw.take(torch.arange(N)), table.schema)["v"].tolist() == codes


@pytest.mark.parametrize("year", ["2024-01-01T{:02}:{:02}:00+0{}:00", "3{:03}-{:02}-0{}"])
def test_why_what_looks_like_dates_is_none(year: str) -> None:
    values = [year.format(i % 24, i % 12 + 1, i % 5 + 1) for i in range(60)]
    for cells in (values, values[:12] * 40):
        assert (
            "; dates are read only in the years 1000 to 2999, all in one format"
            in decided(cells).why
        )
    assert "dates" not in decided([f"word {i}" for i in range(60)]).why
