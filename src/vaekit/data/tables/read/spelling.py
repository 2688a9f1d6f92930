"""The blanks around words: they are read without, and written as they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np


def spellings(values: Any, fast: bool) -> dict[str, str]:
    """The words that are mostly written with blanks around them, and how: {"Male": " Male"}.

    `values` are the cells, an array or a narwhals series; a Polars series of text if `fast`.
    """
    counts = _counted(values.to_native()) if fast else Counter(_texts(values))
    if all(text == text.strip() for text in counts):
        return {}
    best: dict[str, str] = {}
    for text in sorted(counts, key=lambda text: (-counts[text], text)):
        best.setdefault(text.strip(), text)
    return {word: text for word, text in best.items() if word != text}


def _texts(values: Any) -> list[str]:
    cells = values.tolist() if isinstance(values, np.ndarray) else values.to_list()
    return [cell for cell in cells if isinstance(cell, str)]


def _counted(series: Any) -> Mapping[str, int]:
    """How often each text occurs in a Polars series; {} if none has blanks around it."""
    present = series.drop_nulls()
    if not (present != present.str.strip_chars()).any():
        return {}
    return dict(present.value_counts().iter_rows())
