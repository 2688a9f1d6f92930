"""How far a run is: by its steps, or by its time limit where that ends it sooner."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from vaekit.training.engine import Engine
from vaekit.training.loop import Position

ASKS = 10
"""With several processes, the clock is read once in so many steps, since they have to agree on it."""


class Clock:
    """The place of a run in its schedules, in steps: `max(steps done, steps planned * time used / time allowed)`.

    So warm-ups, annealing and the learning rate reach their end when the time does. Without a limit the place is the
    number of steps done, and nothing depends on the time.

    minutes: what the whole run is allowed, None for no limit. now: seconds, for tests.
    """

    def __init__(
        self,
        steps: int,
        minutes: float | None,
        position: Position,
        engine: Engine,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.steps, self.position, self.engine, self.now = steps, position, engine, now
        self.allowed = minutes * 60 if minutes else None
        self.reserved = 0.0
        self.began = now() - position.spent
        self.place: float = position.step

    def reserve(self, seconds: float) -> None:
        """Keep so many seconds at the end, for the last validation; at most a quarter of the time."""
        if self.allowed:
            self.reserved = min(seconds, self.allowed / 4)

    def tick(self) -> float:
        """The place in the schedules now, in steps; it never falls."""
        step = self.position.step
        if self.allowed is None:
            self.place = step
        elif self.engine.world == 1 or step % ASKS == 0:
            self.position.spent = self.now() - self.began
            share = self._share()
            self.place = min(float(self.steps), max(self.place, step, self.steps * share))
        return self.place

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return self.allowed is not None and self.place >= self.steps > self.position.step

    def _share(self) -> float:
        assert self.allowed is not None
        share = self.position.spent / (self.allowed - self.reserved)
        if self.engine.world == 1:
            return share
        return float(self.engine.mean(torch.tensor(share, device=self.engine.device)))


def passed(every: int, before: float, now: float) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every
