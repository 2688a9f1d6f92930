"""T8: training throughput of Pythae, of the best bare PyTorch loops and of vaekit, side by side on one machine.

    python benchmarks/throughput.py                       # everything, on the CPU
    python benchmarks/throughput.py --nets mlp --only "batch 64"
    python benchmarks/throughput.py --device cuda --wheels wheels/

Every row is a process of its own; rows run in the order A B C A B C ..., so that the ratios between them are taken
within a few minutes. Pythae gets an environment of its own in benchmarks/.envs/pythae, which sees the torch that runs
this file. The table goes to benchmarks/results/throughput-<device>.md, each measurement to the .jsonl beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from nets import busy_seconds

HERE = Path(__file__).parent
PEER = HERE / ".envs" / "pythae"
NEEDS = (
    "pythae==0.1.2",
    "imageio==2.37.0",
    "tqdm==4.67.1",
    "cloudpickle>=2.1",
    "scipy>=1.7.1",
    "pydantic>=2",
)
"""Pythae's own requirements without torch and `dataclasses` (a stub of what Python has had since 3.7)."""

BATCHES = {"mlp": (512, 2048), "conv": (512,)}
VAEKIT = {
    "32": ("train.precision=32",),
    "bf16": ("train.precision=bf16", "train.compile=true"),
    "auto": (),
}


@dataclass
class Row:
    """One line of the table: a way to train, and what was measured of it."""

    name: str
    side: str
    batch: int
    precision: str
    command: list[str]
    results: list[dict[str, Any]] = field(default_factory=list)

    def values(self, key: str = "images_per_s") -> list[float]:
        return [r[key] for r in self.results]

    def median(self, key: str = "images_per_s") -> float:
        return statistics.median(self.values(key))

    def best(self) -> float:
        """Images a second of the fastest window of all repeats."""
        return max(window for result in self.results for window in result["windows"])


def rows(net: str, device: str, images: int, seconds: float) -> list[Row]:
    """Everything that is compared on one net: Pythae at its batch size, then bare and vaekit at each batch size."""
    shared = ["--net", net, "--device", device]
    ours = [*shared, "--seconds", str(seconds)]
    peer = [
        str(_python(PEER)),
        str(HERE / "peers" / "pythae_loop.py"),
        *shared,
        "--images",
        str(images),
    ]
    made = [Row("Pythae 0.1.2", "pythae", 64, "32", peer)]
    for batch in (64, *BATCHES[net]):
        loops = (("eager", "32"), ("eager", "bf16")) if batch == 64 else ()
        for loop, precision in (*loops, ("compiled", "bf16"), ("whole", "bf16")):
            ask = ["--loop", loop, "--precision", precision, "--batch", str(batch)]
            command = [sys.executable, str(HERE / "bare.py"), *ours, *ask]
            made.append(Row(f"bare, {loop}", "bare", batch, precision, command))
        for precision in ("32", "bf16", "auto") if batch == 64 else ("bf16",):
            command = [
                sys.executable,
                str(HERE / "vaekit_loop.py"),
                *ours,
                "--batch",
                str(batch),
                *VAEKIT[precision],
            ]
            made.append(Row("vaekit", "vaekit", batch, precision, command))
    command = [sys.executable, str(HERE / "vaekit_loop.py"), *ours]
    return [*made, Row("vaekit, its own choice of all", "vaekit", 0, "auto", command)]


def make_peer(wheels: Path | None) -> None:
    """Pythae's environment, if there is none: its own packages first, then those of the running interpreter."""
    if _python(PEER).exists():
        return
    venv.create(PEER, with_pip=True)
    offline = ["--no-index", "--find-links", str(wheels)] if wheels else []
    here = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    site = next(PEER.glob("lib*/**/site-packages"))
    (site / "shared_torch.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    pip = [str(_python(PEER)), "-m", "pip", "install", "-q", "--no-deps", *offline]
    subprocess.run([*pip, *(need for need in NEEDS if "==" in need)], check=True)
    ranged = [need for need in NEEDS if "==" not in need]
    subprocess.run([part for part in pip if part != "--no-deps"] + ranged, check=True)


def _python(env: Path) -> Path:
    return env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def await_quiet(share: float, patience: float) -> None:
    """Wait until other processes take at most `share` of the machine, for at most `patience` seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = busy_seconds()
        time.sleep(1.0)
        if (busy_seconds() - before) / (os.cpu_count() or 1) <= share:
            return


def quietest(command: list[str], share: float, patience: float, tries: int = 3) -> dict[str, Any]:
    """The first run that others disturbed by at most `share`, else the least disturbed; speed has no say."""
    seen: list[dict[str, Any]] = []
    for _ in range(tries if patience else 1):
        await_quiet(share, patience)
        seen.append(run(command))
        if seen[-1]["others"] <= share:
            break
    return min(seen, key=lambda result: result["others"]) | {"tries": len(seen)}


def run(command: list[str]) -> dict[str, Any]:
    """Run the command once; its JSON line and its whole time."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1]) | {"process_s": time.perf_counter() - began}


def keep(row: Row, result: dict[str, Any], log: Path) -> None:
    """Add a measurement to its row and to the file of all measurements."""
    row.results.append(result)
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"row": row.name} | result) + "\n")
    print(
        f"{row.name:32} batch {result['batch']:<5} {result['precision']:5} {result['images_per_s']:>10,.0f} images/s, "
        f"others took {result['others']:.0%}",
        file=sys.stderr,
        flush=True,
    )


def table(made: list[Row]) -> str:
    """Markdown: medians over the repeats, their range, and the ratios to Pythae and to the best bare loop alike."""
    lines = [
        "| loop | batch | type | images/s | min..max | x Pythae | x best bare | best window | x Pythae | x best bare "
        "| per CPU-s | x Pythae | x best bare | others | first step or log, s |",
        "| --- " + "| ---: " * 14 + "|",
    ]
    peer = next((row for row in made if row.side == "pythae"), None)
    for row in made:
        last = row.results[-1]
        cells = [row.name, str(last["batch"]), _type(last), f"{row.median():,.0f}"]
        cells += [f"{min(row.values()):,.0f}..{max(row.values()):,.0f}"]
        cells += [
            *_ratios(row, peer, made, "images_per_s"),
            f"{row.best():,.0f}",
            *_peaks(row, peer, made),
        ]
        cells += [
            f"{row.median('images_per_cpu_s'):,.0f}",
            *_ratios(row, peer, made, "images_per_cpu_s"),
        ]
        cells += [f"{row.median('others'):.0%}"]
        start = [r.get("first_step_s", r.get("first_log_s")) for r in row.results]
        cells += ["" if start[0] is None else f"{start[0]:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _type(result: dict[str, Any]) -> str:
    return result["precision"] + (", compiled" if result.get("compile") else "")


def _ratios(row: Row, peer: Row | None, made: list[Row], key: str) -> list[str]:
    """Medians, over the repeats, of the ratio within a repeat; the bare loop is the fastest of that batch and type."""
    best = max(_alike(row, made), key=lambda r: r.median(key), default=None)
    return ["" if other is None else f"{_ratio(row, other, key):.2f}" for other in (peer, best)]


def _peaks(row: Row, peer: Row | None, made: list[Row]) -> list[str]:
    """Ratios of the fastest windows."""
    best = max(_alike(row, made), key=Row.best, default=None)
    return ["" if other is None else f"{row.best() / other.best():.2f}" for other in (peer, best)]


def _alike(row: Row, made: list[Row]) -> list[Row]:
    """The bare loops of this row's batch and type."""
    last = row.results[-1]
    return [
        r
        for r in made
        if r.side == "bare" and (r.batch, r.precision) == (last["batch"], last["precision"])
    ]


def _ratio(row: Row, other: Row, key: str) -> float:
    return statistics.median(
        a / b for a, b in zip(row.values(key), other.values(key), strict=False)
    )


def machine(device: str) -> str:
    """What the figures depend on besides the code."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    name = re.search(r"model name\s*:\s*(.*)", text)
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in text]
    import torch

    gpu = f"; {torch.cuda.get_device_name()}" if device == "cuda" else ""
    return (
        f"{name.group(1) if name else platform.processor()}, {os.cpu_count()} cores ({', '.join(flags)}){gpu}; "
        f"{torch.get_num_threads()} threads; Python {platform.python_version()}, torch {torch.__version__}"
    )


def write(path: Path, device: str, parts: dict[str, list[Row]], repeats: int) -> None:
    """The page: command, machine, date, versions, a table a net."""
    versions = [r.results[-1]["versions"] for made in parts.values() for r in made if r.results]
    merged = {
        name: value for version in versions for name, value in version.items() if name != "threads"
    }
    page = [
        f"# Training throughput, {device}",
        f"`python {shlex.join(['benchmarks/throughput.py', *sys.argv[1:]])}`, {date.today()}, {repeats} repeats",
        machine(device),
        ", ".join(f"{name} {value}" for name, value in merged.items()),
        "`benchmarks/README.md` says what the columns mean.",
    ]
    for net, made in parts.items():
        page += [f"## {net}", table(made)]
    path.write_text("\n\n".join(page) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", nargs="+", choices=tuple(BATCHES), default=list(BATCHES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="about how long a window is; there are 7 a run"
    )
    parser.add_argument(
        "--images", type=int, default=20_000, help="how many make one of Pythae's epochs"
    )
    parser.add_argument(
        "--only", default="", help="a pattern; rows whose 'name batch N type' lacks it are left out"
    )
    parser.add_argument(
        "--quiet", type=float, default=0.05, help="the share of the machine that others may take"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        help="seconds to wait for that; 0: neither wait nor retry",
    )
    parser.add_argument(
        "--wheels", type=Path, help="a folder of wheels to take Pythae from, without a network"
    )
    ask = parser.parse_args()
    make_peer(ask.wheels)
    path = HERE / "results" / f"throughput-{ask.device}.md"
    path.parent.mkdir(exist_ok=True)
    log = path.with_suffix(".jsonl")
    log.unlink(missing_ok=True)
    parts = {}
    for net in ask.nets:
        made = rows(net, ask.device, ask.images, ask.seconds)
        parts[net] = [
            r for r in made if re.search(ask.only, f"{r.name} batch {r.batch} {r.precision}")
        ]
        for repeat in range(ask.repeats):
            for row in parts[net]:
                keep(row, quietest(row.command, ask.quiet, ask.patience), log)
            write(path, ask.device, parts, repeat + 1)  # so that a long run may be cut short
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
