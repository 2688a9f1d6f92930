"""A race picks the net that learns more, and changes nothing about the run that follows."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import call
from vaekit import api
from vaekit.api import read
from vaekit.assembly.recipes import choose
from vaekit.config import Experiment
from vaekit.data.dataset import Dataset
from vaekit.data.images.modality import MODALITY as IMAGES
from vaekit.data.registry import modality as known_modality
from vaekit.errors import VaekitError
from vaekit.runs import race, timing
from vaekit.runs.race import RaceResult, decide, explain, hold_race, seconds_each
from vaekit.runs.run import Run

SMALL = ["model.size=tiny", "latent=2", "batch=64", "device=cpu"]
LEARNS = ["model.architecture=mlp", "train.steps=120"]
CANNOT = ["model.architecture=mlp", "train.steps=120", "train.lr=1e-12"]
"""Both end after their steps, long before their time: no test depends on a machine's speed."""


def silent(sentence: str) -> None:
    """Tell nothing."""


def digits(*changes: str) -> tuple[Experiment, Dataset]:
    """An experiment that leaves its net open, and its data."""
    experiment = choose("digits", "images").override(*changes)
    return experiment, api.read(experiment)


def rig(monkeypatch: pytest.MonkeyPatch, *nets: list[str]) -> None:
    """Let these nets race, with far more time than their steps take."""
    model = dataclasses.replace(IMAGES.model, candidates=lambda *asked: [list(net) for net in nets])
    rigged = dataclasses.replace(IMAGES, model=model)
    monkeypatch.setattr(race, "modality", lambda name: rigged)
    monkeypatch.setattr(race, "seconds_each", lambda first, number: 3000.0)


def result_of(name: str, *elbos: float, steps: int = 200) -> RaceResult:
    return RaceResult(name, torch.tensor(elbos), steps)


# Who wins


@pytest.mark.parametrize("nets", [(CANNOT, LEARNS), (LEARNS, CANNOT), (CANNOT, CANNOT, LEARNS)])
def test_a_net_that_cannot_learn_loses(
    nets: tuple[list[str], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(monkeypatch, *nets)
    experiment, data = digits(*SMALL)
    outcome = hold_race(experiment, data, silent)
    assert outcome is not None
    assert outcome.experiment == experiment.override(*LEARNS)
    assert outcome.seconds > 0


def test_a_net_that_does_not_fit_the_data_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    rig(monkeypatch, LEARNS, ["model.architecture=chain"])
    experiment, data = digits(*SMALL)
    outcome = hold_race(experiment, data, silent)
    assert outcome is not None
    assert outcome.experiment.model.architecture == "mlp"
    assert "chain failed" in outcome.reason


def test_a_lead_within_a_standard_error_keeps_the_first() -> None:
    first = result_of("conv", 1.0, 2.0, 3.0, 4.0)
    assert decide([first, result_of("mlp", 3.0, 4.0, 5.0, 6.1)]) == 1
    assert decide([first, result_of("mlp", 9.0, -4.0, 8.0, 0.0)]) == 0
    assert decide([result_of("mlp", 9.0, -4.0, 8.0, 0.0), first]) == 0


def test_the_difference_is_paired() -> None:
    """The data differ by far more than the nets do, but one net is better on each of them."""
    first = torch.linspace(-1000, 1000, 50)
    better = first + 1 + 0.1 * torch.arange(50).remainder(2)
    assert decide([RaceResult("conv", first, 200), RaceResult("mlp", better, 200)]) == 1


@pytest.mark.parametrize(
    "bad", [RaceResult("mlp", None), result_of("mlp", math.nan, 1.0)], ids=["failed", "NaN"]
)
def test_a_net_that_cannot_be_judged_never_wins(bad: RaceResult) -> None:
    good = result_of("conv", 1.0, 2.0)
    assert decide([good, bad]) == 0
    assert decide([bad, good]) == 1
    assert decide([bad, bad]) == 0


def test_a_net_that_is_too_slow_is_not_compared() -> None:
    slow, good = result_of("conv", 9.0, 9.1, steps=99), result_of("mlp", 1.0, 2.0)
    assert decide([slow, good]) == 0
    assert decide([good, slow]) == 0
    assert decide([result_of("patches", 0.0, 0.0), slow, good]) == 2


def test_the_outcome_is_told_in_a_sentence() -> None:
    results = [
        result_of("patches", 9812.4),
        result_of("conv", 8455.0, 8455.0),
        result_of("mlp", 41.25, steps=3),
        RaceResult("chain", None),
    ]
    assert explain(results, 0, 20.0) == (
        "net: patches, the best of the race (held-out ELBO after 20 s of training each, higher is better: "
        "patches 9,812, conv 8,455, mlp too slow, chain failed)"
    )
    assert "conv 41.2" in explain([result_of("conv", 41.23)], 0, 2.5)
    close = [result_of("conv", 1.0, 2.0), result_of("mlp", -9.0, 15.0)]
    assert explain(close, decide(close), 2.0).startswith(
        "net: conv, the usual choice for such data, because mlp leads by less than one standard error ("
    )
    slow = [result_of("conv", 1.0, steps=3), result_of("mlp", 2.0)]
    assert "conv, the usual choice for such data, because it was too slow" in explain(slow, 0, 2.0)
    assert "because no net could be judged" in explain([RaceResult("conv", None)], 0, 2.0)


# When there is one


@pytest.mark.parametrize(
    "given",
    [
        ["architecture=conv"],
        ["steps=500"],
        ["epochs=30"],
        ["devices=2"],
        ["hidden=[8]"],
        ["dropout=0.1"],
        ["latent=vq:8"],
        ["holdout=0.01"],
    ],
    ids=lambda given: given[0],
)
def test_what_is_given_is_not_raced_for(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "forecast", lambda resolved, budget: 1e6)
    experiment, data = digits()
    assert len(race.candidates(experiment, data)) == 3
    assert race.candidates(experiment.override(*given), data) == []


def test_under_torchrun_nothing_races(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, data = digits()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert race.candidates(experiment, data) == []


def test_tables_do_not_race(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "".join(f"{i % 7},{i * 1.5}\n" for i in range(400)))
    experiment = choose(str(path))
    assert race.candidates(experiment, api.read(experiment)) == []


@pytest.mark.parametrize(
    ("levels", "able"), [(1, {"conv", "mlp", "patches"}), (2, {"conv", "mlp"})]
)
@pytest.mark.parametrize("side", [8, 48])
@pytest.mark.parametrize("number", [400, 6000])
def test_the_choice_by_size_comes_first_among_nets_that_can_be_built(
    levels: int, able: set[str], side: int, number: int, tmp_path: Path
) -> None:
    path = tmp_path / "pictures.npz"
    np.savez(path, x=np.arange(number * side * side, dtype=np.uint8).reshape(number, side, side))
    experiment = choose(str(path)).override(f"levels={levels}", "device=cpu", "model.size=tiny")
    data = api.read(experiment)
    nets = race.candidates(experiment, data)
    chosen = api.plan(experiment.override("steps=5"), data).experiment.model.architecture
    assert nets[0] == [f"model.architecture={chosen}"]
    assert {race.name_of(net) for net in nets} == able
    for net in nets:
        assert api.resolve(experiment.override("steps=5", *net), data).parameters > 0


@pytest.mark.parametrize(
    ("words", "whole", "number", "seconds"),
    [
        ([], 1e6, 2, 30.0),  # a twentieth of ten minutes
        ([], 1e6, 4, 22.5),  # 15 % for four
        ([], 200.0, 3, 10.0),  # of a run that takes less
        (["max_minutes=60"], 1e5, 3, 180.0),
        (["max_minutes=1"], 1e5, 3, 3.0),
        (["max_minutes=1"], 3.1e5, 3, 0.0),  # 97 steps in three seconds
    ],
)
def test_each_net_gets_a_small_share_of_the_time(
    words: list[str],
    whole: float,
    number: int,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "forecast", lambda resolved, budget: whole)
    resolved = api.resolve(*digits(*SMALL, "architecture=mlp", *words))
    resolved = dataclasses.replace(resolved, steps=10_000_000)
    assert seconds_each(resolved, number) == pytest.approx(seconds)


def test_the_nets_never_see_what_the_run_holds_out(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, data = digits(*SMALL, "architecture=mlp")
    resolved = api.resolve(experiment, data)
    short = race.shorten(resolved, 3.0)
    training, held = (set(part.tolist()) for part in race.split(experiment, len(data)))
    kept = data.subset(torch.tensor(sorted(training))).raw.take(torch.arange(len(training)))
    raced = short.data.raw.take(torch.arange(len(short.data)))
    assert torch.equal(
        kept.flatten(1).sort(0).values, raced.flatten(1).sort(0).values
    )  # the same pictures, in another order
    judges = len(race.split(short.experiment, len(short.data))[1])
    assert judges == len(held)
    assert short.experiment.train.max_minutes == pytest.approx(0.05)


# What comes after


def test_the_winners_run_is_the_run_that_its_words_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(monkeypatch, CANNOT, LEARNS)
    experiment, data = digits(*SMALL, "seed=3")
    raced = api.plan_after_race(experiment, data)
    plain = api.plan(experiment.override(*LEARNS), data)
    assert raced.experiment == plain.experiment
    assert raced.reasons == [raced.reasons[0], *plain.reasons]
    assert raced.reasons[0].startswith("net: mlp 120, the best of the race (held-out ELBO after")
    weights = []
    for name, resolved in {"raced": raced, "plain": plain}.items():
        run = Run(resolved, lambda folder=tmp_path / name: api.new_folder(folder))
        list(run.events())
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    saved = json.loads((tmp_path / "raced" / "environment.json").read_text())
    assert saved["reasons"] == raced.reasons


def test_a_race_leaves_the_random_state_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(monkeypatch, CANNOT, LEARNS)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, told = torch.get_rng_state(), list[str]()
    assert hold_race(*digits(*SMALL), told.append) is not None
    assert torch.equal(torch.get_rng_state(), before)
    assert list(tmp_path.iterdir()) == []
    assert told == [
        "race to choose the net, 1 of 2: mlp 120 1e-12 trains for 3000 s",
        "race to choose the net, 2 of 2: mlp 120 trains for 3000 s",
    ]


def test_the_race_counts_against_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rig(monkeypatch, CANNOT, LEARNS)
    experiment, data = digits(*SMALL, "max_minutes=10")
    outcome = hold_race(experiment, data, silent)
    assert outcome is not None
    left = outcome.experiment.train.max_minutes
    assert left == pytest.approx(10 - outcome.seconds / 60, rel=1e-2)
    assert left < 10


def test_the_race_counts_against_the_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[float]()

    def fit(resolved: api.Resolved, minutes: float) -> tuple[int, float]:
        asked.append(minutes)
        return resolved.steps, 1.0

    experiment, data = digits(*SMALL)
    outcome = race.Outcome(experiment.override("architecture=mlp"), "net: mlp", 90.0)
    monkeypatch.setattr(race, "hold_race", lambda *given: outcome)
    monkeypatch.setattr(timing, "fitting", fit)
    planned = api.plan_after_race(experiment, data)
    assert asked == [8.5]
    assert planned.reasons[0] == "net: mlp"


def test_a_resumed_run_does_not_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(monkeypatch, CANNOT, LEARNS)
    run = Run(api.plan_after_race(*digits(*SMALL)), lambda: api.new_folder(tmp_path / "run"))
    list(run.events(lambda: True))
    monkeypatch.setattr(race, "hold_race", refuse_to_race)
    again = api.reopen(tmp_path / "run")
    assert again.experiment == run.experiment
    list(again.events())
    assert again.progress.step == 120


def refuse_to_race(*given: object) -> None:
    raise AssertionError("there must be no race here")


# On the command line


def interrupt_at(word: str, tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tell, and press Ctrl-C when `word` is told."""

    def told(sentence: str) -> None:
        tell(sentence)
        if word in sentence:
            signal.raise_signal(signal.SIGINT)

    return told


def test_ctrl_c_in_a_race_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(monkeypatch, CANNOT, LEARNS)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    told = list[str]()
    monkeypatch.setattr("vaekit.cli.plan.tell", interrupt_at("2 of 2", told.append))
    result = call("train", "digits", "--recipe", "images", *SMALL, "--out", tmp_path / "run")
    assert result.code == 130
    assert told[-1] == "stopped before training began; nothing was written"
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def test_a_dry_run_announces_the_race_and_holds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "forecast", lambda resolved, budget: 300.0)
    monkeypatch.setattr(race, "hold_race", refuse_to_race)
    told = "training begins with a race of conv, patches, mlp, 15 s each; the best goes on"
    words = ["train", "digits", "--recipe", "images", "device=cpu", "--dry-run"]
    shown = call(*words)
    assert shown.code == 0
    assert told in shown.err
    assert "race" not in call(*words, "--steps", 100).err
    assert "race" not in call(*words, "--architecture", "mlp").err
    assert call(*words, "--quiet").err == ""


def test_a_word_that_means_nothing_is_refused_before_any_race(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig(monkeypatch, CANNOT, LEARNS)
    with pytest.raises(VaekitError, match="prior"):
        hold_race(*digits(*SMALL, "prior=nonsense"), refuse_to_race)


def test_the_kinds_of_data_answer_for_themselves() -> None:
    assert known_modality("images").model.candidates is IMAGES.model.candidates


def test_a_net_that_would_hardly_learn_in_the_time_is_no_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first net would take a day for its steps; the next one has time for all of them."""
    rig(monkeypatch, ["model.architecture=conv"], ["model.architecture=mlp"])
    slow = {"conv": 1e5, "mlp": 10.0}
    monkeypatch.setattr(
        timing, "forecast", lambda resolved, budget: slow[resolved.experiment.model.architecture]
    )
    experiment = choose("digits", "images").override("max_minutes=1")
    nets, seconds = race.plan_race(experiment, read(experiment))
    assert nets == [["model.architecture=mlp"]]
    assert not seconds
    outcome = race.hold_race(experiment, read(experiment), lambda sentence: None)
    assert outcome is not None
    assert outcome.experiment.model.architecture == "mlp"
    assert "without a race" in outcome.reason
