"""The progress of a run: by its steps, or by its time if the time limit will end it sooner."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from vaekit.training.engine import Engine
from vaekit.training.loop import Position

ASKS = 10
"""With several processes, the clock is read once in this number of steps, since all processes have
to agree on the time."""


class Clock:
    """The place of a run in its schedules.

    It is max(steps done, steps planned * time used / time allowed), in steps.
    With it warm-ups, annealing and the learning rate are complete when the time is over. Without a
    time limit the place is the number of steps done, and nothing depends on the time.

    minutes: the time limit of the whole run, None for no limit. now: the clock in seconds, which
    tests replace.
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
        """Keep `seconds` at the end for the last validation, but at most a quarter of the time."""
        if self.allowed:
            self.reserved = min(seconds, self.allowed / 4)

    def tick(self) -> float:
        """The present place in the schedules, in steps; it never decreases."""
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
