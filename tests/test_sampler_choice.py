"""Which density a run draws its samples from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import vaekit
from vaekit.disk.layout import SAMPLER_CHOICE
from vaekit.errors import VaekitError
from vaekit.tasks.own_data import held_part, training_part
from vaekit.tasks.resample import sampled
from vaekit.tasks.sampler_choice import (
    PRIOR,
    Choice,
    candidates,
    choose,
    chosen,
    in_words,
    kept_choice,
)
from vaekit.tasks.trained import Trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("choice") / "run"
    return vaekit.train(
        "digits", out=out, architecture="mlp", hidden=[32], steps=60, prior="standard", latent=4
    )


def with_bad_prior(run: Trained) -> Trained:
    """The run with its codes' decoder and encoder, and a prior that is far from where the codes are."""
    from vaekit.models.priors import LearnedNormal

    prior = LearnedNormal(4)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(5.0)
    model = vaekit.VAE(run.model.encoder, prior, run.model.decoder)
    return replace(run, model=model)


def test_a_run_ends_with_a_choice_that_a_person_can_read(run: Trained) -> None:
    choice = kept_choice(run.folder)
    assert choice is not None
    assert choice.held == len(held_part(run))
    assert {score.word for score in choice.scores} >= {PRIOR, "gmm:1", "gmm:10"}
    assert choice.word in in_words(choice)


def test_a_prior_far_from_the_codes_loses_by_about_what_it_is_off(run: Trained) -> None:
    bad = with_bad_prior(run)
    before = (run.folder / SAMPLER_CHOICE).read_text()  # type: ignore[operator]
    try:
        choice = choose(bad, training_part(run), held_part(run))
        assert choice is not None
        assert choice.word != PRIOR
        best = next(score for score in choice.scores if score.word == choice.word)
        assert best.gain > 2 * best.error
        assert best.gain == max(score.gain for score in choice.scores)
        made = chosen(bad)
        assert made.sampler == choice.word
        assert not torch.equal(bad.generate(4, 0), bad.generate(4, 0, sampler="prior"))
        torch.testing.assert_close(bad.generate(4, 0), made.generate(4, 0))
    finally:
        (run.folder / SAMPLER_CHOICE).write_text(before)  # type: ignore[operator]


def test_few_held_out_codes_leave_the_prior(run: Trained) -> None:
    before = (run.folder / SAMPLER_CHOICE).read_text()  # type: ignore[operator]
    few = held_part(run).subset(torch.arange(10))
    try:
        choice = choose(with_bad_prior(run), training_part(run), few)
    finally:
        (run.folder / SAMPLER_CHOICE).write_text(before)  # type: ignore[operator]
    assert choice is not None
    assert choice.word == PRIOR
    assert "10 held-out" in choice.reason


def test_a_choice_of_other_weights_is_not_used(run: Trained) -> None:
    other = vaekit.load(run.folder)  # type: ignore[arg-type]
    with torch.no_grad():
        next(iter(other.model.parameters())).add_(0.1)
    assert chosen(other).sampler == PRIOR


def test_a_run_without_a_choice_draws_from_its_prior(run: Trained) -> None:
    old = replace(run, folder=None)
    assert torch.equal(old.generate(3, 1), old.generate(3, 1, sampler="prior"))


def test_the_prior_can_be_asked_for(run: Trained) -> None:
    assert torch.equal(sampled(run, PRIOR).generate(3, 1), run.generate(3, 1, sampler=PRIOR))


def test_another_sampler_is_fitted_when_it_is_asked_for(run: Trained) -> None:
    said: list[str] = []
    one = run.generate(3, 1, sampler="gmm:2", tell=said.append)
    assert said == ["fitting gmm:2 to the codes of the training images, once"]
    assert torch.equal(one, run.generate(3, 1, sampler="gmm:2"))
    with pytest.raises(VaekitError, match="gmm"):
        run.generate(3, sampler="gm:2")


def test_more_components_compete_only_where_there_are_codes_for_them() -> None:
    assert candidates(10, 8) == []
    assert "gmm:10" in candidates(1350, 64)
    assert "gmm:100" not in candidates(1350, 64)
    assert "flow" not in candidates(1350, 64)
    assert candidates(60_000, 16)[-1] == "flow"


def test_classes_compete_too_and_hierarchies_do_not(tmp_path: Path) -> None:
    few = {"architecture": "mlp", "hidden": [8], "steps": 2, "patience": 0}
    told = vaekit.train("digits", out=tmp_path / "told", condition="label", **few)
    choice = kept_choice(told.folder)
    assert choice is not None
    assert len(choice.scores) > 2
    levels = vaekit.train("digits", out=tmp_path / "levels", levels=2, **few)
    assert kept_choice(levels.folder) is None


def test_the_sentence_for_the_prior_gives_its_reason() -> None:
    assert in_words(Choice(PRIOR, "of a reason", 50, (), "")).endswith("of a reason")
