"""Read files of separated values as text, a few columns at a time.

The encoding and the separator may be any of the usual ones, and are recognised.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import narwhals.stable.v2 as nw
import numpy as np

from vaekit.data.tables.read import frames
from vaekit.data.tables.read.cells import NUMBER, Cells
from vaekit.data.tables.read.csv_layout import Survey, survey
from vaekit.errors import VaekitError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}
"""The known separators, in order of preference, and their names in messages."""

HEAD = 2**16
"""The number of bytes that are read to recognise what a file is."""

TOGETHER = 2**24
"""The number of cells that are read together.

Each takes 16 bytes, plus the bytes of its word if that is longer than 12.
"""

BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

WINDOWS = "cp1252"

CTRL_Z = b"\x1a"

LONGEST = 250
"""The largest number of characters in a column's name."""

INDEX = "index"
"""The name of a first column without a name, such as the index in a CSV file from pandas."""

KNOWN = {
    b"PK": "a zip archive, or an Excel workbook: save its sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save its sheet as CSV",
    b"\x80": "a pickle, which is never opened, because that would run code in it: "
    "save the frame as CSV or Parquet",
    b"\x89HDF": "an HDF5 file: save the table as CSV or Parquet",
    b"SQLite": "a database: save the table as CSV or Parquet",
    b"BZh": "compressed by bzip2: unpack it, or use gzip",
    b"\xfd7zXZ": "compressed by xz: unpack it, or use gzip",
    b"(\xb5/\xfd": "compressed by zstd: unpack it, or use gzip",
    b"%PDF": "a PDF: save the table as CSV",
    b"[{": "JSON: save the table as CSV or Parquet",
    b'{"': "JSON: save the table as CSV or Parquet",
    b"<!": "a web page: save the table as CSV",
    b"<html": "a web page: save the table as CSV",
    b"<?xml": "XML: save the table as CSV",
}
"""The first bytes of files that are not CSV, with what they are and what to do with them."""


class TextFile(frames.Frame):
    """A file of separated values.

    `plain` is the path of its text in UTF-8: the file itself, or a temporary copy that is deleted
    together with this object.
    """

    backend = "file"

    def __init__(self, path: Path, delimiter: str | None = None) -> None:
        frames.polars()
        self.source, notes = str(path), []
        self.plain, encoding = self._plain(path)
        notes += [f"Read as Windows text ({WINDOWS}), for it is not UTF-8"] * (encoding == WINDOWS)
        head = _head(self.plain)
        self.delimiter = (
            sniff(head, self.source) if delimiter is None else _asked(delimiter, head, self.source)
        )
        self.names, self.lines = _names(self.plain, self.delimiter, self.source)
        if not self.names[0]:
            self.names = (INDEX, *self.names[1:])
            notes.append(f"The first column has no name, so it is called '{INDEX}'")
        frames.require_distinct(self.names, self.source)
        frames.require_named(self.names, self.source)
        self.survey, self.quotes = self._survey()
        self.rows = self.survey.rows
        if self.survey.blank.any():
            self.plain = self._without(self.survey.starts[self.survey.blank])
        if any(NUMBER.fullmatch(name) for name in self.names):
            notes.append(f"The first line was read as the columns' names: {_few(self.names)}")
        if len(self.names) > 1 and self.delimiter != ",":
            notes.append(
                f"Cells are separated by {DELIMITERS.get(self.delimiter, repr(self.delimiter))}"
            )
        if not self.quotes:
            notes.append(
                f"A quote on line {self.survey.stray} does not enclose a cell, "
                "so quotes were read as ordinary characters"
            )
        self.notes = tuple(notes)
        self._held: dict[str, Any] = {}

    def cells(self, name: str) -> Cells:
        if name not in self._held:
            self._held = self._read(self.names.index(name))
        column = nw.from_native(self._held.pop(name), series_only=True)
        return Cells(name, column, self.place, commas=self.delimiter != ",", text=True)

    def place(self, row: int) -> str:
        """The line on which row `row` (from 0) begins, such as "line 3"."""
        return f"line {self.survey.line(row):,}"

    def _read(self, first: int) -> dict[str, Any]:
        """The columns that are read together, starting with number `first`."""
        pl = frames.polars()
        count = max(1, min(len(self.names) - first, TOGETHER // max(1, self.rows)))
        chosen = list(range(first, first + count))
        if not self.rows:
            return {self.names[i]: pl.Series(self.names[i], [], pl.String) for i in chosen}
        frame = pl.read_csv(
            self.plain,
            has_header=False,
            skip_lines=self.lines,
            columns=chosen,
            separator=self.delimiter,
            quote_char='"' if self.quotes else None,
            infer_schema=False,
        )
        return {self.names[i]: frame.to_series(place) for place, i in enumerate(chosen)}

    def _plain(self, path: Path) -> tuple[Path, str]:
        """The path of the text in UTF-8, and the encoding of the file at `path`."""
        try:
            packed = _is_gzip(path)
            with _opened(path, packed) as file:
                head = file.read(HEAD)
            encoding = _encoding(head, path)
            encoding = encoding or ("utf-8" if _is_utf8(path, packed) else _windows(path, packed))
            ended = encoding in ("utf-8", WINDOWS) and not packed and _is_ended(path)
            old = b"\r" in head and b"\n" not in head and encoding in ("utf-8", WINDOWS)
            if encoding == "utf-8" and not packed and not old and not ended:
                return path, encoding
            return self._copied(path, packed, encoding), encoding
        except OSError as error:
            raise VaekitError(
                f"{path}: cannot be read ({error.strerror or error}); check the file"
            ) from None
        except (EOFError, zlib.error):
            raise VaekitError(
                f"{path}: this gzip file is damaged or incomplete; copy it again"
            ) from None
        except UnicodeError:
            raise VaekitError(
                f"{path}: is marked as {encoding} but is not valid; save it as CSV in UTF-8"
            ) from None

    def _without(self, blank: np.ndarray) -> Path:
        """A copy of the text without the lines `blank`, numbers from 1, ascending."""
        copy, numbers = self._place(), iter(blank.tolist())
        skipped = next(numbers, 0)
        with self.plain.open("rb") as old, copy.open("wb") as new:
            for number, line in enumerate(old, 1):
                if number == skipped:
                    skipped = next(numbers, 0)
                else:
                    new.write(line)
        return copy

    def _place(self) -> Path:
        """The path for a temporary copy, which is deleted together with this object."""
        folder = tempfile.mkdtemp(prefix="vaekit-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder) / "table.csv"

    def _copied(self, path: Path, packed: bool, encoding: str) -> Path:
        copy = self._place()
        with (
            _opened(path, packed) as file,
            io.TextIOWrapper(file, encoding) as text,
            copy.open("w", encoding="utf-8") as new,
        ):
            shutil.copyfileobj(text, new, 2**20)  # reading converts all line ends to \n
        _cut(copy)
        return copy

    def _survey(self) -> tuple[Survey, bool]:
        """Where the rows are, and whether quotes enclose cells.

        Raises VaekitError if quotes are misplaced or rows differ in their number of cells.
        """
        found = survey(self.plain, self.delimiter, len(self.names), self.lines)
        if found.stray:
            bare = survey(self.plain, self.delimiter, len(self.names), self.lines, quotes=False)
            if not bare.ragged[0] and bare.rows:
                return Survey(bare.starts, bare.blank, stray=found.stray), False
            raise VaekitError(
                f"{self.source}: line {found.stray:,} has a quote inside a cell; double it and put the cell in quotes"
            )
        if found.unclosed:
            raise VaekitError(
                f"{self.source}: a quote opened on line {found.unclosed:,} is never closed; close it"
            )
        if found.ragged[0]:
            line, width = found.ragged
            names = len(self.names)
            raise VaekitError(
                f"{self.source}: line {line:,} has {width:,} cell{'s' * (width != 1)} where the first line has "
                f"{names:,} name{'s' * (names != 1)}; correct that line, or save the table again"
            )
        return found, True


def sniff(text: str, source: str) -> str:
    """The separator with which most lines have as many cells as the first, and two or more."""
    lines = text.splitlines(keepends=True)[:200]
    best, most = ",", (0.0, 1)
    for delimiter in DELIMITERS:
        widths = [len(row) for row in _rows(lines, delimiter) if row]
        width = widths[0] if widths else 1
        score = (widths.count(width) / len(widths), width) if width > 1 else (0.0, 1)
        best, most = (delimiter, score) if score > most else (best, most)
    if most[1] == 1 and lines:
        _refuse_other_separators(lines, source)
    return best


def _asked(delimiter: str, text: str, source: str) -> str:
    """The separator that the caller named.

    Raises VaekitError if it is not a single character, or if the first line shows another one.
    """
    if len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii():
        raise VaekitError(f"delimiter {delimiter!r}: expected a single character, such as , or ;")
    other = sniff(text, source)
    if delimiter not in text.split("\n", 1)[0] and other in text.split("\n", 1)[0]:
        raise VaekitError(
            f"{source}: has no {delimiter!r} in its first line; cells seem to be separated by {DELIMITERS[other]}"
        )
    return delimiter


def _refuse_other_separators(lines: list[str], source: str) -> None:
    """Raise a VaekitError if the separator seems to be a mark that is not supported.

    That is so if every line of a table with a single column contains the mark equally often.
    """
    for mark, called in {":": "colons", " ": "spaces", "^": "carets", "~": "tildes"}.items():
        counts = {len(line.split(mark if mark != " " else None)) for line in lines if line.strip()}
        if len(counts) == 1 and counts != {1} and len(lines) > 2:
            raise VaekitError(
                f"{source}: cells seem to be separated by {called}; save it with commas, semicolons, tabs or bars"
            )


def _rows(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=delimiter)
    except csv.Error:  # a cell is too long for the csv module
        return


def _names(path: Path, delimiter: str, source: str) -> tuple[tuple[str, ...], int]:
    """The columns' names and the number of the line on which they end."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            reader = csv.reader(file, delimiter=delimiter)
            row = next(reader, [])
        except csv.Error as error:
            raise VaekitError(
                f"{source}: its first line cannot be read as names ({error}); expected a CSV file"
            ) from None
        names = tuple(name.strip() for name in row)
    if not any(names):
        what = "its first line is empty" if row or path.stat().st_size else "the file is empty"
        raise VaekitError(
            f"{source}: {what}; expected a table with the columns' names in its first line"
        )
    long = next((name for name in names if len(name) > LONGEST), "")
    if long:
        raise VaekitError(
            f"{source}: a column's name has {len(long):,} characters, '{long[:30]}...'; shorten it"
        )
    if all(NUMBER.fullmatch(name) for name in names):
        raise VaekitError(
            f"{source}: its first line holds numbers ({_few(names)}) instead of column names; "
            "add a line of names"
        )
    return names, reader.line_num


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


# Text


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _opened(path: Path, packed: bool) -> IO[bytes]:
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _head(path: Path) -> str:
    """The first lines of the file: at least `HEAD` characters, unless the file is shorter."""
    with path.open(encoding="utf-8-sig", errors="ignore") as file:
        text = file.read(HEAD)
        return text + file.readline(HEAD)


def _encoding(head: bytes, path: Path) -> str:
    """The encoding that the first bytes of a file declare, "" if it is UTF-8 or none.

    Raises VaekitError if the bytes are not text.
    """
    for bom, encoding in BOMS.items():
        if head.startswith(bom):
            return "" if encoding == "utf-8" else encoding
    for start, what in KNOWN.items():
        if head.startswith(start):
            raise VaekitError(f"{path}: this is {what}")
    values = np.frombuffer(head, np.uint8)
    control = (values < 32) & ~np.isin(values, (9, 10, 12, 13))
    if (values == 0).any() or control.mean() > 0.01 if len(values) else False:
        raise VaekitError(
            f"{path}: contains bytes that are not text; "
            "expected a CSV file in UTF-8, or a Parquet file"
        )
    return ""


def _is_ended(path: Path) -> bool:
    """Whether the last byte is Ctrl-Z, with which DOS ended text files."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - 1))
        return file.read(1) == CTRL_Z


def _cut(path: Path) -> None:
    """Remove Ctrl-Z from the end of a file."""
    with path.open("rb+") as file:
        size = file.seek(0, io.SEEK_END)
        while size and file.seek(size - 1) == size - 1 and file.read(1) == CTRL_Z:
            size -= 1
        file.truncate(size)


def _is_utf8(path: Path, packed: bool) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with _opened(path, packed) as file:
            while part := file.read(2**22):
                if (
                    decoder.getstate()[0] or not part.isascii()
                ):  # ASCII is UTF-8, and quick to recognise
                    decoder.decode(part)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _windows(path: Path, packed: bool) -> str:
    try:
        with _opened(path, packed) as file, io.TextIOWrapper(file, WINDOWS) as text:
            while text.read(2**20):
                pass
    except UnicodeDecodeError:
        raise VaekitError(
            f"{path}: is neither UTF-8 nor Windows text; save it as CSV in UTF-8"
        ) from None
    return WINDOWS
