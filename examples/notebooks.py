"""The scripts of this folder as notebooks: `python examples/notebooks.py` writes NAME.ipynb beside NAME.py.

A line `# %%` begins a cell of code, `# %% [markdown]` one of text, as many editors read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCRIPTS = ("tables",)


def cells(script: str) -> Iterator[dict[str, Any]]:
    """The cells of a script in nbformat 4."""
    for i, part in enumerate(script.split("# %%")[1:]):
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            text = "\n".join(
                line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()
            )
            yield {"cell_type": "markdown", "id": f"c{i}", "metadata": {}, "source": text}
        else:
            code = {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": body.strip()}
            yield code | {"execution_count": None, "outputs": []}


def notebook(script: str) -> str:
    """A whole notebook as JSON."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": list(cells(script)),
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1) + "\n"


if __name__ == "__main__":
    for path in (HERE / f"{name}.py" for name in SCRIPTS):
        path.with_suffix(".ipynb").write_text(
            notebook(path.read_text(encoding="utf-8")), encoding="utf-8"
        )
