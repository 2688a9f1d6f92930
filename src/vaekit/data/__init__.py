"""The modalities: where data comes from, how it becomes tensors, and how it goes back."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from vaekit.data.dataset import Dataset, Progress, Raw, Resident, Schema
from vaekit.data.modality import Modality
from vaekit.errors import VaekitError

__all__ = [
    "Dataset",
    "Modality",
    "Progress",
    "Raw",
    "Resident",
    "Schema",
    "modality",
    "named",
    "schema",
]

MODALITIES = {
    "tables": "vaekit.data.tables.modality:TABLES",
    "images": "vaekit.data.images.modality:IMAGES",
}
"""Where each is found, imported when it is first needed."""


def modality(name: str) -> Modality:
    """The modality of a schema's `modality`."""
    module, _, attribute = MODALITIES[name].partition(":")
    return getattr(import_module(module), attribute)


def named(source: str) -> Modality:
    """The modality of what a source names, images if nothing else. Raises VaekitError for a folder of tables."""
    kinds = (modality(name) for name in MODALITIES)
    found = next((kind for kind in kinds if kind.recognises(source)), None)
    if found is None and (tables := _tables_in(Path(source).expanduser())):
        many = f" (of {len(tables):,} tables in it)" if len(tables) > 1 else ""
        raise VaekitError(
            f"{source}: this is a folder, and not of pictures; did you mean {tables[0]}{many}?"
        )
    return found or modality("images")


def _tables_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and modality("tables").recognises(str(path))
    )


def schema(form: Mapping[str, Any]) -> Schema:
    """A schema from its JSON. Raises pydantic's ValidationError, or KeyError for a modality that is not known."""
    return modality(form["modality"]).schema.model_validate(form)
