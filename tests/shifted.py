"""Every seed of a test run moved by the same step, so that laws are tried on draws that nobody looked at before."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

SEED, THREADS = "VAEKIT_TEST_SEED", "VAEKIT_TEST_THREADS"
"""Variables: a whole number that moves all seeds (0 leaves them as they are), and how many threads torch has."""

STEP = 1_000_003


def begin() -> None:
    """What the variables say: threads, and seeds."""
    torch.set_num_threads(int(os.environ.get(THREADS, "1")))
    shift = STEP * int(os.environ.get(SEED, "0"))
    if shift:
        _shift(shift)


def _shift(by: int) -> None:
    torch.manual_seed = _moved(torch.manual_seed, by)
    torch.Generator = _generator(by)  # type: ignore[misc]
    np.random.default_rng = _moved(np.random.default_rng, by)


def _moved(function: Callable[..., Any], by: int) -> Callable[..., Any]:
    """A function of a seed, with the seed moved; without a seed, or with another thing than a number, as it was."""

    def moved(seed: Any = None) -> Any:
        if seed is None:
            return function()
        return function((seed + by) % 2**63 if isinstance(seed, int | np.integer) else seed)

    return moved


def _generator(by: int) -> type[torch.Generator]:
    class Generator(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            return super().manual_seed((seed + by) % 2**63)

    return Generator
