"""The mean costs of the steps between two rows of the log."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from vaekit.core.objectives import Objective
from vaekit.training.engine import Engine
from vaekit.training.loop import Position, Schedule
from vaekit.training.step import Guard


class Window:
    """The mean costs of the steps since the last `close`, over all processes.

    `every` is the number of steps in a row of the log.
    """

    def __init__(self, objective: Objective, engine: Engine, guard: Guard, every: int) -> None:
        self.objective, self.engine, self.guard, self.every = objective, engine, guard, every
        self.begin(torch.zeros(len(objective.terms) + 1, device=engine.device))

    def begin(self, total: Tensor) -> None:
        """Start from the sums `total`, zero or from a stopped run; the last counts steps."""
        self.total = total
        self.timed, self.began = 0, time.perf_counter()

    def add(self, costs: Tensor) -> None:
        """Add the costs (terms,) of a step; a skipped step, with non-finite costs, adds nothing."""
        counted = torch.cat((costs, costs.new_ones(1)))
        self.total = self.total + torch.where(torch.isfinite(costs).all(), counted, 0.0)
        self.timed += 1

    def close(
        self, position: Position, schedule: Schedule, place: float, batch: int
    ) -> dict[str, Any]:
        """A row of the log; raises VaekitError if training has been non-finite for too long.

        place: the place in the schedules, in steps. batch: the number of data in a step.
        """
        self.guard.check()
        total = self.engine.mean(self.total)
        means = (total[:-1] / total[-1]).tolist()
        seconds = time.perf_counter() - self.began
        position.seconds += seconds
        values = self.objective.weights(place / schedule.steps)
        weights = dict(zip(self.objective.terms, values, strict=True))
        row = dict(zip(self.objective.terms, means, strict=True))
        row |= {"loss": sum(weights[name] * row[name] for name in weights)}
        row |= {f"weight_{name}": weight for name, weight in weights.items() if name == "rate"}
        row |= {"lr": schedule.rate(max(0, place - 1)), "skipped": int(self.guard.bad)}
        row |= {"data_per_s": self.timed * batch / seconds}
        self.begin(torch.zeros_like(self.total))
        return row
