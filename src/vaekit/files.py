"""Small files, written completely or not at all, and JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from vaekit.errors import VaekitError


def write(path: Path, content: bytes | str) -> None:
    """Write `content` to a temporary file beside `path`, flush it to the disk, then rename it to `path`."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces `path` on success. After an error, `path` is unchanged."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:  # a second Ctrl-C as well
        with contextlib.suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError):
            raise
        reason = error.strerror or error
        raise VaekitError(
            f"{path}: could not be written ({reason}); what was there before is kept"
        ) from None


def clean(folder: Path) -> None:
    """Remove temporary files of killed writes. Call it only if no other process writes to `folder`."""
    for partial in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            partial.unlink()


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or an empty one if the file is missing or broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def to_json(values: Any, indent: int | None = 2) -> str:
    """Plain data as JSON. NaN and infinity become null, such as the standard error of a single image."""
    return json.dumps(_strict(values), indent=indent, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbered(wanted: Path) -> Iterator[Path]:
    """`wanted`, `wanted-2`, `wanted-3` ..."""
    wanted = wanted if wanted.name not in ("", "..") else wanted.resolve()
    yield wanted
    for number in count(2):
        yield wanted.with_name(f"{wanted.name}-{number}")


def unused(wanted: Path) -> Path:
    """`wanted`, or `wanted-2`, `wanted-3` ...: the first that does not exist. Creates nothing."""
    return next(path for path in _numbered(wanted) if not os.path.lexists(path))


def new_folder(wanted: Path) -> Path:
    """`wanted`, or `wanted-2`, `wanted-3` ...: creates and returns the first that does not exist."""
    for path in _numbered(wanted):
        try:
            path.mkdir(parents=True)
            return path
        except OSError as error:
            if not (
                isinstance(error, FileExistsError) and os.path.lexists(path)
            ):  # a broken link as a parent also raises FileExistsError
                raise VaekitError(
                    f"{path}: the run's folder cannot be made ({error.strerror}); choose another folder"
                ) from None
    raise AssertionError  # count() never ends
