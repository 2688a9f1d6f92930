"""What is told of a model's numbers: only where it is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from commands import call
from vaekit.report.report import explained
from vaekit.tasks.remarks import describe_collapse, explain_density, remarks

GOOD: dict[str, Any] = {
    "rate": {"value": 9.0},
    "elbo": {"value": -30.0},
    "nll": {"value": 28.0},
    "active_units": 8,
    "latent": 8,
    "reconstruction_spread": 0.7,
}


def test_usual_numbers_have_no_remarks() -> None:
    assert remarks(GOOD, discrete=False) == []


def test_no_active_unit_is_a_collapse_whatever_the_kl() -> None:
    numbers = GOOD | {"rate": {"value": 0.143}, "active_units": 0}
    assert "none of 8 is active (KL 0.14 nats), and reconstr" in describe_collapse(numbers)
    assert describe_collapse(numbers | {"active_units": 3}) == ""


def test_a_decoder_that_ignores_the_codes_is_told_whatever_they_hold() -> None:
    told = describe_collapse(GOOD | {"reconstruction_spread": 0.002})
    assert told.startswith("the decoder ignores the codes, and reconstructions differ by")
    assert "differ by 0.2% of the difference of their data" in told


@pytest.mark.parametrize(
    "change", [{"nll": {"value": -3.0}}, {"elbo": {"value": 3.0}}], ids=["nll", "elbo"]
)
def test_a_density_above_one_is_explained_where_it_shows(change: dict[str, Any]) -> None:
    numbers = GOOD | change
    sentence = explain_density(numbers, discrete=False)
    assert "densities of continuous values can exceed 1" in sentence
    assert "\n" not in sentence
    assert "densities" in explained(numbers, discrete=False)
    assert explain_density(numbers, discrete=True) == ""
    assert "densities" not in explained(numbers, discrete=True)


def test_training_and_evaluate_tell_of_a_collapse(tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = ("architecture=mlp", "hidden=[8]", "--latent", 2, "--steps", 60, "--beta", 1000)
    ended = call("train", "digits", *small, "warmup=0", "--out", run)
    assert ended.code == 0, ended.err
    measured = call("evaluate", run, "--draws", 2, "--limit", 20)
    page = (run / "report.html").read_text(encoding="utf-8")
    for text in (ended.err, measured.err, page):
        assert "the latents have collapsed: none of 2 is active" in text
        assert "reconstructions differ by " in text


@pytest.mark.parametrize(("likelihood", "told"), [("gaussian", True), ("bernoulli", False)])
def test_training_evaluate_and_the_report_explain_a_density(
    likelihood: str, told: bool, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    small = ("architecture=mlp", "hidden=[64]", "--latent", 8, "--steps", 200, "lr=0.01")
    ended = call("train", "digits", "--likelihood", likelihood, *small, "--out", run)
    assert ended.code == 0, ended.err
    measured = call("evaluate", run, "--draws", 2, "--limit", 20)
    page = (run / "report.html").read_text(encoding="utf-8")
    for text in (ended.err, measured.err, page):
        assert ("densities of continuous values can exceed 1" in text) is told


def test_people_read_of_reconstruction_and_kl_wherever_numbers_are_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = ("architecture=mlp", "hidden=[8]", "--levels", 2, "--latent", 2, "--steps", 5)
    ended = call("train", "digits", *small, "--out", run)
    assert ended.code == 0, ended.err
    told = [
        ended.err,
        call("evaluate", run, "--draws", 2, "--limit", 20).out,
        call("info", run).out,
    ]
    for text in told:
        assert "reconstruction " in text
        assert re.search(r"\bKL\b", text)
        assert not re.search(r"\b(distortion|rates?)\b", text.replace("learning rate", ""))
    assert "KL of each latent" in told[1]
