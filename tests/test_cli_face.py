"""What must hold of what people read: the plan, the progress, a run's page and its report are true, and fit."""

import io
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from rich.console import Console

import vaekit
from commands import call
from vaekit.api import follow, read, reopen
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import Resolved, resolve
from vaekit.cli import app as application
from vaekit.cli import terminal
from vaekit.cli.pace import Pace
from vaekit.cli.settings import SETTINGS
from vaekit.cli.train import train
from vaekit.cli.words import clock as clock_
from vaekit.cli.words import span
from vaekit.data.options import Option
from vaekit.data.registry import modality
from vaekit.disk import checkpoint
from vaekit.disk.log import read_metrics
from vaekit.errors import VaekitError
from vaekit.runs.events import Ended
from vaekit.runs.run import Run
from vaekit.runs.timing import forecast
from vaekit.tasks.score_table import significant

TINY = ["architecture=mlp", "hidden=[8]", "latent=2", "device=cpu", "validations=4"]


def vaekit_(*words: object, code: int = 0) -> tuple[str, str]:
    """What the command line prints, on stdout and on stderr."""
    done = call(*words)
    assert done.code == code, done.err
    return done.out, done.err


def begin(folder: Path, *changes: str) -> Run:
    experiment = choose("digits", "images").override(*TINY, *changes)
    folder.mkdir()
    return Run(resolve(experiment, read(experiment)), lambda: folder)


def stop_at(run: Run, step: float = math.inf) -> None:
    """Train until that step, as after Ctrl-C."""
    assert isinstance(list(run.events(lambda: run.progress.step >= step))[-1], Ended)


def info(folder: Path) -> dict:
    return json.loads(vaekit_("info", folder, "--json")[0])


# Where a run stands


def test_the_steps_done_are_counted_between_rows_of_the_log_too(tmp_path):
    stop_at(begin(tmp_path / "run", "steps=1600"), 7)  # in so long a run, a row is four steps
    assert read_metrics(tmp_path / "run")[-1]["step"] == 4
    facts = info(tmp_path / "run")
    assert (facts["steps_done"], facts["steps_saved"], facts["steps_planned"]) == (7, 7, 1600)
    assert (facts["ended"], facts["best"], facts["evaluation"]) == ("stopped", None, None)
    page = vaekit_("info", tmp_path / "run")[0]
    assert "7 of 1,600 steps: stopped by the user" in page
    assert "not measured yet" in page
    assert f"next        vaekit train --resume {tmp_path / 'run'}" in page


def test_steps_that_were_logged_but_not_saved_are_told_apart(tmp_path):
    folder = tmp_path / "run"
    stop_at(begin(folder, "steps=40"), 12)
    with open(folder / "metrics.jsonl", "a") as file:  # as after a kill
        file.write(json.dumps({"step": 15, "split": "train"}) + "\n")
    assert (info(folder)["steps_done"], info(folder)["steps_saved"]) == (15, 12)
    assert "saved at step 12: --resume continues from there" in vaekit_("info", folder)[0]
    (folder / "resume.safetensors").unlink()  # as one may, to save space: still a page
    assert (info(folder)["steps_done"], info(folder)["steps_planned"], info(folder)["count"]) == (
        15,
        40,
        1797,
    )
    assert "vaekit train --resume" not in vaekit_("info", folder)[0]


def test_the_page_of_a_finished_run_tells_what_it_is_and_how_good(tmp_path):
    folder = tmp_path / "a run"
    list(follow(begin(folder, "epochs=1", "prior=mixture:3")))
    facts, page = info(folder), vaekit_("info", folder)[0]
    parameters = sum(p.numel() for p in vaekit.load(folder).model.parameters())
    elbo = json.loads((folder / "evaluation.json").read_text())["elbo"]
    assert (facts["count"], facts["held_out"], facts["parameters"]) == (1797, 180, parameters)
    for text in (
        "1,797 images of digits: 8x8 grey, 10 classes; 180 of them held out",
        f"mlp network, [8]: {parameters:,} parameters",
        "2 latent dimensions, prior mixture:3, likelihood gaussian",
        "26 of 26 steps: the whole run",
        f"ELBO {facts['best']['elbo']:.2f} nats per image on the held-out images, at step {facts['best']['step']}",
        f"ELBO {elbo['value']:.2f} ± {elbo['error']:.2f}",
        f"vaekit generate '{folder}' -n 64",  # can be pasted
        f"open {folder}/report.html",
    ):
        assert text in page, text
    assert "--resume" not in page
    assert "{" not in page
    report = (folder / "report.html").read_text()
    assert "26 of 26 steps: the whole run" in report
    assert "--resume" not in report


def test_a_run_that_still_trains_is_told_as_such(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    run = begin(folder, "steps=8")
    monkeypatch.setattr("vaekit.disk.lock.busy", lambda at: at == folder)
    with pytest.raises(VaekitError, match="is training and saves at its first validation"):
        vaekit.load(folder)
    stop_at(run, 3)
    assert "3 of 8 steps; still training" in vaekit_("info", folder)[0]
    assert info(folder)["ended"] is None
    assert "--resume" not in vaekit_("info", folder)[0]


# Stopped early


def test_a_run_stopped_before_its_first_validation_can_be_used_and_goes_on_the_same(tmp_path):
    stop_at(begin(tmp_path / "straight", "steps=8", "validations=1"))
    stop_at(begin(tmp_path / "stopped", "steps=8", "validations=1"), 3)
    early = (tmp_path / "stopped" / "model.safetensors").read_bytes()
    assert checkpoint.load_about(tmp_path / "stopped" / "model.safetensors") == {
        "step": 3,
        "score": None,
    }
    vaekit_("generate", tmp_path / "stopped", "-n", 2)
    vaekit_("train", "--resume", tmp_path / "stopped", "-q")
    after = [
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "stopped")
    ]
    assert after[0] == after[1] != early


def test_what_was_not_saved_says_the_command_that_helps(tmp_path):
    folder = tmp_path / "run"
    stop_at(begin(folder, "steps=8"), 1)
    weights, resume = folder / "model.safetensors", folder / "resume.safetensors"
    kept = weights.read_bytes()

    weights.unlink()
    error = vaekit_("generate", folder, code=1)[1]
    assert (
        "the run was stopped before its first validation; go on with: vaekit train --resume "
        + str(folder)
        in error
    )
    resume.unlink()
    error = vaekit_("generate", folder, code=1)[1]
    assert (
        "the run was never saved (it ended before its first validation), or the file was moved; begin"
        in error
    )
    command = re.search(r"begin again with: vaekit (.*)", error)[1].split()
    vaekit_(*command, "--dry-run")  # it is right
    weights.write_bytes(kept)
    error = vaekit_("train", "--resume", folder, code=1)[1]
    assert (
        "resume.safetensors: there is no such file; it was deleted, and resuming needs it; begin again"
        in error
    )


# A wrong name


def test_a_run_that_may_have_been_meant_is_told_as_a_path_to_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        "there is no such run; train one with: vaekit train digits"
        in vaekit_("info", "runs/smal", code=1)[1]
    )
    Path("runs").mkdir()
    begin(Path("runs/small"))
    begin(Path("elsewhere"))
    for wrong, right in {
        "runs/smal": "runs/small",
        "small": "runs/small",
        "smalll": "runs/small",
    }.items():
        assert (
            f"{wrong}: there is no such run; did you mean '{right}'?"
            in vaekit_("info", wrong, code=1)[1]
        )
    assert (
        "there is no such run; there are: runs/small, elsewhere"
        in vaekit_("info", "xyz", code=1)[1]
    )


# The report


def stopped_by(folder: Path, why: str, change: str) -> tuple[Run, str]:
    """A run that cannot gain and ends for that reason, and its report."""
    run = begin(folder, "steps=60", "validations=60", "lr=1e-12", "ema=0", change)
    assert list(follow(run))[-1].why == why
    return run, (folder / "report.html").read_text()


def test_the_report_says_when_a_run_was_cut_short(tmp_path):
    run, page = stopped_by(tmp_path / "run", "time", "max_minutes=0.0001")
    assert f"{run.progress.step} of 60 steps: ended by its time limit of 0.0001 minutes." in page
    assert f"vaekit train --resume {run.folder}" in page
    assert f"vaekit train --resume {run.folder}" in vaekit_("info", run.folder)[0]


def test_no_gain_any_more_is_an_end_like_any_other(tmp_path):
    run, page = stopped_by(tmp_path / "run", "patience", "patience=1")
    step, best = run.progress.step, run.progress.best_step
    told = f"stopped after {step} of 60 steps: no gain on held-out data any more; the weights of step {best} are kept"
    assert f"<p>Training: {told}.</p>" in page
    assert told in vaekit_("info", run.folder)[0]
    assert "--resume" not in page + vaekit_("info", run.folder)[0]
    assert "class=cut><strong>Not" not in page


@pytest.mark.parametrize(("value", "at"), [(2.0, False), (5.1, True)])
def test_the_report_says_what_the_mutual_information_cannot_exceed(value, at):
    from vaekit.report.report import _numbers

    images = modality("images")
    number = {"value": 1.0, "error": 0.1}
    numbers = {"data": "test", "n": 180, "elbo": number, "distortion": number, "rate": number}
    table = str(
        _numbers(numbers | {"active_units": 1, "latent": 2, "mutual_information": value}, images)
    )
    assert "ln 180 = 5.19" in table
    assert ("may be higher" in table) == at
    table = str(
        _numbers(
            numbers | {"active_units": 1, "latent": 2, "mutual_information": value, "n": 60_000},
            images,
        )
    )
    assert "ln 2,000 = 7.60" in table  # so many are used


# On another device


def test_a_run_of_a_device_that_is_not_here_goes_on_with_the_one_that_is_named(tmp_path):
    folder = tmp_path / "run"
    stop_at(begin(folder, "steps=8"), 3)
    for name in ("experiment.yaml", "config.json"):  # as on a machine with a GPU, compiled
        text = (
            (folder / name)
            .read_text()
            .replace("device: cpu", "device: cuda")
            .replace('"cpu"', '"cuda"')
        )
        (folder / name).write_text(text.replace("compile: false", "compile: true"))
    if not torch.cuda.is_available():
        error = vaekit_("train", "--resume", folder, code=1)[1]
        assert "device 'cuda' is not available here (found: cpu); use device auto" in error
    notes = vaekit_("train", "--resume", folder, "--device", "cpu")[1]
    assert (
        "continuing on cpu instead of cuda: results will not be bit for bit the same as on cuda"
        in notes
    )
    assert info(folder)["steps_done"] == 8
    assert not reopen(folder, "cpu").experiment.train.compile  # settled anew: this run is short


def test_a_run_that_goes_on_where_it_was_says_nothing_of_devices(tmp_path):
    stop_at(begin(tmp_path / "run", "steps=4"), 3)
    assert "instead of" not in vaekit_("train", "--resume", tmp_path / "run", "--device", "cpu")[1]


# Progress


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(terminal.time, "monotonic", lambda: self.now)


def row(step: int, **more: object) -> dict:
    costs = {"data_per_s": 12_345.6, "distortion": -1065.33, "rate": 116.74, "skipped": 0}
    return {"split": "train", "step": step} | costs | more


def val(step: int) -> dict:
    return {"split": "val", "step": step, "elbo": 1039.7, "best": -1039.88, "best_step": 9_703}


def shown(meter: terminal.Meter, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(meter)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_matters_fits_every_terminal(monkeypatch, width):
    clock, at = Clock(monkeypatch), [0]
    meter = terminal.Meter(
        10_000, ["distortion", "rate"], lambda: at[0], compiles=True, plural="images"
    )
    clock.now += 31  # compiling
    first = shown(meter, width)
    assert "step 0/10,000  ? left  0:31 elapsed" in first[0]
    assert first[1] == "compiling (the first step takes a minute or two)"
    at[0] = 1
    shown(meter, width)
    clock.now, at[0] = clock.now + 3999, 4000  # a second a step
    meter.update(row(4000))
    meter.update(val(4000))
    lines = shown(meter, width)
    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    assert "step 4,000/10,000  1:40:00 left" in lines[0]
    assert "reconstruction -1065.33  KL 116.74" in lines[1]
    assert ("12,346 images/s" in lines[0]) == (width > 60)
    assert ("best 1039.88 at 9,703" in lines[1]) == (width > 60)


def test_time_left_leaves_compiling_out_and_knows_the_limit(monkeypatch):
    clock, at = Clock(monkeypatch), [100]  # resumed there
    meter = terminal.Meter(200, ["distortion"], lambda: at[0], limit=90.0)
    clock.now, at[0] = clock.now + 60, 101
    assert "? left" in shown(meter, 100)[0]
    clock.now, at[0] = clock.now + 10, 151
    assert "0:10 left  1:10 elapsed" in shown(meter, 100)[0]
    clock.now += 10
    assert (
        "0:10 left  1:20 elapsed" in shown(meter, 100)[0]
    )  # 20 at this rate, but the limit is 90 s


def test_off_a_terminal_each_line_tells_the_same(monkeypatch, capsys):
    clock, at = Clock(monkeypatch), [0]
    with terminal.Meter(
        1000, ["distortion", "rate"], lambda: at[0], compiles=True, plural="images"
    ) as meter:
        assert capsys.readouterr().err == "compiling (the first step takes a minute or two)\n"
        for step in (1, 2, 500, 1000):
            clock.now, at[0] = clock.now + (6 if step != 2 else 1), step
            meter.update(row(step, skipped=3))
        meter.update(val(1000))
    costs = "12,346 images/s  reconstruction -1065.33  KL 116.74  skipped 3"
    assert capsys.readouterr().err.splitlines() == [
        f"step 1/1,000  ? left  0:06 elapsed  {costs}",
        f"step 500/1,000  0:07 left  0:13 elapsed  {costs}",
        f"step 1,000/1,000  finishing  0:19 elapsed  {costs}",
        f"step 1,000/1,000  finishing  0:19 elapsed  {costs}  held-out elbo 1039.70  best 1039.88 at 9,703",
    ]


def test_off_a_terminal_progress_tells_what_is_done_and_how_long_the_rest_takes(
    monkeypatch, capsys
):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(terminal.err, "_force_terminal", False)
    with terminal.reading(quiet=False) as hook:
        for seconds, step in ((1, 1), (2, 51), (6, 251), (2, 300), (6, 501)):
            clock.now += seconds
            hook("teaching a judge", step, 1001)
    assert capsys.readouterr().err.splitlines() == [
        "teaching a judge: 51 of 1,001, 0:38 left",
        "teaching a judge: 251 of 1,001, 0:24 left",
        "teaching a judge: 501 of 1,001, 0:16 left",
    ]


def test_what_takes_long_is_told_and_what_is_quick_is_not(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "SOON", 0.05)
    with terminal.soon("reading photos/ ..."):
        time.sleep(1)
    with terminal.soon("reading one.png ..."), terminal.soon("silent", quiet=True):
        pass
    time.sleep(0.2)
    assert capsys.readouterr().err == "reading photos/ ...\n"


def test_slow_steps_are_told_once_and_not_by_a_few_steps() -> None:
    clock = iter(float(second) for second in range(100))
    pace = Pace(30_000.0, lambda: next(clock))
    told = [pace.hint({"split": "train", "data_per_s": 1000.0}) for _ in range(12)]
    assert [bool(hint) for hint in told].index(True) == 7  # five seconds after the first three rows
    assert "30 times as long as forecast" in told[7]
    assert "OMP_NUM_THREADS" in told[7]
    assert not any(told[8:])
    clock = iter(float(second) for second in range(100))
    even = Pace(2_900.0, lambda: next(clock))
    assert not any(even.hint({"split": "train", "data_per_s": 1000.0}) for _ in range(20))
    clock = iter(float(second) for second in range(100))
    mixed = Pace(30_000.0, lambda: next(clock))  # one slow step among quick ones
    rates = [30_000.0] * 10 + [3000.0] + [30_000.0] * 9
    assert not any(mixed.hint({"split": "train", "data_per_s": rate}) for rate in rates)


def test_on_a_terminal_progress_has_a_bar_with_the_time_that_is_left(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=file, force_terminal=True, width=100))
    with terminal.reading(quiet=False) as hook:
        hook("teaching a judge", 1, 4)
    assert re.search(r"teaching a judge .*25%.* left", file.getvalue())


def test_of_several_processes_one_tells_notes_and_each_an_error_that_no_other_told(monkeypatch):
    for environment, speaks in (
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "1", "LOCAL_RANK": "1"}, False),
        ({"RANK": "4", "LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"LOCAL_RANK": "1"}, False),  # as the engine starts further processes
        ({}, True),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(application, "PATIENCE", 0)
            for name in ("RANK", "LOCAL_RANK", "NODE_RANK"):
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            assert ("device cpu" in vaekit_("train", "digits", *TINY, "--dry-run")[1]) == speaks
            assert "there is no such run" in vaekit_("info", "none", code=1)[1]


# The plan


def plan(*changes: str, **more: object) -> Resolved:
    experiment = choose("digits", "images").override(*TINY, "steps=400", "batch=100", *changes)
    return replace(resolve(experiment, read(experiment)), **more)


@pytest.mark.parametrize(
    ("changes", "images"),
    [
        ([], 400 * 1617 / 17 + 4 * 180 / 3),  # 17 batches an epoch, the last one of 17 images
        (["devices=2"], 400 * 1617 / 34 + 4 * 180 / 3),
        (["batch=5000"], 400 * 1617 + 4 * 180 / 3),
    ],
)
def test_the_forecast_counts_all_images_of_all_steps(monkeypatch, changes, images):
    monkeypatch.setattr(
        "vaekit.runs.timing._step_seconds", lambda resolved, rows, budget: rows * 0.01
    )
    assert forecast(plan(*changes)) == pytest.approx(images * 0.01)


def test_a_step_too_large_to_be_timed_is_timed_in_part(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "vaekit.runs.timing._step_seconds", lambda resolved, rows, budget: asked.append(rows) or 1.0
    )
    forecast(plan(macs=10**9))
    forecast(plan("bound=iwae:5", macs=10**9))
    forecast(plan(macs=10**12))
    assert asked == [20, 4, 1]


KINDS = {
    "grey": [],
    "static bits": ["likelihood=bernoulli", "binarise=static"],
    "iwae": ["likelihood=bernoulli", "bound=iwae:3"],
    "soap in bfloat16": ["optimiser=soap", "precision=bf16"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_every_kind_can_be_timed_and_leave_no_trace(kind):
    resolved, before = plan(*KINDS[kind]), torch.get_rng_state()
    assert 0 < forecast(resolved, 0.01) < math.inf
    assert torch.equal(torch.get_rng_state(), before)


def test_the_plan_and_the_start_tell_about_how_long(monkeypatch, tmp_path):
    monkeypatch.setattr("vaekit.runs.timing.forecast", lambda resolved, budget: 7200.0)
    words = ["train", "digits", *TINY, "--steps", 100]
    assert re.search(
        r"time +about 2\.0 h \(roughly, from a few steps timed here\)",
        vaekit_(*words, "--dry-run")[0],
    )
    words += ["--max-time", "0.0001"]
    told = "0.0001 min (--max-time) of about 2.0 h"
    assert told in json.loads(vaekit_(*words, "--dry-run", "--json")[0])["time"]
    assert f"100 steps, {told}" in vaekit_(*words, "--out", tmp_path / "run")[1]
    words[-1] = "10h"
    told = "about 2.0 h (roughly, from a few steps timed here): the 100 planned steps need less than --max-time"
    assert told in json.loads(vaekit_(*words, "--dry-run", "--json")[0])["time"]


def test_lengths_of_time_are_told_as_one_reads_them():
    assert [span(s) for s in (0.2, 89, 91, 3600, 7 * 3600)] == [
        "1 s",
        "89 s",
        "2 min",
        "60 min",
        "7.0 h",
    ]
    assert [clock_(s) for s in (-1, 59.6, 3599, 3661)] == ["0:00", "1:00", "59:59", "1:01:01"]


# Help


def test_every_example_of_train_is_one_that_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vaekit.runs.timing.forecast", lambda resolved, budget: 1.0)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.savez("mnist.npz", images=images)
    Path("photos").mkdir()
    for i in range(3):
        Image.fromarray(images[i]).save(f"photos/{i}.png")
    Path("people.csv").write_text("file,age\n0.png,31.5\n1.png,40\n2.png,7\n")
    customers = "".join(f"{i * 7.5 % 11},{'yes' if i % 3 else 'no'}\n" for i in range(40))
    Path("customers.csv").write_text(f"spent,churned\n{customers}")
    orders = "".join(
        f"{i * 7.5 % 11},{i % 4},{i * 7.5 % 11 * (i % 4)},{i % 13},{i % 13 + i % 5}\n"
        for i in range(40)
    )
    Path("orders.csv").write_text(f"price,quantity,total,start,end\n{orders}")
    Path("runs").mkdir()
    stop_at(begin(Path("runs/digits"), "steps=2"))
    examples = [
        shlex.split(line)
        for line in train.__doc__.splitlines()
        if line.strip().startswith("vaekit train")
    ]
    assert len(examples) == 10
    for _, *words in examples:
        vaekit_(*words, *([] if "--resume" in words or "--dry-run" in words else ["--dry-run"]))


def test_every_option_is_explained_and_no_argument_is_asking_for_help():
    for command in typer.main.get_command(application.build()).commands.values():
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{command.name} {parameter.name}"
    assert "Usage: vaekit" in vaekit_(code=2)[0]


def test_numbers_are_written_with_six_digits() -> None:
    values = np.array([0.0, 123456.78, -0.00012345678, 1e-12 / 3, 2e15 / 3, 1 / 3, 190.0, np.inf])
    assert [str(v) for v in significant(values)] == [str(float(f"{v:.6g}")) for v in values]


def test_the_leading_process_of_several_tells_an_error_and_the_others_leave_it_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = ("generate", "no-such-run")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(application, "PATIENCE", 0)
    assert "no-such-run: there is no such run" in vaekit_(*wrong, code=1)[1]
    monkeypatch.setenv("RANK", "1")
    alone = "an error of this process alone, which ends no other, is told after all"
    assert "no-such-run: there is no such run" in vaekit_(*wrong, code=1)[1], alone
    monkeypatch.setattr(application, "PATIENCE", math.inf)
    parents = iter((17, 17, 1))
    monkeypatch.setattr(application.os, "getppid", lambda: next(parents))
    assert vaekit_(*wrong, code=1) == ("", "")


@pytest.mark.slow
def test_two_processes_tell_one_error_once(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text("from vaekit.cli import app\napp.PATIENCE = 600\napp.main()\n")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = ["--nproc-per-node", "2", str(script), "train", "no-such-table.csv"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*torchrun, *words], capture_output=True, text=True, env=environment)
    assert ended.returncode == 1
    assert ended.stderr.count("error: no-such-table.csv: there is no such file") == 1
    assert ended.stderr.count("there is no such file") == 1


@pytest.mark.parametrize("option", SETTINGS, ids=lambda option: option.name)
def test_every_option_of_training_is_a_field_of_the_experiment(option: Option) -> None:
    section, field = option.field.split(".")
    assert field in type(getattr(choose("digits"), section)).model_fields


def test_zero_is_a_value_that_was_given() -> None:
    shown = call("train", "digits", "--beta", 0, "--seed", 0, "--steps", 5, "--dry-run").out
    assert "beta 0" in shown
