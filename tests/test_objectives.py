"""Bounds by other draws and other gradients, and the terms beside them: known answers and what estimators promise."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal, OneHotCategorical

import zoo
from vaekit import divergences
from vaekit.advance import Apart, Guard, Step, Whole
from vaekit.objectives import (
    WATCHED,
    Constant,
    LinearWarmup,
    Objective,
    Term,
    beta_elbo,
    ciwae,
    convexly_weighted,
    detached,
    distortion,
    doubly_reparameterised,
    dreg,
    elbo,
    importance_weighted,
    iwae,
    miwae,
    multiply_weighted,
    path_rate,
    rate,
    sticking_the_landing,
)
from vaekit.optim import adamw
from vaekit.terms import (
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
from vaekit.trace import Draw, Trace

DATUM = torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64)
NOISE = 0.6


def normal(mean: Tensor, scale: Tensor | float) -> Independent:
    return Independent(Normal(mean, scale, validate_args=False), 1)


class Toy:
    """q(z|x) = N(A x + b, e^s), p(z) = N(m, I), p(x|z) = N(W z + c, NOISE): every copy of the datum has its own
    parameters, so that one backward pass gives a gradient for each."""

    def __init__(self, copies: int, exact: bool = False) -> None:
        generator = torch.Generator().manual_seed(3)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        w = torch.linalg.qr(draw(3, 2))[0] * torch.tensor([1.5, 0.8], dtype=torch.float64)
        variance = NOISE**2 / (NOISE**2 + w.pow(2).sum(0))
        start = {"A": variance[:, None] * w.T / NOISE**2, "b": 0.0 * variance, "s": variance.log() / 2}
        start |= {"W": w, "c": 0.0 * draw(3), "m": 0.0 * draw(2)}
        if not exact:
            start = {name: value + 0.2 * draw(*value.shape) for name, value in start.items()}
            start["s"] = variance.log() / 2 + 0.4  # too wide, so that the weights have a variance
        self.copies = copies
        self.p = {name: value.expand(copies, *value.shape).clone().requires_grad_() for name, value in start.items()}

    def trace(self, draws: tuple[int, ...], of_encoder: bool = False) -> Trace:
        """`of_encoder`: the prior is made of the encoder's parameters too, as a VampPrior is."""
        p = self.p
        q = normal((p["A"] @ DATUM) + p["b"], p["s"].exp())
        z = q.rsample(draws)
        prior = normal(p["m"] + (0.5 * p["b"] + p["A"].sum(-1) if of_encoder else 0), 1.0)
        mean = (p["W"] @ z[..., None])[..., 0] + p["c"]
        return Trace((Draw(z, q, prior),), normal(mean, NOISE))


def gradients(cost: Callable, copies: int, draws: tuple[int, ...], exact: bool = False, **kind: bool) -> dict:
    """The cost's gradient in every parameter, shape (copies, n), always for the same draws."""
    toy = Toy(copies, exact)
    torch.manual_seed(0)
    value = cost(toy.trace(draws, **kind), DATUM)
    (value.mean(0) if value.dim() > 1 else value).sum().backward()
    return {name: p.grad.flatten(1) for name, p in toy.p.items() if p.grad is not None}


def furthest(values: Tensor) -> float:
    """How many standard errors the mean over the first axis is from 0, in the worst column."""
    error = values.std(0) / math.sqrt(len(values))
    return (values.mean(0).abs() / (error + 1e-12)).max().item()


@pytest.mark.parametrize("of_encoder", [False, True])
@pytest.mark.parametrize("draws", [1, 2, 8])
def test_dreg_has_the_mean_of_the_gradient_of_iwae(draws: int, of_encoder: bool) -> None:
    """On the same draws: in the encoder by the mean, elsewhere exactly; the value is the bound's."""
    ours = gradients(dreg, 40_000, (draws,), of_encoder=of_encoder)
    naive = gradients(iwae, 40_000, (draws,), of_encoder=of_encoder)
    for name in "Abs":
        assert furthest(ours[name] - naive[name]) < 4.5
        assert (ours[name] - naive[name]).abs().max() > 1e-3
    for name in "Wcm":
        torch.testing.assert_close(ours[name], naive[name])
    trace = Toy(5).trace((draws,))
    torch.testing.assert_close(dreg(trace, DATUM), iwae(trace, DATUM))


def test_dreg_is_the_formula_of_its_paper() -> None:
    """sum_s v_s^2 (d log w_s / d z_s) (d z_s / d phi), written out."""
    ours, toy = gradients(dreg, 1, (4,)), Toy(1)
    torch.manual_seed(0)
    trace = toy.trace((4,))
    (draw,) = trace.draws
    still = normal(draw.posterior.mean.detach(), draw.posterior.stddev.detach())
    log_weight = trace.likelihood.log_prob(DATUM) + draw.prior.log_prob(draw.z) - still.log_prob(draw.z)
    (slope,) = torch.autograd.grad(log_weight.sum(), draw.z, retain_graph=True)
    share = torch.softmax(log_weight.detach(), 0)
    phi = [toy.p[name] for name in "Abs"]
    expected = torch.autograd.grad((share.pow(2)[..., None] * slope * draw.z).sum(), phi)
    for name, value in zip("Abs", expected, strict=True):
        torch.testing.assert_close(ours[name], value.flatten(1))


def test_signal_to_noise_rises_with_draws_by_dreg_and_falls_without() -> None:
    """Rainforth et al. 2018, theorem 1; Tucker et al. 2019, section 4."""

    def signal(cost: Callable, draws: int) -> float:
        made = gradients(cost, 2000, (draws,))
        grads = torch.cat([made[name] for name in "Abs"], dim=1)
        return (grads.mean(0).norm() / grads.std(0).norm()).item()

    assert signal(dreg, 4) > 1.5 * signal(iwae, 4)
    assert signal(dreg, 64) > 1.5 * signal(dreg, 16)
    assert signal(iwae, 64) < 0.7 * signal(iwae, 16)


def stuck(trace: Trace, x: Tensor) -> Tensor:
    return distortion(trace, x) + path_rate(trace, x)


def closed(trace: Trace, x: Tensor) -> Tensor:
    return -elbo(trace, x)


@pytest.mark.parametrize("draws", [(), (3,)])
def test_sticking_the_landing_is_still_at_the_exact_posterior(draws: tuple[int, ...]) -> None:
    ours, naive = (gradients(cost, 50, draws, exact=True) for cost in (stuck, closed))
    for name in "Abs":
        assert ours[name].abs().max() < 1e-10
        assert naive[name].std(0).max() > 0.1


@pytest.mark.parametrize("of_encoder", [False, True])
def test_sticking_the_landing_has_the_mean_of_the_gradient_of_the_elbo(of_encoder: bool) -> None:
    ours, naive = (gradients(cost, 40_000, (), of_encoder=of_encoder) for cost in (stuck, closed))
    for name in ours:
        assert furthest(ours[name] - naive[name]) < 4.5
    assert (ours["A"] - naive["A"]).abs().max() > 1e-3


def test_sticking_the_landing_is_unbiased_where_a_posterior_follows_earlier_draws() -> None:
    """Two levels, the lower posterior and prior both made of the upper draw, and the posterior of the prior."""

    def gradient(cost: Callable) -> Tensor:
        torch.manual_seed(0)
        a, b, w = (torch.full((60_000, 1), v, dtype=torch.float64).requires_grad_() for v in (0.7, -0.4, 0.9))
        q1 = normal(a, 0.8)
        z1 = q1.rsample()
        p2 = normal(w * z1, 1.0)
        q2 = normal(p2.mean + b * z1 + a, 0.5)
        z2 = q2.rsample()
        trace = Trace((Draw(z1, q1, normal(torch.zeros_like(a), 1.0)), Draw(z2, q2, p2)), normal(w * z2, 1.0))
        return torch.cat(torch.autograd.grad(cost(trace, torch.ones(1)).sum(), (a, b, w)), dim=1)

    difference = gradient(stuck) - gradient(closed)
    assert furthest(difference) < 4.5
    assert difference.abs().max() > 1e-3


def test_what_is_logged_is_the_bound_and_not_what_its_gradient_is_made_of() -> None:
    model = zoo.model()
    x = zoo.data(model)
    trace = model(x, None, (6,))
    torch.testing.assert_close(path_rate(trace, x), -trace.draws[0].log_ratio())
    torch.testing.assert_close(doubly_reparameterised(6).costs(trace, x)[0], importance_weighted(6).costs(trace, x)[0])
    objective = sticking_the_landing(2.0)
    assert objective.weights(0.5) == [1.0, 2.0, 0.0]
    torch.testing.assert_close(objective.costs(trace, x)[2], trace.rate().mean())
    with torch.no_grad():
        assert torch.isfinite(dreg(model(x, None, (2,)), x)).all()


@pytest.mark.parametrize("kind", [Normal, Laplace])
def test_a_detached_distribution_is_the_same_one_without_gradient(kind: type) -> None:
    mean, scale = torch.randn(3, 2, requires_grad=True), torch.rand(3, 2, requires_grad=True)
    q = Independent(kind(mean, scale, validate_args=False), 1)
    z = torch.randn(5, 3, 2)
    torch.testing.assert_close(detached(q).log_prob(z), q.log_prob(z))
    assert not detached(q).log_prob(z).requires_grad


def test_gradients_that_are_not_known_are_refused() -> None:
    codes = OneHotCategorical(torch.ones(4, 2, 3))
    draw = Draw(codes.sample(), codes, codes)
    with pytest.raises(ValueError, match="a mean and a scale"):
        path_rate(Trace((draw,), codes), torch.zeros(4))
    toy = Toy(2).trace((3,))
    with pytest.raises(ValueError, match="one latent"):
        dreg(Trace(toy.draws * 2, toy.likelihood), DATUM)
    with pytest.raises(ValueError, match="iwae"):
        doubly_reparameterised(4).plus("mmd", Term(mmd))
    assert doubly_reparameterised(4).one_graph
    assert not importance_weighted(4).one_graph
    assert doubly_reparameterised(4).plus("mmd", Term(mmd, WATCHED)).weights(0.3) == [1, 0, 0, 0]
    for build in (lambda: multiply_weighted(0, 4), lambda: convexly_weighted(4, 1.5), lambda: importance_weighted(0)):
        with pytest.raises(ValueError, match="got"):
            build()


def test_a_distribution_may_know_how_to_be_detached() -> None:
    q = SimpleNamespace(detached=lambda: "still")
    assert detached(q) == "still"  # type: ignore[arg-type]


def test_miwae_of_weights_known_by_hand() -> None:
    """Two groups of two consecutive draws: the mean of log (1 + 3) / 2 and log (2 + 6) / 2."""
    weights = torch.tensor([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    trace = SimpleNamespace(log_weight=lambda x: weights.log())
    expected = torch.tensor([(math.log(2) + math.log(4)) / 2, math.log(5)])
    torch.testing.assert_close(miwae(trace, torch.zeros(2), 2), expected)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="4 draws"):
        miwae(trace, torch.zeros(2), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["prior standard", "prior mixture"])
def test_miwae_lies_between_the_elbo_and_iwae_on_the_same_draws(name: str) -> None:
    model = zoo.MODELS[name]()
    x = zoo.data(model)
    trace = model(x, None, (24,))
    bounds = torch.stack([miwae(trace, x, groups) for groups in (24, 12, 4, 2, 1)])
    assert bounds.shape == (5, len(x))
    torch.testing.assert_close(bounds[0], trace.log_weight(x).mean(0))
    torch.testing.assert_close(bounds[-1], iwae(trace, x))
    tolerance = 1e-4
    assert (bounds[1:4] > bounds[0] - tolerance).all()
    assert (bounds[1:4] < bounds[-1] + tolerance).all()
    assert multiply_weighted(4, 6).draws == (24,)
    torch.testing.assert_close(multiply_weighted(4, 6).costs(trace, x)[0], -bounds[2].mean())


def test_ciwae_joins_the_elbo_to_iwae() -> None:
    model = zoo.model()
    x = zoo.data(model)
    trace = model(x, None, (8,))
    torch.testing.assert_close(ciwae(trace, x, 1.0), elbo(trace, x).mean(0))
    torch.testing.assert_close(ciwae(trace, x, 0.0), iwae(trace, x))
    torch.testing.assert_close(ciwae(trace, x, 0.25), 0.25 * elbo(trace, x).mean(0) + 0.75 * iwae(trace, x))
    torch.testing.assert_close(convexly_weighted(8, 0.25).costs(trace, x)[0], -ciwae(trace, x, 0.25).mean())


def test_terms_are_added_and_stood_in_for_without_touching_the_objective_they_join() -> None:
    plain = beta_elbo(LinearWarmup(2.0, 0.5))
    with_floor = plain.watching("rate").plus("free_bits", Term(FreeBits(0.1), plain.terms["rate"].schedule))
    assert plain.weights(0.25) == [1.0, 1.0]
    assert with_floor.weights(0.25) == [1.0, 0.0, 1.0]
    assert with_floor.draws == plain.draws
    with pytest.raises(ValueError, match="already"):
        plain.plus("rate", Term(rate))
    for name, objective in (("rate", importance_weighted(4)), ("nothing", plain)):
        with pytest.raises(ValueError, match=name):
            objective.watching(name)


def coded(*means: Tensor, scale: float | Tensor = 1.0) -> Trace:
    """Latents with N(mean, scale) against N(0, 1), drawn once; the likelihood is of no concern."""
    made = []
    for mean in means:
        q, p = normal(mean, scale), normal(torch.zeros(mean.shape[1]), torch.ones(mean.shape[1]))
        made.append(Draw(q.rsample(), q, p))
    return Trace(tuple(made), made[0].prior)


X = torch.zeros(0)
"""What a term that looks at latents only is given as data."""


def test_free_bits_of_known_rates() -> None:
    """KL(N(m, 1) || N(0, 1)) = m^2 / 2; the floor holds for the mean over the batch, not for a datum."""
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
    [(of_each_dimension, [[0, 1, 0], [0]]), (of_each_latent, [[1, 1, 1], [0]]), (in_total, [[1, 1, 1], [1]])],
)
def test_free_bits_teach_only_what_is_above_the_floor(rates: Callable, taught: list) -> None:
    first = torch.tensor([[0.4, 1.5, 0.4], [0.4, 2.0, 0.4]], requires_grad=True)
    second = torch.tensor([[1.4], [1.4]], requires_grad=True)
    FreeBits(1.0, rates)(coded(first, second), X).backward()
    for mean, which in zip((first, second), taught, strict=True):
        assert mean.grad is not None
        torch.testing.assert_close(mean.grad, mean.detach() / 2 * torch.tensor(which))  # of m^2 / 2, over 2 data


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
    """Posterior means and widths whose mixture is N(0, 1) in each dimension, and its total correlation."""
    covariance = (1 - correlation) * torch.eye(dims) + correlation
    mean = MultivariateNormal(torch.zeros(dims), covariance - scale**2 * torch.eye(dims)).sample((batch,))
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
    """Posteriors that never meet, in no dimension: of N such data the total correlation is (dims - 1) log N."""
    return coded(1000.0 * torch.arange(batch)[:, None].expand(batch, dims))


def column_for_diagonal(self: TotalCorrelation, each: Tensor) -> Tensor:
    """The well-known mistake: the datum's own weight given to the first of the batch."""
    weights = of_all_data(self, each)
    return weights.diagonal()[0] * torch.eye(len(weights))[0] + weights[0, 1] * (1 - torch.eye(len(weights))[0])


of_all_data = TotalCorrelation._log_weights


@pytest.mark.parametrize("batch", [2, 7, 50])
def test_total_correlation_of_codes_that_never_meet(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact for a batch of any size, since the own weight is what counts: it is this that a wrong place spoils."""
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
    """Over all batches with datum 0 in them, every datum of the five weighs one fifth."""
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
    torch.manual_seed(1)
    tc = FactorTC(3, width=64, hidden=2)
    optimiser = torch.optim.Adam(tc.parameters(), lr=3e-3)
    for _ in range(400):
        optimiser.zero_grad()
        cost = tc.discrimination(correlated(256, 0.6, 0.3, dims=3)[0], X).mean()
        cost.backward()
        optimiser.step()
    assert cost < math.log(2) - 0.02
    with torch.no_grad():
        trace, truth = correlated(20_000, 0.6, 0.3, dims=3)
        assert tc(trace, X).mean().item() == pytest.approx(truth, abs=0.08)
        even, _ = correlated(512, 0.0, 0.3, dims=3)
        assert tc(even, X).mean() < 0


def test_moments_of_a_known_covariance() -> None:
    """Means (+-2, +-1) on all four corners: unbiased covariance diag(16, 4) / 3; the widths add 0.25 and 1."""
    mean = torch.tensor([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
    trace = coded(mean, scale=torch.tensor([0.5, 1.0]))
    a, b = 16 / 3, 4 / 3
    assert dip_i(trace, X).item() == pytest.approx(10 * ((a - 1) ** 2 + (b - 1) ** 2))
    assert dip_ii(trace, X).item() == pytest.approx((a + 0.25 - 1) ** 2 + b**2)
    turned = coded(mean @ torch.tensor([[1.0, 1.0], [1.0, -1.0]]), scale=torch.tensor([0.5, 1.0]))
    apart, total = 2 * (a - b) ** 2, a + b  # the covariance is now [[a + b, a - b], [a - b, a + b]]
    assert dip_i(turned, X, diagonal=0.0).item() == pytest.approx(apart, rel=1e-5)
    assert dip_ii(turned, X, 2.0).item() == pytest.approx(apart + 2 * ((total - 0.75) ** 2 + total**2), rel=1e-5)


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
    expected = sum(k(z[i], z[j]) + k(p[i], p[j]) - k(z[i], p[j]) - k(z[j], p[i]) for i, j in pairs) / len(pairs)
    prior = normal(torch.zeros(2), torch.ones(2))
    monkeypatch.setattr(prior, "sample", lambda shape: p)
    value = mmd(Trace((Draw(z, normal(z, 1.0), prior),), prior), X)
    assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("conditional", [False, True])
def test_mmd_has_mean_zero_between_equals_and_grows_with_what_differs(conditional: bool) -> None:
    """Also where a datum's z and its draw of the prior share a condition."""
    centre = torch.randn(20_000, 6, 2) if conditional else torch.zeros(2)
    prior = normal(2 * centre, torch.full((2,), 0.2 if conditional else 1.0))
    z = prior.sample(() if conditional else (20_000, 6))
    equal, shifted = (mmd(Trace((Draw(value, normal(value, 0.1), prior),), prior), X) for value in (z, z + 1.0))
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


def _factor() -> Objective:
    tc = FactorTC(zoo.LATENT, width=8, hidden=2)
    return beta_elbo().plus("factor", Term(tc, Constant(5.0))).plus("discriminator", Term(tc.discrimination))


def _instead(term: Callable, weight: float = 1.0) -> Objective:
    return beta_elbo().watching("rate").plus("other", Term(term, Constant(weight)))


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "miwae": lambda: multiply_weighted(2, 3),
    "ciwae": lambda: convexly_weighted(4),
    "dreg": lambda: doubly_reparameterised(4),
    "stl": sticking_the_landing,
    "stl of three draws": lambda: sticking_the_landing(1.0, (3,)),
    "free bits a dimension": lambda: _instead(FreeBits(0.1)),
    "free bits a latent": lambda: _instead(FreeBits(0.5, of_each_latent)),
    "free bits in total": lambda: _instead(FreeBits(0.5, in_total)),
    "target rate": lambda: _instead(TargetRate(2.0), 10.0),
    "total correlation": lambda: beta_elbo().plus("tc", Term(TotalCorrelation(1000), Constant(5.0))),
    "factor": _factor,
    "dip i": lambda: beta_elbo().plus("dip", Term(dip_i, Constant(10.0))),
    "dip ii": lambda: beta_elbo().plus("dip", Term(dip_ii, Constant(10.0))),
    "mmd": lambda: beta_elbo().plus("mmd", Term(mmd, Constant(100.0))),
    "mmd of three draws": lambda: beta_elbo(draws=(3,)).plus("mmd", Term(mmd, Constant(100.0))),
}
EACH = pytest.mark.parametrize("name", OBJECTIVES)


def made(name: str, prior: str = "standard") -> tuple[Step, Tensor, Tensor]:
    """A step of a small model in training, a batch and the weights half way."""
    model = zoo.model(prior=prior)
    objective = OBJECTIVES[name]()
    return Step(model, objective).train(), zoo.data(model, 6), torch.tensor(objective.weights(0.5))


@pytest.mark.parametrize(("name", "backend"), [*((name, "eager") for name in OBJECTIVES), ("dreg", "aot_eager")])
def test_every_objective_compiles_into_one_graph_with_the_same_gradient(name: str, backend: str) -> None:
    torch.distributions.kl._KL_MEMOIZE.clear()
    divergences._lookup.cache_clear()
    torch.compiler.reset()
    step, x, weights = made(name)
    other = copy.deepcopy(step)
    torch.manual_seed(5)
    loss, costs = torch.compile(step, fullgraph=True, backend=backend)(x, None, weights)
    loss.backward()
    torch.manual_seed(5)
    same, _ = other(x, None, weights)
    same.backward()
    torch.testing.assert_close(loss, same)
    assert costs.shape == weights.shape
    for mine, theirs in zip(step.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@EACH
def test_every_objective_moves_the_weights_whole_as_apart(name: str) -> None:
    """The gradient by `torch.func.grad` of weights given by hand is that of the ordinary way."""
    step, x, weights = made(name)
    other = copy.deepcopy(step)
    apart = Apart(step, adamw(step, 0.1), Guard(step.parameters(), 1.5, torch.device("cpu")))
    beside = Apart(other, adamw(other, 0.1), Guard(other.parameters(), 1.5, torch.device("cpu")), usual=len(x))
    whole = Whole(other, beside, torch.float32)
    with torch.compiler.set_stance("force_eager"):
        for seed in range(3):
            torch.manual_seed(seed)
            costs = apart(x, None, 1.0, weights.tolist(), 1e-3)
            torch.manual_seed(seed)
            torch.testing.assert_close(whole(x, None, 1.0, weights.tolist(), 1e-3), costs, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(step.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["dreg", "factor"])
def test_the_whole_move_of_what_is_peculiar_is_one_graph(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    compile_eagerly = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **kind: compile_eagerly(f, **kind, backend="eager"))
    step, x, weights = made(name)
    apart = Apart(step, adamw(step, 0.1), Guard(step.parameters(), 1.5, torch.device("cpu")), usual=len(x))
    assert torch.isfinite(Whole(step, apart, torch.float32)(x, None, 1.0, weights.tolist(), 1e-3)).all()


@EACH
def test_every_objective_is_finite_under_autocast_and_for_a_datum_alone(name: str) -> None:
    step, x, weights = made(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss, costs = step(x[:1], None, weights)
        assert costs.dtype == torch.float32
    loss.backward()
    assert torch.isfinite(costs).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in step.parameters())


@pytest.mark.parametrize("name", ["miwae", "dreg", "stl", "free bits a latent", "mmd", "total correlation", "dip i"])
def test_objectives_take_a_prior_that_is_no_normal(name: str) -> None:
    step, x, weights = made(name, prior="mixture")
    loss, _ = step(x, None, weights)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in step.model.prior.parameters())


def test_what_a_term_learns_is_part_of_the_step_once() -> None:
    step, _, _ = made("factor")
    discriminator = step.objective.terms["factor"].cost
    assert isinstance(discriminator, nn.Module)
    names = [name for name, _ in step.named_parameters(remove_duplicate=False) if not name.startswith("model.")]
    assert len(names) == len(list(discriminator.parameters())) == 6
    assert set(names) <= set(step.state_dict())
    plain = Step(zoo.model(), beta_elbo())
    assert all(name.startswith("model.") for name in plain.state_dict())
    copied = copy.deepcopy(step)
    (there,) = {id(term.cost.__self__) for term in [copied.objective.terms["discriminator"]]}  # type: ignore[attr-defined]
    assert there == id(copied.costs["factor"])
    assert "progress" in dict(made("target rate")[0].costs["other"].named_buffers())
