"""Tables of attributes of pictures: find one, read it, and match its rows to files."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vaekit.errors import VaekitError

TABLE = "metadata.csv"
"""The table that is used if a folder of pictures holds several and the user names none."""

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
FILE_COLUMNS = {"file", "file_name", "filename", "image", "path"}
"""Columns that hold the pictures' names. The first column of a table may hold them too."""

DECIMAL = re.compile(r"^([+-]?\d+),(\d+)$")


def find_table(table: str, source: str) -> Path:
    """The table of that name, here or in the folder of the pictures. Raises VaekitError."""
    here, beside = Path(table).expanduser(), _folder(source) / Path(table).expanduser()
    found = next((path for path in (here, beside) if path.is_file()), None)
    if found is None:
        places = f", neither here nor in {_folder(source)}" if beside != here else ""
        raise VaekitError(
            f"{table}: there is no such file{places}; expected a CSV file with a row for each image"
        )
    return found


def table_beside(folder: Path, files: Sequence[str]) -> Path | None:
    """The table in a folder of pictures: metadata.csv, else the only one that names the pictures.

    None if there is none. Raises VaekitError if there are several.
    """
    if (folder / TABLE).is_file():
        return folder / TABLE
    found = tables_beside(folder, files) if files else []
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise VaekitError(
            f"{folder}: {len(found)} tables name the images ({names}); choose one, such as "
            f"table={found[0].name}"
        )
    return found[0] if found else None


def tables_beside(folder: Path, files: Sequence[str]) -> list[Path]:
    """The tables directly in a folder that name at least one of the pictures `files`."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if is_table_of(path, files)]


def is_table_of(path: Path, files: Iterable[str]) -> bool:
    """Whether a file is a table that names at least one of the pictures `files`."""
    if not path.name.lower().endswith(SUFFIXES) or not path.is_file():
        return False
    try:
        columns = read_table(path)
    except VaekitError:
        return False
    known = {called(file) for file in files for called in (_path, _name, _stem)}
    first = next(iter(columns))
    return any(
        not known.isdisjoint(_words(values))
        for name, values in columns.items()
        if name == first or name.lower() in FILE_COLUMNS
    )


def _folder(source: str) -> Path:
    path = Path(source).expanduser()
    return path if path.is_dir() else path.parent


def _words(values: np.ndarray) -> list[str]:
    return [value.replace("\\", "/") for value in values.tolist()]


def read_table(path: Path) -> dict[str, np.ndarray]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except OSError as error:
        raise VaekitError(
            f"{path}: the table cannot be read ({error.strerror}); expected a CSV file"
        ) from None
    except (UnicodeDecodeError, EOFError, zlib.error):
        raise VaekitError(f"{path}: is not a CSV file in UTF-8; save it as one") from None
    dialect = _dialect(text)
    try:
        lines = [
            [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), dialect) if row
        ] or [[]]
    except csv.Error as error:
        raise VaekitError(
            f"{path}: cannot be read as a table ({error}); expected a CSV file"
        ) from None
    head, rows = lines[0], lines[1:]
    twice = next((name for name in head if head.count(name) > 1), None)
    if twice is not None:
        raise VaekitError(f"{path}: two columns are called '{twice}'; give them different names")
    if dialect.delimiter == ";":  # spreadsheets write this if decimals have commas
        rows = [[DECIMAL.sub(r"\1.\2", cell) for cell in row] for row in rows]
    ragged = next((i for i, row in enumerate(rows, 2) if len(row) != len(head)), None)
    if ragged or not rows:
        what = (
            f"line {ragged} has a different number of columns than the first line"
            if ragged
            else "has no rows"
        )
        raise VaekitError(
            f"{path}: {what}; expected a CSV file with the columns' names in its first line"
        )
    return {
        name: np.array(column) for name, column in zip(head, zip(*rows, strict=True), strict=True)
    }


def _dialect(text: str) -> type[csv.Dialect]:
    first = text.split("\n", 1)[0]

    class Dialect(csv.excel):
        delimiter = max(",;\t", key=first.count)

    return Dialect


def rows_by_file(
    path: Path, columns: dict[str, np.ndarray], files: Sequence[str]
) -> dict[str, int]:
    """The row of each file, found by the file's path, else by its name, with or without the suffix."""
    best: dict[str, int] = {}
    for values in columns.values():
        words = _words(values)
        place, times = {word: i for i, word in enumerate(words)}, Counter(words)
        for called in (_path, _name, _stem):
            found = {file: place[called(file)] for file in files if called(file) in place}
            distinct = len({called(file) for file in found}) == len(found)
            if distinct and len(found) > len(best):
                best, twice = found, [words[i] for i in found.values() if times[words[i]] > 1]
    if best and twice:
        raise VaekitError(
            f"{path}: {twice[0]} stands in several rows; expected one row for each image"
        )
    if not best:
        raise VaekitError(
            f"{path}: no column holds the pictures' file names, such as {files[0]}; add a column 'file'"
        )
    return best


def _path(file: str) -> str:
    return file


def _name(file: str) -> str:
    return file.rsplit("/", 1)[-1]


def _stem(file: str) -> str:
    return _name(file).rsplit(".", 1)[0]
