"""Laws of the bound, of its parts and of their gradients, which hold for every model."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import zoo
from vaekit import beta_elbo, bound, elbo, iwae, nll
from vaekit.core import kl
from vaekit.core.objectives import distortion
from vaekit.core.trace import Draw, Trace
from vaekit.training.step import Step

EVERY = pytest.mark.parametrize("name", zoo.MODELS)
VARYING = pytest.mark.parametrize("name", zoo.VARY)
CERTAIN = pytest.mark.parametrize("name", zoo.CERTAIN)


@EVERY
def test_a_trace_has_one_number_a_datum(name: str) -> None:
    """All costs have the shape (B,) or (S, B), and latents and likelihood have the right shapes."""
    model, x, context = zoo.batch(name)
    one, many = model(x, context), model(x, context, (5,))
    for trace, batch in ((one, (4,)), (many, (5, 4))):
        assert (
            elbo(trace, x).shape == trace.distortion(x).shape == trace.log_weight(x).shape == batch
        )
        assert trace.rate().shape in (batch, (4,))
        assert trace.likelihood.batch_shape == batch
        assert all(draw.z.shape == (*batch, *draw.posterior.event_shape) for draw in trace.draws)
        assert all(draw.prior.event_shape == draw.posterior.event_shape for draw in trace.draws)
    assert iwae(many, x).shape == (4,)
    assert one.likelihood.sample().shape == one.likelihood.mean.shape == x.shape


@EVERY
def test_every_verb_speaks_of_n_data(name: str) -> None:
    """encode, sample, decode and generate agree in the latents' shapes.

    Decoding draws gives the same shapes as inference.
    """
    model, x, context = zoo.batch(name)
    posteriors, latents = model.encode(x, context), model.sample(4, context)
    assert [q.batch_shape for q in posteriors] == [(4,)] * len(latents)
    assert [z.shape[1:] for z in latents] == [q.event_shape for q in posteriors]
    assert (
        model.decode(latents, context).batch_shape == model.generate(4, context).batch_shape == (4,)
    )
    assert model.generate(4, context).mean.shape == x.shape
    many = model(x, context, (3,))
    decoded = model.decode([draw.z for draw in many.draws], context)
    torch.testing.assert_close(decoded.log_prob(x), many.likelihood.log_prob(x))


@EVERY
def test_draws_differ_where_they_can(name: str) -> None:
    model, x, context = zoo.batch(name)
    for draw in model(x, context, (20,)).draws:
        assert bool((draw.z[0] != draw.z).flatten(1).any()) == zoo.MODELS[name].varies


@pytest.mark.parametrize(
    "name", [name for name in zoo.MODELS if "posterior" not in name and name != "told, a flow"]
)
def test_mean_and_scale_of_a_posterior_are_those_of_its_draws(name: str) -> None:
    """For the topmost latent. A posterior with a flow has a middle instead of a mean."""
    model, x, context = zoo.batch(name)
    with torch.no_grad():
        q = model.encode(x, context)[0]
        draws = q.sample((4000,))
    error = 5 * q.stddev / math.sqrt(4000) + 1e-4
    assert ((draws.mean(0) - q.mean).abs() < error).all()
    torch.testing.assert_close(draws.std(0), q.stddev, rtol=0.1, atol=0.02)


@EVERY
def test_the_rate_is_the_mean_of_the_sampled_rate(name: str) -> None:
    """At every level, with a closed form or without. The rate is never below 0."""
    model, x, context = zoo.batch(name)
    with torch.no_grad():
        trace = model(x, context, (1500,) if zoo.MODELS[name].varies else (2,))
    torch.testing.assert_close(trace.rate(), sum(draw.kl() for draw in trace.draws))
    for draw in trace.draws:
        sampled, exact = -draw.log_ratio(), draw.kl()
        error = 5 * (sampled - exact).std(0) / math.sqrt(len(sampled)) + 1e-5 * (
            1 + sampled.abs().amax(0)
        )
        assert ((sampled - exact).mean(0).abs() < error).all()
        spread = 5 * sampled.std(0) / math.sqrt(len(sampled)) + 1e-4
        assert (sampled.mean(0) > -spread).all()


@pytest.mark.parametrize("training", [False, True])
@EVERY
def test_reconstruction_alone_teaches_the_encoder(name: str, training: bool) -> None:
    """Every weight of the encoder, and of the embedding of its conditions, has a gradient."""
    model, x, context = zoo.batch(name, 6)
    model.train(training)
    distortion(model(x, context), x).mean().backward()
    weights = dict(zoo.inference(model))
    weights |= {n: p for n, p in model.named_parameters() if n.startswith("embedding.")}
    for place, p in weights.items():
        assert p.grad is not None, place
        assert torch.isfinite(p.grad).all(), place
        assert p.grad.abs().max() > 0, place


@EVERY
def test_rate_alone_teaches_encoder_and_prior_but_not_the_decoder(name: str) -> None:
    """If all mass is on one code, the rate has no gradient for the encoder, only for the prior."""
    model, x, context = zoo.batch(name, 6)
    rate = model(x, context).rate().mean()
    if rate.requires_grad:
        rate.backward()
    encoder, prior = dict(zoo.inference(model)), dict(zoo.generation(model))
    assert bool(prior or zoo.MODELS[name].varies) == rate.requires_grad
    taught = prior | (encoder if zoo.MODELS[name].varies else {})
    for place, p in taught.items():
        assert p.grad is not None, place
        assert p.grad.abs().max() > 0, place
    untaught = [
        *zoo.inner(model).decoder.parameters(),
        *(() if zoo.MODELS[name].varies else encoder.values()),
    ]
    assert all(p.grad is None for p in untaught)


def of_weights(weights: Tensor) -> Trace:
    """A trace with these log importance weights (S, B)."""
    return SimpleNamespace(log_weight=lambda x: weights)  # type: ignore[return-value]


@VARYING
def test_iwae_is_no_looser_than_elbo_and_tightens_with_draws(name: str) -> None:
    """The same draws are split into larger and larger groups.

    The logarithm of a mean is above the mean of logarithms.
    """
    model, x, context = zoo.batch(name, 2)
    with torch.no_grad():
        trace = model(x, context, (1024,))
        weights = trace.log_weight(x).double()
        bounds = [
            iwae(of_weights(weights.view(k, -1)), x).view(-1, 2).mean(0)
            for k in (1, 4, 16, 64, 1024)
        ]
    error = 5 * (elbo(trace, x) - weights).std(0) / math.sqrt(1024) + 1e-3
    assert ((elbo(trace, x).mean(0) - bounds[0]).abs() < error).all()
    for low, high in pairwise(bounds):
        assert (high > low).all()


@CERTAIN
def test_draws_that_are_all_the_same_leave_every_bound_the_elbo(name: str) -> None:
    """This includes the NLL in chunks, with the conditions of each datum."""
    model, x, context = zoo.batch(name, 5)
    with torch.no_grad():
        one = elbo(model(x, context), x)
        torch.testing.assert_close(iwae(model(x, context, (7,)), x), one, rtol=1e-5, atol=1e-4)
    for rows in (2, 3, 1000):
        estimate = nll(model, [(x, context)], draws=2, rows=rows)
        assert estimate.value == pytest.approx(-one.mean().item(), rel=1e-5)
        assert estimate.error == pytest.approx(one.std().item() / math.sqrt(5), rel=1e-3)


@EVERY
def test_what_is_measured_is_the_bound(name: str) -> None:
    """With beta 1, the parts add up to the bound. The NLL with many draws is no higher."""
    model, x, context = zoo.batch(name, 6)
    parts = bound(model, [(x, context)])
    assert parts.elbo.value == pytest.approx(-parts.distortion.value - parts.rate.value)
    with torch.no_grad():
        values = elbo(model(x, context, (300,)), x)
    error = 5 * values.std(0).square().sum().sqrt().item() / len(x) + 1e-3
    assert parts.elbo.value == pytest.approx(values.mean().item(), abs=error)
    tight = nll(model, [(x, context)], draws=200, rows=300)
    assert tight.n == 6
    assert -tight.value > values.mean().item() - error / math.sqrt(300) - 1e-3


@pytest.mark.parametrize(
    "name", ["prior standard", "prior mixture", "likelihood gaussian", "conv colour", "colour"]
)
def test_a_step_compiles_into_one_graph(name: str) -> None:
    """There is no graph break, even in a process that has not looked up a closed form before."""
    torch.distributions.kl._KL_MEMOIZE.clear()
    kl._lookup.cache_clear()
    torch.compiler.reset()
    model = zoo.MODELS[name]().train()
    x = zoo.data(model)
    step = Step(model, beta_elbo())
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    torch.manual_seed(5)
    loss, costs = compiled(x, None, torch.ones(2))
    torch.manual_seed(5)
    torch.testing.assert_close(step(x, None, torch.ones(2))[0], loss)
    assert costs.shape == (2,)


def test_a_draws_log_ratio_is_prior_over_posterior() -> None:
    """log p - log q, and nothing else. Every bound depends on its sign."""
    model, x, _ = zoo.batch("prior learned")
    (draw,) = model(x).draws
    assert isinstance(draw, Draw)
    torch.testing.assert_close(
        draw.log_ratio(), draw.prior.log_prob(draw.z) - draw.posterior.log_prob(draw.z)
    )
