"""Training small models on tensors in memory: what the estimators share."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor

from vaekit.core.objectives import Objective, elbo
from vaekit.core.random import seeded
from vaekit.core.trace import Model
from vaekit.training.loop import Average, Feed, Position, Schedule
from vaekit.training.loop import fit as steps_of
from vaekit.training.optimisers import adamw
from vaekit.training.step import Guard, Step, StepByStep

M = TypeVar("M", bound=Model)

LOOKS = 20
"""How often in a run the held-out rows are looked at."""

ROWS = 2048
"""How many rows go through a network at a time when nothing is learned."""


HELD, HELD_MOST = 0.1, 2000
"""This share of the rows, at most so many, picks the best weights."""


def parted(x: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Shuffled rows (N, C) to learn from, and those that pick the best weights: the same where there are too few."""
    x = x[torch.randperm(len(x))]
    held = min(HELD_MOST, round(HELD * len(x))) if len(x) >= least else 0
    return x[held:], x[:held] if held else x


def train(
    model: M,
    objective: Objective,
    x: Tensor,
    held: Tensor,
    plan: Schedule,
    batch: int,
    seed: int,
    beta: float = 1.0,
) -> M:
    """The average of the weights over the run on rows x (N, ...) with the best ELBO, at `beta`, on the rows held out.

    The model itself is moved, and not to be used further. `seed` shuffles the rows and draws the latents.
    """
    step = Step(model, objective).train()
    average = Average(copy.deepcopy(model), model, plan.ema)
    optimiser = adamw(step, weight_decay=0.01)
    guard = Guard(step.parameters(), plan.clip, x.device)
    feed = Feed(lambda index: (x[index], None), lambda raw: raw, len(x), min(batch, len(x)), seed)
    run = steps_of(
        StepByStep(step, optimiser, guard),
        feed,
        plan,
        objective.weights,
        progress := Position(),
        average,
    )
    best, kept = -torch.inf, copy.deepcopy(model.state_dict())
    with seeded(seed):
        for _ in run:
            if progress.step % max(1, plan.steps // LOOKS) == 0 or progress.step == plan.steps:
                guard.check()
                if (now := held_out(average.settle(), held, seed, beta)) > best:
                    best, kept = now, copy.deepcopy(average.model.state_dict())
    average.model.load_state_dict(kept)
    return average.model.eval()


@torch.no_grad()
def held_out(model: Model, x: Tensor, seed: int, beta: float) -> float:
    """The mean ELBO of rows x (N, ...) in nats, the rate weighted by `beta`, with the same draws each time."""
    model.eval()
    with seeded(seed):
        return float(torch.cat([elbo(model(part), part, beta) for part in x.split(ROWS)]).mean())
