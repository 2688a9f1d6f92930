"""Find the rows of a whole file of separated values before any cell is read.

Rows follow RFC 4180: a cell in double quotes may contain separators, line breaks and doubled
quotes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHUNK = 2**22
"""The number of bytes that are scanned together.

The scan needs a few times as much memory, however large the file is.
"""

MOST = 2**26
"""A row of more bytes than this means that a quote was never closed."""

NEWLINE, RETURN, QUOTE = (ord(character) for character in '\n\r"')


@dataclass(frozen=True)
class Survey:
    """Where the rows below the header are.

    `starts` are the line numbers (from 1) of the records below the header, `blank` says which of
    them are empty lines. `ragged` is (line, cells) of the first row with another number of cells
    than the header. `stray` is the line of the first quote that does not enclose a cell, `unclosed`
    the line of a quote that is never closed. Each is 0 where there is none.
    """

    starts: np.ndarray
    blank: np.ndarray
    ragged: tuple[int, int] = (0, 0)
    stray: int = 0
    unclosed: int = 0

    @property
    def rows(self) -> int:
        """The number of rows, without blank lines."""
        return int(np.count_nonzero(~self.blank))

    def line(self, row: int) -> int:
        """The line on which row `row` (from 0) begins."""
        return int(self.starts[~self.blank][row])


@dataclass(frozen=True)
class Records:
    """The records in a part of a file.

    `lines` (from 0) are the lines on which they begin, `widths` their numbers of cells, `blank`
    says which are empty. `size` and `newlines` are the part's numbers of bytes and lines; `stray`
    is the line of the first stray quote, or -1.
    """

    lines: np.ndarray
    widths: np.ndarray
    blank: np.ndarray
    size: int
    newlines: int
    stray: int


def survey(path: Path, delimiter: str, width: int, head: int, quotes: bool = True) -> Survey:
    """Find the rows of a UTF-8 file of `width` columns whose header ends on line `head`.

    `quotes` says whether quotes may enclose cells.
    """
    line, rest, stray, ragged = 1, b"", 0, (0, 0)
    starts, blanks = [np.empty(0, np.int32)], [np.empty(0, bool)]
    for part in _parts(path):
        found = _records(rest + part, ord(delimiter), quotes)
        rest = (rest + part)[found.size :]
        body = found.lines + line > head
        begins, widths, blank = (
            (found.lines + line)[body],
            found.widths[body],
            (found.blank & (width > 1))[body],
        )
        odd = np.flatnonzero((widths != width) & ~blank)
        ragged = (
            (int(begins[odd[0]]), int(widths[odd[0]])) if len(odd) and not ragged[0] else ragged
        )
        stray = stray or (found.stray + line if found.stray >= 0 else 0)
        starts.append(begins.astype(np.int32))
        blanks.append(blank)
        line += found.newlines
        if len(rest) > MOST:
            break
    stray = stray or _stray_line(rest, ord(delimiter), line) * quotes
    unclosed = line if rest else 0
    return Survey(np.concatenate(starts), np.concatenate(blanks), ragged, stray, unclosed)


def _parts(path: Path) -> Iterator[bytes]:
    """The file's bytes in parts, with a newline added at the end if it is missing."""
    with open(path, "rb") as file:
        last = b"\n"
        while part := file.read(CHUNK):
            yield part
            last = part[-1:]
        if last != b"\n":
            yield b"\n"


def _records(part: bytes, delimiter: int, quotes: bool) -> Records:
    values = np.frombuffer(part, np.uint8)
    newline, separator, stray = values == NEWLINE, values == delimiter, np.empty(0, np.int64)
    breaks = newline
    quote = values == QUOTE
    if quotes and quote.any():
        outside = (
            np.cumsum(quote, dtype=np.uint8) & 1
        ) == 0  # the sum wraps at 256, which keeps its parity
        breaks, separator = newline & outside, separator & outside
        stray = _stray(values, np.flatnonzero(quote), delimiter)
    ends = np.flatnonzero(breaks)
    size = int(ends[-1]) + 1 if len(ends) else 0
    begins = np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1] + 1])
    widths = np.diff(np.searchsorted(np.flatnonzero(separator), ends), prepend=0) + 1
    blank = (ends == begins) | ((ends == begins + 1) & (values[begins] == RETURN))
    places = np.flatnonzero(newline[:size])
    lines = np.searchsorted(places, begins) if breaks is not newline else np.arange(len(ends))
    stray = stray[stray < size]
    first = int(np.searchsorted(places, stray[0])) if len(stray) else -1
    return Records(lines, widths, blank, size, len(places), first)


def _stray_line(rest: bytes, delimiter: int, line: int) -> int:
    """The line of the first stray quote in `rest`, or 0.

    `rest` begins on `line` and contains no complete row.
    """
    values = np.frombuffer(rest, np.uint8)
    places = np.flatnonzero(values == QUOTE)
    stray = _stray(values, places, delimiter) if len(places) else places
    return line + rest[: int(stray[0])].count(b"\n") if len(stray) else 0


def _stray(values: np.ndarray, places: np.ndarray, delimiter: int) -> np.ndarray:
    """The positions of opening quotes that do not enclose a whole cell.

    Either no separator comes before the opening quote, or none comes after its closing quote.
    """
    before = np.concatenate(
        [[NEWLINE], values[places[1:] - 1] if places[0] == 0 else values[places - 1]]
    )
    before = before if places[0] == 0 else before[1:]
    after = np.append(values, NEWLINE)[places + 1]
    opening = np.arange(len(places)) % 2 == 0
    neighbour = np.where(opening, before, after)
    allowed = np.isin(neighbour, (delimiter, NEWLINE, QUOTE)) | (~opening & (neighbour == RETURN))
    opens = np.where(opening, places, np.roll(places, 1))
    return opens[~allowed]
