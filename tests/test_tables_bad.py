"""Files that are no tables, or tables with a mistake: one sentence that names the file, the line and the column."""

from __future__ import annotations

import gzip
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vaekit import VaekitError
from vaekit.data.tables.load import load, recognises

pytest.importorskip("polars")

BODY = "".join(f"{i % 7},{i * i % 13 / 4},{'ab'[i % 2]}\n" for i in range(200))
WELL = "a,b,c\n" + BODY
NOISE = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("\n", "its first line is empty"),
        ("a,b,c\n", "has 0 rows below the names of the columns; a VAE needs at least 2"),
        ("a,b,c\n1,2,3\n", "has 1 row below the names of the columns; a VAE needs at least 2"),
        (WELL.replace(",", ":"), "separated by colons"),
        (WELL.replace(",", " "), "separated by spaces"),
        (WELL + "1,2\n" + BODY, "line 202 has 2 cells where the first line has 3 names"),
        (WELL + "1,2,3,4\n" + BODY, "line 202 has 4 cells where the first line has 3 names"),
        ("a,b\n" + BODY, "line 2 has 3 cells where the first line has 2 names"),
        ("a,b,a\n" + BODY, "columns 1 and 3 are both called 'a'"),
        ("a,,c\n" + BODY, "column 2 has no name"),
        ("1,2,3\n" + BODY, "its first line holds numbers"),
        (WELL + "1,inf,a\n", "column 'b', line 202: 'inf' is infinite"),
        (WELL + '1,2,"x\n', "a quote opened on line 202 is never closed"),
        ('a,b,c\n1,2,"x\n' + BODY, "a quote opened on line 2 is never closed"),
        ('a,b,c\n1,2,x"y\n1,2,"a,b"\n' + BODY, "line 2 has a quote inside a cell"),
        ('a,b,c\n1,2,"x\n' + BODY + '1,2,"a,b"\n', "line 2 has a quote inside a cell"),
        ("a,b\n" + "1,x\n" * 50, "no column is left to model"),
        ("a\n" + "\n".join(f"hello number {i}" for i in range(50)), "no column is left to model"),
        ('[{"a": 1}, {"a": 2}]', "this is JSON"),
        ("<!doctype html>\n<p>a,b</p>", "a web page"),
        (NOISE, "contains bytes that are not text"),
        (WELL.encode("utf-16-le"), "contains bytes that are not text"),
        (WELL.encode() + b"1,2,\x81\n", "neither UTF-8 nor Windows text"),
        (b"PK\x03\x04" + NOISE, "Excel workbook"),
        (b"\x80\x04\x95" + NOISE, "is a pickle, which is never opened"),
        (
            "a,b\n1," + "9" * 200_000 + "\n2,3\n",
            "'9999999999999999999999999999999999999...' is infinite",
        ),
    ],
)
def test_bad_files_get_a_sentence(content: str | bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(VaekitError, match=said) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_text_far_down_in_a_column_of_numbers_is_named(tmp_path: Path) -> None:
    rows = [f"{i % 97},{i * i % 131 / 4}" for i in range(100_000)]
    rows[89_998] = "12,abc"
    (tmp_path / "far.csv").write_text("a,b\n" + "\n".join(rows))
    with pytest.raises(
        VaekitError,
        match=r"column 'b', line 90,000: 'abc' is not a number; correct such cells or leave them empty",
    ):
        load(tmp_path / "far.csv")


@pytest.mark.parametrize("values", [["0", "1"], ["1", "2", "3", "4", "5"], ["0.5", "1.5", "2"]])
def test_one_word_among_few_different_numbers_is_named(values: list[str], tmp_path: Path) -> None:
    """There would be room for a class of its own, and it would be no number any more."""
    rows = [f"{values[i % len(values)]},{'xy'[i % 2]}" for i in range(600)]
    rows[500] = "l,x"
    path = tmp_path / "few.csv"
    path.write_text("grade,b\n" + "\n".join(rows))
    with pytest.raises(
        VaekitError, match="column 'grade', line 502: 'l' is not a number; correct such cells"
    ) as caught:
        load(path)
    assert "data.kinds='{grade: category}'" in str(caught.value)
    assert "l" in load(path, kinds={"grade": "category"}).schema.columns[0].classes
    rows[:12] = ["l,x"] * 12  # too many for mistakes
    path.write_text("grade,b\n" + "\n".join(rows))
    assert "l" in load(path).schema.columns[0].classes


def test_lines_are_counted_through_quoted_breaks_and_blank_lines(tmp_path: Path) -> None:
    text = (
        "a,b\n"
        + '1,"two\nlines"\n' * 30
        + "\n\n"
        + "".join(f"{i},x\n" for i in range(300))
        + "bad,y\n"
    )
    (tmp_path / "broken.csv").write_text(text)
    assert text.split("\n")[364 - 1] == "bad,y"
    with pytest.raises(VaekitError, match="line 364: 'bad'") as caught:
        load(tmp_path / "broken.csv")
    assert "column 'a'" in str(caught.value)


def test_a_date_that_is_none_is_named(tmp_path: Path) -> None:
    text = (
        "a,day\n"
        + "".join(f"{i % 30},2020-01-{i % 28 + 1:02}\n" for i in range(300))
        + "3,2020-13-01\n"
    )
    (tmp_path / "days.csv").write_text(text)
    with pytest.raises(
        VaekitError, match=r"column 'day', line 302: '2020-13-01' is not a date written as %Y-%m-%d"
    ):
        load(tmp_path / "days.csv")


def test_places_that_hold_no_table(tmp_path: Path) -> None:
    with pytest.raises(VaekitError, match="this is a folder"):
        load(tmp_path)
    with pytest.raises(VaekitError, match="there is no such file"):
        load(tmp_path / "nothing.csv")
    for name in ("broken.parquet", "empty.pq"):
        (tmp_path / name).write_bytes(b"PAR1 and no more" if "broken" in name else b"")
        with pytest.raises(VaekitError, match="cannot be read as a Parquet file"):
            load(tmp_path / name)
    with pytest.raises(VaekitError, match="expected a data frame"):
        load(object())
    with pytest.raises(VaekitError, match="an array of 2 dimensions"):
        load(np.zeros(5))


def test_half_a_gzip_file_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(WELL.encode())
    for content in (whole[:-20], whole[:2] + b"\x00" * 50):
        (tmp_path / "table.csv.gz").write_bytes(content)
        with pytest.raises(VaekitError, match=r"gzip|cannot be read"):
            load(tmp_path / "table.csv.gz")


class Trap:
    """What would leave a trace if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("trap", "w")


@pytest.mark.parametrize("name", ["frame.pkl", "frame.csv", "frame.parquet"])
def test_nothing_is_unpickled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(VaekitError):
        load(tmp_path / name)
    assert not (tmp_path / "trap").exists()


def test_a_separator_that_does_not_separate(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(WELL)
    with pytest.raises(VaekitError, match="seem to be separated by commas"):
        load(tmp_path / "table.csv", delimiter=";")
    with pytest.raises(VaekitError, match="expected a single character"):
        load(tmp_path / "table.csv", delimiter="::")


def test_ten_thousand_columns_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 100, (12, 10_000))
    names = ",".join(f"c{i}" for i in range(10_000))
    (tmp_path / "wide.csv").write_text(
        names + "\n" + "".join(",".join(map(str, row)) + "\n" for row in values.tolist())
    )
    began = time.perf_counter()
    table = load(tmp_path / "wide.csv")
    assert len(table.schema.columns) + len(table.schema.left_out) == 10_000
    assert time.perf_counter() - began < 60


def test_what_is_recognised(tmp_path: Path) -> None:
    assert recognises("x.csv")
    assert recognises("X.TSV.GZ")
    assert recognises(tmp_path / "x.parquet")
    assert recognises(np.zeros((2, 2)))
    assert not recognises("digits")
    assert not recognises(tmp_path)
    assert not recognises("photos.npz")


def test_any_broken_file_is_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    """Bytes put in, taken out and overwritten at random: what loads is read the same twice."""
    rng = np.random.default_rng(0)
    rows = (
        f'{i},{i * i % 71},"t {i % 5}",{["yes", "no"][i % 2]},2020-{i % 12 + 1:02}-{i % 28 + 1:02}\n'
        for i in range(60)
    )
    whole = ("id,age,town,ok,day\n" + "".join(rows)).encode()
    pieces = [
        *(bytes([b]) for b in b',";\n\r\t\0\xff-? '),
        b"nan",
        b"inf",
        b"1e999",
        b"\xc3\xa9",
        b'""',
        b"\n\n",
        b"9" * 400,
    ]
    path, loaded, said = tmp_path / "broken.csv", 0, []
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            start = int(rng.integers(0, 60 if rng.random() < 0.2 else len(content)))
            content[start : start + int(rng.integers(0, 9))] = pieces[rng.integers(len(pieces))]
        path.write_bytes(content)
        try:
            table = load(path)
        except VaekitError as error:
            said.append(str(error))
            continue
        loaded += 1
        assert torch.equal(
            load(path, schema=table.schema).raw.values.nan_to_num(-9),
            table.raw.values.nan_to_num(-9),
        )
    assert loaded > 5
    assert max(map(len, said)) < 400 + len(str(path))
