"""The sweep over seeds moves what it says, and tells what failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import seeds
import shifted
from seeds import Result, Setting

DRAWS = """
import sys; sys.path.insert(0, "tests")
import shifted; shifted.begin()
import numpy as np, torch
torch.manual_seed(3)
print(float(torch.rand(())), float(torch.rand((), generator=torch.Generator().manual_seed(3))))
print(np.random.default_rng(3).random(), torch.get_num_threads())
"""


def drawn(**variables: str) -> str:
    environment = dict(os.environ) | {shifted.SEED: "0", shifted.THREADS: "1"} | variables
    command = [sys.executable, "-c", DRAWS]
    return subprocess.run(
        command, cwd=seeds.ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_every_generator_follows_the_seed_and_the_threads() -> None:
    plain, moved, two = drawn(), drawn(VAEKIT_TEST_SEED="1"), drawn(VAEKIT_TEST_THREADS="2")
    assert plain == drawn(VAEKIT_TEST_SEED="0")
    assert moved == drawn(VAEKIT_TEST_SEED="1")
    assert not set(plain.split()[:3]) & set(moved.split()[:3])
    assert two.split() == [*plain.split()[:3], "2"]


def test_results_come_back_from_their_lines() -> None:
    result = Result("tests/test_a.py", Setting(3, 2, "avx2"), ["tests/test_a.py::test_b[1 - 2]"])
    assert Result.of(result.line()) == result


def test_a_sweep_finds_what_fails(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"

    def failed(text: str) -> list[str]:
        file.write_text(text)
        (found,) = seeds.run([str(file)], Setting(0, 1, "default"), 1)
        return found.failed

    (name,) = failed("def test_well(): pass\ndef test_badly(): assert 0\n")
    assert name.endswith("test_it.py::test_badly")
    (told,) = failed("import os; os._exit(7)\n")
    assert "crashed" in told
    assert failed("def test_well(): pass\n") == []


def test_a_seed_has_its_turn_and_the_first_every_one() -> None:
    pairs = {(count, name) for count in (1, 2) for name in ("avx2", "default")}
    found = seeds.settings(20, [1, 2], ["avx2", "default"])
    by_seed = {
        seed: {(s.threads, s.capability) for s in found if s.seed == seed} for seed in range(20)
    }
    assert by_seed.pop(0) == pairs
    assert {len(own) for own in by_seed.values()} == {1}
    assert set().union(*by_seed.values()) == pairs
    assert len(seeds.settings(20, [1, 2], ["avx2", "default"], grid=True)) == 20 * len(pairs)


def test_the_table_says_what_failed_under_which() -> None:
    results = [
        Result(
            "tests/test_a.py", Setting(seed, 1, "avx2"), ["tests/test_a.py::test_b"] * bool(seed)
        )
        for seed in range(9)
    ]
    page = seeds.table(results)
    assert "| tests/test_a.py | 9 | 0 to 8 | 1 | avx2 | 8 |" in page
    assert "| `tests/test_a.py::test_b` | 8 of 9 | seed 1, 1 threads, avx2;" in page
    assert "and 3 more |" in page
    assert "nothing" in seeds.table(results[:1])


def test_the_files_that_draw_are_swept() -> None:
    found = seeds.files()
    assert "tests/test_terms.py" in found
    assert "tests/test_words.py" not in found
