"""What must hold of figures: axes that can be read, that tell what they leave out, and that fit on a page."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from vaekit.data.tables.report import PANELS, furthest
from vaekit.data.tables.schema import Column
from vaekit.figures import plots

ROOM = 960
"""Pixels across a page's text (60rem)."""


def drawn(column: Column, real: np.ndarray, new: np.ndarray) -> tuple[list[str], str]:
    """The words at a panel's ticks, and below it."""
    figure = Figure()
    axis = figure.add_subplot()
    plots._compare(axis, column, real, new)
    figure.canvas.draw()
    return [tick.get_text() for tick in axis.get_xticklabels()], axis.get_xlabel()


def test_one_outlier_does_not_flatten_a_histogram() -> None:
    values = np.append(np.linspace(0, 10, 200), 1e6)
    low, high = plots.span(values, 0, 1e6)
    assert low == 0
    assert 9.5 < high < 12
    column = Column(name="income", kind="number", low=0, high=1e6)
    assert (
        drawn(column, values, np.array([1.0, 2.0, 3.0, 500.0]))[1]
        == f"outside: {1 / 201:.2%} real, 25.00% new"
    )


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0, 2.0], np.linspace(-4, 4, 50)])
def test_where_there_is_no_outlier_all_is_shown(values) -> None:
    assert plots.span(np.array(values), -4, 4) == (-4, 4)
    column = Column(name="x", kind="number", low=-4, high=4)
    assert drawn(column, np.array(values), np.array([1.0]))[1] == ""


@pytest.mark.parametrize("sign", [-1, 1])
def test_nearly_all_real_values_are_within_the_axis(sign) -> None:
    values = sign * np.random.default_rng(0).lognormal(sigma=2, size=2000)
    low, high = plots.span(values, values.min(), values.max())
    assert high - low < np.ptp(values) / 2
    assert np.mean((low <= values) & (values <= high)) >= 0.98


@pytest.mark.parametrize(
    ("column", "ticks"),
    [
        (
            Column(name="day", kind="date", dtype="Date", low=18000, high=19750),
            {"2020", "2021", "2022", "2023"},
        ),
        (Column(name="at", kind="date", dtype="Time", low=0.25, high=0.95), {"12:00"}),
        (
            Column(name="at", kind="date", dtype="String", format="%H:%M", low=0.0, high=0.999),
            {"00:00", "12:00"},
        ),
        (
            Column(name="end", kind="date", dtype="Date", low=0, high=2932896),
            {"8001"},
        ),  # 9999-12-31: of no end
    ],
)
def test_dates_are_named_as_dates(column, ticks) -> None:
    real = np.linspace(column.low, column.high, 100)
    assert ticks <= set(drawn(column, real, real)[0])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_panels_fit_on_the_page_without_shrinking(tmp_path: Path, count) -> None:
    column, values = Column(name="x", kind="number", low=-1, high=1), np.linspace(-1, 1, 9)
    plots.columns(tmp_path / "columns.png", [(column, values, values, 0.0)] * count)
    assert 0.7 * ROOM < Image.open(tmp_path / "columns.png").width <= ROOM


def test_columns_that_are_not_drawn_are_counted() -> None:
    assert furthest(PANELS, PANELS) == ""
    assert f"the {PANELS} of {PANELS + 3} columns" in furthest(PANELS, PANELS + 3)


def test_the_kl_of_each_dimension_sums_to_that_of_the_normals() -> None:
    from torch.distributions import Independent, Normal, kl_divergence

    from vaekit.data.images.report import kl_by_dimension

    mean, scale = torch.randn(7, 3), torch.rand(7, 3) + 0.1
    q = Independent(Normal(mean, scale), 1)
    p = Independent(Normal(torch.zeros(7, 3), torch.ones(7, 3)), 1)
    torch.testing.assert_close(kl_by_dimension(mean, scale).sum(), kl_divergence(q, p).mean())


def test_names_on_a_sheet_leave_the_pictures_as_they_are(tmp_path: Path) -> None:

    from vaekit.figures.sheets import save_sheet

    x = torch.rand(4, 1, 8, 8)
    save_sheet(tmp_path / "bare.png", x, 2)
    save_sheet(tmp_path / "named.png", x, 2, "Title", ["original", "reconstruction"])
    bare = np.asarray(Image.open(tmp_path / "bare.png").convert("RGB"))
    named = np.asarray(Image.open(tmp_path / "named.png"))
    assert (named[-len(bare) :, -bare.shape[1] :] == bare).all()
