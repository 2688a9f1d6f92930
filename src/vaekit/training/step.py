"""One update of the weights, in one of two ways.

It is done part by part through the engine, or in one compiled graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from vaekit.core.objectives import Objective
from vaekit.errors import VaekitError
from vaekit.training.compiling import compiled
from vaekit.training.optimisers import MULTIPLIED

LONGEST_BAD_STREAK = 50
"""The number of non-finite steps in a row that ends the run."""


class Step(nn.Module):
    """The module that the engine wraps.

    It takes a batch and the terms' weights, and returns the loss and the mean cost of every term.
    Costs that are modules are sub-modules of it, so that their parameters are trained, moved and
    saved with the model.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        costs = {name: term.cost for name, term in objective.terms.items()}
        self.costs = nn.ModuleDict(
            {name: cost for name, cost in costs.items() if isinstance(cost, nn.Module)}
        )

    def forward(self, x: Tensor, context: Tensor | None, weights: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, ...), context (B, F) or None, weights (T,) -> loss (), costs (T,), in nats per datum."""
        costs = self.objective.costs(self.model(x, context, self.objective.draws), x)
        return (costs * weights).sum(), costs.detach()


class Guard:
    """Shortens outlying gradients and skips non-finite steps.

    This happens on the device, so nothing waits for the result.
    """

    def __init__(self, parameters: Iterable[Tensor], clip: float, device: torch.device) -> None:
        self.parameters, self.clip = list(parameters), clip
        self.length = torch.zeros((), device=device)  # running mean of the gradient's length
        self.bad = torch.zeros((), device=device)  # non-finite steps so far
        self.streak = torch.zeros((), device=device)  # non-finite steps in a row, up to now

    @torch.no_grad()
    def judge(self, length: Tensor) -> tuple[Tensor, Tensor]:
        """From a gradient's length (): its divisor (), at least 1; whether the step counts ()."""
        good = torch.isfinite(length)
        seen = torch.where(self.length > 0, self.length, length)
        limit = seen * self.clip
        followed = torch.lerp(torch.minimum(length, limit), seen, 0.98)
        self.length.copy_(torch.where(good, followed, self.length))
        self.bad.add_(~good)
        self.streak.copy_((self.streak + 1) * ~good)
        return (length / limit).clamp_min(1.0).nan_to_num(1.0, 1.0, 1.0), good

    @torch.no_grad()
    def inspect(self, optimiser: torch.optim.Optimizer) -> None:
        """Check the gradients, which all processes share, and tell the optimiser the result.

        A fused optimiser divides by `grad_scale` and does nothing where `found_inf` is 1. This is
        the protocol of torch's own gradient scaler, so neither a copy of the gradients nor a wait
        for the device is needed.
        """
        grads = [p.grad for p in self.parameters if p.grad is not None]
        scale, good = self.judge(whole_tensor(torch.nn.utils.get_total_norm(grads)))
        optimiser.grad_scale, optimiser.found_inf = scale, (~good).float()  # type: ignore[attr-defined]

    def check(self) -> None:
        """Raise VaekitError after `LONGEST_BAD_STREAK` non-finite steps in a row."""
        if self.streak >= LONGEST_BAD_STREAK:
            raise VaekitError(
                f"the loss or its gradient has not been finite for {int(self.streak)} steps in a row, so training "
                "stopped; the last good checkpoint is kept: lower train.lr, or check the data's scale"
            )

    def state(self) -> dict[str, Tensor]:
        return {"length": self.length, "bad": self.bad, "streak": self.streak}

    def load_state(self, state: dict[str, Tensor]) -> None:
        for name, value in self.state().items():
            value.copy_(state[name])


class Update(Protocol):
    """One update of the weights.

    It takes a batch, its share of the mean, the terms' weights and the learning rate, and returns
    the costs (T,).
    """

    def __call__(
        self, x: Tensor, context: Tensor | None, share: float, weights: list[float], rate: float
    ) -> Tensor: ...


class StepByStep:
    """Forward, backward, guard and optimiser in turn, with any engine and fused optimiser.

    `usual` is the batch size that `step` was compiled for, if it was. Batches of another size run
    uncompiled.
    """

    def __init__(
        self,
        step: nn.Module,
        optimiser: torch.optim.Optimizer,
        guard: Guard,
        backward: Callable[[Tensor], None] = Tensor.backward,
        usual: int | None = None,
    ) -> None:
        self.step, self.optimiser, self.guard, self.backward, self.usual = (
            step,
            optimiser,
            guard,
            backward,
            usual,
        )
        self.inner = getattr(optimiser, "optimizer", optimiser)

    def __call__(
        self, x: Tensor, context: Tensor | None, share: float, weights: list[float], rate: float
    ) -> Tensor:
        for group in self.inner.param_groups:
            group["lr"] = rate
        with self._stance(x):
            loss, costs = self.step(x, context, torch.tensor(weights, device=x.device))
        self.backward(loss if share == 1 else loss * share)
        self.guard.inspect(self.inner)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return costs

    def _stance(self, x: Tensor) -> AbstractContextManager:
        odd = self.usual is not None and len(x) != self.usual
        return torch.compiler.set_stance("force_eager") if odd else nullcontext()


class CompiledStep:
    """Everything from the batch to the new weights in one compiled graph: one process, AdamW.

    It uses and updates the optimiser's own state, so saving and resuming work as without it. Under
    bfloat16, weights that autocast would convert at every use are kept as bfloat16 copies, and the
    kernel that updates the float32 weights also updates these. `apart` handles batches of unusual
    size.
    """

    def __init__(self, step: Step, apart: StepByStep, dtype: torch.dtype) -> None:
        assert apart.usual is not None
        self.step, self.apart, self.dtype = step, apart, dtype
        self.moved: dict[str, Moved] = {}
        self._graph = compiled(self._move, fullgraph=True, dynamic=False)

    def __call__(
        self, x: Tensor, context: Tensor | None, share: float, weights: list[float], rate: float
    ) -> Tensor:
        if len(x) != self.apart.usual:
            return self._odd(x, context, share, weights, rate)
        self.moved = self.moved or self._begin()
        with torch.no_grad():
            return self._graph(x, context, torch.tensor([rate, *weights], device=x.device))

    @torch.no_grad()
    def _odd(self, *batch: Any) -> Tensor:
        with torch.enable_grad():
            costs = self.apart(*batch)
        for moved in self.moved.values():
            moved.copy.copy_(moved.weight)
        return costs

    @torch.no_grad()
    def _begin(self) -> dict[str, Moved]:
        """Copy the weights, in lower precision where autocast would lower them.

        AdamW's moments start where `torch.optim.AdamW` has them, or at zero.
        """
        lowered = _multiplied(self.step) if self.dtype is not torch.float32 else set()
        groups = {p: group for group in self.apart.inner.param_groups for p in group["params"]}
        moved = {}
        for name, p in self.step.named_parameters():
            if not p.requires_grad:
                continue
            fresh = {"step": torch.zeros((), device=p.device), "exp_avg": torch.zeros_like(p)}
            state = self.apart.inner.state[p] = (
                fresh | {"exp_avg_sq": torch.zeros_like(p)} | self.apart.inner.state[p]
            )
            copy = _laid_out(p.to(self.dtype) if name in lowered else p.clone())
            moved[name] = Moved(
                p, copy, groups[p], state["step"], state["exp_avg"], state["exp_avg_sq"]
            )
        return moved

    def _move(self, x: Tensor, context: Tensor | None, knobs: Tensor) -> Tensor:
        copies = {name: moved.copy for name, moved in self.moved.items()}
        grads, (costs, buffers) = grad(self._loss, has_aux=True)(copies, x, context, knobs[1:])
        for name, buffer in self.step.named_buffers():
            buffer.copy_(buffers[name])
        squares = [g.float().square().sum(-1).sum() for g in grads.values()]
        scale, good = self.apart.guard.judge(torch.stack(squares).sum().sqrt())
        for name, moved in self.moved.items():
            moved.adamw(grads[name].float() * (1 / scale), knobs[0], good)
        return costs

    def _loss(
        self, copies: dict[str, Tensor], x: Tensor, context: Tensor | None, weights: Tensor
    ) -> Any:
        buffers = {name: buffer.clone() for name, buffer in self.step.named_buffers()}
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            loss, costs = functional_call(self.step, copies | buffers, (x, context, weights))
        return loss, (costs, buffers)


@dataclass(frozen=True)
class Moved:
    """A weight, its copy for the forward pass, its group's settings and AdamW's state."""

    weight: Tensor
    copy: Tensor
    group: dict[str, Any]
    step: Tensor
    mean: Tensor
    square: Tensor

    def adamw(self, g: Tensor, rate: Tensor, good: Tensor) -> None:
        """One step of Loshchilov & Hutter 2019, algorithm 2, as torch computes it.

        Where `good` is false, nothing changes.
        """
        beta1, beta2 = self.group["betas"]
        mean, square = self.mean.lerp(g, 1 - beta1), self.square.lerp(g * g, 1 - beta2)
        self.step.add_(good)
        size = (
            square.sqrt() * (1 - beta2**self.step).rsqrt() + self.group["eps"]
        )  # one division per weight instead of three
        decayed = self.weight * (1 - rate * self.group["weight_decay"])
        weight = decayed - mean * (rate / (1 - beta1**self.step)) / size
        for old, new in (
            (self.mean, mean),
            (self.square, square),
            (self.weight, weight),
            (self.copy, weight),
        ):
            old.copy_(torch.where(good, new, old))


def whole_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself, or a sharded one gathered from all processes (which must all ask for it)."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _laid_out(weight: Tensor) -> Tensor:
    """Image kernels with channels last, the fastest layout for compiled convolutions."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.dim() == 4 else weight


def _multiplied(step: nn.Module) -> set[str]:
    layers = (
        (name, layer) for name, layer in step.named_modules() if isinstance(layer, MULTIPLIED)
    )
    return {
        f"{name}.{p}" for name, layer in layers for p, _ in layer.named_parameters(recurse=False)
    }
