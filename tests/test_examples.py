"""The examples run, say what is true, and are the same as notebooks."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = runpy.run_path(str(EXAMPLES / "notebooks.py"))


@pytest.mark.parametrize("name", NOTEBOOKS["SCRIPTS"])
def test_the_notebook_is_the_script(name: str) -> None:
    made = NOTEBOOKS["notebook"]((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
    assert (EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8") == made, (
        "run python examples/notebooks.py"
    )


@pytest.mark.slow
def test_a_table_from_its_odd_rows_to_a_better_classifier() -> None:
    pytest.importorskip("pandas")
    ran = runpy.run_path(str(EXAMPLES / "tables.py"))
    assert ran["detected"] > 0.9
    assert ran["new"].dtypes.equals(ran["train"].dtypes)
    assert ran["by_new"] > 0.95 * ran["by_real"]
    assert ran["explained"].mean() > 0.6
    assert ran["right"] > 0.9
    assert ran["gains"]["trees"].mean() > 0  # as the last cell says
    assert ran["found"].mean().idxmax() == ("linear", "columns")
