"""A model of a CSV file reads and fills frames with real dates and booleans, and a model of such a frame a CSV file."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import polars as pl
import pytest
import torch

import vaekit
from vaekit.data.tables.columns.units import rounded
from vaekit.data.tables.schema import Column
from vaekit.tasks.batches import as_tensor

TINY = {"model.size": "tiny", "steps": 5}


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    draw = random.Random(0)
    rows = [
        {
            "size": draw.gauss(0, 1),
            "ok": draw.choice([True, False, None]),
            "day": draw.choice([None, dt.date(2020, 1, 1) + dt.timedelta(draw.randrange(900))]),
            "at": dt.datetime(2021, 1, 1) + dt.timedelta(minutes=draw.randrange(90_000)),
        }
        for _ in range(120)
    ]
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def files(frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("forms")
    made = {kind: place / f"rows.{kind}" for kind in ("csv", "parquet")}
    frame.write_csv(made["csv"])
    frame.write_parquet(made["parquet"])
    return made


@pytest.fixture(scope="module", params=["csv", "parquet"])
def run(request, files) -> vaekit.Trained:
    out = files["csv"].parent / f"run-{request.param}"
    return vaekit.train(files[request.param], out=out, **TINY)


def test_both_forms_are_the_same_rows(run, files, frame) -> None:
    csv, typed, held = (as_tensor(run.read(one)) for one in (files["csv"], files["parquet"], frame))
    torch.testing.assert_close(csv, typed, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(held, typed, rtol=0, atol=0, equal_nan=True)


def test_holes_are_filled_in_the_form_of_the_source(run, files, frame) -> None:
    filled = run.impute(frame, seed=1)
    assert filled.schema == frame.schema
    assert filled.null_count().sum_horizontal().item() == 0
    for name in frame.columns:
        here = frame[name].is_not_null()
        assert filled[name].filter(here).equals(frame[name].filter(here))
    words = run.impute(files["csv"], seed=1)
    assert set(words["ok"]) == {"true", "false"}
    assert words["day"].str.to_date().equals(filled["day"])


def test_nothing_comes_back_as_negative_zero() -> None:
    column = Column(name="balance", kind="number", decimals=2)
    found = rounded(column, torch.tensor([-0.001, -0.0, 0.004], dtype=torch.float64))
    assert not found.signbit().any()
