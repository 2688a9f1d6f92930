"""Keeps code that torch compiled for one processor from running on another."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable that names the folder for torch's compiled code."""

CPUINFO = Path("/proc/cpuinfo")


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """`torch.compile(function, **options)`, kept in a folder for this processor."""
    keep_by_processor()
    return torch.compile(function, **options)


def keep_by_processor() -> None:
    """Make torch keep compiled code in one folder per processor, unless the user names a folder.

    torch compiles for the processor that it runs on, and for the capability in ATEN_CPU_CAPABILITY.
    But it uses neither to find compiled code again, and code from another processor crashes or
    gives NaN.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    common = os.path.abspath(default_cache_dir())
    folder = os.environ.get(FOLDER, common)
    if folder == common or folder.startswith(f"{common}-"):  # torch's own choice, or ours
        os.environ[FOLDER] = f"{common}-{processor()}"


def processor() -> str:
    """The capability that torch uses and a hash of the processor's features: "avx2-1f0c3a5d"."""
    abilities = hashlib.sha256(_abilities().encode()).hexdigest()
    return f"{torch.backends.cpu.get_cpu_capability().lower()}-{abilities[:8]}"


def _abilities() -> str:
    """The processor's name and its instructions, or only its name if the system lists none."""
    if not CPUINFO.exists():
        return f"{platform.machine()} {platform.processor()}"
    first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    told = [
        line
        for line in first.splitlines()
        if line.startswith(("model name", "flags", "Features", "CPU "))
    ]
    return "\n".join([platform.machine(), *told])
