"""The codes of data, as arrays and as files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vaekit import files
from vaekit.data import conditions
from vaekit.data.dataset import Dataset
from vaekit.data.storage.columns import SUFFIXES, write_columns
from vaekit.tasks.batches import as_tensor

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained

PART = 4096
"""The number of data that are read from their files at a time."""


TAKEN = ("file", "files", "row", "class", "mean", "scale", "index")
"""Names of arrays that conditions cannot have."""


def encode(trained: Trained, data: Dataset) -> dict[str, np.ndarray]:
    """The codes of data and the names of the data, as arrays (N, ...) by name.

    `mean` and `scale` (N, Z) are the mean and standard deviation of each latent dimension; for a
    quantised latent, `index` (N, places) holds the codes instead. `file` is the file of a datum;
    without files `row` is its number, counted from 1. `label` is the number of its class, and
    `class` the name of it, if they are known. Conditions have arrays by their names.
    """
    arrays: dict[str, np.ndarray] = _names(data)
    found: dict[str, list[torch.Tensor]] = {}
    for index in torch.arange(len(data)).split(PART):
        part = data.subset(index)
        for name, values in _codes(trained, part).items():
            found.setdefault(name, []).append(values)
    return arrays | {name: torch.cat(parts).numpy() for name, parts in found.items()}


def _codes(trained: Trained, part: Dataset) -> dict[str, torch.Tensor]:
    x = as_tensor(part)
    if trained.kind == "codes":
        return {"index": trained.indices(x, part.context)}
    codes = trained.encode(x, part.context)
    return {"mean": codes.mean, "scale": codes.scale}


def _names(data: Dataset) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = (
        {"file": np.array(data.files)} if data.files else {"row": np.arange(1, len(data) + 1)}
    )
    if data.context is not None:
        told = conditions.columns(data.context, data.schema.conditions)
        arrays |= {_free(name): column for name, column in told.items() if name != "label"}
        if "label" in told and data.labels is None:
            arrays["class"] = told["label"]
    if data.labels is None:
        return arrays
    labels, classes = data.labels.cpu().numpy(), getattr(data.schema, "classes", ())
    arrays["label"] = labels
    if classes:
        names = np.array([*classes, ""])  # label -1 (unlabelled) is the last: an empty name
        arrays["class"] = names[labels]
    return arrays


def _free(name: str) -> str:
    """The column of a condition, which may be called like one of the others."""
    return f"condition_{name}" if name in TAKEN else name


def write(arrays: Mapping[str, np.ndarray], out: Path | None, folder: Path) -> dict[str, str]:
    """Write codes to codes.npz and codes.csv in a new folder, or to one table if `out` ends like a
    table's file.

    Returns the paths of the files.
    """
    if out is not None and out.suffix.lower() in SUFFIXES:
        return {"table": str(write_columns(_columns(arrays), out))}
    folder = files.new_folder(out or folder)
    buffer = io.BytesIO()
    named: dict[str, Any] = {"files" if name == "file" else name: a for name, a in arrays.items()}
    np.savez(buffer, **named)  # `file` is a parameter of savez
    files.write(folder / "codes.npz", buffer.getvalue())
    table = write_columns(_columns(arrays), folder / "codes.csv")
    return {"codes": str(folder / "codes.npz"), "table": str(table)}


def _columns(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A column for each latent dimension: `mean_0`, `mean_1` ..."""
    columns: dict[str, Any] = {}
    for name, values in arrays.items():
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}_{i}": column for i, column in enumerate(values.T)}
    return columns
