"""How long training will take: a few of its steps, timed here and now on the run's own data. Rough, and says so."""

from __future__ import annotations

import copy
import math
import os
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaekit.assembly.model import build_model, build_objective
from vaekit.assembly.settle import Resolved, held_out
from vaekit.config import Experiment
from vaekit.core.random import seeded
from vaekit.runs.training_input import training_input
from vaekit.training.loop import Average, Feed, Position, Schedule, fit
from vaekit.training.optimisers import OPTIMISERS
from vaekit.training.step import Guard, Step, StepByStep

WORK = {"cpu": 2e10}
"""Multiply-adds of the forward pass that a timed step may take, lest it take seconds; elsewhere `MUCH`."""
MUCH = 3e11

STEPS = 40
"""At most so many steps are timed; the later half counts (`soap` only begins to move after 20)."""

FEWEST = 4
"""At least so many steps are timed, however long they take: the first ones are slower."""

MINUTES = 10.0
"""About how long a run takes when nothing is said of its length."""

TRAINING = 0.85
"""The share of that time for steps and validations; the rest is for the report, and for an error of the forecast."""

QUICK = 4.0
"""Seconds that timing a run's steps may take to settle its length."""


def forecast(resolved: Resolved, budget: float = 1.0) -> float:
    """About how many seconds all steps and validations will take, without compiling; found in about `budget` seconds.

    A batch too large to be timed is timed in part. Several processes are taken to share the work without loss.
    """
    train, n = resolved.experiment.train, len(resolved.data)
    measured = held_out(resolved.experiment, n)
    per_epoch = -(-(n - measured) // int(train.batch))
    data = (
        (n - measured) / per_epoch / world(resolved.experiment)
    )  # of a step, the last one of an epoch being shorter
    draws = build_objective(resolved.experiment, n - measured, resolved.data.schema).draws
    rows = int(WORK.get(str(train.device), MUCH) // max(1, resolved.macs * math.prod(draws)))
    rows = max(1, min(round(data), rows))
    per_datum = _step_seconds(resolved, rows, budget) / rows
    validations = min(train.validations, resolved.steps)
    return per_datum * (
        data * resolved.steps + measured * validations / 3
    )  # forward alone: a third of a step


def fitting(resolved: Resolved, minutes: float = MINUTES) -> tuple[int, float]:
    """How many of the run's steps fit into `minutes` here, and about how many seconds they take."""
    seconds = forecast(resolved, QUICK)
    if seconds <= 60 * minutes:
        return resolved.steps, seconds
    steps = max(FEWEST, int(resolved.steps * 60 * minutes * TRAINING / seconds))
    return steps, seconds * steps / resolved.steps


def world(experiment: Experiment) -> int:
    """How many processes train."""
    train = experiment.train
    return int(os.environ.get("WORLD_SIZE", train.devices * train.nodes))


def _step_seconds(resolved: Resolved, rows: int, budget: float) -> float:
    """The seconds that a step on `rows` data takes."""
    device, ends = torch.device(str(resolved.experiment.train.device)), [time.perf_counter()]
    with seeded(0):
        for _ in _steps(resolved, rows, device):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            ends.append(time.perf_counter())
            if len(ends) > STEPS or (len(ends) > FEWEST and ends[-1] - ends[0] > budget):
                break
    times = [b - a for a, b in pairwise(ends)]
    return statistics.median(times[len(times) // 2 :])


def _steps(resolved: Resolved, rows: int, device: torch.device) -> Iterator[Tensor]:
    """The loop that trains, for a model that is thrown away."""
    experiment, data, train = resolved.experiment, resolved.data, resolved.experiment.train
    model = build_model(experiment.model, data.schema).to(device)
    objective = build_objective(
        experiment, len(data) - held_out(experiment, len(data)), data.schema
    )
    low = torch.bfloat16 if train.precision == "bf16" else torch.float32

    def take(index: Tensor) -> tuple[Tensor, Tensor | None]:
        index = index % len(data)
        return data.raw.take(index), None if data.context is None else data.context[index].to(
            device
        )

    optimiser = OPTIMISERS[train.optimiser](model, train.weight_decay, low)
    return fit(
        StepByStep(
            _Cast(Step(model, objective), device, low),
            optimiser,
            Guard(model.parameters(), train.clip, device),
        ),
        Feed(
            take,
            training_input(experiment, data.schema, device),
            rows * (STEPS + 1),
            rows,
            0,
        ),
        Schedule(
            resolved.steps + STEPS, train.lr, train.lr_warmup, train.lr_floor, train.clip, train.ema
        ),
        objective.weights,
        Position(),
        Average(copy.deepcopy(model), model, train.ema),
    )


class _Cast(nn.Module):
    """A step whose products are in bfloat16, or not, as the engine does it."""

    def __init__(self, step: Step, device: torch.device, low: torch.dtype) -> None:
        super().__init__()
        self.step, self.kind, self.low = step, device.type, low

    def forward(self, *arguments: Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.low == torch.bfloat16):
            return self.step(*arguments)
