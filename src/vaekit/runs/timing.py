"""A rough forecast of the training time, from timing a few steps on the run's own data."""

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
"""The most multiply-adds of the forward pass in a timed step, by device, so that the step does not
take seconds. On other devices it is `MUCH`."""
MUCH = 3e11

STEPS = 40
"""The most steps that are timed. Only the later half counts (`soap` begins to update after 20)."""

FEWEST = 4
"""The least number of steps that are timed, however long they take: the first ones are slower."""

MINUTES = 10.0
"""The planned time of a run whose length is not set, in minutes (approximate)."""

TRAINING = 0.85
"""The share of that time for steps and validations. The rest is for the report and for errors."""

QUICK = 4.0
"""The time budget for timing steps in order to set the length of a run, in seconds."""


def forecast(resolved: Resolved, budget: float = 1.0) -> float:
    """The approximate time in seconds for all steps and validations, without compiling.

    The measurement takes about `budget` seconds. Of a batch that is too large only a part is timed.
    Several processes are assumed to share the work without loss.
    """
    train, n = resolved.experiment.train, len(resolved.data)
    measured = held_out(resolved.experiment, n)
    per_epoch = -(-(n - measured) // int(train.batch))
    data = (
        (n - measured) / per_epoch / world(resolved.experiment)
    )  # the mean number in a step; the last step of an epoch has fewer
    draws = build_objective(resolved.experiment, n - measured, resolved.data.schema).draws
    rows = int(WORK.get(str(train.device), MUCH) // max(1, resolved.macs * math.prod(draws)))
    rows = max(1, min(round(data), rows))
    per_datum = _step_seconds(resolved, rows, budget) / rows
    validations = min(train.validations, resolved.steps)
    return per_datum * (
        data * resolved.steps + measured * validations / 3
    )  # a forward pass takes a third of the time of a step


def fitting(resolved: Resolved, minutes: float = MINUTES) -> tuple[int, float]:
    """The number of the run's steps that fit into `minutes` on this machine, and about how many
    seconds they take."""
    seconds = forecast(resolved, QUICK)
    if seconds <= 60 * minutes:
        return resolved.steps, seconds
    steps = max(FEWEST, int(resolved.steps * 60 * minutes * TRAINING / seconds))
    return steps, seconds * steps / resolved.steps


def world(experiment: Experiment) -> int:
    """The number of processes that train."""
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
    """The training loop for a new model that is not kept."""
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
    """A step whose matrix products are in bfloat16 if `low` is, as in the engine."""

    def __init__(self, step: Step, device: torch.device, low: torch.dtype) -> None:
        super().__init__()
        self.step, self.kind, self.low = step, device.type, low

    def forward(self, *arguments: Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.low == torch.bfloat16):
            return self.step(*arguments)
