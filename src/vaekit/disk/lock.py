"""A lock file: only one process at a time trains in a run's folder, from `take` to `release`."""

from __future__ import annotations

import atexit
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from vaekit.disk.layout import LOCK
from vaekit.errors import VaekitError
from vaekit.files import json_object


def take(folder: Path) -> Path:
    """Lock `folder` for this process and return it; raises VaekitError if another process trains
    there. The lock of a dead process is taken over."""
    path = folder / LOCK
    if path.exists() and _alive(path) is None:
        _bury(path)
    try:
        _place(path)
    except FileExistsError:
        if (other := _alive(path)) is not None or json_object(path) != _me():
            raise VaekitError(_in_use(folder, other or json_object(path))) from None
    except OSError as error:
        raise VaekitError(f"{path}: cannot be written ({error.strerror})") from None
    atexit.register(release, folder)
    return folder


def _place(path: Path) -> None:
    """Write this process's lock atomically; raises FileExistsError if there is a lock."""
    draft = path.with_name(f"{LOCK}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(_me()), encoding="utf-8")
        _link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _link(there: Path, path: Path) -> None:
    try:
        os.link(there, path)
    except FileExistsError:
        raise
    except OSError:  # the file system has no links
        with open(path, "x", encoding="utf-8") as file:
            file.write(there.read_text(encoding="utf-8"))


def _bury(path: Path) -> None:
    """Remove a dead process's lock, unless another process has just placed its own."""
    grave = path.with_name(f"{LOCK}.{os.getpid()}.dead")
    try:
        os.rename(path, grave)
        if _alive(grave) is not None:
            _link(grave, path)
    except OSError:
        pass  # `_place` will report it
    finally:
        grave.unlink(missing_ok=True)


def release(folder: Path) -> None:
    """Remove the lock of the folder, if it belongs to this process."""
    if json_object(folder / LOCK) == _me():
        (folder / LOCK).unlink(missing_ok=True)


def busy(folder: Path) -> bool:
    """Whether another process trains in the folder; one on another machine counts as alive."""
    return _alive(folder / LOCK) is not None


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _alive(path: Path) -> dict[str, Any] | None:
    """The other process that holds the lock; None if there is no lock, or if it belongs to this
    process or to one that is known to be dead."""
    holder, me = json_object(path), _me()
    if holder in (me, {}):  # locks are written atomically, so an empty one is invalid
        return None
    known = holder.get("host") == me["host"] and isinstance(holder.get("pid"), int)
    return holder if not known or _runs(holder["pid"]) else None


def _runs(pid: int) -> bool:
    if sys.platform == "win32":  # there, signal 0 would send Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _in_use(folder: Path, holder: dict[str, Any]) -> str:
    return (
        f"{folder}: process {holder.get('pid', '?')} on {holder.get('host', '?')} is training "
        f"there; wait for it or stop it, or delete {folder / LOCK} if it no longer runs"
    )
