"""The tests that draw or train, under many seeds, numbers of threads and CPU capabilities: what fails under which.

    python tests/seeds.py --only tests/test_terms.py --seeds 5

Seed 0, the one that the tests are written with, is run under every number of threads and capability, the other seeds
under one of these pairs each, in turn; `--grid` runs all combinations. Seeds from 1 on leave out slow tests. Results
are kept in benchmarks/results/test-seeds.jsonl, and what was run before is not run again without --afresh. The table is
written after each run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DONE = ROOT / "benchmarks" / "results" / "test-seeds.jsonl"
TABLE = ROOT / "benchmarks" / "results" / "test-seeds.md"
MINUTES = 60
"""No setting takes longer than this."""

ALL = 1
"""From this seed on, tests marked as slow are left out."""

RANDOM = re.compile(
    r"torch\.rand|manual_seed|default_rng|random_state|zoo|sample\(|train\(|\.fit\("
)
"""What tests write that draw or train."""

FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Setting:
    """Under what a file of tests is run."""

    seed: int
    threads: int
    capability: str

    def environment(self) -> dict[str, str]:
        own = {
            "VAEKIT_TEST_SEED": str(self.seed),
            "VAEKIT_TEST_THREADS": str(self.threads),
            "ATEN_CPU_CAPABILITY": self.capability,
            "OMP_NUM_THREADS": str(self.threads),
            "GOMP_SPINCOUNT": "0",  # workers with several threads would wait for each other busily
        }
        return dict(os.environ) | own

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.threads} threads, {self.capability}"


@dataclass(frozen=True)
class Result:
    """What came of a file under a setting: the tests that failed, or "crashed" where there is no list of them."""

    file: str
    setting: Setting
    failed: list[str]

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @staticmethod
    def of(line: str) -> Result:
        found = json.loads(line)
        return Result(found["file"], Setting(**found["setting"]), found["failed"])


def main() -> None:
    asked = _options()
    wanted = asked.only or files()
    results = [result for result in kept() if not (asked.afresh and result.file in wanted)]
    DONE.parent.mkdir(exist_ok=True)
    DONE.write_text("".join(result.line() for result in results), encoding="utf-8")
    for setting in settings(asked.seeds, asked.threads, asked.capabilities, asked.grid):
        done = {result.file for result in results if result.setting == setting}
        if left := [file for file in wanted if file not in done]:
            results += run(left, setting, asked.workers)
            DONE.write_text("".join(result.line() for result in results), encoding="utf-8")
            TABLE.write_text(table(results), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", metavar="FILE", help="these files of tests")
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0 to N - 1 (default 20)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--capabilities", nargs="+", default=capabilities())
    parser.add_argument("--grid", action="store_true", help="each seed under every combination")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--afresh", action="store_true", help="forget what these files gave before")
    return parser.parse_args()


def capabilities() -> list[str]:
    """Those that this processor has, the best first."""
    import torch

    known = ["avx512", "avx2", "default"]
    best = torch.backends.cpu.get_cpu_capability().lower()
    return known[known.index(best) :] if best in known else ["default"]


def settings(
    seeds: int, threads: Sequence[int], capabilities: Sequence[str], grid: bool = False
) -> list[Setting]:
    """Seed 0 under each combination of threads and capability; of the other seeds, one after another."""
    pairs = [(count, name) for name in capabilities for count in threads]
    return [
        Setting(seed, *pair)
        for seed in range(seeds)
        for place, pair in enumerate(pairs)
        if grid or not seed or seed % len(pairs) == place
    ]


def files() -> list[str]:
    """The files whose tests draw or train."""
    found = [path for path in (ROOT / "tests").glob("test_*.py") if RANDOM.search(path.read_text())]
    return [f"tests/{path.name}" for path in sorted(found)]


def run(names: Sequence[str], setting: Setting, workers: int) -> list[Result]:
    """Run these files of tests under one setting."""
    print(f"{setting}: {len(names)} files", flush=True)
    command = [sys.executable, "-m", "pytest", *names, "-n", str(workers), "--tb=no", "-rfE"]
    command += ["-p", "no:cacheprovider", *([] if setting.seed < ALL else ["-m", "not slow"])]
    if setting.seed and find_spec("hypothesis"):
        command.append(f"--hypothesis-seed={setting.seed}")
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=setting.environment(), capture_output=True, text=True,
            timeout=60 * MINUTES, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [Result(name, setting, [f"took more than {MINUTES} minutes"]) for name in names]
    failed = FAILED.findall(ended.stdout)
    print("\n".join(failed) or "all passed", flush=True)
    if ended.returncode and not failed:
        failed = [f"{name}: crashed (exit status {ended.returncode})" for name in names]
    return [
        Result(name, setting, [test for test in failed if _is_of(test, name)]) for name in names
    ]


def _is_of(test: str, file: str) -> bool:
    return f"{Path(file).name}:" in test


def kept() -> Iterator[Result]:
    if DONE.exists():
        yield from map(Result.of, DONE.read_text(encoding="utf-8").splitlines())


def table(results: list[Result]) -> str:
    """The page: how much was run, and what failed under which settings."""
    lines = [
        "# Tests under other seeds, threads and capabilities",
        "",
        "Made by `make test-seeds`. Tests are written with seed 0; every other seed moves all seeds.",
        "",
        "| file | runs | seeds | threads | capabilities | runs with a failure |",
        "|---|---|---|---|---|---|",
        *_of_files(results),
        "",
        "| what failed | in how many runs | under |",
        "|---|---|---|",
        *_of_tests(results),
        "",
    ]
    return "\n".join(lines)


def _of_files(results: list[Result]) -> Iterator[str]:
    by_file = defaultdict(list)
    for result in results:
        by_file[result.file].append(result)
    for file, own in by_file.items():
        seeds = sorted({result.setting.seed for result in own})
        threads = sorted({result.setting.threads for result in own})
        names = sorted({result.setting.capability for result in own})
        bad = sum(bool(result.failed) for result in own)
        yield (
            f"| {file} | {len(own)} | {seeds[0]} to {seeds[-1]} | {', '.join(map(str, threads))} "
            f"| {', '.join(names)} | {bad} |"
        )


def _of_tests(results: list[Result]) -> Iterator[str]:
    under = defaultdict(list)
    runs = defaultdict(int)
    for result in results:
        runs[result.file] += 1
        for name in result.failed:
            under[result.file, name].append(str(result.setting))
    for (file, name), where in sorted(under.items(), key=lambda item: -len(item[1])):
        more = "" if len(where) <= 5 else f" and {len(where) - 5} more"
        yield f"| `{name}` | {len(where)} of {runs[file]} | {'; '.join(where[:5])}{more} |"
    if not under:
        yield "| nothing | | |"


if __name__ == "__main__":
    main()
