"""Random numbers from a seed, without changing torch's global random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

SETS = 256
"""The number of different sets of noise that `own_noise` deals out to data."""


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Run the block under `seed` and then restore torch's random state; with None, just run it."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def own_noise(x: Tensor, draws: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (draws, B, *shape), float32, for data x (B, ...).

    A hash of a datum's values selects its set of noise. So a datum gets the same noise in any
    batch. Other data get other sets, so the errors that noise causes in estimates average out over
    the data.
    """
    plain = (
        torch.where(x.isnan(), 1e30, x).add(0.0).cpu().flatten(1).contiguous()
    )  # all NaNs are the same, and -0.0 is 0.0
    odd = torch.arange(1, 2 * plain.shape[1], 2) * 0x9E3779B1 + 0x85EBCA6B
    mixed = ((plain.view(torch.int32).long() + 0x27D4EB2F) * odd).sum(1)
    place = ((mixed ^ (mixed >> 29)) * 0x165667B1 >> 13).remainder(SETS)
    return _sets(draws, shape)[place].transpose(0, 1).to(x.device)


@lru_cache(maxsize=2)
def _sets(draws: int, shape: tuple[int, ...]) -> Tensor:
    """Noise (SETS, draws, *shape), always the same."""
    return torch.randn(SETS, draws, *shape, generator=torch.Generator().manual_seed(0))
