"""How the names of tables' files end, in lower case."""

from __future__ import annotations

from pathlib import Path

GZIP = ".gz"
"""Behind the ending of a file of text: it is compressed."""

TEXT = (".csv", ".tsv", ".tab", ".txt")
"""Files of separated values."""

PARQUET = (".parquet", ".pq")

READ = (*TEXT, *(f"{ending}{GZIP}" for ending in TEXT), *PARQUET)
"""Files that are read as tables."""

PICKLES = (".pkl", ".pickle", ".joblib", ".p", ".pkl.gz")
"""Files that are never opened, for that would run what is in them."""

LINES = (".jsonl", ".ndjson")
"""Files with a JSON object for each row, which are written and not read."""

WRITTEN = (".csv", ".tsv", ".parquet", *LINES)
"""The forms in which tables are written; all but Parquet may be compressed."""


def written_form(path: Path) -> str:
    """Which of `WRITTEN` a file's name asks for; "" where it is none."""
    suffix = path.suffix.lower()
    packed = suffix == GZIP
    form = path.with_suffix("").suffix.lower() if packed else suffix
    possible = form in WRITTEN and not (packed and form in PARQUET)
    return form if possible else ""


def is_packed(path: Path) -> bool:
    """Whether a file's name says that it is compressed."""
    return path.suffix.lower() == GZIP


def written_in_words() -> str:
    """The endings of written files, as a sentence lists them."""
    return f"{', '.join(WRITTEN[:-1])} or {WRITTEN[-1]}"
