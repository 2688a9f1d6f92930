"""A training run: from an experiment to a trained model in a folder, as a sequence of events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit import files
from vaekit.assembly.model import build_model, build_objective, start_model
from vaekit.assembly.settle import Resolved, split
from vaekit.core.objectives import Objective
from vaekit.core.trace import Model
from vaekit.data.dataset import Resident
from vaekit.data.location import absolute_paths
from vaekit.data.modality import Modality
from vaekit.data.registry import modality
from vaekit.disk import checkpoint, lock
from vaekit.disk.layout import ENVIRONMENT, EXPERIMENT, RESUME, SKIPPED, WEIGHTS
from vaekit.disk.log import Log, environment
from vaekit.errors import VaekitError
from vaekit.measures import bounds
from vaekit.runs.clock import ASKS, Clock, passed
from vaekit.runs.events import Ended, Logged
from vaekit.runs.learner import Learner
from vaekit.runs.training_input import training_input
from vaekit.runs.window import Window
from vaekit.tasks.batches import batches
from vaekit.tasks.trained import Trained
from vaekit.training.engine import Engine
from vaekit.training.loop import Feed, Position, Schedule, fit

SPARE = 0.3
"""If less than this share of its time is left, a run counts as ended by its time limit: the rest
was reserved for the last validation."""


class Run:
    """One training run, new or resumed: model, optimiser, data, log and progress."""

    def __init__(self, resolved: Resolved, place: Callable[[], Path], resume: bool = False) -> None:
        self.experiment = resolved.experiment
        train = self.experiment.train
        self.engine = Engine(
            str(train.device), train.devices, train.nodes, train.precision, train.strategy
        )
        self.folder = self.engine.agree(lambda: lock.take(place()))
        torch.manual_seed(train.seed)
        self.fingerprint, self.reasons = resolved.data.fingerprint, resolved.reasons
        kind = modality(resolved.data.schema.modality)
        self.data = kind.values.freeze(resolved.data, train.seed)
        self.train_index, self.val_index = split(self.experiment, len(self.data))
        objective = build_objective(self.experiment, len(self.train_index), self.data.schema)
        model = build_model(self.experiment.model, self.data.schema)
        if not resume:
            self._start(model)
        self.learner = Learner(train, model, objective, self.engine)
        self.progress = Position()
        self.plan = Schedule(
            resolved.steps, train.lr, train.lr_warmup, train.lr_floor, train.clip, train.ema
        )
        every = max(1, resolved.steps // 400)
        self.window = Window(objective, self.engine, self.learner.guard, every)
        self.feed = self._feed()
        torch.manual_seed(train.seed + 7919 * self.engine.rank)
        if resume:
            self._restore()
        self.clock = self._clock(train.max_minutes)
        if self.leads and not resume:
            self._describe()

    def allow(self, minutes: float) -> None:
        """Give a resumed run `minutes` from now on; the schedules are those of the longer run."""
        total = self.progress.spent / 60 + minutes
        self.clock = Clock(self.plan.steps, total, self.progress, self.engine)

    def _clock(self, minutes: float | None) -> Clock:
        """The run's clock. A resumed run that has used up its time gets the same time again."""
        if minutes and self.progress.spent >= 60 * minutes * (1 - SPARE):
            minutes += self.progress.spent / 60
        return Clock(self.plan.steps, minutes, self.progress, self.engine)

    @property
    def modality(self) -> Modality:
        return modality(self.data.schema.modality)

    @property
    def objective(self) -> Objective:
        return self.learner.objective

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.engine.rank == 0

    @property
    def trained(self) -> Trained:
        """The model with the present averaged weights."""
        model = self.learner.average.settle().eval()
        return Trained(model, self.data.schema, self.experiment, self.folder)

    def events(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Logged | Ended]:
        """Train to the end, or until `stop()` or a limit; resuming is then possible."""
        log = Log(self.folder, self.progress.step) if self.leads else None
        try:
            for event in self._loop(stop):
                if log and isinstance(event, Logged):
                    log.add(event.row)
                yield event
        finally:
            if log:
                log.close()
            if self.leads:
                lock.release(self.folder)

    def _loop(self, stop: Callable[[], bool]) -> Iterator[Logged | Ended]:
        window, why = self.window, "done"
        each = -(-self.plan.steps // self.experiment.train.validations)
        before: float = self.progress.step
        for costs in self._fit():
            window.add(costs)
            now = self.clock.tick()
            over = self.clock.over
            ends = over or self.progress.step >= self.plan.steps
            if passed(window.every, before, now) or ends:
                yield Logged(self._row("train", self._close_window(now)))
            if passed(each, before, now) or ends:
                why = "time" if over else why
                yield from self._check(why if ends else "")
            before = now
            if ends:
                break
            if reason := self._ending(stop):
                why = reason
                if why == "stopped" and not self.progress.best_step:
                    self._keep(
                        self.learner.average.settle(), None
                    )  # otherwise no weights would be kept
                self.save(why)
                break
        yield Ended(why, self.best() if why != "stopped" else self.trained)

    def _close_window(self, place: float) -> dict[str, Any]:
        return self.window.close(self.progress, self.plan, place, self.feed.batch)

    def _check(self, ended: str) -> Iterator[Logged]:
        """Measure the bound on held-out data, keep the weights if they are the best, and save."""
        began = time.perf_counter()
        yield Logged(self._validate())
        self.save(ended)
        seconds = time.perf_counter() - began
        self.clock.reserve(seconds)
        self.window.began += seconds  # not training time

    def _ending(self, stop: Callable[[], bool]) -> str:
        """Why the run ends before its steps and its time are used up, or ""."""
        if self.engine.world > 1 and self.progress.step % ASKS:
            return ""  # asking all processes takes messages, so not at every step
        patience = self.experiment.train.patience
        if self.engine.any(stop()):
            return "stopped"
        lost = bool(patience and self.progress.stale >= patience)
        return "patience" if self.engine.any(lost) else ""

    def _fit(self) -> Iterator[Tensor]:
        self.learner.model.train()
        yield from fit(
            self.learner.update(self.feed.batch),
            self.feed,
            self.plan,
            self.learner.set_progress,
            self.progress,
            self.learner.average,
            self.clock.tick,
        )

    def _validate(self) -> dict[str, Any]:
        """The held-out ELBO (beta = 1) of the averaged weights; keeps them if it is the best."""
        began, model = time.perf_counter(), self.learner.average.settle()
        bound = bounds.bound(model, self._held_out(), seed=1)
        row = {name: getattr(bound, name).value for name in ("elbo", "distortion", "rate")}
        score = -row["elbo"]
        if self.objective.draws:
            row["nll"] = score = bounds.nll(
                model, self._held_out(), self.objective.draws[0], seed=1
            ).value
        if score < self.progress.best:
            self.progress.best, self.progress.best_step, self.progress.stale = (
                score,
                self.progress.step,
                0,
            )
            self._keep(model, score)
        else:
            self.progress.stale += 1
        row |= {"best": self.progress.best, "best_step": self.progress.best_step}
        return self._row("val", row | {"seconds": time.perf_counter() - began})

    def _keep(self, model: Model, score: float | None) -> None:
        if self.leads:
            about = {"step": self.progress.step, "score": score}
            checkpoint.save_tensors(self.folder / WEIGHTS, model.state_dict(), about)

    def _row(self, split: str, numbers: dict[str, Any]) -> dict[str, Any]:
        return {"step": self.progress.step, "epoch": self.progress.epoch, "split": split, **numbers}

    def _held_out(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        data, seed = self.data, self.experiment.train.seed + 1
        return batches(data, data.schema, seed, self.engine.device, self.val_index)

    def best(self) -> Trained:
        """The weights that scored best on held-out data."""
        if not self.progress.best_step:
            raise VaekitError(
                f"{self.folder}: no validation gave a finite bound, so no weights were kept; "
                "start again with a lower train.lr, or check the scale of the data"
            )
        self.engine.barrier()
        path = self.folder / WEIGHTS
        if path.is_file():
            self.learner.load_average(path)
        return self.trained

    def save(self, ended: str = "") -> None:
        """Write all that resuming needs to one file, atomically; `ended`: why the run ended."""
        tensors, groups = self.learner.state()
        states = self.engine.gather(torch.get_rng_state())
        sums = self.engine.gather(self.window.total)
        if not self.leads:
            return
        tensors |= {"random": states, "window": sums}
        if self.engine.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.engine.device)
        about = {
            "progress": self.progress.to_dict(),
            "groups": groups,
            "count": len(self.data),
            "fingerprint": self.fingerprint,
            "ended": ended,
        }
        checkpoint.save_tensors(self.folder / RESUME, tensors, about)

    def _restore(self) -> None:
        if self.leads:
            files.clean(self.folder)
        path = self.folder / RESUME
        tensors, about = checkpoint.load_tensors(path)
        count = about.get("count", about.get("images"))  # the key of runs before 2026-12
        if count is None or "random" not in tensors:
            raise VaekitError(f"{path}: does not hold what resuming needs; restore it from a copy")
        if (
            count != len(self.data)
            or about.get("fingerprint", self.fingerprint) != self.fingerprint
        ):
            held = self.modality.counted(len(self.data))
            now = f"holds {held}, but the run began with {count:,}"
            if count == len(self.data):
                now = f"does not hold the {self.modality.plural} that the run began with"
            raise VaekitError(
                f"{self.experiment.data.source}: {now}; put the data back as they were, or start a new run"
            )
        try:
            self._take_up(tensors, about, path)
        except (KeyError, TypeError, AttributeError):
            raise VaekitError(
                f"{path}: does not hold what resuming needs; restore it from a copy"
            ) from None

    def _take_up(self, tensors: dict[str, Tensor], about: dict[str, Any], path: Path) -> None:
        self.learner.load_state(tensors, about["groups"], path)
        self.progress = Position(**about["progress"])
        patience = self.experiment.train.patience
        self.progress.stale %= (
            patience or self.progress.stale + 1
        )  # a run that ended by its patience gets the full patience again
        if len(tensors["random"]) == self.engine.world:
            torch.set_rng_state(tensors["random"][self.engine.rank].clone())
            self.window.begin(tensors["window"][self.engine.rank].to(self.engine.device))
        if "random.cuda" in tensors and self.engine.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.engine.device)

    def _start(self, model: Model) -> None:
        """Initialise parts from training data: the decoder's bias, codebooks, pseudo-inputs."""
        data, index = self.data, self.train_index
        x = self.modality.values.prepare(data.raw.take(index[:2000]), data.schema, None)
        context = None if data.context is None else data.context[index[:2000]]
        raw = data.raw.take(index[:5000])
        start_model(model, self.experiment.model, data.schema, raw, x, context)

    def _feed(self) -> Feed:
        raw, index, device = self.data.raw, self.train_index, self.engine.device
        resident = isinstance(raw, Resident)
        if isinstance(raw, Resident) and device.type != "cpu":
            raw, index = raw.to(device), index.to(device)
        context = (
            None if self.data.context is None else self.data.context[self.train_index].to(device)
        )

        def take(part: Tensor) -> tuple[Tensor, Tensor | None]:
            return raw.take(index[part.to(index.device)]), None if context is None else context[
                part.to(device)
            ]

        train = self.experiment.train
        return Feed(
            take,
            training_input(self.experiment, self.data.schema, device),
            len(index),
            int(train.batch),
            train.seed,
            self.engine.rank,
            self.engine.world,
            ahead=0 if resident else 4,
        )

    def _describe(self) -> None:
        files.write(self.folder / EXPERIMENT, self.experiment.to_yaml())
        checkpoint.save_config(self.folder, self.experiment, self.data.schema)
        facts = {
            "count": len(self.data),
            "fingerprint": self.fingerprint,
            "notes": list(self.data.notes),
            "paths": absolute_paths(self.experiment.data),
            "reasons": self.reasons,
        }
        files.write(self.folder / ENVIRONMENT, json.dumps(environment() | facts, indent=2))
        if self.data.skipped:
            files.write(self.folder / SKIPPED, self.data.skipped_table)
