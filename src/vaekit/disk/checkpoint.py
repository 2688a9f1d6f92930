"""Checkpoints: safetensors and JSON files, written atomically and read without unpickling."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from vaekit import files
from vaekit.config import Experiment
from vaekit.data.dataset import Schema
from vaekit.data.registry import missing_kind
from vaekit.data.registry import schema as schema_of
from vaekit.disk import lock
from vaekit.disk.layout import CONFIG, EXPERIMENT, RESUME, WEIGHTS
from vaekit.errors import VaekitError

FORMAT = 2
"""The version of the file format, increased if older versions of vaekit cannot read new files."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and plain data to one safetensors file."""
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    files.write(path, to_bytes(ready, {"about": json.dumps(about)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and plain data from `save_tensors`; raises VaekitError for a bad file."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _about(file)  # noqa: SIM118


def kept(
    path: Path,
    key: Mapping[str, Any],
    make: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the plain data kept at `path`, if the file has this key; otherwise those of
    `make`, which are then kept there."""
    there = load_about(path) if path.is_file() else {}
    if not there or any(there.get(name) != value for name, value in key.items()):
        tensors, about = make()
        save_tensors(path, tensors, {**about, **key})
    return load_tensors(path)


def load_about(path: Path) -> dict[str, Any]:
    """Only the plain data that `save_tensors` wrote, which is fast."""
    with _opened(path) as file:
        return _about(file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise VaekitError(f"{path}: there is no such file; {_why_not(path)}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, ValueError, OSError) as error:
        raise VaekitError(
            f"{path}: is damaged or no safetensors file ({error}); restore it from a copy"
        ) from None


def _about(file: Any) -> dict[str, Any]:
    return json.loads((file.metadata() or {}).get("about", "{}"))


def _why_not(path: Path) -> str:
    """Why this file of a run does not exist, and what to do."""
    folder = path.parent
    if lock.busy(folder):
        return "the run is training and saves at its first validation; try again later"
    if (folder / RESUME).is_file():
        run = shlex.quote(str(folder))
        return (
            "the run was stopped before its first validation; "
            f"go on with: vaekit train --resume {run}"
        )
    never = "the run was never saved (it ended before its first validation), or the file was moved"
    reason = "it was deleted, and resuming needs it" if (folder / WEIGHTS).is_file() else never
    return (
        f"{reason}; begin again with: vaekit train --config {shlex.quote(str(folder / EXPERIMENT))}"
    )


def save_config(folder: Path, experiment: Experiment, schema: Schema) -> None:
    """Write config.json: all that is needed to rebuild the model and to read data for it."""
    from vaekit import __version__

    card = {
        "format": FORMAT,
        "vaekit": __version__,
        "experiment": experiment.model_dump(mode="json"),
        "schema": schema.model_dump(mode="json"),
    }
    files.write(folder / CONFIG, files.to_json(card))


def load_config(folder: Path) -> tuple[Experiment, Schema]:
    """The experiment and the data schema of a saved model."""
    path = _model_folder(folder) / CONFIG
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        version, about, form = int(card["format"]), card.get("experiment"), card.get("schema")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VaekitError(
            f"{path}: is no vaekit model description ({error}); restore it from a copy"
        ) from None
    if version > FORMAT:
        raise VaekitError(
            f"{path}: was written by vaekit {card.get('vaekit')} in format {version}, but this "
            f"version reads formats up to {FORMAT}; update with: pip install -U vaekit"
        )
    if isinstance(form, dict) and (why := missing_kind(form)):
        raise VaekitError(f"{folder}: {why}")
    try:
        return Experiment.checked(about), schema_of(form)
    except (VaekitError, ValidationError, KeyError, TypeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise VaekitError(
            f"{path}: is no vaekit model description ({reason}); restore it from a copy"
        ) from None


def load_weights(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load all tensors into a module; raises VaekitError if they do not fit."""
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise VaekitError(
            f"{path}: does not fit the model that {CONFIG} describes ({reason})"
        ) from None


def _model_folder(folder: Path) -> Path:
    if not os.path.exists(folder):  # False also for names that no file can have
        raise VaekitError(f"{folder}: there is no such run{_nearest(folder)}")
    if not os.path.isfile(folder / CONFIG):
        raise VaekitError(f"{folder}: is not a run of vaekit: it has no {CONFIG}")
    return folder


def _nearest(folder: Path) -> str:
    """A hint for an error message: the run with the most similar name beside `folder` or in runs/,
    or all runs."""
    places = (Path("runs"), folder.parent)
    runs = {
        p.name: str(p)
        for place in places
        for p in sorted(place.glob("*"))
        if os.path.isfile(p / CONFIG)
    }
    if not runs:
        return "; train one with: vaekit train digits"
    close = difflib.get_close_matches(folder.name, runs, n=1, cutoff=0.5)
    return (
        f"; did you mean '{runs[close[0]]}'?"
        if close
        else f"; there are: {', '.join(runs.values())}"
    )
