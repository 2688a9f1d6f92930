"""The training loop: batches, the schedule, the moving average.

It knows nothing of VAEs, nor of how the weights are updated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from queue import Queue
from threading import Thread
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from vaekit.training.step import Update, whole_tensor

M = TypeVar("M", bound=nn.Module)

EVERY = 8
"""The number of steps between two updates of the weights' average.

Updates are not more frequent because each one costs a pass over all weights.
"""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    The learning rate rises linearly to `lr` over the fraction `warmup` of the steps, then falls as
    a cosine to `floor` times `lr`.
    """

    steps: int
    lr: float
    warmup: float = 0.02
    floor: float = 0.01
    clip: float = 10.0
    """A gradient longer than `clip` times the running mean length is shortened to that."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is kept as the model.

    0 keeps the last weights.
    """

    def rate(self, step: float) -> float:
        """The learning rate of step `step` (from 0).

        In a run with a time limit, `step` can be a fraction.
        """
        rise = max(1, round(self.steps * self.warmup))
        if step < rise:
            return self.lr * (step + 1) / rise
        done = (step - rise) / max(1, self.steps - rise)
        return self.lr * (
            self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        )


@dataclass
class Position:
    """Where a run is: everything that resuming needs, except tensors."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float = math.inf
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0
    """Seconds of training, without validations."""
    spent: float = 0.0
    """Seconds of the time limit that are used up, with validations; 0 without a limit."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Feed:
    """Batches of a data set, shuffled by (seed, epoch) and split evenly over `world` processes.

    take: indices (B,) -> (raw, context); prepare: raw -> x. The last, short batch of an epoch is
    used too.
    """

    take: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    prepare: Callable[[Tensor], Tensor]
    size: int
    batch: int
    seed: int
    rank: int = 0
    world: int = 1
    ahead: int = 0
    """The number of batches that a thread fetches in advance (for data on disk)."""

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return -(-self.size // self.batch)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor | None, float]]:
        """(x, context, share) for the epoch's batches from `start` on.

        `share` corrects the weight of a process's part if the parts of a batch are not equal.
        """
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
    """An exponential moving average of a model's parameters, and copies of its buffers.

    The average is `model`, which starts as a whole copy of `source`. If an engine has sharded the
    source's parameters over processes, the average is sharded too, and `settle` gathers it in
    `model`.
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
        """Every `EVERY` steps, move towards the source as far as one update per step would.

        Before step 100, each step updates. In early steps the decay is smaller, so that the start
        is forgotten sooner.
        """
        every = EVERY if self.decay and step >= 100 else 1
        if step % every:
            return
        decay = min(self.decay, (1 + step) / (10 + step)) ** every
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)

    @torch.no_grad()
    def settle(self) -> M:
        """The averaged model, gathered from its shards."""
        if self.sharded:
            for whole, mine in zip(self._whole, self._mine, strict=True):
                whole.copy_(whole_tensor(mine))
        return self.model

    @torch.no_grad()
    def adopt(self, shard: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Continue from what `model` is now; `shard(whole, like)` splits a tensor like another."""
        if self.sharded:
            for whole, mine in zip(self._whole, self._mine, strict=True):
                mine.copy_(shard(whole, mine))


def fit(
    advance: Update,
    feed: Feed,
    plan: Schedule,
    weights: Callable[[float], list[float]],
    progress: Position,
    average: Average,
    at: Callable[[], float] | None = None,
) -> Iterator[Tensor]:
    """Train until `plan.steps`, yielding each step's costs (T,). The caller logs, saves and stops.

    `progress` is updated in place before each yield, so that a run can be resumed from it. `at`
    returns the position on the schedules in steps; without it, the position is `progress.step`.
    """
    while progress.step < plan.steps:
        for x, context, share in feed.epoch(progress.epoch, progress.batch):
            now = at() if at else progress.step
            costs = advance(x, context, share, weights(now / plan.steps), plan.rate(now))
            average.update(progress.step)
            _count(progress, feed)
            yield costs
            if progress.step >= plan.steps:
                return


def _count(progress: Position, feed: Feed) -> None:
    progress.step += 1
    progress.batch += 1
    if progress.batch == feed.per_epoch:
        progress.epoch, progress.batch = progress.epoch + 1, 0


def _ahead(items: Iterator[Any], depth: int) -> Iterator[Any]:
    """The same items, made by a thread up to `depth` in advance.

    An error in the thread is raised here.
    """
    queue: Queue[tuple[str, Any]] = Queue(depth)
    closed = False

    def produce() -> None:
        try:
            for item in items:
                if closed:
                    return
                queue.put(("item", item))
            queue.put(("end", None))
        except Exception as error:  # the consumer raises it
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
