"""Cells come back as they were written: names of months, single digits, and blanks around words."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.load import load
from vaekit.data.tables.read import date_forms, dates
from vaekit.data.tables.read.csv import TextFile

N = 200
TIMES = [datetime(1999, 11, 3) + timedelta(days=17 * i, minutes=7 * i) for i in range(N)]


def single(form: str, moment: datetime) -> str:
    """As strftime, with %-d and so on for single digits and %^b for capitals, on every system."""
    for part in ("%-d", "%-m", "%-H"):
        form = form.replace(part, str(int(moment.strftime(part.replace("-", "")))))
    for part in ("%^b", "%^B", "%^a"):
        form = form.replace(part, moment.strftime(part.replace("^", "")).upper())
    form = form.replace("%3f", moment.strftime("%f")[:3])
    return moment.strftime(form)


FORMS = [
    *("%b %-d %Y", "%B %d, %Y", "%b. %-d, %Y", "%d %b %Y", "%-d %B %Y", "%d-%b-%Y", "%d%^b%Y"),
    *(
        "%A, %B %-d, %Y",
        "%a, %d %b %Y",
        "%-m/%-d/%Y",
        "%-d.%-m.%Y",
        "%Y-%-m-%-d",
        "%-m/%-d/%Y %-H:%M",
    ),
    *("%b %-d, %Y %H:%M:%S", "%Y-%m-%d %H:%M:%S.%3f", "%m/%d/%Y", "%d-%^b-%Y %H:%M", "%Y-%b-%d"),
]


@pytest.mark.parametrize("form", [*FORMS, " %Y-%m-%d", "%b %d, %Y "])
def test_dates_come_back_as_they_were_written(form: str, tmp_path: Path) -> None:
    words = [single(form, moment) for moment in TIMES]
    frame = pl.DataFrame({"day": words, "n": [i % 7 / 4 for i in range(N)]})
    frame.write_csv(tmp_path / "days.csv", quote_style="always")
    for source in (frame, str(tmp_path / "days.csv")):
        table = load(source)
        (column,) = (c for c in table.schema.columns if c.name == "day")
        assert column.kind == "date"
        assert column.format == form
        found = decode(table.raw.values, table.schema)["day"].tolist()
        assert found == words
    days = np.array([(moment - datetime(1970, 1, 1)) / timedelta(days=1) for moment in TIMES])
    known = "%H" in form or "%-H" in form
    assert np.allclose(table.raw.values[:, 0], days if known else np.floor(days), atol=1e-3)


@pytest.mark.parametrize("form", ["%b %Y", "%B %Y", "%b-%Y", "%Y-%b"])
def test_months_are_the_first_of_their_days(form: str) -> None:
    words = [moment.strftime(form) for moment in TIMES]
    table = load(pl.DataFrame({"month": words, "n": [i % 7 / 4 for i in range(N)]}))
    assert decode(table.raw.values, table.schema)["month"].tolist() == words
    first = [datetime(moment.year, moment.month, 1) - datetime(1970, 1, 1) for moment in TIMES]
    assert table.raw.values[:, 0].tolist() == [day.days for day in first]


@pytest.mark.parametrize(
    "words", [["Mai 1 2000", "Jun 1 2000"], ["Mayor 1", "Marble 2"], ["Feb 30 2000"]]
)
def test_words_that_are_no_dates_stay_words(words: list[str]) -> None:
    assert dates.guess(words) == ""


def test_a_format_without_flags_reads_all_its_variants() -> None:
    for form in FORMS:
        for variant in date_forms.variants(date_forms.plain(form)):
            word = single(variant, TIMES[0]) if "f" not in variant else ""
            assert not word or np.isfinite(dates.parse([word], form)).all(), (form, variant)


CELLS = {
    "every": [" Male", " Female", " Male"],
    "some": [" Male", "Female", " Male "],
    "mostly": ["Male", "Male", " Male", "Female"],
    "yes": [" yes", " no", " yes"],
    "missing": [" a", " ?", " b", None, ""],
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("many", [40, 1200])
def test_blanks_come_back_as_they_mostly_were(name: str, many: int, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"c": CELLS[name] * many, "n": [i % 7 / 4 for i in range(len(CELLS[name]) * many)]}
    )
    frame.write_csv(tmp_path / "words.csv")
    usual = {"mostly": {" Male": "Male"}, "some": {" Male ": " Male"}}.get(name, {})
    expected = [
        None if (w or "").strip() in ("", "?") else usual.get(w, w) for w in CELLS[name]
    ] * many
    sources: list[Any] = [frame, frame.to_pandas(), TextFile(tmp_path / "words.csv")]
    for source in sources:
        table = load(source)
        assert decode(table.raw.values, table.schema)["c"].tolist() == expected
        assert all(word == word.strip() for word in table.schema.columns[0].classes)
        plain = frame.with_columns(pl.col("c").str.strip_chars())
        assert (
            load(plain, schema=table.schema).raw.values.equal(table.raw.values) or name == "missing"
        )


def test_blanks_of_rare_words_and_of_types_with_categories_come_back() -> None:
    words = [f" common {i % 30}" for i in range(900)] + [f" rare {i}" for i in range(200)]
    frame = pl.DataFrame({"w": words})
    table = load(frame)
    assert as_frame(decode(table.raw.values, table.schema), table.schema).equals(frame)
    for dtype in (pl.Categorical, pl.Enum([" a", " b"])):
        typed = pl.DataFrame({"w": pl.Series([" a", " b", " a"] * 30, dtype=dtype)})
        table = load(typed)
        assert as_frame(decode(table.raw.values, table.schema), table.schema).equals(typed)
