"""The options of the command line that only tables have."""

from __future__ import annotations

from pathlib import Path

from vaekit.data.options import Option, Options

OPTIONS: Options = {
    "train": (
        Option(
            "labels",
            "Which array of an .npz file, or column of a table, holds the labels.",
            field="data.labels",
        ),
        Option(
            "constraint",
            'For tables, a rule for rows: "total = price * quantity", "0 <= share <= 1", "end >= start"; repeatable',
            list[str],
            field="data.constraints",
            metavar="RULE",
        ),
    ),
    "write": (
        Option(
            "escape",
            "For tables: put an apostrophe before words that a spreadsheet would run as formulas.",
            bool,
        ),
    ),
    "evaluate": (
        Option(
            "target",
            "For tables: the column that classifiers learn from new rows.",
            metavar="COLUMN",
        ),
        Option(
            "out",
            "For tables: the new .html file for the page (default: in a folder inside RUN).",
            Path,
        ),
    ),
    "augment": (
        Option(
            "balance",
            "For tables: the category whose rare classes are filled up.",
            metavar="COLUMN",
        ),
    ),
}
