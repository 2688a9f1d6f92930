"""What torch compiles for one processor is never run on another."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that says where torch keeps what it compiled."""

CPUINFO = Path("/proc/cpuinfo")


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """`torch.compile(function, **options)`, kept in a folder for this processor."""
    keep_by_processor()
    return torch.compile(function, **options)


def keep_by_processor() -> None:
    """Have torch keep compiled code apart for each processor, unless the user says where to keep it.

    torch compiles for the very processor that it runs on, and for the capability that ATEN_CPU_CAPABILITY asks for. But
    it finds compiled code again by neither: code from elsewhere crashes, or gives NaN.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    common = os.path.abspath(default_cache_dir())
    folder = os.environ.get(FOLDER, common)
    if folder == common or folder.startswith(f"{common}-"):  # torch's own choice, or ours
        os.environ[FOLDER] = f"{common}-{processor()}"


def processor() -> str:
    """The capability that torch uses, and a hash of all that the processor can do: "avx2-1f0c3a5d"."""
    abilities = hashlib.sha256(_abilities().encode()).hexdigest()
    return f"{torch.backends.cpu.get_cpu_capability().lower()}-{abilities[:8]}"


def _abilities() -> str:
    """The processor's name and the instructions that it knows; where the system does not list them, its name."""
    if not CPUINFO.exists():
        return f"{platform.machine()} {platform.processor()}"
    first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    told = [
        line
        for line in first.splitlines()
        if line.startswith(("model name", "flags", "Features", "CPU "))
    ]
    return "\n".join([platform.machine(), *told])
