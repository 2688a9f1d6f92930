"""Tables in files, however they are written, give the same rows."""

from __future__ import annotations

import gc
import gzip
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from vaekit.api import default_folder
from vaekit.data.tables.collection import Table
from vaekit.data.tables.load import load, recognises
from vaekit.data.tables.read import csv as textfile
from vaekit.data.tables.read import csv_layout, endings
from vaekit.data.tables.read.csv_layout import survey as look
from vaekit.data.tables.write import write
from vaekit.errors import VaekitError

pytest.importorskip("polars")
import polars as pl

BODY = "".join(f"{i % 37},{(i * i % 131) / 4},{'ab'[i % 2]}é\n" for i in range(200))
WELL = "a,b,cé\n" + BODY


def read(content: str | bytes, path: Path) -> Table:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(path)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (WELL.replace(",", ";"), "separated by semicolons"),
        (WELL.replace(",", ";").replace(".", ","), "separated by semicolons"),
        (WELL.replace(",", "\t"), "separated by tabs"),
        (WELL.replace(",", "|"), "separated by bars"),
        (WELL.replace(",", ", "), ""),
        (WELL.replace("\n", "\r\n"), ""),
        (WELL.replace("\n", "\r"), ""),
        (WELL.rstrip("\n"), ""),
        (WELL + "\n\n", ""),
        (WELL + "\x1a", ""),
        (WELL.rstrip("\n") + "\x1a\x1a", ""),
        (gzip.compress((WELL + "\x1a").encode()), ""),
        ((WELL + "\x1a").encode("utf-16"), ""),
        (WELL.replace("\n", "\n\n", 50), ""),
        (
            "\n".join(
                ",".join(f'"{cell}"' for cell in line.split(",")) for line in WELL.split("\n")[:-1]
            ),
            "",
        ),
        (WELL.encode("utf-8-sig"), ""),
        (WELL.encode("utf-16"), ""),
        (WELL.encode("cp1252"), "Read as Windows text"),
        (gzip.compress(WELL.encode()), ""),
        (gzip.compress(WELL.encode("utf-16")), ""),
    ],
)
def test_one_table_however_it_is_written(content: str | bytes, note: str, tmp_path: Path) -> None:
    plain = read(WELL, tmp_path / "plain.csv")
    other = read(content, tmp_path / "other.csv")
    assert torch.equal(plain.raw.values, other.raw.values)
    blanks = [column.model_copy(update={"written": ()}) for column in other.schema.columns]
    assert plain.schema == other.schema.model_copy(update={"columns": tuple(blanks)})
    assert [note in text for text in other.notes] == ([True] if note else [])


def test_parts_and_groups_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f'{i % 37},"say ""{i % 9}"",\n{i % 2}",{i / 8}\n' for i in range(500))
    whole = read("a,b,c\n" + text, tmp_path / "whole.csv")
    monkeypatch.setattr(csv_layout, "CHUNK", 101)
    monkeypatch.setattr(textfile, "TOGETHER", 1)
    parts = read("a,b,c\n" + text, tmp_path / "parts.csv")
    assert torch.equal(whole.raw.values, parts.raw.values)
    assert whole.schema == parts.schema
    assert len(whole) == 500


def test_the_survey_counts_as_the_csv_module_does(tmp_path: Path) -> None:
    import csv

    rng = np.random.default_rng(0)
    for trial in range(30):
        rows = [
            ["".join(rng.choice(list('ab",\n\r '), rng.integers(0, 6))) for _ in range(3)]
            for _ in range(20)
        ]
        path = tmp_path / f"{trial}.csv"
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["x", "y", "z"], *rows])
        found = look(path, ",", 3, 1)
        assert (found.rows, found.ragged, found.stray, found.unclosed) == (20, (0, 0), 0, 0)
        with path.open(newline="") as file:
            reader = csv.reader(file)
            lines = []
            while next(reader, None):
                lines.append(reader.line_num)
        if not any(
            "\r" in cell for row in rows for cell in row
        ):  # which the module counts as a line's end
            assert found.starts.tolist() == [line + 1 for line in lines[:-1]]


def test_the_first_column_may_lack_a_name_and_is_then_the_index(tmp_path: Path) -> None:
    table = read(
        ",x\n" + "".join(f"{i},{i * i % 37}\n" for i in range(100)), tmp_path / "indexed.csv"
    )
    assert table.schema.names == ("x",)
    assert table.schema.left_out[0].name == "index"
    assert table.schema.left_out[0].reason == "id"


def test_quotes_that_enclose_nothing_are_read_as_they_stand(tmp_path: Path) -> None:
    table = read(
        "size,n\n" + "".join(f'{i % 3}",{i * i % 37}\n' for i in range(99)), tmp_path / "inches.csv"
    )
    assert table.schema.columns[0].classes == ('0"', '1"', '2"')
    assert "quotes were read as ordinary characters" in table.notes[0]


def test_thousands_may_be_apart(tmp_path: Path) -> None:
    rows = [(f'"{i * i * 7 % 5003:,}.5"', i * i * 7 % 5003 + 0.5) for i in range(100)]
    table = read(
        "n,c\n" + "".join(f"{word},{'ab'[i % 2]}\n" for i, (word, _) in enumerate(rows)),
        tmp_path / "apart.csv",
    )
    assert table.raw.values[:, 0].tolist() == [value for _, value in rows]
    german = [
        word.strip('"').replace(",", "_").replace(".", ",").replace("_", ".") for word, _ in rows
    ]
    table = read(
        "n;c\n" + "".join(f"{word};{'ab'[i % 2]}\n" for i, word in enumerate(german)),
        tmp_path / "german.csv",
    )
    assert table.raw.values[:, 0].tolist() == [value for _, value in rows]


def test_a_column_of_splits_makes_a_test_part(tmp_path: Path) -> None:
    rows = "".join(
        f"{i % 37},{'abc'[i % 3 if i % 4 else i % 2]},{'train' if i % 4 else 'test'}\n"
        for i in range(400)
    )
    table = read("n,c,split\n" + rows, tmp_path / "split.csv")
    assert table.test is not None
    assert (len(table), len(table.test)) == (300, 100)
    assert table.schema == table.test.schema
    assert table.schema.rows == 300
    assert table.schema.names == ("n", "c")
    assert "keeps 100 rows for tests" in table.notes[0]
    whole = [i % 37 for i in range(400) if not i % 4]
    assert table.test.raw.values[:, 0].tolist() == whole
    kept = load(tmp_path / "split.csv", kinds={"split": "category"})
    assert kept.test is None
    assert kept.schema.names == ("n", "c", "split")


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"n": [i * i % 37 for i in range(100)], "b": [i % 3 == 0 for i in range(100)]}
    )
    frame = frame.with_columns(pl.Series("n", frame["n"], dtype=pl.Int16))
    frame.write_parquet(tmp_path / "table.parquet")
    table = load(tmp_path / "table.parquet")
    assert [column.dtype for column in table.schema.columns] == ["Int16", "Boolean"]
    assert torch.equal(table.raw.values, load(frame).raw.values)


def test_a_table_in_a_file_and_in_memory_are_one(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"n": [i * i % 37 / 4 for i in range(100)], "c": ["xy"[i % 2] for i in range(100)]}
    )
    frame.write_csv(tmp_path / "table.csv")
    assert torch.equal(load(tmp_path / "table.csv").raw.values, load(frame).raw.values)


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(WELL)
    told: list[tuple[str, int, int]] = []
    load(tmp_path / "t.csv", progress=lambda what, done, total: told.append((what, done, total)))
    assert told[0] == ("reading columns", 0, 3)
    assert told[-1] == ("reading columns", 3, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", WELL.encode()),
        ("blank.csv", WELL.replace("\n", "\n\n", 50).encode()),
        ("tabs.tsv", WELL.replace(",", "\t").encode()),
        ("wide.csv", WELL.encode("utf-16")),
        ("windows.csv", WELL.encode("cp1252")),
        ("packed.csv.gz", gzip.compress(WELL.encode())),
        ("table.parquet", b""),
    ],
)
def test_reading_leaves_no_file_open(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if path.suffix == ".parquet":
        pl.read_csv(WELL.encode()).write_parquet(path)
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        assert len(load(path)) == 200
        gc.collect()
    assert [str(warning.message) for warning in told] == []


@pytest.mark.parametrize("ending", [*endings.READ, *endings.PICKLES])
def test_files_that_end_as_tables_do_are_recognised_and_do_not_name_a_run(ending: str) -> None:
    assert recognises(f"people{ending}")
    if ending in endings.READ:
        assert default_folder(f"data/people{ending}") == Path("runs/people")


@pytest.mark.parametrize("ending", endings.WRITTEN)
@pytest.mark.parametrize("packed", ["", endings.GZIP])
def test_every_form_is_written_under_its_name_and_read_again(
    ending: str, packed: str, tmp_path: Path
) -> None:
    path = tmp_path / f"table{ending}{packed}"
    frame = pl.read_csv(WELL.encode())
    if packed and ending in endings.PARQUET:
        assert endings.written_form(path) == ""
        with pytest.raises(VaekitError, match=re.escape(endings.written_in_words())):
            write(frame, path)
        return
    assert endings.written_form(path) == ending
    write(frame, path)
    if ending in endings.READ:
        assert torch.equal(load(path).raw.values, load(frame).raw.values)
    else:
        content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        assert pl.read_ndjson(content).equals(frame)
