"""Densities fitted to the codes after training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vaekit
from test_priors import SHAPE, model
from vaekit import VAE
from vaekit.errors import VaekitError
from vaekit.models.fitted_priors import FullMixture, fit_flow, fit_gmm, sampler
from vaekit.tasks.resample import sampled


def moons(n: int) -> Tensor:
    """Two interleaved half circles, a little noisy."""
    angle = math.pi * torch.rand(n)
    upper = torch.arange(n) % 2 == 0
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return torch.stack((x, y), 1) + 0.08 * torch.randn(n, 2)


def clusters(n: int) -> tuple[Tensor, Tensor]:
    """Three correlated normals with weights .5, .3, .2, and which is whose."""
    label = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), n, replacement=True)
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.3]])
    centres = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    return centres[label] + torch.randn(n, 2) @ factor.T, label


def test_a_fitted_mixture_recovers_a_known_one() -> None:
    z, _ = clusters(5000)
    fitted = fit_gmm(z, 3, seed=1)
    order = (fitted.means[0] @ torch.tensor([1.0, 2.0])).argsort()
    torch.testing.assert_close(
        fitted.logits[0, order].exp(), torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0
    )
    centres = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    torch.testing.assert_close(fitted.means[0, order], centres, atol=0.12, rtol=0)
    covariance = fitted.factors[0] @ fitted.factors[0].mT
    truth = torch.tensor([[1.0, 0.8], [0.8, 0.73]]).expand(3, 2, 2)
    torch.testing.assert_close(covariance, truth, atol=0.15, rtol=0)


@pytest.mark.parametrize("embedded", [False, True])
def test_a_mixture_a_class_draws_from_the_class_it_is_asked_for(embedded: bool) -> None:
    z, label = clusters(2000)
    table = torch.randn(3, 4) if embedded else torch.eye(3)
    fitted = fit_gmm(z, 2, labels=label, contexts=table[label] if embedded else None)
    wanted = torch.arange(3).repeat(100)
    drawn = fitted(table[wanted]).sample()
    nearest = torch.cdist(drawn, torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])).argmin(1)
    assert (nearest == wanted).float().mean() > 0.97
    own, other = (fitted(table[y]).log_prob(z).mean() for y in (label, (label + 1) % 3))
    assert own > other + 3
    everyone = fitted(None)
    assert everyone.batch_shape == ()
    assert everyone.mixture_distribution.probs.view(3, 2).sum(1)[0].item() == pytest.approx(
        0.5, abs=0.05
    )


def test_classes_with_few_codes_or_none_get_what_they_support() -> None:
    z, label = torch.randn(60, 2), torch.tensor([0] * 55 + [2] * 4 + [3])
    fitted = fit_gmm(z, 5, labels=label)
    p = fitted(torch.eye(4)[torch.tensor([0, 1, 2, 3])])
    assert torch.isfinite(p.sample((50,))).all()
    assert torch.isfinite(p.log_prob(torch.zeros(4, 2))).all()
    assert fitted(None).log_prob(z).isfinite().all()


def test_a_flow_of_codes_follows_its_context() -> None:
    z, label = clusters(600)
    context = torch.eye(3)[label]
    flow = fit_flow(z, context, steps=60, batch=128)
    with torch.no_grad():
        drawn = flow(context).sample()
    centres = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    assert (torch.cdist(drawn, centres).argmin(1) == label).float().mean() > 0.95


@pytest.mark.parametrize("word", ["gmm:4", "flow"])
def test_a_sampler_is_its_word_and_its_state(word: str) -> None:
    z, label = clusters(300)
    fitted = (
        fit_gmm(z, 4, labels=label)
        if word == "gmm:4"
        else fit_flow(z, torch.eye(3)[label], steps=3)
    )
    empty = sampler(word, 2, context=3, classes=3)
    empty.load_state_dict(fitted.state_dict())
    c = torch.eye(3)[label]
    torch.testing.assert_close(empty(c).log_prob(z), fitted(c).log_prob(z))
    vae = model("standard", context=3)
    generated = VAE(vae.encoder, sampler(word, 3, 3, 3), vae.decoder).generate(
        5, torch.eye(3)[:1].expand(5, 3)
    )
    assert generated.mean.shape == (5, *SHAPE)


@pytest.mark.parametrize("fit", [lambda z: fit_gmm(z, 3), lambda z: fit_flow(z, steps=5)])
def test_fitting_repeats_with_its_seed_and_leaves_the_random_state_alone(
    fit: Callable[[Tensor], nn.Module],
) -> None:
    z = torch.randn(200, 2)
    state = torch.get_rng_state()
    first, second = fit(z).state_dict(), fit(z).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("word", ["gm:3", "gmm:0", "gmm:x", "flow:2", ""])
def test_an_unknown_sampler_is_said_so(word: str) -> None:
    with pytest.raises(VaekitError, match="gmm:10"):
        sampler(word, 2)


@pytest.mark.parametrize("z", [torch.zeros(3), torch.zeros(1, 2), torch.full((4, 2), math.nan)])
def test_codes_that_cannot_be_fitted_are_refused(z: Tensor) -> None:
    with pytest.raises(VaekitError):
        fit_gmm(z, 2)
    with pytest.raises(VaekitError):
        fit_flow(z)


def test_a_full_mixture_is_no_parameter_of_anyones_training() -> None:
    assert not list(FullMixture(2, 3).parameters())


def test_a_flow_prior_learns_what_a_normal_cannot() -> None:
    z = moons(2000)
    single = fit_gmm(z[:1000], 1)
    flow = fit_flow(z[:1000], steps=200, batch=128)
    with torch.no_grad():
        gain = flow(None).log_prob(z[1000:]).mean() - single(None).log_prob(z[1000:]).mean()
        drawn = flow(None).sample((1000,))
    assert gain > 0.4
    assert (
        torch.cdist(drawn, z[1000:]).amin(1).mean()
        < 0.5 * torch.cdist(single(None).sample((1000,)), z[1000:]).amin(1).mean()
    )


def test_a_sampler_of_other_weights_is_fitted_anew(tmp_path: Path) -> None:
    """As after going on with a run: a density of the codes is one of the encoder that made them."""
    run = vaekit.train(
        "digits", out=tmp_path / "run", architecture="mlp", hidden=[8], steps=2, patience=0
    )
    told: list[str] = []
    sampled(run, "gmm:2", told.append)
    sampled(run, "gmm:2", told.append)
    assert len(told) == 1
    with torch.no_grad():
        next(iter(run.model.parameters())).add_(0.1)
    sampled(run, "gmm:2", told.append)
    assert len(told) == 2


def test_a_flow_ends_after_its_seconds_and_says_how_far_it_is() -> None:
    said: list[tuple[int, int]] = []
    flow = fit_flow(
        moons(400), seconds=0.0, progress=lambda done, total: said.append((done, total))
    )
    assert said == [(1, 1500)]
    assert flow(None).log_prob(moons(10)).isfinite().all()


def test_a_diagonal_mixture_has_no_correlations_and_a_full_one_has() -> None:
    z, _ = clusters(2000)
    full, diagonal = fit_gmm(z, 3), fit_gmm(z, 3, diagonal=True)
    off = [(f.factors[0] @ f.factors[0].mT)[:, 0, 1].abs().min() for f in (full, diagonal)]
    assert off[0] > 0.5
    assert off[1] == 0
    assert full(None).log_prob(z).mean() > diagonal(None).log_prob(z).mean()


def test_the_iterations_of_a_mixture_are_bounded_by_its_size() -> None:
    from vaekit.models.fitted_priors import _iterations

    assert _iterations(1000, 10, 8, False) == 100
    assert _iterations(10**6, 100, 256, False) == 5
