"""The endings of the names of table files, in lower case."""

from __future__ import annotations

from pathlib import Path

GZIP = ".gz"
"""A text file with this second ending is compressed."""

TEXT = (".csv", ".tsv", ".tab", ".txt")
"""Text files of separated values."""

PARQUET = (".parquet", ".pq")

READ = (*TEXT, *(f"{ending}{GZIP}" for ending in TEXT), *PARQUET)
"""Files that are read as tables."""

PICKLES = (".pkl", ".pickle", ".joblib", ".p", ".pkl.gz")
"""Files that are never opened, because opening a pickle runs the code in it."""

LINES = (".jsonl", ".ndjson")
"""Files with a JSON object for each row. They can be written, but not read."""

WRITTEN = (".csv", ".tsv", ".parquet", *LINES)
"""The formats in which tables are written; all but Parquet may be compressed."""


def written_form(path: Path) -> str:
    """The format in `WRITTEN` that a file's name asks for, or "" if it asks for none of them."""
    suffix = path.suffix.lower()
    packed = suffix == GZIP
    form = path.with_suffix("").suffix.lower() if packed else suffix
    possible = form in WRITTEN and not (packed and form in PARQUET)
    return form if possible else ""


def is_packed(path: Path) -> bool:
    """Whether a file's name says that it is compressed."""
    return path.suffix.lower() == GZIP


def written_in_words() -> str:
    """The endings of written files as a list in words: "a, b or c"."""
    return f"{', '.join(WRITTEN[:-1])} or {WRITTEN[-1]}"
