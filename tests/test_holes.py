"""A table comes back with its holes filled, and is otherwise the one that came."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from commands import call
from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.fill import mend
from vaekit.data.tables.load import load, open_frame

N = 60
HOLED = ("amount", "many", "grade", "class", "code", "day", "time", "flag", "zone")


def whole() -> pl.DataFrame:
    """Columns of every kind, an id, a copy and a constant."""
    random = np.random.default_rng(0)
    days = pl.Series(
        [dt.date(2023, 1, 1) + dt.timedelta(days=int(i)) for i in random.integers(0, 300, N)]
    )
    times = days.cast(pl.Datetime("us")) + pl.duration(seconds=7)
    return pl.DataFrame(
        {
            "key": [f"k{i}" for i in range(N)],
            "amount": random.normal(size=N).round(3),
            "many": random.integers(0, 1000, N),
            "grade": random.integers(1, 4, N),
            "class": random.choice(["a", "b", "unknown"], N),
            "code": pl.Series(random.choice(["x", "y"], N)).cast(pl.Enum(["y", "x"])),
            "day": days,
            "time": pl.select(times).to_series(),
            "flag": random.random(N) < 0.5,
            "zone": pl.select(times).to_series().dt.replace_time_zone("Europe/Paris"),
            "always": ["7"] * N,
        }
    ).with_columns(pl.col("many").alias("copy"))


def holes(table: pl.DataFrame) -> pl.DataFrame:
    """The same without every tenth cell, each column from another row on."""
    empty = [
        pl.when(pl.int_range(N) % 10 == i).then(None).otherwise(pl.col(name)).alias(name)
        for i, name in enumerate(HOLED)
    ]
    return table.with_columns(
        *(part for part, name in zip(empty, HOLED, strict=True) if name in table.columns)
    )


@pytest.mark.parametrize("ending", ["csv", "parquet", "frame"])
def test_holes_get_what_is_made_and_nothing_else_changes(ending: str, tmp_path: Path) -> None:
    """What is made here is the whole table's own rows, so that the whole table must come back, twice."""
    table = whole().drop("zone") if ending == "csv" else whole()
    came, source = holes(table), tmp_path / f"table.{ending}"
    if ending == "csv":  # of which ids and the like come back as they are written
        table.write_csv(tmp_path / "whole.csv")
        came.write_csv(source)
    else:
        came.write_parquet(source)
    learned = load(tmp_path / "whole.csv" if ending == "csv" else table)
    made = decode(learned.raw.values.repeat(2, 1), learned.schema)
    found = mend(open_frame(came if ending == "frame" else source), made, learned.schema, copies=2)
    assert (found.filled, found.left) == (sum(came.null_count().row(0)), {})
    back, twice = pl.DataFrame(found.columns), pl.concat([table, table])
    assert back.write_csv() == twice.write_csv() if ending == "csv" else back.equals(twice)


def test_decimal_commas_are_read_where_holes_are_filled(tmp_path: Path) -> None:
    lines = [f"{i},5;x{i}" for i in range(40)]
    (tmp_path / "whole.csv").write_text("\n".join(["a;b", *lines]))
    (tmp_path / "holes.csv").write_text("\n".join(["a;b", ";x0", *lines[1:]]))
    learned = load(tmp_path / "whole.csv")
    found = mend(
        open_frame(tmp_path / "holes.csv"),
        decode(learned.raw.values, learned.schema),
        learned.schema,
    )
    assert found.columns["a"].to_list() == [i + 0.5 for i in range(40)]


def test_cells_that_were_not_understood_stay_and_holes_without_values_are_counted() -> None:
    schema = load(whole()).schema
    strange = holes(whole()).with_columns(
        pl.Series("class", ["never seen", None, *["a"] * (N - 2)]),
        pl.Series("copy", [5, None, *range(N - 2)]),
    )
    table = load(strange, schema=schema)
    found = mend(
        open_frame(strange),
        decode(torch.where(table.raw.values.isnan(), torch.nan, 0.0), schema),
        schema,
    )
    assert found.columns["class"].to_list() == strange["class"].to_list()
    assert found.columns["copy"].to_list()[2:] == strange["copy"].to_list()[2:]
    assert found.left["class"] == 1
    assert found.place(3) == "row 3 (from 0)"


def test_a_table_without_holes_comes_back(tmp_path) -> None:
    source = pl.DataFrame(
        {"id": [f"n{i}" for i in range(60)], "x": [i / 7 for i in range(60)], "y": list("ab") * 30}
    )
    source.write_csv(tmp_path / "whole.csv")
    assert (
        call("train", tmp_path / "whole.csv", "--steps", "2", "--out", tmp_path / "run", "-q").code
        == 0
    )
    done = call(
        "impute", tmp_path / "run", tmp_path / "whole.csv", "--out", tmp_path / "back.csv", "--json"
    )
    assert done.code == 0, done.err
    assert '"cells": 0' in done.out
    assert pl.read_csv(tmp_path / "back.csv").equals(pl.read_csv(tmp_path / "whole.csv"))
