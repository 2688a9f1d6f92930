"""What is trained: the model and its terms, with their optimiser, guard and average."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.config import Training
from vaekit.core.objectives import Objective
from vaekit.core.trace import Model
from vaekit.disk import checkpoint
from vaekit.training.compiling import compiled
from vaekit.training.engine import Engine
from vaekit.training.loop import Average
from vaekit.training.optimisers import OPTIMISERS
from vaekit.training.step import CompiledStep, Guard, Step, StepByStep, Update

WHOLE_PAYS = 32
"""With more weight tensors than this, the training step is not compiled as a whole: each tensor is
a kernel, and compiling them all takes minutes."""

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}

Groups = list[dict[str, Any]]
"""The optimiser's parameter groups, as plain data."""


class Learner:
    """A model on the engine's devices, and all that one update of its weights needs."""

    def __init__(self, train: Training, model: Model, objective: Objective, engine: Engine) -> None:
        self.train, self.engine = train, engine
        average = copy.deepcopy(model)
        self.bare = Step(model, objective)
        self.step, self.optimiser = engine.setup(
            compiled(self.bare, dynamic=False) if train.compile else self.bare,
            lambda step: OPTIMISERS[train.optimiser](
                step, train.weight_decay, DTYPES[train.precision]
            ),
        )
        self.average = Average(average.to(engine.device), model, train.ema)
        self.guard = Guard(self.bare.parameters(), train.clip, engine.device)

    @property
    def model(self) -> nn.Module:
        """The model with the weights of the last step."""
        return self.bare.model

    @property
    def objective(self) -> Objective:
        return self.bare.objective

    def update(self, batch: int) -> Update:
        """The update of the weights; `batch` is the number of data in a step, over all processes."""
        train = self.train
        usual = batch // self.engine.world if train.compile else None
        apart = StepByStep(self.step, self.optimiser, self.guard, self.engine.backward, usual)
        alone = self.engine.world == 1 and not self.average.sharded
        few = len(self.guard.parameters) <= WHOLE_PAYS
        if train.compile and alone and train.optimiser == "adamw" and few:
            return CompiledStep(self.bare, apart, DTYPES[train.precision])
        return apart

    def set_progress(self, done: float) -> list[float]:
        """Set the progress of annealed parts to `done`; returns the weights of the terms."""
        for part in self.bare.modules():
            if "progress" in part._buffers:
                part._buffers["progress"].fill_(done)  # type: ignore[union-attr]
        return self.objective.weights(done)

    def state(self) -> tuple[dict[str, Tensor], Groups]:
        """Weights, average, guard and optimiser by name, for the process of rank 0.

        All processes must call it, since shards are gathered; the others get nothing.
        """
        weights, optimiser = self.engine.states(self.bare, self.optimiser)
        average = self.average.settle().state_dict()
        if self.engine.rank:
            return {}, []
        tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
        tensors |= {f"guard.{name}": tensor for name, tensor in self.guard.state().items()}
        for name, fields in optimiser["state"].items():
            tensors |= {f"optimiser.{name}|{field}": value for field, value in fields.items()}
        return tensors, optimiser["param_groups"]

    def load_state(self, tensors: dict[str, Tensor], groups: Groups, path: Path) -> None:
        """Continue from what `state` gave, read from the file `path`."""
        checkpoint.load_weights(self.average.model, _under(tensors, "average."), path)
        self.average.adopt(self.engine.shard)
        self.guard.load_state(_under(tensors, "guard."))
        state: dict[str, dict[str, Tensor]] = {}
        for key, value in _under(tensors, "optimiser.").items():
            name, _, field = key.partition("|")
            state.setdefault(name, {})[field] = value
        optimiser = {"state": state, "param_groups": groups}
        self.engine.load_states(self.bare, self.optimiser, _under(tensors, "weights."), optimiser)

    def load_average(self, path: Path) -> None:
        """Take the averaged weights from a file."""
        checkpoint.load_weights(self.average.model, checkpoint.load_tensors(path)[0], path)
        self.average.adopt(self.engine.shard)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
