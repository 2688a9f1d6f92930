"""Write columns of numbers and words to a new file. CSV and TSV need no package, Parquet and JSON lines Polars."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaekit import files
from vaekit.errors import VaekitError

SEPARATORS = {".csv": ",", ".tsv": "\t"}

SUFFIXES = (*SEPARATORS, ".parquet", ".jsonl")
"""The possible endings of the file's name."""

MISSING = "Parquet and JSON lines need Polars: pip install 'vaekit[tables]', or write a .csv file"


def require_new(path: Path) -> None:
    """Raise a VaekitError if `path` exists or its ending is unknown."""
    if path.suffix.lower() not in SUFFIXES:
        raise VaekitError(f"{path}: expected a name that ends on {', '.join(SUFFIXES)}")
    if path.exists():
        raise VaekitError(f"{path}: is there already; choose another name, or move it away")


def write_columns(columns: Mapping[str, np.ndarray], path: Path) -> Path:
    """Write columns (N,) by name to the new file `path`; its suffix sets the format. Raises VaekitError."""
    require_new(path)
    suffix = path.suffix.lower()
    if suffix in SEPARATORS:
        files.write(path, _text(columns, SEPARATORS[suffix]))
    else:
        _write_frame(columns, path, suffix)
    return path


def _text(columns: Mapping[str, np.ndarray], separator: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_cells(values) for values in columns.values()), strict=True))
    return text.getvalue()


def _cells(values: np.ndarray) -> list[object]:
    """The cells of a CSV file: booleans become "true" and "false"."""
    if values.dtype.kind == "b":
        return ["true" if value else "false" for value in values.tolist()]
    return values.tolist()  # type: ignore[no-any-return]


def _write_frame(columns: Mapping[str, Any], path: Path, suffix: str) -> None:
    try:
        import polars
    except ImportError:
        raise VaekitError(f"{path}: {MISSING}") from None
    frame = polars.DataFrame(dict(columns))
    with files.replacing(path) as file:
        if suffix == ".parquet":
            frame.write_parquet(file)
        else:
            frame.write_ndjson(file)
