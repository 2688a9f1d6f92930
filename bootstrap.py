#!/usr/bin/env python3
"""The Makefile's tasks where there is no make (Windows): `python bootstrap.py demo`. Standard library only.

The Makefile makes .venv with `bootstrap.py venv`, and both keep the same stamps, so the two can be mixed. The syntax
stays that of old Pythons, so that they get as far as the sentence that says they are too old.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
FAST = ["tests/test_layers.py", "tests/test_laws_exact.py", "tests/test_words.py"]
SOURCES = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]


def run(*command: object) -> None:
    words = [str(word) for word in command]
    print("+", *words, flush=True)
    code = subprocess.call(words, cwd=str(ROOT))
    if code:
        sys.exit(code)


def venv() -> None:
    """Make .venv, or say in a sentence why that cannot be."""
    required = re.search(
        r'requires-python = ">=([\d.]+)"', SOURCES[0].read_text(encoding="utf-8")
    ).group(1)
    oldest = tuple(int(part) for part in required.split("."))
    if sys.version_info < oldest:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit(
            f"vaekit needs Python {required} or later, and {sys.executable} is {found}. "
            "Name a newer one: `make PYTHON=python3.12 ...`, or `python3.12 bootstrap.py ...`."
        )
    if not VENV.exists() and subprocess.call([sys.executable, "-m", "venv", str(VENV)]):
        shutil.rmtree(str(VENV), ignore_errors=True)
        sys.exit(
            f"{sys.executable} cannot make virtual environments. Install its venv module "
            "(on Debian and Ubuntu the package python3-venv) and run this again."
        )
    usable = f"import pip, sys; sys.exit(sys.version_info < {oldest})"
    if not PYTHON.exists() or subprocess.call(
        [str(PYTHON), "-c", usable], stderr=subprocess.DEVNULL
    ):
        sys.exit(
            f"{VENV} has no pip, or no Python {required} or later: remove that folder and run this again."
        )
    (VENV / ".stamp-venv").touch()


def install(extra: str) -> None:
    """Install the package and an extra, once for each state of pyproject.toml and constraints.txt."""
    venv()
    stamp = VENV / f".stamp-{extra or 'base'}"
    if stamp.exists() and all(
        source.stat().st_mtime <= stamp.stat().st_mtime for source in SOURCES
    ):
        return
    run(
        PYTHON,
        "-m",
        "pip",
        "install",
        "-c",
        "constraints.txt",
        "-e",
        f".[{extra}]" if extra else ".",
    )
    stamp.touch()


def demo() -> None:
    install("")
    run(BIN / "vaekit", "train", "digits", "--out", Path("runs", "demo"))


def lint() -> None:
    install("dev")
    run(PYTHON, "-m", "ruff", "check", ".")
    run(PYTHON, "-m", "ruff", "format", "--check", ".")
    run(PYTHON, "-m", "mypy")


def test() -> None:
    lint()
    os.environ["OMP_NUM_THREADS"] = (
        "1"  # two workers with two threads each would fight over two cores
    )
    run(PYTHON, "-m", "pytest", "-n", "2")


def check() -> None:
    """Lint, and the tests of the imports, the exact laws and the words: a minute."""
    lint()
    os.environ["OMP_NUM_THREADS"] = "1"
    run(PYTHON, "-m", "pytest", *FAST)


def format() -> None:
    install("dev")
    run(PYTHON, "-m", "ruff", "check", "--fix", ".")
    run(PYTHON, "-m", "ruff", "format", ".")


def docs() -> None:
    install("docs")
    run(PYTHON, "-m", "zensical", "build", "--clean", "--strict")


TASKS = {task.__name__: task for task in (venv, demo, test, check, lint, format, docs)}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TASKS:
        sys.exit(f"usage: python bootstrap.py {{{'|'.join(TASKS)}}}")
    TASKS[sys.argv[1]]()
