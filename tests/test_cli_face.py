"""What must hold of what people read: the plan, the progress, a run's page and its report are true, and fit."""

import io
import json
import math
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import vaekit
from vaekit import checkpoint
from vaekit.api import follow, read
from vaekit.cli import app as application
from vaekit.errors import VaekitError
from vaekit.log import read_metrics
from vaekit.recipes import choose
from vaekit.resolve import resolve
from vaekit.run import Ended, Run

TINY = ["architecture=mlp", "hidden=[8]", "latent=2", "device=cpu", "validations=4"]


def vaekit_(*words: object, code: int = 0) -> tuple[str, str]:
    """What the command line prints, on stdout and on stderr."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["vaekit", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            application.main()
        ended = 0
    except SystemExit as end:
        ended = end.code or 0
    finally:
        sys.argv = before
    assert ended == code, err.getvalue()
    return out.getvalue(), err.getvalue()


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
    assert "saved at step 12: from there --resume goes on" in vaekit_("info", folder)[0]
    (folder / "resume.safetensors").unlink()  # as one may, to save space: still a page
    assert (info(folder)["steps_done"], info(folder)["steps_planned"], info(folder)["image_count"]) == (15, 40, 1797)
    assert "vaekit train --resume" not in vaekit_("info", folder)[0]


def test_the_page_of_a_finished_run_tells_what_it_is_and_how_good(tmp_path):
    folder = tmp_path / "a run"
    list(follow(begin(folder, "epochs=1", "prior=mixture:3")))
    facts, page = info(folder), vaekit_("info", folder)[0]
    parameters = sum(p.numel() for p in vaekit.load(folder).model.parameters())
    elbo = json.loads((folder / "evaluation.json").read_text())["elbo"]
    assert (facts["image_count"], facts["held_out"], facts["parameters"]) == (1797, 180, parameters)
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
    monkeypatch.setattr("vaekit.lock.busy", lambda at: at == folder)
    with pytest.raises(VaekitError, match="is training and has not come to its first validation, which saves"):
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
    assert checkpoint.load_about(tmp_path / "stopped" / "model.safetensors") == {"step": 3, "score": None}
    vaekit_("generate", tmp_path / "stopped", "-n", 2)
    vaekit_("train", "--resume", tmp_path / "stopped", "-q")
    after = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "stopped")]
    assert after[0] == after[1] != early


def test_what_was_not_saved_says_the_command_that_helps(tmp_path):
    folder = tmp_path / "run"
    stop_at(begin(folder, "steps=8"), 1)
    weights, resume = folder / "model.safetensors", folder / "resume.safetensors"
    kept = weights.read_bytes()

    weights.unlink()
    error = vaekit_("generate", folder, code=1)[1]
    assert "the run was stopped before its first validation; go on with: vaekit train --resume " + str(folder) in error
    resume.unlink()
    error = vaekit_("generate", folder, code=1)[1]
    assert "the run was never saved (it ended before its first validation), or the file was moved; begin" in error
    command = re.search(r"begin anew with: vaekit (.*)", error)[1].split()
    vaekit_(*command, "--dry-run")  # it is right
    weights.write_bytes(kept)
    error = vaekit_("train", "--resume", folder, code=1)[1]
    assert "resume.safetensors: there is no such file; it was deleted, and resuming needs it; begin anew" in error


# A wrong name


def test_a_run_that_may_have_been_meant_is_told_as_a_path_to_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "there is no such run; train one with: vaekit train digits" in vaekit_("info", "runs/smal", code=1)[1]
    Path("runs").mkdir()
    begin(Path("runs/small"))
    begin(Path("elsewhere"))
    for wrong, right in {"runs/smal": "runs/small", "small": "runs/small", "smalll": "runs/small"}.items():
        assert f"{wrong}: there is no such run; did you mean '{right}'?" in vaekit_("info", wrong, code=1)[1]
    assert "there is no such run; there are: runs/small, elsewhere" in vaekit_("info", "xyz", code=1)[1]


# The report


def test_the_report_says_when_a_run_was_cut_short(tmp_path):
    for name, change, why in (
        ("time", "max_minutes=0.0001", "cut short by --max-time: 0.0001 minutes were over"),
        ("patience", "patience=1", "cut short by train.patience: 1 validations in a row without gain"),
    ):
        run = begin(tmp_path / name, "steps=60", "validations=60", "lr=1e-12", "ema=0", change)
        assert list(follow(run))[-1].why == name
        page = (tmp_path / name / "report.html").read_text()
        assert f"{run.progress.step} of 60 steps: {why}." in page
        assert f"vaekit train --resume {tmp_path / name}" in page


@pytest.mark.parametrize(("value", "at"), [(2.0, False), (5.1, True)])
def test_the_report_says_what_the_mutual_information_cannot_exceed(value, at):
    from vaekit.report import _numbers

    number = {"value": 1.0, "error": 0.1}
    numbers = {"data": "test", "n": 180, "elbo": number, "distortion": number, "rate": number}
    table = _numbers(numbers | {"active_units": 1, "latent": 2, "mutual_information": value})
    assert "ln 180 = 5.19" in table
    assert ("may be higher" in table) == at
    table = _numbers(numbers | {"active_units": 1, "latent": 2, "mutual_information": value, "n": 60_000})
    assert "ln 2,000 = 7.60" in table  # so many are used
