"""Any frame in and the same kind out; files out, whole or not at all."""

from __future__ import annotations

import gzip
import json
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit import VaekitError
from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.load import load, open_frame
from vaekit.data.tables.read.frames import frame_of
from vaekit.data.tables.write import write

pytest.importorskip("polars")
import polars as pl

N = 60


def mixed() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    start = datetime(2020, 1, 1, 1, 2, 3)
    return pl.DataFrame(
        {
            "small": pl.Series((np.arange(N) * 7) % 100, dtype=pl.Int8),
            "unsigned": pl.Series((np.arange(N) * 977) % 5003, dtype=pl.UInt16),
            "single": pl.Series(np.round(rng.normal(size=N), 1), dtype=pl.Float32),
            "double": rng.normal(size=N),
            "holes": pl.Series([None if i % 5 == 0 else i * i % 71 for i in range(N)]),
            "flag": [bool(i % 3) for i in range(N)],
            "flag holes": [None if i % 7 == 0 else bool(i % 3) for i in range(N)],
            "word": [["x", "y", "z", None][i % 4] for i in range(N)],
            "category": pl.Series([["x", "y"][i % 5 % 2] for i in range(N)], dtype=pl.Categorical),
            "enum": pl.Series(
                [["lo", "hi"][i % 7 % 2] for i in range(N)], dtype=pl.Enum(["lo", "hi"])
            ),
            "day": [
                None if i % 9 == 0 else date(2020, 1, 1) + timedelta(days=i * 3 % 50)
                for i in range(N)
            ],
            "moment": [start + timedelta(seconds=i * 12_345 % 50_021) for i in range(N)],
            "zoned": pl.Series([start + timedelta(seconds=i * 54_321 % 70_001) for i in range(N)])
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone("Europe/Berlin"),
            "clock": [time(i % 24, i % 60) for i in range(N)],
            "number as word": [str(i * i % 61) for i in range(N)],
        }
    )


def again(frame: Any) -> tuple[Table, Any]:
    """A frame as a table, and the frame that is made of it, which is the same table."""
    table = load(frame)
    back = as_frame(decode(table.raw.values, table.schema), table.schema, frame_of(frame).backend)
    values = load(back, schema=table.schema).raw.values
    assert torch.equal(values.nan_to_num(-7.5), table.raw.values.nan_to_num(-7.5))
    return table, back


def test_polars_frames_come_back() -> None:
    frame = mixed()
    table, back = again(frame)
    assert len(table.schema.columns) == frame.width
    assert back.equals(frame)
    assert back.schema == frame.schema
    assert torch.equal(
        load(frame.lazy()).raw.values.nan_to_num(-1), table.raw.values.nan_to_num(-1)
    )


def test_pandas_frames_come_back() -> None:
    pd = pytest.importorskip("pandas")
    rng, index = np.random.default_rng(0), np.arange(N)
    frame = pd.DataFrame(
        {
            "n": index * 7 % 53,
            "f": rng.normal(size=N),
            "s": np.float32(index * 3 % 17) / 4,
            "holes": pd.Series(
                [None if i % 5 == 0 else i * i % 71 for i in range(N)], dtype="Int64"
            ),
            "b": index % 3 == 0,
            "b holes": pd.Series(
                [None if i % 5 == 0 else i % 3 == 0 for i in range(N)], dtype="boolean"
            ),
            "word": ["xyz"[i % 3] for i in range(N)],
            "category": pd.Categorical(["xyz"[i * i % 3] for i in range(N)]),
            "moment": pd.Timestamp("2020-01-01") + pd.to_timedelta(index * 37 % 59, unit="h"),
            "zoned": pd.Timestamp("2020-06-01", tz="Europe/Berlin")
            + pd.to_timedelta(index * 31 % 59, unit="min"),
        }
    )
    _, back = again(frame)
    pd.testing.assert_frame_equal(back, frame, check_categorical=False)
    numbered = pd.DataFrame(
        {0: index % 7, 1: [[None, 2.5, 3][i % 3] for i in range(N)]}, dtype=object
    )
    table, back = again(numbered)
    assert table.schema.names == ("0", "1")
    assert back["1"].isna().sum() == 20
    with pytest.raises(VaekitError, match="both called 'a'"):
        load(pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))


def test_arrow_tables_come_back() -> None:
    pa = pytest.importorskip("pyarrow")
    frame = mixed().to_arrow()
    _, back = again(frame)
    assert isinstance(back, pa.Table)
    assert back.to_pylist() == frame.to_pylist()


def test_arrays_come_back() -> None:
    values = np.random.default_rng(0).normal(size=(50, 11)).astype(np.float32)
    values[3, 2] = np.nan
    table, back = again(values)
    assert table.schema.names[:2] == ("x00", "x01")
    assert np.array_equal(back.astype(np.float32), values, equal_nan=True)
    objects = np.array(
        [[i % 7, "ab"[i % 2], None if i % 3 else 2.5 * (i % 11)] for i in range(N)], object
    )
    _, back = again(objects)
    assert back.tolist() == objects.tolist()
    records = np.zeros(N, dtype=[("q", "f4"), ("w", "U3")])
    records["q"], records["w"] = np.arange(N) * 3 % 7 / 2, np.where(np.arange(N) % 2, "a", "bb")
    table, back = again(records)
    assert table.schema.names == ("q", "w")
    assert back["w"].tolist() == records["w"].tolist()


def test_a_frame_without_polars_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n2,3\n")
    frame = pd.DataFrame({"n": np.arange(N) * 7 % 53, "w": ["xyz"[i % 3] for i in range(N)]})
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    table = load(frame)
    pd.testing.assert_frame_equal(
        as_frame(decode(table.raw.values, table.schema), table.schema, "pandas"), frame
    )
    with pytest.raises(VaekitError, match=r"pip install 'vaekit\[tables\]'"):
        load(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.csv.gz", "out.parquet"])
def test_what_is_written_is_read_again(name: str, tmp_path: Path) -> None:
    frame = mixed().drop("clock")
    table = load(frame)
    path = write(decode(table.raw.values, table.schema), tmp_path / name)
    found = load(path, schema=table.schema) if name.endswith("parquet") else load(path)
    assert len(found) == N
    for column in ("small", "double", "holes"):
        ours = table.raw.values[:, table.schema.names.index(column)]
        theirs = found.raw.values[:, found.schema.names.index(column)]
        assert torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1))
    assert (
        write(frame, tmp_path / "frame.csv").read_bytes()
        == write(frame, tmp_path / "frame2.csv").read_bytes()
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "frame.csv", "frame2.csv"])


def test_lines_of_json(tmp_path: Path) -> None:
    path = write(
        {"n": np.ma.MaskedArray([1, 2], [False, True]), "w": np.array(["é", "b"])},
        tmp_path / "out.jsonl",
    )
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {"n": 1, "w": "é"},
        {"n": None, "w": "b"},
    ]


def test_csv_is_written_as_it_was_read(tmp_path: Path) -> None:
    text = "n,day,ok,w,zip\n" + "".join(
        f"{i * i % 37 / 4},{i % 28 + 1:02}.01.2020,{['No', 'Yes'][i % 2]},{['a, b', ''][i % 3 % 2]},0{i % 4}\n"
        for i in range(80)
    )
    quoted = text.replace("a, b", '"a, b"')
    (tmp_path / "in.csv").write_text(quoted)
    table = load(tmp_path / "in.csv")
    assert [column.kind for column in table.schema.columns] == [
        "number",
        "date",
        "boolean",
        "category",
        "category",
    ]
    written = write(decode(table.raw.values, table.schema), tmp_path / "out.csv")
    assert written.read_text() == quoted


def test_formulas_are_escaped_on_request(tmp_path: Path) -> None:
    cells = ["=1+1", "+cmd", "-2", "-2+3", "@x", "\tx", "plain", None, "a=b", "+1.5e3"]
    frame = pl.DataFrame({"=name": cells, "n": [-i for i in range(len(cells))]})
    plain = pl.read_csv(write(frame, tmp_path / "plain.csv"))
    assert plain["=name"].to_list() == cells
    safe = pl.read_csv(write(frame, tmp_path / "safe.csv", escape=True))
    expected = ["'=1+1", "'+cmd", "-2", "'-2+3", "'@x", "'\tx", "plain", None, "a=b", "+1.5e3"]
    assert safe["'=name"].to_list() == expected
    assert safe["n"].to_list() == frame["n"].to_list()


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    with pytest.raises(VaekitError, match="cannot be written as"):
        write(pl.DataFrame({"a": [[1], [2]]}), path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    with pytest.raises(VaekitError, match="could not be written"):
        write(pl.DataFrame({"a": [1]}), tmp_path / "no such folder" / "out.csv")
    with pytest.raises(VaekitError, match="expected a name that ends in"):
        write(pl.DataFrame({"a": [1]}), tmp_path / "out.xlsx")


def test_gzip_files_are_the_same_each_time(tmp_path: Path) -> None:
    frame = mixed()
    one, two = (write(frame, tmp_path / name).read_bytes() for name in ("a.csv.gz", "b.csv.gz"))
    assert gzip.decompress(one) == gzip.decompress(two)
    assert one == two


def test_sources_know_what_made_them(tmp_path: Path) -> None:
    frame = mixed()
    frame.write_parquet(tmp_path / "t.parquet")
    assert frame_of(frame).backend == "polars"
    assert frame_of(np.zeros((2, 2))).backend == "numpy"
    assert open_frame(tmp_path / "t.parquet").backend == "file"


@pytest.mark.parametrize("backend", ["pandas", "pyarrow", "polars"])
def test_frames_of_any_kind_may_hold_a_split(backend: str) -> None:
    pytest.importorskip(backend)
    frame = pl.DataFrame(
        {
            "n": [i * i % 37 for i in range(N)],
            "split": [["train", "test"][i % 3 == 0] for i in range(N)],
        }
    )
    made = {"pandas": frame.to_pandas, "pyarrow": frame.to_arrow, "polars": lambda: frame}[
        backend
    ]()
    table = load(made)
    assert table.test is not None
    assert (len(table), len(table.test)) == (40, 20)
    assert table.test.raw.values[:, 0].tolist() == [i * i % 37 for i in range(0, N, 3)]
