"""The loop: one optimiser, one loss, any model. It knows nothing of VAEs, nor of the engine that moves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from queue import Queue
from threading import Thread
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.objectives import Objective

M = TypeVar("M", bound=nn.Module)

EVERY = 8
"""The average of the weights is moved so seldom, since each move costs a pass over all of them."""

LONGEST_BAD_STREAK = 50
"""So many non-finite steps in a row end the run."""


class Step(nn.Module):
    """What the engine wraps: a batch and the terms' weights in, the loss and every term's mean cost out."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x: Tensor, context: Tensor | None, weights: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, ...), context (B, F) or None, weights (T,) -> loss (), costs (T,), in nats per datum."""
        costs = self.objective.costs(self.model(x, context, self.objective.draws), x)
        return (costs * weights).sum(), costs.detach()


@dataclass(frozen=True)
class Plan:
    """How long and how fast: linear warm-up to `lr` over `warmup` of the steps, then a cosine down to `floor` of it."""

    steps: int
    lr: float
    warmup: float = 0.02
    floor: float = 0.01
    clip: float = 10.0
    """A gradient longer than `clip` times the running mean length is shortened to that."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is the model that is kept; 0 keeps the last weights."""

    def rate(self, step: int) -> float:
        """The learning rate of step `step` (from 0)."""
        rise = max(1, round(self.steps * self.warmup))
        if step < rise:
            return self.lr * (step + 1) / rise
        done = (step - rise) / max(1, self.steps - rise)
        return self.lr * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass
class Progress:
    """Where a run stands: everything but tensors that resuming needs."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float = math.inf
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Feed:
    """Batches of a data set: shuffled anew each epoch from (seed, epoch), split evenly over `world` processes.

    take: indices (B,) -> (raw, context); prepare: raw -> x. The last, short batch of an epoch is used too.
    """

    take: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    prepare: Callable[[Tensor], Tensor]
    size: int
    batch: int
    seed: int
    rank: int = 0
    world: int = 1
    ahead: int = 0
    """How many batches are fetched in advance by a thread (for data on disk)."""

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return -(-self.size // self.batch)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor | None, float]]:
        """(x, context, share) of the epoch's batches from `start` on; `share` re-weighs a process's uneven part."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        order = torch.randperm(self.size, generator=generator).split(self.batch)[start:]
        fetched = map(self._fetch, order)
        for raw, context, share in _ahead(fetched, self.ahead) if self.ahead else fetched:
            yield self.prepare(raw), context, share

    def _fetch(self, indices: Tensor) -> tuple[Tensor, Tensor | None, float]:
        mine = indices[self.rank :: self.world]
        share = len(mine) * self.world / len(indices)
        return *self.take(mine if len(mine) else indices[:1]), share


class Average(Generic[M]):
    """An exponential moving average of a model's parameters, its buffers copied: `model` is the average.

    `model` begins as a whole copy of `source`. Where an engine has sharded the source's parameters over processes,
    the average is kept in shards too, and `settle` gathers them into `model`.
    """

    def __init__(self, model: M, source: nn.Module, decay: float) -> None:
        self.model, self.decay = model.requires_grad_(False), decay
        self._theirs: list[Tensor] = list(source.parameters())
        self._whole: list[Tensor] = list(model.parameters())
        self.sharded = any(hasattr(p, "full_tensor") for p in self._theirs)
        self._mine = [p.detach().clone() for p in self._theirs] if self.sharded else self._whole
        self._buffers = list(zip(model.buffers(), source.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Every `EVERY` steps, move towards the source as far as in so many; early steps forget the start sooner."""
        every = EVERY if self.decay and step >= 100 else 1
        if step % every:
            return
        decay = min(self.decay, (1 + step) / (10 + step)) ** every
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)

    @torch.no_grad()
    def settle(self) -> M:
        """The averaged model, whole."""
        if self.sharded:
            for whole, mine in zip(self._whole, self._mine, strict=True):
                whole.copy_(whole_tensor(mine))
        return self.model

    @torch.no_grad()
    def adopt(self, shard: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Go on from what `model` holds now; `shard(whole, like)` cuts a tensor up."""
        if self.sharded:
            for whole, mine in zip(self._whole, self._mine, strict=True):
                mine.copy_(shard(whole, mine))


def whole_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself, or a sharded one gathered from all processes (which must all ask for it)."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


class Guard:
    """Shortens outlying gradients and leaves out non-finite steps, on the device, inside the fused optimiser step.

    Adam divides by `grad_scale` and does nothing at all where `found_inf` is 1: the protocol of torch's own gradient
    scaler, so that neither a copy of the gradients nor a wait for the device is needed.
    """

    def __init__(self, parameters: Iterable[Tensor], clip: float, device: torch.device) -> None:
        self.parameters, self.clip = list(parameters), clip
        self.length = torch.zeros((), device=device)  # running mean of the gradient's length
        self.bad = torch.zeros((), device=device)  # non-finite steps so far
        self.streak = torch.zeros((), device=device)  # and in a row

    @torch.no_grad()
    def inspect(self, optimiser: torch.optim.Optimizer) -> None:
        """Look at the gradients, which all processes share, and tell the optimiser what to make of them."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        length = whole_tensor(torch.nn.utils.get_total_norm(grads))
        good = torch.isfinite(length)
        seen = torch.where(self.length > 0, self.length, length)
        limit = seen * self.clip
        shortened = torch.minimum(length, limit)
        self.length = torch.where(good, torch.lerp(shortened, seen, 0.98), self.length)
        self.bad, self.streak = self.bad + ~good, (self.streak + 1) * ~good
        optimiser.grad_scale = (length / limit).clamp_min(1.0).nan_to_num(1.0, 1.0, 1.0)  # type: ignore[attr-defined]
        optimiser.found_inf = (~good).float()  # type: ignore[attr-defined]

    def check(self) -> None:
        """Raise once the steps have been non-finite for too long."""
        if self.streak >= LONGEST_BAD_STREAK:
            raise VaekitError(
                f"the loss or its gradient has not been finite for {int(self.streak)} steps in a row, so training "
                "stopped; the last good checkpoint is kept: lower train.lr, or check the data's scale"
            )

    def state(self) -> dict[str, Tensor]:
        return {"length": self.length, "bad": self.bad, "streak": self.streak}

    def load_state(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            setattr(self, name, value.to(self.length.device))


def fit(
    step: nn.Module,
    optimiser: torch.optim.Optimizer,
    feed: Feed,
    plan: Plan,
    weights: Callable[[float], list[float]],
    progress: Progress,
    guard: Guard,
    average: Average,
    backward: Callable[[Tensor], None] = Tensor.backward,
    whole: Callable[[], Any] | None = None,
) -> Iterator[Tensor]:
    """Train until `plan.steps`, yielding each step's costs (T,); the caller logs, saves and stops as it likes.

    `progress` is advanced in place, before the yield, so that what it says then is what a resumed run goes on from.
    `whole()` gives the context in which a batch of unusual size runs (such as one that holds compilation back).
    """
    inner = getattr(optimiser, "optimizer", optimiser)
    device = guard.length.device
    while progress.step < plan.steps:
        for x, context, share in feed.epoch(progress.epoch, progress.batch):
            for group in inner.param_groups:
                group["lr"] = plan.rate(progress.step)
            now = torch.tensor(weights(progress.step / plan.steps), device=device)
            loss, costs = _run(step, x, context, now, None if len(x) == feed.batch // feed.world else whole)
            backward(loss if share == 1 else loss * share)
            guard.inspect(inner)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            average.update(progress.step)
            _advance(progress, feed)
            yield costs
            if progress.step >= plan.steps:
                return


def _run(step: nn.Module, x: Tensor, context: Tensor | None, weights: Tensor, whole: Callable | None) -> Any:
    if whole is None:
        return step(x, context, weights)
    with whole():
        return step(x, context, weights)


def _advance(progress: Progress, feed: Feed) -> None:
    progress.step += 1
    progress.batch += 1
    if progress.batch == feed.per_epoch:
        progress.epoch, progress.batch = progress.epoch + 1, 0


def _ahead(items: Iterator[Any], depth: int) -> Iterator[Any]:
    """The same items, made up to `depth` in advance by a thread; an error in the thread is raised here."""
    queue: Queue[tuple[str, Any]] = Queue(depth)
    closed = False

    def produce() -> None:
        try:
            for item in items:
                if closed:
                    return
                queue.put(("item", item))
            queue.put(("end", None))
        except Exception as error:  # handed over, not swallowed: the consumer raises it
            queue.put(("error", error))

    thread = Thread(target=produce, daemon=True)
    thread.start()
    try:
        while (kind := queue.get())[0] == "item":
            yield kind[1]
        if kind[0] == "error":
            raise kind[1]
    finally:
        closed = True
        while thread.is_alive():
            while not queue.empty():
                queue.get_nowait()
            thread.join(0.01)
