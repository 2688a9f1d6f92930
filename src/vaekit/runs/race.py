"""A short race between nets on the data at hand; the best one on held-out data is trained."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from vaekit.assembly.latents import kind_of
from vaekit.assembly.settle import Resolved, held_out, resolve, split
from vaekit.config import Experiment
from vaekit.core.random import seeded
from vaekit.data.dataset import Dataset
from vaekit.data.registry import modality
from vaekit.errors import VaekitError
from vaekit.measures import bounds
from vaekit.runs import timing
from vaekit.runs.events import Ended, interruptible
from vaekit.runs.run import Run
from vaekit.tasks.batches import batches

SHARE = 0.05
"""Each net trains for this share of the run's planned time."""

MAX_SHARE = 0.15
"""All nets together train for at most this share of the run's planned time."""

MIN_STEPS = 100
"""A net that makes fewer steps in its time cannot be judged: after 53 on CIFAR photographs, the
convolutional net had learned nothing, though it is the best there after a whole run."""

FEWEST_STEPS = 400
"""A net that makes fewer steps in the whole planned time is no candidate, unless it is the last."""

MIN_HELD_OUT = 20
"""With fewer data to judge the nets by, there is no race."""

MAX_HELD_OUT = 500
"""The nets are judged by at most this number of data."""

TIMING = 1.0
"""The time spent on measuring how long a step takes, in seconds (approximate)."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RaceResult:
    """The result of one net. `elbos` (N,): held-out ELBOs in nats; None if the net failed."""

    name: str
    elbos: Tensor | None
    steps: int = 0

    @property
    def mean(self) -> float:
        """The mean held-out ELBO; minus infinity for a net that cannot win."""
        if self.elbos is None or self.is_slow:
            return -math.inf
        mean = float(self.elbos.double().mean())
        return mean if math.isfinite(mean) else -math.inf

    @property
    def is_slow(self) -> bool:
        """Whether it made too few steps to be judged."""
        return self.elbos is not None and self.steps < MIN_STEPS

    def __str__(self) -> str:
        if not math.isfinite(self.mean):
            return f"{self.name} {'too slow' if self.is_slow else 'failed'}"
        digits = 0 if abs(self.mean) >= 100 else 1
        return f"{self.name} {self.mean:,.{digits}f}"


@dataclass(frozen=True)
class Outcome:
    """What a race decided."""

    experiment: Experiment
    """The experiment with the winner's settings and the rest of its time limit."""
    reason: str
    seconds: float
    """How long the race took."""


def hold_race(experiment: Experiment, data: Dataset, tell: Tell) -> Outcome | None:
    """Train each candidate for a short time and choose one; None if there is no race."""
    began = time.perf_counter()
    nets, seconds = plan_race(experiment, data)
    if not nets:
        return None
    if not seconds:
        return Outcome(experiment.override(*nets[0]), _alone(nets[0]), time.perf_counter() - began)
    results = _enter_all(experiment, data, nets, seconds, tell)
    winner = decide(results)
    used = time.perf_counter() - began
    changes = [*nets[winner], *_remaining_time(experiment, used)]
    reason = explain(results, winner, seconds)
    return Outcome(experiment.override(*changes), reason, used)


def announce(experiment: Experiment, data: Dataset) -> str:
    """A sentence about the race that training will begin with; "" if there is no race."""
    nets, seconds = plan_race(experiment, data)
    if not nets:
        return ""
    if not seconds:
        return _alone(nets[0])
    names = ", ".join(map(name_of, nets))
    return f"training begins with a race of {names}, {_in_seconds(seconds)} each; the best goes on"


def plan_race(experiment: Experiment, data: Dataset) -> tuple[list[list[str]], float]:
    """The changes of settings of each candidate, and the seconds for each; [] for no race.

    One candidate with 0 seconds is chosen without a race."""
    nets = fast_enough(experiment, data, candidates(experiment, data))
    if len(nets) < 2:
        return nets, 0.0
    seconds = seconds_each(resolve(experiment.override(*nets[0]), data), len(nets))
    return (nets, seconds) if seconds else (nets[:1], 0.0)


def fast_enough(experiment: Experiment, data: Dataset, nets: list[list[str]]) -> list[list[str]]:
    """The candidates, without the first ones that would make fewer than `FEWEST_STEPS` steps."""
    while len(nets) > 1:
        first = resolve(experiment.override(*nets[0]), data)
        limit = 60 * (experiment.train.max_minutes or timing.MINUTES)
        share = limit / timing.forecast(first, TIMING)
        if share >= 1 or first.steps * share >= FEWEST_STEPS:
            break
        nets = nets[1:]
    return nets


def candidates(experiment: Experiment, data: Dataset) -> list[list[str]]:
    """The changes of settings of each candidate, the default of the data first; [] for no race.

    There is a race only if the length of the run is planned by time and one process trains.
    """
    train = experiment.train
    if train.steps or train.epochs != "auto" or timing.world(experiment) > 1:
        return []
    if _judges(experiment, len(data)) < MIN_HELD_OUT:
        return []
    answer = modality(data.schema.modality).model.candidates
    found = answer(experiment, data.schema, kind_of(experiment.model), len(data))
    return found if len(found) > 1 else []


def seconds_each(first: Resolved, number: int) -> float:
    """The seconds for each of `number` nets; 0 if the time is too short for a race."""
    whole = timing.forecast(first, TIMING)
    limit = 60 * (first.experiment.train.max_minutes or timing.MINUTES)
    seconds = min(SHARE, MAX_SHARE / number) * min(whole, limit)
    return seconds if seconds * first.steps / whole >= MIN_STEPS else 0.0


def decide(results: Sequence[RaceResult]) -> int:
    """The index of the winner: the net with the best mean if it leads the first by more than one
    standard error, else the first. The first net also wins if it was too slow to be judged.
    """
    if results[0].is_slow:
        return 0
    best = max(range(len(results)), key=lambda place: results[place].mean)
    if not math.isfinite(results[best].mean):
        return 0
    return 0 if _is_close(results[0], results[best]) else best


def explain(results: Sequence[RaceResult], winner: int, seconds: float) -> str:
    """The outcome as a sentence."""
    told = ", ".join(map(str, results))
    return (
        f"net: {results[winner].name}, {_why(results, winner)} (held-out ELBO after {_in_seconds(seconds)} of training "
        f"each, higher is better: {told})"
    )


def _why(results: Sequence[RaceResult], winner: int) -> str:
    """Why this net won, in a few words."""
    best = max(results, key=lambda result: result.mean)
    if not math.isfinite(best.mean):
        return "the usual choice for such data, because no net could be judged"
    if results[winner].is_slow:
        return "the usual choice for such data, because it was too slow to be judged in a race"
    if best.mean > results[winner].mean:
        return f"the usual choice for such data, because {best.name} leads by less than one standard error"
    return "the best of the race"


def _alone(changes: Sequence[str]) -> str:
    return f"net: {name_of(changes)}, without a race, because the planned time is too short for one"


def name_of(changes: Sequence[str]) -> str:
    """The name of a candidate: the values that it sets."""
    return " ".join(change.partition("=")[2] for change in changes)


def _enter_all(
    experiment: Experiment, data: Dataset, nets: list[list[str]], seconds: float, tell: Tell
) -> list[RaceResult]:
    """Train all nets, one after the other; Ctrl-C raises KeyboardInterrupt and leaves no files."""
    results = []
    with interruptible() as stopped, seeded(experiment.train.seed):
        for place, changes in enumerate(nets, 1):
            name = name_of(changes)
            trains = f"{name} trains for {_in_seconds(seconds)}"
            tell(f"race to choose the net, {place} of {len(nets)}: {trains}")
            results.append(_enter(name, experiment.override(*changes), data, seconds, stopped))
    return results


def _enter(
    name: str, experiment: Experiment, data: Dataset, seconds: float, stopped: Callable[[], bool]
) -> RaceResult:
    """Train one net in a folder that is deleted afterwards, and judge it."""
    with tempfile.TemporaryDirectory(prefix="vaekit-race-") as folder:
        try:
            run = Run(shorten(resolve(experiment, data), seconds), lambda: Path(folder))
            ended = [event for event in run.events(stopped) if isinstance(event, Ended)]
        except VaekitError:  # this net does not fit the data, or has diverged
            return RaceResult(name, None)
        if ended[-1].why == "stopped":
            raise KeyboardInterrupt
        return RaceResult(name, _judge(run, ended[-1]), run.progress.step)


def shorten(resolved: Resolved, seconds: float) -> Resolved:
    """The same run for a few seconds, on its training data, part of which is held out to judge it.

    The data that the real run holds out are not used.
    """
    count = len(resolved.data)
    training, _ = split(resolved.experiment, count)
    changes = {
        "data.holdout": _judges(resolved.experiment, count) / len(training),
        "train.max_minutes": seconds / 60,
        "train.validations": 1,
        "train.patience": 0,
        "train.compile": "false",
    }
    short = resolved.experiment.override(*(f"{name}={value}" for name, value in changes.items()))
    data = replace(resolved.data.subset(training), test=None)
    return replace(resolved, experiment=short, data=data)


def _judges(experiment: Experiment, count: int) -> int:
    """The number of data, of `count` in all, that judge the nets."""
    held = held_out(experiment, count)
    return min(MAX_HELD_OUT, held, (count - held) // 2)


def _judge(run: Run, ended: Ended) -> Tensor:
    """The ELBO (N,) of each datum held out of the race, the same data for all nets."""
    schema, seed = run.data.schema, run.experiment.train.seed + 1
    pairs = batches(run.data, schema, seed, run.engine.device, run.val_index)
    return bounds.elbos(ended.trained.model, pairs, seed).cpu()


def _is_close(first: RaceResult, best: RaceResult) -> bool:
    """Whether the best one leads by at most one standard error of the paired difference."""
    if not math.isfinite(first.mean) or first.elbos is None or best.elbos is None:
        return False
    lead = bounds.Estimate.of(best.elbos - first.elbos)
    return lead.value <= lead.error


def _remaining_time(experiment: Experiment, used: float) -> list[str]:
    limit = experiment.train.max_minutes
    if not limit:
        return []
    left = max(limit / 4, limit - used / 60)  # a machine that stalled must not end the run
    return [f"train.max_minutes={left:.3g}"]


def _in_seconds(seconds: float) -> str:
    return f"{seconds:.{0 if seconds >= 10 else 1}f} s"
