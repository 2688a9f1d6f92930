"""Training of small models on tensors in memory, for all estimators."""

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
"""The number of times in a run that the model is evaluated on the held-out rows."""

ROWS = 2048
"""The number of rows in a batch outside training."""


HELD, HELD_MOST = 0.1, 2000
"""The share of rows that is held out to choose the best weights, and the largest number of them."""


def parted(x: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Rows (N, C), shuffled and split into training rows and rows held out to choose the weights.

    With fewer than `least` rows both parts are all rows.
    """
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
    """Train on rows x (N, ...); returns a copy with the averaged weights of the best held-out ELBO.

    The KL in that ELBO is weighted by `beta`. `model` itself is changed and should not be used
    afterwards. `seed` shuffles the rows and draws the latents.
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
    """The mean ELBO of rows x (N, ...) in nats, the KL times `beta`, the draws always the same."""
    model.eval()
    with seeded(seed):
        return float(torch.cat([elbo(model(part), part, beta) for part in x.split(ROWS)]).mean())
