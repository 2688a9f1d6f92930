"""Costs beyond the bound, each tested on a case with a known answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, OneHotCategorical

import zoo
from test_objectives import furthest, normal
from vaekit.core.extra_costs import (
    FactorTC,
    FreeBits,
    TargetRate,
    TotalCorrelation,
    dip_i,
    dip_ii,
    in_total,
    mmd,
    of_each_dimension,
    of_each_latent,
    shuffled,
)
from vaekit.core.trace import Draw, Trace


def coded(*means: Tensor, scale: float | Tensor = 1.0) -> Trace:
    """Latents with posterior N(mean, scale) and prior N(0, 1), drawn once; the likelihood is
    unused.
    """
    made = []
    for mean in means:
        q, p = normal(mean, scale), normal(torch.zeros(mean.shape[1]), torch.ones(mean.shape[1]))
        made.append(Draw(q.rsample(), q, p))
    return Trace(tuple(made), made[0].prior)


X = torch.zeros(0)
"""The data for a term that uses latents only."""


def test_free_bits_of_known_rates() -> None:
    """KL(N(m, 1) || N(0, 1)) = m^2 / 2.

    The floor is for the mean over the batch, not for each datum.
    """
    first = torch.tensor([[0.2, 2.0, 0.0], [0.2, 4.0, 0.4]]).sqrt()  # mean rates: 0.1, 1.5, 0.1
    second = torch.tensor([[1.0], [3.0]]).sqrt()  # mean rate: 1
    trace = coded(first, second)
    torch.testing.assert_close(of_each_dimension(trace), torch.tensor([0.1, 1.5, 0.1, 1.0]))
    torch.testing.assert_close(of_each_latent(trace), torch.tensor([1.7, 1.0]))
    torch.testing.assert_close(in_total(trace), torch.tensor([2.7]))
    for rates, cost in ((of_each_dimension, 1.2 * 3 + 1.5), (of_each_latent, 2.9), (in_total, 2.7)):
        assert FreeBits(1.2, rates)(trace, X).item() == pytest.approx(cost)
        assert FreeBits(9.0, rates)(trace, X).item() == pytest.approx(9.0 * len(rates(trace)))
        assert FreeBits(0.0, rates)(trace, X).item() == pytest.approx(trace.rate().mean().item())


@pytest.mark.parametrize(
    ("rates", "taught"),
    [
        (of_each_dimension, [[0, 1, 0], [0]]),
        (of_each_latent, [[1, 1, 1], [0]]),
        (in_total, [[1, 1, 1], [1]]),
    ],
)
def test_free_bits_teach_only_what_is_above_the_floor(rates: Callable, taught: list) -> None:
    first = torch.tensor([[0.4, 1.5, 0.4], [0.4, 2.0, 0.4]], requires_grad=True)
    second = torch.tensor([[1.4], [1.4]], requires_grad=True)
    FreeBits(1.0, rates)(coded(first, second), X).backward()
    for mean, which in zip((first, second), taught, strict=True):
        assert mean.grad is not None
        torch.testing.assert_close(
            mean.grad, mean.detach() / 2 * torch.tensor(which)
        )  # of m^2 / 2, over 2 data


def test_rates_of_dimensions_that_are_not_independent_are_refused() -> None:
    model = zoo.model(prior="mixture")
    trace = model(zoo.data(model))
    with pytest.raises(ValueError, match="free-bits:4/latent"):
        of_each_dimension(trace)
    torch.testing.assert_close(of_each_latent(trace), in_total(trace))


def test_the_target_rate_pulls_from_both_sides_and_rises() -> None:
    mean = torch.ones(4, 2, requires_grad=True)  # a rate of 1
    term = TargetRate(3.0, rise=0.5)
    for progress, cost, sign in ((0.0, 1.0, 1), (0.25, 0.5, -1), (0.5, 2.0, -1), (1.0, 2.0, -1)):
        term.progress.fill_(progress)
        value = term(coded(mean), X)
        (slope,) = torch.autograd.grad(value, mean)
        assert value.item() == pytest.approx(cost)
        assert (slope.sign() == sign).all()
    assert TargetRate(3.0, rise=0.0)(coded(mean), X).item() == pytest.approx(2.0)


def correlated(batch: int, correlation: float, scale: float, dims: int = 2) -> tuple[Trace, float]:
    """Posterior means and widths whose mixture is N(0, 1) in each dimension, and its total
    correlation.
    """
    covariance = (1 - correlation) * torch.eye(dims) + correlation
    mean = MultivariateNormal(torch.zeros(dims), covariance - scale**2 * torch.eye(dims)).sample(
        (batch,)
    )
    return coded(mean, scale=torch.tensor(scale)), -0.5 * torch.logdet(covariance).item()


@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize("batch", [64, 256, 1024])
def test_total_correlation_of_a_gaussian(batch: int, correlation: float) -> None:
    values, truth = [], 0.0
    for _ in range(max(4, 12_000 // batch)):
        trace, truth = correlated(batch, correlation, scale=0.5)
        values.append(TotalCorrelation(50_000)(trace, X))
    assert values[0].shape == (batch,)
    assert torch.cat(values).mean().item() == pytest.approx(truth, abs=0.015 + 1.5 / batch)


def far_apart(batch: int, dims: int) -> Trace:
    """Posteriors that overlap in no dimension.

    For N such data the total correlation is (dims - 1) log N.
    """
    return coded(1000.0 * torch.arange(batch)[:, None].expand(batch, dims))


def column_for_diagonal(self: TotalCorrelation, each: Tensor) -> Tensor:
    """A well-known mistake: the datum's own weight is given to the first datum of the batch."""
    weights = of_all_data(self, each)
    return weights.diagonal()[0] * torch.eye(len(weights))[0] + weights[0, 1] * (
        1 - torch.eye(len(weights))[0]
    )


of_all_data = TotalCorrelation._log_weights


@pytest.mark.parametrize("batch", [2, 7, 50])
def test_total_correlation_of_codes_that_never_meet(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is exact for any batch size, because only the datum's own weight counts.

    A weight at the wrong place would change it.
    """
    exact = 2 * math.log(1000)
    values = TotalCorrelation(1000)(far_apart(batch, 3), X)
    torch.testing.assert_close(values, torch.full((batch,), exact))
    monkeypatch.setattr(TotalCorrelation, "_log_weights", column_for_diagonal)
    assert TotalCorrelation(1000)(far_apart(batch, 3), X)[1:].mean() < exact - 0.01


def test_total_correlation_of_the_whole_data_is_that_of_its_mixture() -> None:
    trace = coded(torch.randn(20, 3), scale=torch.rand(20, 3) + 0.2)
    (draw,) = trace.draws
    q, z = draw.posterior.base_dist, draw.z
    each = torch.stack([q.log_prob(row).exp() for row in z])  # (20, 20, 3)
    expected = each.prod(-1).mean(1).log() - each.mean(1).log().sum(-1)
    torch.testing.assert_close(TotalCorrelation(20)(trace, X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("data", [4, 5, 1000])
def test_posteriors_that_are_all_alike_correlate_in_nothing(data: int) -> None:
    values = TotalCorrelation(data)(coded(torch.zeros(4, 3)), X)
    torch.testing.assert_close(values, torch.zeros(4), rtol=0, atol=1e-5)


def test_the_density_that_total_correlation_is_made_of_is_unbiased_over_batches() -> None:
    """Over all batches that contain datum 0, each of the five data has a mean weight of one
    fifth.
    """
    total = torch.zeros(5)
    batches = [(0, *others) for others in itertools.combinations(range(1, 5), 2)]
    for batch in batches:
        weights = TotalCorrelation(5)._log_weights(torch.zeros(3, 3, 1))[0].exp()
        total[list(batch)] += weights / len(batches)
    torch.testing.assert_close(total, torch.full((5,), 0.2))


def test_total_correlation_takes_draws_one_by_one_and_a_datum_alone() -> None:
    q, p = normal(torch.randn(6, 2), 0.5), normal(torch.zeros(2), 1.0)
    z = q.rsample((4,))
    term = TotalCorrelation(100)
    each = torch.stack([term(Trace((Draw(row, q, p),), p), X) for row in z])
    torch.testing.assert_close(term(Trace((Draw(z, q, p),), p), X), each)
    assert term(coded(torch.randn(1, 2)), X).tolist() == [0.0]
    with pytest.raises(ValueError, match="got 1"):
        TotalCorrelation(1)


def test_shuffled_columns_hold_the_same_values_each_in_its_own_order() -> None:
    z = torch.arange(300.0).view(2, 50, 3)
    mixed = shuffled(z)
    assert torch.equal(mixed.sort(dim=1).values, z)
    rows = (mixed / 3).floor()
    assert (rows[..., 0] != rows[..., 1]).any()
    assert (rows[..., 1] != rows[..., 2]).any()
    assert not torch.equal(shuffled(z), mixed)


def test_discriminator_and_encoder_do_not_teach_each_other() -> None:
    mean = torch.randn(8, 3, requires_grad=True)
    tc = FactorTC(3, width=8)
    tc(coded(mean), X).sum().backward()
    assert mean.grad is not None
    assert mean.grad.abs().max() > 0
    assert all(p.grad is None for p in tc.parameters())
    mean.grad = None
    tc.discrimination(coded(mean), X).sum().backward()
    assert mean.grad is None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in tc.parameters())


def test_the_density_ratio_learns_the_total_correlation_of_a_gaussian() -> None:
    """With a learning rate that falls to zero, seeds differ by .01.

    A network that has not finished learning finds a value that is a little too low.
    """
    torch.manual_seed(1)
    tc, steps = FactorTC(3, width=64, hidden=2), 300
    optimiser = torch.optim.Adam(tc.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        cost = tc.discrimination(correlated(1024, 0.6, 0.3, dims=3)[0], X).mean()
        cost.backward()
        optimiser.step()
        schedule.step()
    assert cost < math.log(2) - 0.02
    with torch.no_grad():
        trace, truth = correlated(20_000, 0.6, 0.3, dims=3)
        assert tc(trace, X).mean().item() == pytest.approx(truth, abs=0.08)
        even, _ = correlated(4096, 0.0, 0.3, dims=3)
        assert tc(even, X).mean() < 0


def test_moments_of_a_known_covariance() -> None:
    """Means (+-2, +-1) at all four corners have the unbiased covariance diag(16, 4) / 3.

    The widths add 0.25 and 1.
    """
    mean = torch.tensor([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
    trace = coded(mean, scale=torch.tensor([0.5, 1.0]))
    a, b = 16 / 3, 4 / 3
    assert dip_i(trace, X).item() == pytest.approx(10 * ((a - 1) ** 2 + (b - 1) ** 2))
    assert dip_ii(trace, X).item() == pytest.approx((a + 0.25 - 1) ** 2 + b**2)
    turned = coded(mean @ torch.tensor([[1.0, 1.0], [1.0, -1.0]]), scale=torch.tensor([0.5, 1.0]))
    apart, total = 2 * (a - b) ** 2, a + b  # the covariance is now [[a + b, a - b], [a - b, a + b]]
    assert dip_i(turned, X, diagonal=0.0).item() == pytest.approx(apart, rel=1e-5)
    assert dip_ii(turned, X, 2.0).item() == pytest.approx(
        apart + 2 * ((total - 0.75) ** 2 + total**2), rel=1e-5
    )


def test_a_batch_of_one_has_no_spread_and_no_discrepancy() -> None:
    trace = coded(torch.randn(1, 2))
    assert dip_i(trace, X).item() == pytest.approx(20.0)
    assert dip_ii(trace, X).item() == pytest.approx(0.0)
    assert mmd(trace, X).item() == 0


def test_mmd_is_the_mean_over_pairs_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    z, p = torch.randn(4, 2), torch.randn(4, 2)

    def k(a: Tensor, b: Tensor) -> float:
        square = (a - b).square().sum().item()
        return sum(4 * s / (4 * s + square) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)) / 7

    pairs = list(itertools.permutations(range(4), 2))
    expected = sum(
        k(z[i], z[j]) + k(p[i], p[j]) - k(z[i], p[j]) - k(z[j], p[i]) for i, j in pairs
    ) / len(pairs)
    prior = normal(torch.zeros(2), torch.ones(2))
    monkeypatch.setattr(prior, "sample", lambda shape: p)
    value = mmd(Trace((Draw(z, normal(z, 1.0), prior),), prior), X)
    assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("conditional", [False, True])
def test_mmd_has_mean_zero_between_equals_and_grows_with_what_differs(conditional: bool) -> None:
    """This holds too if a datum's z and its draw from the prior share a condition."""
    centre = torch.randn(20_000, 6, 2) if conditional else torch.zeros(2)
    prior = normal(2 * centre, torch.full((2,), 0.2 if conditional else 1.0))
    z = prior.sample(() if conditional else (20_000, 6))
    equal, shifted = (
        mmd(Trace((Draw(value, normal(value, 0.1), prior),), prior), X) for value in (z, z + 1.0)
    )
    assert equal.shape == (20_000,)
    assert furthest(equal[:, None]) < 4
    assert shifted.mean() > 0.02


def test_mmd_teaches_the_posterior_and_not_the_prior() -> None:
    mean, scale = torch.full((64, 2), 3.0, requires_grad=True), torch.ones(2, requires_grad=True)
    q, p = normal(mean, 0.5), normal(torch.zeros(2), scale)
    mmd(Trace((Draw(q.rsample(), q, p),), p), X).backward()
    assert scale.grad is None
    assert mean.grad is not None
    assert (mean.grad.mean(0) > 0).all()  # towards the prior, by descent


def test_terms_of_one_latent_say_so() -> None:
    two = coded(torch.randn(4, 2), torch.randn(4, 2))
    for term in (TotalCorrelation(9), FactorTC(2), FactorTC(2).discrimination, dip_i, dip_ii, mmd):
        with pytest.raises(ValueError, match="the model has 2"):
            term(two, X)
    codes = OneHotCategorical(torch.ones(4, 3))
    for term in (TotalCorrelation(9), dip_i, dip_ii):
        with pytest.raises(ValueError, match="independent given the data"):
            term(Trace((Draw(codes.sample(), codes, codes),), codes), X)
