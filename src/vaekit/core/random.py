"""Randomness from a seed, without touching anyone else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

SETS = 256
"""So many sets of noise are dealt out to data."""


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Run the block under `seed` and put torch's random state back after it; None leaves the state to flow."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def own_noise(x: Tensor, draws: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (draws, B, *shape) for data x (B, ...), float32, that each datum alone decides on.

    A datum takes the set of noise that its bytes point to: it has the same in any company, and since others have
    others, the errors of estimates that noise makes average out over data.
    """
    plain = (
        torch.where(x.isnan(), 1e30, x).add(0.0).cpu().flatten(1).contiguous()
    )  # one NaN, one zero
    odd = torch.arange(1, 2 * plain.shape[1], 2) * 0x9E3779B1 + 0x85EBCA6B
    mixed = ((plain.view(torch.int32).long() + 0x27D4EB2F) * odd).sum(1)
    place = ((mixed ^ (mixed >> 29)) * 0x165667B1 >> 13).remainder(SETS)
    return _sets(draws, shape)[place].transpose(0, 1).to(x.device)


@lru_cache(maxsize=2)
def _sets(draws: int, shape: tuple[int, ...]) -> Tensor:
    """Noise (SETS, draws, *shape), always the same."""
    return torch.randn(SETS, draws, *shape, generator=torch.Generator().manual_seed(0))
