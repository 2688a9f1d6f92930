"""Write tables as CSV, Parquet or JSON lines; a file is written completely or not at all."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, Any

import narwhals.stable.v2 as nw
import numpy as np

from vaekit import files
from vaekit.data.tables.read import frames
from vaekit.data.tables.read.endings import (
    LINES,
    PARQUET,
    is_packed,
    written_form,
    written_in_words,
)
from vaekit.errors import VaekitError

FORMULA = r"^[=+\-@\t\r]"
"""A spreadsheet may run a cell that starts like this as a formula."""

PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
"""Plain numbers, which are not formulas."""


def write(table: Any, path: str | Path, escape: bool = False) -> Path:
    """Write a frame, an array or a mapping of columns to `path`, whose ending gives the format.

    Missing cells are empty in CSV and TSV, null elsewhere. `escape` puts an apostrophe before words
    (and names of columns) that a spreadsheet would run as formulas: those that start with = + - @,
    a tab or a return and are not plain numbers. Without it, cells are written unchanged. Raises
    VaekitError.
    """
    path = Path(path).expanduser()
    frame = _as_polars(table)
    if escape:
        frame = _escaped(frame)
    form = written_form(path)
    if not form:
        raise VaekitError(f"{path}: expected a name that ends in {written_in_words()}")
    with files.replacing(path) as file:
        if is_packed(path):  # without name and time, so that equal tables give equal files
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packer:
                _written(frame, packer, form)
        else:
            _written(frame, file, form)
    return path


def _written(frame: Any, file: IO[bytes] | gzip.GzipFile, form: str) -> None:
    try:
        _put(frame, file, form)
    except frames.polars().exceptions.PolarsError as error:
        raise VaekitError(
            f"the table cannot be written as {form} ({str(error).splitlines()[0]}); try another format"
        ) from None


def _put(frame: Any, file: IO[bytes] | gzip.GzipFile, form: str) -> None:
    if form in PARQUET:
        frame.write_parquet(file)
    elif form in LINES:
        frame.write_ndjson(file)
    else:
        frame.write_csv(file, separator="\t" if form == ".tsv" else ",")


def _as_polars(table: Any) -> Any:
    pl = frames.polars()
    if isinstance(table, dict):
        return pl.DataFrame({name: _plain(cells) for name, cells in table.items()})
    if isinstance(table, np.ndarray):
        held = frames.frame_of(table)
        return pl.DataFrame({name: held.cells(name).values for name in held.names})
    try:
        return nw.from_native(table, eager_only=True).to_polars()
    except TypeError:
        raise VaekitError(
            f"expected a frame or columns by name to write, got {type(table).__name__}"
        ) from None


def _plain(cells: Any) -> Any:
    """A column in a form that Polars accepts: with None in place of masked cells."""
    if isinstance(cells, np.ma.MaskedArray):
        return (
            cells.tolist()
            if np.ma.getmaskarray(cells).any() or cells.dtype.kind == "O"
            else np.ma.getdata(cells)
        )
    return cells


def _escaped(frame: Any) -> Any:
    pl = frames.polars()
    words = [
        name
        for name, dtype in frame.schema.items()
        if dtype in (pl.String, pl.Categorical, pl.Enum)
    ]
    for name in words:
        cells = frame[name].cast(pl.String)
        runs = (cells.str.contains(FORMULA) & ~cells.str.contains(PLAIN)).fill_null(False)
        frame = frame.with_columns(cells.zip_with(~runs, "'" + cells).alias(name))
    return frame.rename(
        {name: f"'{name}" for name in frame.columns if name[:1] in "=+-@\t\r" and name}
    )
