"""What was seen comes back as the same float64, and held-out rows are as new to a model as fresh ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import vaekit
from vaekit.data.tables.columns.units import from_units, to_units
from vaekit.estimators import VAESynthesizer

TINY = {"model.size": "tiny"}


def columns(n: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    few = np.array([1, 2, 3, 10 / 3, 5])
    fifty = np.sort(random.lognormal(3, 4, 50))
    return {
        "thirds": random.choice(few, n),
        "fifty": random.choice(fifty, n),
        "large": random.choice(1e12 + few, n),
        "single": random.normal(size=n).astype(np.float32).astype(np.float64),
    }


def test_what_was_seen_is_drawn_as_it_was() -> None:
    seen = columns(120)
    frame = VAESynthesizer(max_steps=20, random_state=0).fit(pl.DataFrame(seen)).sample(500)
    for name in ("thirds", "fifty", "large"):
        assert set(frame[name]) <= set(seen[name]), name
    single = frame["single"].to_numpy()
    assert (single == single.astype(np.float32)).all()


def test_what_was_seen_is_imputed_and_written_as_it_was(tmp_path: Path) -> None:
    seen = columns(120)
    pl.DataFrame(seen).write_csv(tmp_path / "rows.csv")
    run = vaekit.train(tmp_path / "rows.csv", out=tmp_path / "run", steps=5, **TINY)
    holes = pl.DataFrame(seen).with_columns(
        pl.when(pl.int_range(120) % 2 == 0).then("thirds").alias("thirds")
    )
    assert set(run.impute(holes, seed=1)["thirds"]) <= set(seen["thirds"])
    run.generate(300, seed=1).write_csv(tmp_path / "new.csv")
    words = {line.split(",")[0] for line in (tmp_path / "new.csv").read_text().splitlines()[1:]}
    assert words <= {"1.0", "2.0", "3.0", "3.3333333333333335", "5.0"}


def test_values_near_a_seen_one_stay_as_they_are() -> None:
    """Only what float32 cannot tell apart is taken as the seen value."""
    fitted = VAESynthesizer(max_steps=2).fit(pl.DataFrame(columns(120)))
    column = fitted.schema_.column("thirds")
    units = to_units(column, torch.tensor(column.points, dtype=torch.float64))
    assert from_units(column, units).tolist() == list(column.points)
    moved = from_units(column, units + 1e-5)
    assert not set(moved.tolist()) & set(column.points)


@pytest.mark.parametrize("likelihood", ["binned", "gaussian", "student-t"])
def test_held_out_rows_are_as_new_as_fresh_ones(tmp_path: Path, likelihood: str) -> None:
    random = np.random.default_rng(0)
    names = [f"x{i}" for i in range(10)]
    files = {"rows": 300, "fresh": 2000}
    for name, n in files.items():
        pl.DataFrame(random.normal(size=(n, 10)), schema=names).write_csv(tmp_path / f"{name}.csv")
    run = vaekit.train(
        tmp_path / "rows.csv",
        out=tmp_path / "run",
        steps=120,
        likelihood=likelihood,
        holdout=0.3,
        **TINY,
    )
    held = run.evaluate(draws=0, metrics=["nll"])["elbo"]
    fresh = run.evaluate(tmp_path / "fresh.csv", draws=0, metrics=["nll"])["elbo"]
    error = np.hypot(held["error"], fresh["error"])
    assert abs(held["value"] - fresh["value"]) < 3.5 * error
    assert error < 0.6


def test_a_few_cells_of_float_noise_give_new_cells_no_decimals() -> None:
    price = np.round(np.random.default_rng(0).normal(15, 2, 500), 2)
    price[:8] = 14.890999999999998 + 0.1 * np.arange(8)
    finer = price.copy()
    finer[:8] = 14.8912345  # real decimals count
    frame = pl.DataFrame({"price": price, "finer": finer})
    fitted = VAESynthesizer(max_steps=2, random_state=0).fit(frame)
    assert fitted.schema_.column("price").decimals == 3
    assert fitted.schema_.column("finer").decimals == 7
    drawn = fitted.sample(300)["price"].to_numpy()
    assert (drawn == np.round(drawn, 3)).all()
