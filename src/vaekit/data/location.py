"""Where the data of a run are: its sources as the user named them, and their absolute paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vaekit.config import Data
from vaekit.data import registry
from vaekit.errors import VaekitError

FIELDS = ("source", "table")
"""The fields of `Data` that may name a file or a folder."""


def is_path(source: str) -> bool:
    """Whether a source is an existing file or folder, and not a preset of a kind of data."""
    kinds = (registry.modality(name) for name in registry.names())
    presets = {preset for kind in kinds for preset in kind.source.presets}
    return source not in presets and os.path.exists(Path(source).expanduser())


def absolute(source: str) -> str:
    """The absolute path of a name that is relative to the current folder."""
    return os.path.abspath(Path(source).expanduser())


def absolute_paths(data: Data) -> dict[str, str]:
    """The absolute path of every file or folder that `data` names, by its field."""
    named = {field: getattr(data, field) for field in FIELDS}
    return {field: absolute(name) for field, name in named.items() if name and is_path(name)}


def locate(data: Data, paths: Mapping[str, str]) -> Data:
    """`data` with its files where they are now; `paths` (from `absolute_paths`) says where they were in training.

    A name that still gives the same path from the current folder is kept, even if the file is missing: reading it
    then says what is missing. Raises VaekitError if a file is neither at its old path nor at its name's path from
    the current folder.
    """
    named = {field: getattr(data, field) for field in paths}
    found = {field: _locate(name, paths[field]) for field, name in named.items() if name}
    return data.model_copy(update=found)


def _locate(name: str, path: str) -> str:
    here = absolute(name)
    if here == path:
        return name
    if os.path.exists(path):
        return path
    if not os.path.exists(here):
        raise VaekitError(
            f"{name}: the data of the run are neither at {path} nor at {here}; put them back, or train "
            "again and name their new place"
        )
    return name
