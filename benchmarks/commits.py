"""T18: is one commit slower than another? Start-up, training, coding and scoring, in turns in one run.

    python benchmarks/commits.py OLD NEW --rounds 5 --note

OLD and NEW are folders with a checkout each (`git worktree add ../old COMMIT`). Each figure is a ratio: the median over
the rounds of NEW's seconds over OLD's, of runs that follow each other. Training is timed by two runs of different
length, so that start-up and report do not count. `--note` writes benchmarks/results/commits.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
from throughput import machine

RESULTS = Path(__file__).parent / "results" / "commits.md"

Checkout = tuple[Path, Path]
"""Where the code stands, and a folder for what it writes."""


def seconds(checkout: Checkout, *words: object) -> float:
    """How long `vaekit WORDS` takes."""
    environment = {**os.environ, "PYTHONPATH": str(checkout[0] / "src"), "OMP_NUM_THREADS": "2"}
    began = time.perf_counter()
    command = [sys.executable, "-m", "vaekit", *map(str, words)]
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=checkout[1])
    return time.perf_counter() - began


def start_up(checkout: Checkout) -> float:
    """`--help` of a verb."""
    return seconds(checkout, "train", "--help")


def training(checkout: Checkout, source: str, few: int, many: int) -> float:
    """A step's seconds."""
    both = []
    for steps in (few, many):
        words = (
            "train",
            source,
            "--steps",
            steps,
            "--device",
            "cpu",
            "--out",
            f"r{os.urandom(4).hex()}",
        )
        both.append(seconds(checkout, *words, "train.validations=1", "train.compile=false"))
    return (both[1] - both[0]) / (many - few)


def using(verb: str, run: str, data: str) -> Callable[[Checkout], float]:
    """A verb on data, start-up included."""

    def timed(checkout: Checkout) -> float:
        return seconds(checkout, verb, run, data, "--out", f"o{os.urandom(4).hex()}.csv")

    return timed


def prepare(folder: Path) -> None:
    """A table of 20,000 rows and 20 columns, and 4,000 pictures."""
    random = np.random.default_rng(0)
    table = random.normal(size=(20_000, 20)) @ random.normal(size=(20, 20))
    names = ",".join(f"c{i}" for i in range(20))
    np.savetxt(folder / "table.csv", table, delimiter=",", header=names, comments="", fmt="%.4f")
    pictures = random.integers(0, 256, (4000, 28, 28), dtype=np.uint8)
    np.savez(folder / "pictures.npz", images=pictures)


def compare(old: Path, new: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """By what was timed: the median ratio, and NEW's median seconds."""
    with tempfile.TemporaryDirectory() as folder:
        places = [(root, Path(folder) / name) for root, name in ((old, "old"), (new, "new"))]
        for checkout in places:
            checkout[1].mkdir()
            prepare(checkout[1])
            for source, run in (("table.csv", "table"), ("pictures.npz", "pictures")):
                seconds(checkout, "train", source, "--steps", 60, "--device", "cpu", "--out", run)
        tasks: dict[str, Callable[[Checkout], float]] = {
            "`train --help`": start_up,
            "a step on pictures": lambda c: training(c, "pictures.npz", 20, 220),
            "a step on rows": lambda c: training(c, "table.csv", 20, 120),
            "`encode` of 4,000 pictures": using("encode", "pictures", "pictures.npz"),
            "`encode` of 20,000 rows": using("encode", "table", "table.csv"),
            "`score` of 20,000 rows": using("score", "table", "table.csv"),
        }
        return {name: _ratio(task, places, rounds, name) for name, task in tasks.items()}


def _ratio(
    task: Callable[[Checkout], float], places: list[Checkout], rounds: int, name: str
) -> tuple[float, float]:
    pairs = [(task(places[0]), task(places[1])) for _ in range(rounds)]
    print(name, " ".join(f"{new / old:.2f}" for old, new in pairs), flush=True)
    return median(new / old for old, new in pairs), median(new for _, new in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", action="store_true")
    given = parser.parse_args()
    found = compare(given.old.resolve(), given.new.resolve(), given.rounds)
    lines = [f"| {name} | {ratio:.2f} | {now:.3g} s |" for name, (ratio, now) in found.items()]
    print("\n".join(lines))
    if given.note:
        names = [commit(root) for root in (given.old, given.new)]
        write_note(names, given.rounds, lines)


def commit(root: Path) -> str:
    command = ["git", "-C", str(root), "log", "-1", "--format=%h (%s)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_note(names: list[str], rounds: int, lines: list[str]) -> None:
    head = (
        f"## {date.today()}: {names[1]} beside {names[0]}\n\n{machine('cpu')}; {rounds} rounds\n\n"
    )
    table = "| what | seconds of the new over the old | the new |\n|---|---|---|\n"
    before = (
        RESULTS.read_text()
        if RESULTS.exists()
        else "# One commit beside another\n\nBelow 1 is faster.\n\n"
    )
    RESULTS.write_text(before + head + table + "\n".join(lines) + "\n\n")


if __name__ == "__main__":
    main()
