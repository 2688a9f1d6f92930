"""Images decoded once and kept in a file, for sets that are larger than memory."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from vaekit.errors import VaekitError

VERSION = 3  # of the cached files; raise it when the decoding changes


def default_folder() -> Path:
    """$VAEKIT_CACHE if it is set, else the platform's folder for caches."""
    if chosen := os.environ.get("VAEKIT_CACHE"):
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "vaekit"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "vaekit"
    return Path(os.environ.get("XDG_CACHE_HOME", home / ".cache")) / "vaekit"


def default_budget() -> int:
    """A quarter of the memory that is free now, in bytes."""
    known = [size for size in (_linux_available(), _container_limit(), _all_memory()) if size]
    return min(known, default=4 << 30) // 4


def _linux_available() -> int | None:
    """MemAvailable in bytes. Unlike the free pages of sysconf, it includes file cache that Linux can drop."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _container_limit() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        folder = Path("/sys/fs/cgroup")
        limit = int((folder / "memory.max").read_text())
        return max(limit - int((folder / "memory.current").read_text()), limit // 4)
    return None


def _all_memory() -> int | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to. It becomes `path` if all goes well, and is deleted after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def packing(path: Path, need: int) -> Iterator[BinaryIO]:
    """`replacing`, for `need` bytes of decoded images. Raises VaekitError if they do not fit on the disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if need > free:
            raise VaekitError(
                f"the images need {_megabytes(need)} in {path.parent} but only {_megabytes(free)} are free: make room, "
                "name a folder on another disk in VAEKIT_CACHE, or resize the images to a smaller side"
            )
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise VaekitError(
            f"the decoded images couldn't be kept in {path.parent} ({error.strerror or error}): make room there, "
            "or name a folder on another disk in VAEKIT_CACHE"
        ) from error


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def save_facts(path: Path, facts: dict[str, Any]) -> None:
    """Save `facts` as JSON beside the packed file `path`."""
    with replacing(path.with_suffix(".json")) as file:
        file.write(json.dumps({"version": VERSION, **facts}).encode())


def read_facts(path: Path) -> dict[str, Any] | None:
    """The facts saved beside `path`, or None if they or the packed file are missing, damaged or outdated."""
    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        whole = facts["version"] == VERSION and path.stat().st_size == facts["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if whole else None
