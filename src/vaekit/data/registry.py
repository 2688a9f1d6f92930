"""Which kinds of data exist, and which kind a source is of. A kind is imported when it is first needed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data.dataset import Schema
    from vaekit.data.modality import Modality
    from vaekit.data.options import Options

BUILT_IN = ("tables", "images")
"""The kinds that come with vaekit. `vaekit.data.NAME` holds `modality.MODALITY` and `options.OPTIONS`."""

GROUP = "vaekit.modalities"
"""The entry-point group by which installed packages add kinds: `name = "module:MODALITY"`."""

_registered: dict[str, Modality] = {}
_broken: dict[str, str] = {}
_installed: list[bool] = []


def register(kind: Modality) -> None:
    """Make a kind of data known under its name. Raises VaekitError if another kind has that name."""
    taken = kind.name in BUILT_IN or _registered.get(kind.name, kind) is not kind
    if taken:
        raise VaekitError(
            f"there is already a kind of data called '{kind.name}'; choose another name"
        )
    _registered[kind.name] = kind


def forget(name: str) -> None:
    """Remove a registered kind of data."""
    _registered.pop(name, None)


def names() -> list[str]:
    """The names of all kinds of data, those of vaekit first."""
    if not _installed:
        _installed.append(True)
        for entry in entry_points(group=GROUP):
            _load(entry)
    return [*BUILT_IN, *_registered]


def _load(entry: EntryPoint) -> None:
    """Register the kind that a package adds.

    If it cannot be imported, the other kinds still work; `modality` reports the error when it is asked for.
    """
    try:
        register(entry.load())
    except Exception as error:  # another package's module may raise anything
        _broken[entry.name] = f"{type(error).__name__}: {error}"


def modality(name: str) -> Modality:
    """The kind of data of that name (a schema's `modality`). Raises VaekitError if it is unknown or broken."""
    if name in BUILT_IN:
        return import_module(f"vaekit.data.{name}.modality").MODALITY
    if name not in names() and name in _broken:
        raise VaekitError(
            f"the kind of data '{name}' cannot be loaded ({_broken[name]}); repair or remove the package that adds it"
        )
    if name not in names():
        raise VaekitError(
            f"there is no kind of data '{name}' here, only {', '.join(names())}; install the package that adds it"
        )
    return _registered[name]


def options() -> Iterator[tuple[str, Options]]:
    """(name, command-line options) of every kind of data."""
    for name in names():
        if name in BUILT_IN:
            yield name, import_module(f"vaekit.data.{name}.options").OPTIONS
        else:
            yield name, _registered[name].options


def named(source: str) -> Modality:
    """The kind of data that a source is of. Raises VaekitError if no kind recognises it."""
    kinds = [modality(name) for name in names()]
    for kind in kinds:
        if kind.source.recognises(source):
            return kind
    raise VaekitError(_unknown(source, kinds))


def _unknown(source: str, kinds: list[Modality]) -> str:
    """Why the source cannot be read, and what could be read instead."""
    path = Path(source).expanduser()
    known = "vaekit reads " + " and ".join(f"{kind.name} ({kind.source.forms})" for kind in kinds)
    if path.is_dir():
        return f"{source}: this is a folder without pictures; {_files_of(path, kinds) or known}"
    known += "".join(f"; '{name}' cannot be loaded ({why})" for name, why in _broken.items())
    if path.is_file():
        return f"{source}: vaekit cannot read this kind of file; {known}"
    return f"{source}: there is no such file or folder; {_nearest(source, kinds) or known}"


def _files_of(folder: Path, kinds: list[Modality]) -> str:
    """A question ("did you mean ...?") if single files in the folder can be read, else ""."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    found = [file for file in files if any(kind.source.recognises(str(file)) for kind in kinds)]
    if not found:
        return ""
    many = f" (of {len(found):,} such files in it)" if len(found) > 1 else ""
    return f"did you mean {found[0]}{many}?"


def _nearest(source: str, kinds: list[Modality]) -> str:
    """A question ("did you mean ...?") if a file or preset has a similar name, else ""."""
    parent = Path(source).expanduser().parent
    beside = (
        [str(Path(source).parent / file.name) for file in parent.iterdir()]
        if parent.is_dir()
        else []
    )
    presets = [preset for kind in kinds for preset in kind.source.presets]
    near = difflib.get_close_matches(source, [*beside, *presets], n=1)
    return f"did you mean {near[0]}?" if near else ""


def missing_kind(form: Mapping[str, Any]) -> str:
    """Why data of this schema's kind cannot be read here; "" if they can."""
    try:
        modality(str(form.get("modality", BUILT_IN[0])))
    except VaekitError as error:
        return str(error)
    return ""


def schema(form: Mapping[str, Any]) -> Schema:
    """A schema from its JSON. Raises pydantic's ValidationError, KeyError, or VaekitError for an unknown kind."""
    return modality(form["modality"]).schema.model_validate(form)
