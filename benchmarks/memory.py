"""Start-up and memory on a folder of pictures that is larger than the memory allowed for data.

    python benchmarks/memory.py                       # 100,000 JPEGs of 64x64, twice
    python benchmarks/memory.py --pictures 5000 --steps 30

Makes the pictures in a temporary folder, trains on them twice with a small `data.memory_budget` (the first run decodes
them into a cache, the second finds it), and watches the process from outside. Linux only: it reads /proc.
Writes benchmarks/results/memory.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
EVERY = 0.2
"""Seconds between two looks at the process."""


@dataclass
class Seen:
    """What was seen of one run; seconds count from the start of its process."""

    cached: float = 0.0
    first_step: float = 0.0
    end: float = 0.0
    peak: dict[str, float] = field(default_factory=dict)
    images_per_s: float = 0.0


def draw(folder: Path, side: int, first: int, count: int) -> None:
    """Pictures `first` .. `first + count`: smooth random colour fields, about 1.5 kB each."""
    random = np.random.default_rng(first)
    for number in range(first, first + count):
        coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(
            folder / f"{number:06}.jpg", quality=90
        )


def make(folder: Path, pictures: int, side: int) -> float:
    """Draw all pictures with a process a core; their total size in MB."""
    folder.mkdir()
    chunk = 1000
    with ProcessPoolExecutor() as pool:
        jobs = [
            pool.submit(draw, folder, side, n, min(chunk, pictures - n))
            for n in range(0, pictures, chunk)
        ]
        for job in jobs:
            job.result()
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries) / 1e6


def memory(pid: int) -> dict[str, float]:
    """MB resident of a process: all (RSS), its own (anonymous) and mapped from files; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split()[:2] for line in lines if line.startswith(("VmRSS", "RssAnon", "RssFile")))
    return {name.rstrip(":"): int(kilobytes) / 1e3 for name, kilobytes in pairs}


def watch(command: list[str], cache: Path, out: Path) -> Seen:
    """Run vaekit to its end, looking at its memory, its cache and its log every `EVERY` seconds."""
    seen, began, log = Seen(), time.perf_counter(), out / "metrics.jsonl"
    environment = os.environ | {"VAEKIT_CACHE": str(cache)}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        while process.poll() is None:
            now = time.perf_counter() - began
            for name, size in memory(process.pid).items():
                seen.peak[name] = max(size, seen.peak.get(name, 0.0))
            seen.cached = seen.cached or (now if any(cache.glob("images/*.bin")) else 0.0)
            seen.first_step = seen.first_step or (
                now if log.is_file() and log.stat().st_size else 0.0
            )
            time.sleep(EVERY)
        seen.end = time.perf_counter() - began
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{shlex.join(command)}\n{errors.read()[-3000:]}")
    seen.images_per_s = speed(log)
    return seen


def speed(log: Path) -> float:
    """The median of the logged images per second over the second half of the training rows."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    rates = [row["data_per_s"] for row in rows if row["split"] == "train"]
    return statistics.median(rates[len(rates) // 2 :])


def page(ask: argparse.Namespace, size: float, command: list[str], runs: list[Seen]) -> str:
    """The results in Markdown."""
    decoded = ask.pictures * ask.side**2 * 3 / 1e6
    lines = [
        "# A folder of pictures larger than the memory allowed for data",
        f"`python {shlex.join(['benchmarks/memory.py', *sys.argv[1:]])}`, {date.today()}; {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        f"{ask.pictures:,} JPEGs of {ask.side}x{ask.side} in one folder: {size:,.0f} MB, {decoded:,.0f} MB decoded. "
        f"Each run: `{shlex.join(command)}`.",
        "| | first run | second run |\n| --- | ---: | ---: |",
    ]
    first, second = runs
    table = [
        ("seconds until the decoded images are cached", f"{first.cached:.1f}", "cached"),
        (
            "seconds until the first step is logged",
            f"{first.first_step:.1f}",
            f"{second.first_step:.1f}",
        ),
        ("seconds in all", f"{first.end:.1f}", f"{second.end:.1f}"),
        *(
            (f"peak {name}, MB", f"{first.peak[name]:,.0f}", f"{second.peak[name]:,.0f}")
            for name in first.peak
        ),
        ("images/s while training", f"{first.images_per_s:,.0f}", f"{second.images_per_s:,.0f}"),
    ]
    lines[-1] += "".join(f"\n| {' | '.join(row)} |" for row in table)
    lines.append(
        "RSS counts libraries and mapped files too; RssAnon is what the process itself holds."
    )
    return "\n\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument(
        "--budget", type=int, default=64_000_000, help="data.memory_budget, in bytes"
    )
    parser.add_argument("--scratch", type=Path, help="where the temporary folder is made")
    ask = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ask.scratch) as name:
        scratch = Path(name)
        size = make(scratch / "pictures", ask.pictures, ask.side)
        options = ["--size", "tiny", "--steps", str(ask.steps), f"data.memory_budget={ask.budget}"]
        options += ["train.validations=1", "data.holdout=0.001"]
        runs = []
        for number in (1, 2):
            out = scratch / f"run-{number}"
            command = [
                sys.executable,
                "-m",
                "vaekit",
                "train",
                str(scratch / "pictures"),
                "--out",
                str(out),
                *options,
            ]
            runs.append(watch(command, scratch / "cache", out))
    text = page(ask, size, ["vaekit", "train", "pictures", *options], runs)
    path = HERE / "results" / "memory.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
