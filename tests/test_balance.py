"""New rows of a rare class look like this class, as often as its real rows do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from commands import call
from vaekit.data.tables import balance
from vaekit.data.tables.load import load
from vaekit.measures.lookalikes import Lookalikes


def payments(seed: int, n: int = 800, rare: int = 40) -> pl.DataFrame:
    """Fraud, 5 %, is from 210 up, and the rest below 100."""
    random = np.random.default_rng(seed)
    fraud = np.arange(n) < rare
    amount = np.where(fraud, 210 + random.exponential(60, n), random.uniform(1, 99, n)).round(2)
    hours = random.integers(0, 24, n).astype(float)
    words = np.where(fraud, "yes", "no")
    return pl.DataFrame({"amount": amount, "hour": hours, "fraud": words})


class Mixed(balance.ClassSource):
    """Draws rows of which a given share is of the common class."""

    share = 0.24

    def fresh(self, word: str, n: int) -> tuple[Tensor, int]:
        common = torch.rand(n, dtype=torch.float64) < self.share
        amount = torch.where(common, torch.rand(n) * 99, 210 + 60 * torch.rand(n)).double()
        return torch.stack((amount, (torch.rand(n) * 24).floor().double(), 1.0 + 0 * amount), 1), 0


def filled(share: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, list[str]]:
    monkeypatch.setattr(Mixed, "share", share)
    monkeypatch.setattr(balance, "ClassSource", Mixed)
    table, said = load(payments(0)), list[str]()
    made = balance.balanced(torch.nn.Module(), table, table.schema, "fraud", None, said.append)  # type: ignore[arg-type]
    assert made.counts == {"yes": 720}
    return made.raw, said


def test_rows_that_look_like_the_common_class_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 720 new rows, 1.2 % may look so, as is sure of no less with 40 real rows; 5 errors are 2 %."""
    raw, said = filled(0.24, monkeypatch)
    assert float((raw[:, 0] < 155).double().mean()) <= 0.012 + 0.02
    assert "drawn rows were refused, because more look like another class" in said[0]
    assert len(said) == 1


def test_what_cannot_be_refused_is_measured_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, said = filled(1.0, monkeypatch)
    assert float((raw[:, 0] < 155).double().mean()) > 0.9
    assert "of the new rows look like another class, and 1.2% of real rows do" in said[-1]


def test_good_rows_are_kept_and_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, said = filled(0.0, monkeypatch)
    assert len(raw) == 720
    assert all("1 drawn row" in text or "of real" not in text for text in said) or len(said) <= 1


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_refusing_leaves_as_many_as_among_real_rows(share: float) -> None:
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(300, 2)), (np.arange(300) < 60).astype(float)
    looks = Lookalikes(rows + labels[:, None], labels, 2)
    real = looks.shares[1]
    chance = looks.kept(1, share)
    left = chance * share / (chance * share + 1 - share)
    assert left == pytest.approx(min(real, share))


def test_real_rows_say_what_new_real_rows_do() -> None:
    """Of overlapping classes, the share is that of new rows of the same class, within 5 errors."""
    random = np.random.default_rng(1)
    labels = (np.arange(1000) < 200).astype(float)
    looks = Lookalikes(random.normal(size=(1000, 2)) + 1.5 * labels[:, None], labels, 2)
    new = looks.among(random.normal(size=(2000, 2)) + 1.5, 1).mean()
    assert abs(new - looks.shares[1]) <= 5 * np.sqrt(0.25 / 200)


def test_gaps_numbers_out_of_range_and_missing_labels_are_no_trouble() -> None:
    rows = np.array([[np.nan, 1e300], [0.0, -1e300], [1.0, np.nan], [2.0, 0.0]] * 10)
    labels = np.array([0.0, 1.0, np.nan, 1.0] * 10)
    looks = Lookalikes(rows, labels, 3)
    assert looks.among(rows, 1).shape == (40,)
    assert looks.shares[2] == 1  # a class without rows: nothing is refused
    assert looks.kept(2, 0.5) == 1


def test_the_command_line_refuses_them_too(tmp_path: Path) -> None:
    payments(3).sample(fraction=1, shuffle=True, seed=0).write_csv(tmp_path / "pay.csv")
    words = ("--size", "tiny", "--steps", "300", "--seed", "0", "-q")
    assert call("train", tmp_path / "pay.csv", *words, "--out", tmp_path / "run").code == 0
    result = call("augment", tmp_path / "run", "--balance", "fraud", "--out", tmp_path / "o.csv")
    assert result.code == 0, result.err
    made = pl.read_csv(tmp_path / "o.csv").filter(pl.col("synthetic"))
    assert set(made["fraud"]) == {"yes"}
    assert float((made["amount"] < 155).mean() or 0.0) <= 0.032 or "of real rows do" in result.err
