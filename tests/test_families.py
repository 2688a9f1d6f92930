"""Likelihoods and families: each is a proper distribution, and has values known by calculation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import zoo
from vaekit.data.images.model.likelihoods import NAMES, likelihood
from vaekit.distributions.families import (
    HALF_GREY_LEVEL,
    AnalyticNormal,
    LogisticMixture,
    bounded,
    normal,
)
from vaekit.distributions.pixels import OptimalNormal
from vaekit.errors import VaekitError

DISCRETE = {"bernoulli": 2, "bce": 2, "logistic-mixture:3": 256}
DENSITIES = [name for name in zoo.LIKELIHOODS if name not in DISCRETE]


def at(name: str, channels: int, raw: Tensor):  # type: ignore[no-untyped-def]
    return likelihood(name, channels).family.eval()(raw)


def pixels(name: str, channels: int = 1, batch: int = 5):  # type: ignore[no-untyped-def]
    """The likelihood of one pixel, at a few random raw outputs."""
    return at(name, channels, torch.randn(batch, likelihood(name, channels).outputs, 1, 1))


@pytest.mark.parametrize(("name", "levels"), DISCRETE.items())
def test_probabilities_sum_to_one(name: str, levels: int) -> None:
    grid = torch.linspace(0, 1, levels).view(-1, 1, 1, 1, 1)
    total = pixels(name).log_prob(grid).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(5), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_integrate_to_one(name: str) -> None:
    wide = name != "continuous-bernoulli"
    grid = torch.linspace(-40, 40, 400_001) if wide else torch.linspace(0, 1, 100_001)
    density = pixels(name).log_prob(grid.view(-1, 1, 1, 1, 1)).exp()
    torch.testing.assert_close(
        torch.trapezoid(density, grid, dim=0), torch.ones(5), rtol=0, atol=2e-3
    )


@pytest.mark.parametrize("name", zoo.LIKELIHOODS)
def test_samples_have_the_mean_that_is_claimed(name: str) -> None:
    likely = pixels(name, batch=3)
    samples = likely.sample((20_000,))
    error = samples.std(0) / math.sqrt(len(samples))
    assert ((samples.mean(0) - likely.mean).abs() < 5 * error + 1e-3).all()


@pytest.mark.parametrize("name", zoo.LIKELIHOODS)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_outputs_stay_finite(name: str, size: float) -> None:
    for x in (torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)):
        raw = torch.full((1, likelihood(name, 1).outputs, 2, 2), size, requires_grad=True)
        value = at(name, 1, raw).log_prob(x)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert raw.grad is not None
        assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("name", [n for n in zoo.LIKELIHOODS if "mixture" not in n])
def test_nats_add_up_over_pixels(name: str) -> None:
    """Two pictures side by side cost the sum of the two, because nothing is averaged over
    pixels.
    """
    likely = likelihood(name, 1)
    raw, x = torch.randn(2, likely.outputs, 3, 4), (torch.rand(2, 1, 3, 4) < 0.5).float()
    family = likely.family.eval()
    left, right = (
        family(raw[..., :2]).log_prob(x[..., :2]),
        family(raw[..., 2:]).log_prob(x[..., 2:]),
    )
    torch.testing.assert_close(family(raw).log_prob(x), left + right)


def test_mse_is_half_the_squared_error_in_nats() -> None:
    raw, x = torch.randn(2, 1, 3, 3), torch.rand(2, 1, 3, 3)
    expected = 0.5 * (raw - x).pow(2).flatten(1).sum(1) + 4.5 * math.log(2 * math.pi)
    torch.testing.assert_close(-at("mse", 1, raw).log_prob(x), expected)


def test_bce_is_summed_cross_entropy_in_nats() -> None:
    raw, x = torch.randn(2, 1, 3, 3), (torch.rand(2, 1, 3, 3) < 0.5).float()
    p = torch.sigmoid(raw)
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)
    torch.testing.assert_close(-at("bce", 1, raw).log_prob(x), expected)


def test_a_flat_grey_picture_costs_what_is_known() -> None:
    """Cross-entropy gives 543 nats for a perfect flat 0.5 at 28 x 28.

    The continuous Bernoulli is a density and gives 0.
    """
    half, raw = torch.full((1, 1, 28, 28), 0.5), torch.zeros(1, 1, 28, 28)
    assert -at("bernoulli", 1, raw).log_prob(half).item() == pytest.approx(
        784 * math.log(2), rel=1e-5
    )
    assert at("continuous-bernoulli", 1, raw).log_prob(half).item() == pytest.approx(0, abs=0.05)


def test_fixed_scale_is_the_one_asked_for() -> None:
    assert at("gaussian:0.3", 1, torch.zeros(1, 1, 1, 1)).stddev.item() == pytest.approx(0.3)


def test_bounded_is_smooth_between_its_ends() -> None:
    raw = torch.linspace(-100, 100, 2001, dtype=torch.float64).float().requires_grad_()
    value = bounded(raw, -6, 6)
    slope = torch.autograd.grad(value.sum(), raw)[0]
    assert value.min() >= -6
    assert value.max() <= 6
    assert (value[1:] >= value[:-1]).all()
    assert slope[1000].item() == pytest.approx(1.0)


def test_posterior_scale_is_a_standard_deviation_in_float32() -> None:
    raw = torch.tensor([[0.5, math.log(0.2)]], dtype=torch.bfloat16)
    q = normal(raw)
    assert q.mean.dtype == q.stddev.dtype == torch.float32
    assert q.stddev.item() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(
    "logit", [-400.0, -100.0, -17.0, -0.051, -0.049, 0.0, 0.02, 3.0, 17.0, 30.0, 100.0, 400.0]
)
def test_continuous_bernoulli_is_a_density_with_its_mean_at_any_logit(logit: float) -> None:
    family = at("continuous-bernoulli", 1, torch.full((1, 1, 1, 1), logit))
    grid = torch.linspace(0, 1, 400_001, dtype=torch.float64)
    density = family.log_prob(grid.view(-1, 1, 1, 1, 1).float()).double().exp().flatten()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=2e-3)
    assert family.mean.item() == pytest.approx(
        torch.trapezoid(density * grid, grid).item(), abs=2e-3
    )
    assert family.sample((20_000,)).mean().item() == pytest.approx(family.mean.item(), abs=0.01)


class TestAnalyticNormal:
    """The optimal shared variance."""

    def test_no_other_variance_fits_the_batch_better(self) -> None:
        mean, x = torch.randn(6, 1, 3, 3), torch.rand(6, 1, 3, 3)
        best = AnalyticNormal().train()(mean).log_prob(x).sum()
        for scale in torch.linspace(0.2, 4, 50):
            other = torch.distributions.Normal(mean, scale).log_prob(x).sum()
            assert other <= best + 1e-3

    def test_gradient_is_that_of_the_profile_likelihood(self) -> None:
        """d/d mean of D/2 log MSE, summed over the batch: the variance needs no gradient of its
        own.
        """
        mean, x = torch.randn(6, 1, 3, 3, requires_grad=True), torch.rand(6, 1, 3, 3)
        given = torch.autograd.grad(-AnalyticNormal().train()(mean).log_prob(x).sum(), mean)[0]
        profile = 6 * 9 / 2 * ((x - mean) ** 2).mean().log()
        torch.testing.assert_close(given, torch.autograd.grad(profile, mean)[0])

    def test_evaluation_uses_the_variance_seen_in_training(self) -> None:
        family, mean = AnalyticNormal().train(), torch.zeros(400, 1, 3, 3)
        for _ in range(200):
            family(mean).log_prob(0.3 * torch.randn(400, 1, 3, 3))
        assert family.eval()(mean).stddev.mean().item() == pytest.approx(0.3, rel=0.02)

    def test_the_first_batch_counts_in_full(self) -> None:
        family, mean = AnalyticNormal().train(), torch.zeros(400, 1, 3, 3)
        family(mean).log_prob(0.3 * torch.randn(400, 1, 3, 3))
        family(mean).log_prob(torch.full((400, 1, 3, 3), torch.nan))
        assert family.eval()(mean).stddev.mean().item() == pytest.approx(0.3, rel=0.05)

    def test_a_perfect_fit_is_not_infinitely_good(self) -> None:
        x = torch.rand(2, 1, 3, 3)
        value = OptimalNormal(x, lambda v: None, HALF_GREY_LEVEL**2).log_prob(x)
        assert torch.isfinite(value).all()


class TestLogisticMixture:
    """The discretised mixture of logistics."""

    def test_colours_sum_to_one_jointly(self) -> None:
        family = LogisticMixture(2, 2)
        raw = torch.randn(1, family.outputs(), 1, 1)
        grid = torch.linspace(0, 1, 256)
        pairs = torch.cartesian_prod(grid, grid).view(-1, 1, 2, 1, 1)
        assert family(raw).log_prob(pairs).exp().sum().item() == pytest.approx(1.0, abs=1e-3)

    def test_matches_differences_of_the_logistic_function(self) -> None:
        family = LogisticMixture(1, 1)
        raw = torch.tensor([0.3, 0.2, -1.0]).view(1, 3, 1, 1)  # weight, mean, log scale
        x, half = 128 / 255, 1 / 255
        scale = bounded(torch.tensor(-3.0), -7, 3).exp().double()
        upper, lower = ((2 * x - 1 + s * half - 0.2) / scale for s in (1, -1))
        expected = (torch.sigmoid(upper) - torch.sigmoid(lower)).log()
        given = family(raw).log_prob(torch.full((1, 1, 1, 1), x))
        assert given.item() == pytest.approx(expected.item(), rel=1e-3)

    def test_samples_lie_on_the_grid(self) -> None:
        family = LogisticMixture(3, 2)
        x = family(torch.randn(4, family.outputs(), 2, 2)).sample((7,)) * 255
        assert x.shape == (7, 4, 3, 2, 2)
        torch.testing.assert_close(x, x.round(), rtol=0, atol=1e-3)
        assert x.min() >= 0
        assert x.max() <= 255

    def test_samples_are_as_frequent_as_their_probabilities(self) -> None:
        family = LogisticMixture(1, 2)
        likely = family(torch.tensor([0.5, 0.1, 1.5, -0.5, -0.4, 0.5]).view(1, 6, 1, 1))
        drawn = (
            torch.bincount(
                (likely.sample((200_000,)) * 255).round().long().flatten(), minlength=256
            )
            / 200_000
        )
        chance = likely.log_prob(torch.linspace(0, 1, 256).view(-1, 1, 1, 1, 1)).exp().flatten()
        assert (drawn - chance).abs().sum() < 0.04


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    with pytest.raises(VaekitError, match="did you mean 'bernoulli'"):
        likelihood("bernouli", 1)
    with pytest.raises(VaekitError, match="positive number"):
        likelihood("gaussian:-1", 1)


def test_every_listed_name_exists() -> None:
    for name in NAMES:
        assert likelihood(name.replace(":S", ":1").replace(":K", ":2"), 3).outputs >= 3


def test_the_analytic_variance_follows_a_batch_once() -> None:
    """This holds even if several costs use the density: with iwae, the bound and the logged
    distortion do.
    """
    family = AnalyticNormal().train()
    likelihood = family(torch.zeros(4, 1, 2, 2))
    likelihood.log_prob(torch.ones(4, 1, 2, 2))
    likelihood.log_prob(torch.ones(4, 1, 2, 2))
    assert family.seen == 1
    assert family.variance == 1
