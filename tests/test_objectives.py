"""Bounds with other draws and other gradients, and the terms beside them, against known answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Laplace, Normal, OneHotCategorical

import zoo
from vaekit.core.extra_costs import (
    FreeBits,
    mmd,
)
from vaekit.core.objectives import (
    WATCHED,
    LinearWarmup,
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
from vaekit.core.trace import Draw, Trace

DATUM = torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64)
NOISE = 0.6


def normal(mean: Tensor, scale: Tensor | float) -> Independent:
    return Independent(Normal(mean, scale, validate_args=False), 1)


class Toy:
    """q(z|x) = N(A x + b, e^s), p(z) = N(m, I), p(x|z) = N(W z + c, NOISE).

    Every copy of the datum has its own parameters, so one backward pass gives a gradient for each
    copy.
    """

    def __init__(self, copies: int, exact: bool = False) -> None:
        generator = torch.Generator().manual_seed(3)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        w = torch.linalg.qr(draw(3, 2))[0] * torch.tensor([1.5, 0.8], dtype=torch.float64)
        variance = NOISE**2 / (NOISE**2 + w.pow(2).sum(0))
        start = {
            "A": variance[:, None] * w.T / NOISE**2,
            "b": 0.0 * variance,
            "s": variance.log() / 2,
        }
        start |= {"W": w, "c": 0.0 * draw(3), "m": 0.0 * draw(2)}
        if not exact:
            start = {name: value + 0.2 * draw(*value.shape) for name, value in start.items()}
            start["s"] = variance.log() / 2 + 0.4  # too wide, so that the weights have a variance
        self.copies = copies
        self.p = {
            name: value.expand(copies, *value.shape).clone().requires_grad_()
            for name, value in start.items()
        }

    def trace(self, draws: tuple[int, ...], of_encoder: bool = False) -> Trace:
        """With `of_encoder`, the prior uses the encoder's parameters too, as a VampPrior does."""
        p = self.p
        q = normal((p["A"] @ DATUM) + p["b"], p["s"].exp())
        z = q.rsample(draws)
        prior = normal(p["m"] + (0.5 * p["b"] + p["A"].sum(-1) if of_encoder else 0), 1.0)
        mean = (p["W"] @ z[..., None])[..., 0] + p["c"]
        return Trace((Draw(z, q, prior),), normal(mean, NOISE))


def gradients(
    cost: Callable, copies: int, draws: tuple[int, ...], exact: bool = False, **kind: bool
) -> dict:
    """The cost's gradient in every parameter, shape (copies, n), with the same draws in each
    call.
    """
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
    """On the same draws, the encoder's gradients agree in the mean and all others exactly.

    The value is the bound's.
    """
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
    log_weight = (
        trace.likelihood.log_prob(DATUM) + draw.prior.log_prob(draw.z) - still.log_prob(draw.z)
    )
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
    """Two levels: the lower prior depends on the upper draw, the lower posterior on that and the
    prior.
    """

    def gradient(cost: Callable) -> Tensor:
        torch.manual_seed(0)
        a, b, w = (
            torch.full((60_000, 1), v, dtype=torch.float64).requires_grad_()
            for v in (0.7, -0.4, 0.9)
        )
        q1 = normal(a, 0.8)
        z1 = q1.rsample()
        p2 = normal(w * z1, 1.0)
        q2 = normal(p2.mean + b * z1 + a, 0.5)
        z2 = q2.rsample()
        trace = Trace(
            (Draw(z1, q1, normal(torch.zeros_like(a), 1.0)), Draw(z2, q2, p2)), normal(w * z2, 1.0)
        )
        return torch.cat(torch.autograd.grad(cost(trace, torch.ones(1)).sum(), (a, b, w)), dim=1)

    difference = gradient(stuck) - gradient(closed)
    assert furthest(difference) < 4.5
    assert difference.abs().max() > 1e-3


def test_what_is_logged_is_the_bound_and_not_what_its_gradient_is_made_of() -> None:
    model = zoo.model()
    x = zoo.data(model)
    trace = model(x, None, (6,))
    torch.testing.assert_close(path_rate(trace, x), -trace.draws[0].log_ratio())
    torch.testing.assert_close(
        doubly_reparameterised(6).costs(trace, x)[0], importance_weighted(6).costs(trace, x)[0]
    )
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
    for build in (
        lambda: multiply_weighted(0, 4),
        lambda: convexly_weighted(4, 1.5),
        lambda: importance_weighted(0),
    ):
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
    torch.testing.assert_close(
        ciwae(trace, x, 0.25), 0.25 * elbo(trace, x).mean(0) + 0.75 * iwae(trace, x)
    )
    torch.testing.assert_close(
        convexly_weighted(8, 0.25).costs(trace, x)[0], -ciwae(trace, x, 0.25).mean()
    )


def test_terms_are_added_and_stood_in_for_without_touching_the_objective_they_join() -> None:
    plain = beta_elbo(LinearWarmup(2.0, 0.5))
    with_floor = plain.watching("rate").plus(
        "free_bits", Term(FreeBits(0.1), plain.terms["rate"].schedule)
    )
    assert plain.weights(0.25) == [1.0, 1.0]
    assert with_floor.weights(0.25) == [1.0, 0.0, 1.0]
    assert with_floor.draws == plain.draws
    with pytest.raises(ValueError, match="already"):
        plain.plus("rate", Term(rate))
    for name, objective in (("rate", importance_weighted(4)), ("nothing", plain)):
        with pytest.raises(ValueError, match=name):
            objective.watching(name)
