"""The tests that draw or train, under many seeds, numbers of threads and CPU capabilities: what fails under which.

    python tests/seeds.py --only tests/test_terms.py --seeds 5

What was run is kept in .cache/test-seeds.jsonl, and not run again unless --afresh; the table is written after each run.
Seed 0 is the one that the tests are written with.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DONE = ROOT / ".cache" / "test-seeds.jsonl"
TABLE = ROOT / "benchmarks" / "results" / "test-seeds.md"
MINUTES = 30
"""A file takes no longer under one setting."""

RANDOM = re.compile(
    r"torch\.rand|manual_seed|default_rng|random_state|zoo|sample\(|train\(|\.fit\("
)
"""What tests write that draw or train."""

FIRST = (
    "laws_exact", "laws", "laws_use", "terms", "families", "kinds", "samplers", "priors", "columns",
    "fixed_batches",
)  # fmt: skip
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
    if asked.afresh:
        DONE.unlink(missing_ok=True)
    results = list(kept())
    done = {(result.file, result.setting) for result in results}
    for setting in settings(asked.seeds, asked.threads, asked.capabilities):
        for file in asked.only or files():
            if (file, setting) not in done:
                results.append(run(file, setting))
                keep(results[-1])
                TABLE.write_text(table(results), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", metavar="FILE", help="these files of tests")
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0 to N - 1 (default 20)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--capabilities", nargs="+", default=capabilities())
    parser.add_argument("--afresh", action="store_true", help="forget what was run before")
    return parser.parse_args()


def capabilities() -> list[str]:
    """Those that this processor has, the best first."""
    import torch

    known = ["avx512", "avx2", "default"]
    best = torch.backends.cpu.get_cpu_capability().lower()
    return known[known.index(best) :] if best in known else ["default"]


def settings(seeds: int, threads: Iterable[int], capabilities: Iterable[str]) -> Iterator[Setting]:
    """All of them; every seed under the first number of threads and capability comes first."""
    for count in threads:
        for capability in capabilities:
            for seed in range(seeds):
                yield Setting(seed, count, capability)


def files() -> list[str]:
    """The files whose tests draw or train, the quick ones first."""
    found = [path for path in (ROOT / "tests").glob("test_*.py") if RANDOM.search(path.read_text())]
    return [f"tests/{path.name}" for path in sorted(found, key=_turn)]


def _turn(path: Path) -> tuple[int, str]:
    name = path.stem.removeprefix("test_")
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def run(file: str, setting: Setting) -> Result:
    command = [sys.executable, "-m", "pytest", file, "-p", "no:cacheprovider", "--tb=no", "-rfE"]
    if setting.seed and find_spec("hypothesis"):
        command.append(f"--hypothesis-seed={setting.seed}")
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=setting.environment(), capture_output=True, text=True,
            timeout=60 * MINUTES, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _told(Result(file, setting, [f"took more than {MINUTES} minutes"]))
    failed = FAILED.findall(ended.stdout)
    if ended.returncode and not failed:
        failed = [f"crashed (exit status {ended.returncode})"]
    return _told(Result(file, setting, failed))


def _told(result: Result) -> Result:
    print(f"{result.file}, {result.setting}: {result.failed or 'passed'}", flush=True)
    return result


def kept() -> Iterator[Result]:
    if DONE.exists():
        yield from map(Result.of, DONE.read_text(encoding="utf-8").splitlines())


def keep(result: Result) -> None:
    DONE.parent.mkdir(exist_ok=True)
    with DONE.open("a", encoding="utf-8") as file:
        file.write(result.line())


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
        named = name if name.startswith(file) else f"{file}: {name}"
        more = "" if len(where) <= 5 else f" and {len(where) - 5} more"
        yield f"| `{named}` | {len(where)} of {runs[file]} | {'; '.join(where[:5])}{more} |"
    if not under:
        yield "| nothing | | |"


if __name__ == "__main__":
    main()
