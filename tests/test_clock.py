"""A run with a time limit comes to the end of its schedules when its time does."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vaekit import VaekitError, api
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import resolve
from vaekit.cli.words import minutes
from vaekit.runs import timing
from vaekit.runs.clock import Clock, passed
from vaekit.runs.events import Ended, Logged
from vaekit.runs.run import Run
from vaekit.training.loop import Position

ALONE: Any = SimpleNamespace(world=1)


class Seconds:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def walk(clock: Clock, now: Seconds, steps: int, seconds: float) -> list[float]:
    """The places of so many steps that take so many seconds each."""
    places = []
    for _ in range(steps):
        clock.position.step += 1
        now.time += seconds
        places.append(clock.tick())
    return places


def test_without_a_limit_the_place_is_the_step() -> None:
    now = Seconds()
    clock = Clock(10, None, Position(), ALONE, now)
    assert walk(clock, now, 10, 1e6) == list(range(1, 11))
    assert not clock.over


def test_a_limit_that_is_long_enough_changes_nothing() -> None:
    now = Seconds()
    clock = Clock(100, 10, Position(), ALONE, now)
    assert walk(clock, now, 100, 0.1) == list(range(1, 101))
    assert not clock.over


@pytest.mark.parametrize("seconds", [1.0, 7.0, 29.0])
def test_the_place_never_falls_and_reaches_the_end_with_the_time(seconds: float) -> None:
    now = Seconds()
    clock = Clock(1000, 1, Position(), ALONE, now)
    steps = -(-60 // int(seconds))
    places = walk(clock, now, steps - 1, seconds)
    assert places == sorted(places)
    assert not clock.over
    assert walk(clock, now, 1, seconds) == [1000]
    assert clock.over


def test_time_is_kept_for_the_last_validation() -> None:
    now = Seconds()
    clock = Clock(1000, 1, Position(), ALONE, now)
    clock.reserve(10)
    walk(clock, now, 50, 1.0)
    assert clock.over
    clock = Clock(1000, 1, Position(), ALONE, Seconds())
    clock.reserve(1e9)
    assert clock.reserved == 15


def test_a_run_that_goes_on_is_where_it_was() -> None:
    now, position = Seconds(), Position()
    places = walk(Clock(1000, 1, position, ALONE, now), now, 20, 1.0)
    again = Clock(1000, 1, position, ALONE, later := Seconds())
    assert again.tick() == places[-1]
    assert walk(again, later, 1, 1.0) == [pytest.approx(1000 * 21 / 60)]


def test_more_time_is_added_to_what_was_used(tmp_path: Path) -> None:
    """Less is added than was used, too: three minutes after ten are thirteen, and no more."""
    words = ["architecture=mlp", "hidden=[8]", "latent=2", "steps=100", "max_minutes=10"]
    experiment = choose("digits", "images").override(*words)
    run = Run(resolve(experiment, api.read(experiment)), lambda: tmp_path)
    run.progress.spent = 600.0
    run.allow(3)
    assert run.clock.allowed == pytest.approx(13 * 60)


def test_a_multiple_is_passed_once() -> None:
    places = [0.0, 0.5, 3.0, 3.2, 9.1, 9.9, 12.0]
    hits = [passed(3, a, b) for a, b in pairwise(places)]
    assert hits == [False, True, False, True, False, True]
    assert [passed(4, i - 1, i) for i in range(1, 9)] == [i % 4 == 0 for i in range(1, 9)]


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("7m", 7), ("90s", 1.5), ("1h30m", 90), ("0.5", 0.5), ("2H", 120)]
)
def test_lengths_of_time(text: str, value: float) -> None:
    assert minutes(text) == value


@pytest.mark.parametrize("text", ["", "0", "-3", "7x", "1m2h", "1.2.3", "soon"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(VaekitError, match="such as 10"):
        minutes(text)


@pytest.mark.parametrize(("seconds", "share"), [(300.0, 1.0), (600.0, 1.0), (6000.0, 0.085)])
def test_a_run_of_no_given_length_fits_its_time(
    seconds: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "forecast", lambda resolved, budget: seconds)
    experiment = choose("digits", "images").override("architecture=mlp")
    data = api.read(experiment)
    whole = resolve(experiment, data).steps
    planned = api.plan(experiment, data)
    assert planned.steps == int(whole * share)
    assert planned.seconds == pytest.approx(seconds * planned.steps / whole)
    again = resolve(planned.experiment, data)  # what a resumed run does
    assert again.steps == planned.steps
    assert any("about 10 minutes" in why for why in planned.reasons) == (share < 1)


@pytest.mark.parametrize("asked", ["epochs=30", "steps=500", "max_minutes=3"])
def test_a_given_length_is_obeyed(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "forecast", lambda resolved, budget: 1e9)
    experiment = choose("digits", "images").override("architecture=mlp", asked)
    data = api.read(experiment)
    assert api.plan(experiment, data).steps == resolve(experiment, data).steps


def test_a_run_cut_by_its_time_ends_its_schedules_and_is_measured(tmp_path: Path) -> None:
    words = ["architecture=mlp", "hidden=[8]", "latent=2", "steps=100000", "batch=64", "ema=0"]
    experiment = choose("digits", "images").override(*words, "max_minutes=0.02", "lr_floor=0.01")
    torch.manual_seed(0)
    run = Run(resolve(experiment, api.read(experiment)), lambda: tmp_path)
    events = list(run.events())
    rows = [event.row for event in events if isinstance(event, Logged)]
    last, held = rows[-2], rows[-1]
    assert isinstance(events[-1], Ended)
    assert events[-1].why == "time"
    assert 0 < run.progress.step < 100_000
    assert (held["split"], held["step"]) == ("val", run.progress.step)
    assert last["lr"] == pytest.approx(experiment.train.lr * 0.01, rel=0.01)
    assert last["weight_rate"] == 1
