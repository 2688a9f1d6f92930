"""Columns that training saw with one value, or that repeated another: a row that breaks this is odd, and it is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from commands import call
from vaekit.data.tables.columns.beside import beside, watched
from vaekit.data.tables.load import load
from vaekit.estimators import VAEDetector

N = 300
USUAL: dict[str, Any] = {"mode": "auto", "valve": 0, "level": 100.0, "open": False}
"""Constants, by name."""
MOVED: dict[str, Any] = {"mode": "manual", "valve": 1000, "level": 101.0, "open": True}


def machine(n: int, seed: int, **other: Any) -> pl.DataFrame:
    """Readings of two sensors, one of them told twice, with constants; `other` are other values of these."""
    random = np.random.default_rng(seed)
    heat = random.normal(20, 2, n).round(2)
    constants = {name: [other.get(name, value)] * n for name, value in USUAL.items()}
    flow = (heat / 3 + random.normal(size=n)).round(2)
    return pl.DataFrame({"heat": heat, "flow": flow, "again": other.get("again", heat)} | constants)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("constants")


@pytest.fixture(scope="module")
def run(place) -> Path:
    machine(N, 0).with_columns(pl.Series("id", [f"m{i}" for i in range(N)])).write_csv(
        place / "a.csv"
    )
    words = ("--size", "tiny", "--steps", "60", "validations=1", "--seed", "0")
    assert call("train", place / "a.csv", *words, "--out", place / "run").code == 0
    return place / "run"


def scored(run: Path, frame: pl.DataFrame, place: Path) -> tuple[list[dict[str, str]], str]:
    for name in ("new.csv", "scores.csv"):
        (place / name).unlink(missing_ok=True)
    frame.write_csv(place / "new.csv")
    result = call("score", run, place / "new.csv", "--json", "--out", place / "scores.csv")
    assert result.code == 0, result.err
    assert json.loads(result.out)["n"] == len(frame)
    with (place / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file)), result.err


@pytest.mark.parametrize("name", MOVED)
def test_a_constant_that_moves_is_odd_and_named(run: Path, place: Path, name: str) -> None:
    rows, said = scored(run, machine(20, 1, **{name: MOVED[name]}), place)
    assert all(float(row["p_value"]) < 0.01 and row["odd"] == "true" for row in rows)
    assert all(name in row["because"].split(" is not ")[0] for row in rows)
    assert f"{name}: 20 cells are not" in said


def test_rows_with_the_usual_constants_are_not_odd(run: Path, place: Path) -> None:
    rows, _ = scored(run, machine(200, 2), place)
    assert sum(float(row["p_value"]) <= 0.05 for row in rows) <= 30
    parts = [float(v) for k, v in rows[0].items() if k.startswith("score of ")]
    assert sum(parts) == pytest.approx(float(rows[0]["score"]), rel=1e-4, abs=1e-4)


def test_a_constant_may_be_written_otherwise_or_lack(run: Path, place: Path) -> None:
    plain = machine(50, 3)
    first, _ = scored(run, plain, place)
    for other in (plain.drop("mode", "valve", "again"), plain.with_columns(level=pl.lit("1e2"))):
        rows, _ = scored(run, other, place)
        assert [row["score"] for row in rows] == [row["score"] for row in first]


def test_a_column_that_no_longer_repeats_another_is_odd(run: Path, place: Path) -> None:
    swapped = machine(40, 4).with_columns(again=pl.col("heat").reverse())
    rows, _ = scored(run, swapped, place)
    assert sum(row["odd"] == "true" for row in rows) >= 25


def test_what_is_not_looked_at_is_said(run: Path, place: Path) -> None:
    _, said = scored(run, machine(5, 5), place)
    assert "does not look at id (an id" in said


@pytest.mark.parametrize("kind", [pl.DataFrame, pl.DataFrame.to_pandas])
def test_the_estimator_says_the_same(kind: Any) -> None:
    detector = VAEDetector(random_state=0).fit(kind(machine(N, 0)))
    for name, value in MOVED.items():
        assert (detector.p_values(kind(machine(20, 1, **{name: value}))) < 0.01).all(), name
    assert (detector.p_values(kind(machine(200, 2))) < 0.05).mean() <= 0.15


def test_conditions_are_looked_at_and_kept_with_their_rows() -> None:
    frame = machine(N, 0).with_columns(pl.Series("site", ["a", "b", "c"] * (N // 3)))
    table = load(frame, condition=["site"])
    names = [column.name for column in watched(table.schema)]
    assert names == ["heat", "flow", "site", "again", "mode", "valve", "level", "open"]
    again = load(frame, schema=table.schema, own=True)
    assert table.beside is not None
    assert again.beside is not None
    assert again.beside.equal(table.beside)
    part = table.subset(np.array([3, 1]))
    assert part.beside is not None
    assert part.beside.equal(table.beside[[3, 1]])
    assert len(beside(table.schema)) == part.beside.shape[1]
