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

VERSION = 3  # of what is kept; raise it when the decoding changes


def default_folder() -> Path:
    """$VAEKIT_CACHE, else the platform's folder for things that can be made again."""
    if chosen := os.environ.get("VAEKIT_CACHE"):
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "vaekit"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "vaekit"
    return Path(os.environ.get("XDG_CACHE_HOME", home / ".cache")) / "vaekit"


def default_budget() -> int:
    """A quarter of the memory now free, in bytes."""
    known = [size for size in (_linux_available(), _container_limit(), _all_memory()) if size]
    return min(known, default=4 << 30) // 4


def _linux_available() -> int | None:
    """MemAvailable: free pages alone (sysconf) leave out what Linux would drop from its file cache."""
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
    """A file to write that becomes `path` when all went well, and leaves nothing when not."""
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
    """`replacing`, for `need` bytes of decoded images. Raises VaekitError when the disk won't take them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if need > free:
            raise VaekitError(
                f"the images need {_megabytes(need)} in {path.parent} and {_megabytes(free)} are free: make room, "
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
    """Keep `facts` as JSON beside the packed file `path`."""
    with replacing(path.with_suffix(".json")) as file:
        file.write(json.dumps({"version": VERSION, **facts}).encode())


def read_facts(path: Path) -> dict[str, Any] | None:
    """The facts kept beside `path`, or None when they or the packed file aren't as they were written."""
    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        whole = facts["version"] == VERSION and path.stat().st_size == facts["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if whole else None
