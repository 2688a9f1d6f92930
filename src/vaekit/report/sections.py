"""What a report shows of a run beside its numbers, for each kind of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vaekit.data import Dataset
from vaekit.report.images import show as show_images
from vaekit.report.section import Section, image
from vaekit.report.tables import show as show_tables
from vaekit.tasks.trained import Trained

__all__ = ["SHOWN", "Section", "image"]

SHOWN: dict[str, Callable[[Path, Trained, Dataset, Dataset, int], Sequence[Section]]] = {
    "images": show_images,
    "tables": show_tables,
}
"""By modality: (run folder, model, held-out, training data, seed) to sections; pictures are kept in plots/."""
