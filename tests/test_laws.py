"""Laws that hold for every model, whatever it is made of."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import zoo
from vaekit import beta_elbo, bound, divergences, elbo, evaluate, iwae, nll
from vaekit.advance import Step
from vaekit.divergences import kl
from vaekit.objectives import distortion
from vaekit.trace import Draw, Trace

MODELS = pytest.mark.parametrize("name", zoo.MODELS)


@MODELS
def test_shapes_and_units_of_a_trace(name: str) -> None:
    """One number per datum, of shape (B,) or (S, B); latents and samples have the shapes that they should."""
    model = zoo.MODELS[name]()
    x = zoo.data(model)
    one, many = model(x), model(x, None, (5,))
    assert elbo(one, x).shape == (4,)
    assert elbo(many, x).shape == (5, 4)
    assert iwae(many, x).shape == (4,)
    assert one.likelihood.batch_shape == (4,)
    assert many.draws[0].z.shape == (5, 4, zoo.LATENT)
    assert one.likelihood.sample().shape == x.shape
    assert one.likelihood.mean.shape == x.shape


@MODELS
def test_rate_is_the_mean_of_the_sampled_rate(name: str) -> None:
    model = zoo.MODELS[name]()
    draw = model(zoo.data(model), None, (4000,)).draws[0]
    sampled = -draw.log_ratio()
    error = sampled.std(0) / math.sqrt(len(sampled))
    exact = draw.kl() if draw.kl().dim() == 1 else draw.kl().mean(0)
    assert ((exact - sampled.mean(0)).abs() < 5 * error + 1e-4).all()
    assert (exact > -5 * error - 1e-4).all()


@MODELS
def test_reconstruction_alone_teaches_the_encoder(name: str) -> None:
    model = zoo.MODELS[name]()
    x = zoo.data(model)
    distortion(model(x), x).mean().backward()
    for parameter in model.encoder.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().max() > 0


@MODELS
def test_rate_alone_teaches_encoder_and_prior_but_not_the_decoder(name: str) -> None:
    model = zoo.MODELS[name]()
    model(zoo.data(model)).rate().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.encoder.parameters())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.prior.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())


@MODELS
def test_iwae_is_no_looser_than_elbo_and_tightens_with_draws(name: str) -> None:
    model = zoo.MODELS[name]()
    x = zoo.data(model, 2)
    with torch.no_grad():
        weights = model(x, None, (4096,)).log_weight(x).double()  # (S, B)
    means, errors = [], []
    for k in (1, 4, 16, 64):
        bounds = torch.logsumexp(weights.view(k, -1, len(x)), 0) - math.log(k)
        means.append(bounds.mean(0))
        errors.append(bounds.std(0) / math.sqrt(len(bounds)))
    for (low, low_error), (high, high_error) in zip(
        zip(means, errors, strict=True), zip(means[1:], errors[1:], strict=True), strict=False
    ):
        assert (high > low - 4 * (low_error + high_error)).all()
    assert (means[-1] >= means[0]).all()


@MODELS
def test_a_datum_scores_the_same_alone_and_in_company(name: str) -> None:
    model = zoo.MODELS[name]()
    x = zoo.data(model, 6)
    z = model.encode(x)[0].mean
    together = model.decode((z,)).log_prob(x)
    alone = torch.cat([model.decode((z[i : i + 1],)).log_prob(x[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)


@MODELS
def test_encoding_is_repeatable_bit_for_bit(name: str) -> None:
    model = zoo.MODELS[name]()
    x = zoo.data(model)
    assert torch.equal(model.encode(x)[0].mean, model.encode(x)[0].mean)


@MODELS
def test_generation_follows_the_prior_and_the_seed(name: str) -> None:
    model = zoo.MODELS[name]()
    with torch.no_grad():
        pictures = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            pictures.append(model.generate(5).mean)
    assert pictures[0].shape[0] == 5
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


@pytest.mark.parametrize("name", ["prior standard", "prior mixture", "likelihood gaussian", "conv colour", "colour"])
def test_a_step_compiles_into_one_graph(name: str) -> None:
    """No graph break, also in a process that has not looked up a closed form before."""
    torch.distributions.kl._KL_MEMOIZE.clear()
    divergences._lookup.cache_clear()
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


@MODELS
def test_a_model_survives_its_state(name: str) -> None:
    model, other = zoo.MODELS[name](), zoo.MODELS[name]()
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    other.load_state_dict(model.state_dict())
    x = zoo.data(model)
    torch.manual_seed(5)
    first = elbo(model(x), x)
    torch.manual_seed(5)
    assert torch.equal(first, elbo(other(x), x))


@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_context_reaches_encoder_and_decoder(net: str) -> None:
    model = zoo.model(net=net, context=zoo.CONTEXT)
    a, b = torch.zeros(3, zoo.CONTEXT), torch.ones(3, zoo.CONTEXT)
    x = zoo.data(model, 3, a[:1])
    assert not torch.allclose(model.encode(x, a)[0].mean, model.encode(x, b)[0].mean)
    z = (torch.zeros(3, zoo.LATENT),)
    assert not torch.allclose(model.decode(z, a).mean, model.decode(z, b).mean)
    assert model(x, a, (4,)).likelihood.batch_shape == (4, 3)
    assert model.generate(3, b).mean.shape == x.shape


def test_exact_posterior_gives_exact_evidence() -> None:
    """With the true posterior, every single draw of every bound is log p(x): no constant, sign or half is lost."""
    model = zoo.LinearGaussian()
    x = torch.randn(7, *model.shape) * 2
    evidence = model.evidence(x)
    trace, many = model(x), model(x, None, (9,))
    torch.testing.assert_close(trace.log_weight(x), evidence, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(iwae(many, x), evidence, rtol=1e-4, atol=1e-3)
    sampled = elbo(model(x, None, (20_000,)), x).mean(0)
    torch.testing.assert_close(sampled, evidence, rtol=0, atol=0.06)


@pytest.mark.parametrize(("draws", "rows"), [(1, 8192), (7, 3), (50, 16), (50, 100_000)])
def test_nll_counts_every_draw_once_however_chunked(draws: int, rows: int) -> None:
    model = zoo.LinearGaussian()
    x = torch.randn(11, *model.shape) * 2
    estimate = nll(model, [(x[:6], None), (x[6:], None)], draws=draws, rows=rows)
    expected = -model.evidence(x).double()
    assert estimate.n == 11
    assert estimate.value == pytest.approx(expected.mean().item(), abs=1e-3)
    assert estimate.error == pytest.approx(expected.std().item() / math.sqrt(11), rel=1e-3)


def test_nll_with_a_wrong_posterior_falls_to_the_evidence() -> None:
    model = zoo.LinearGaussian()
    model.variance = model.variance * 1.5  # mean and width both wrong now
    x = torch.randn(40, *model.shape)
    truth = -model.evidence(x).mean().item()
    loose, tight = (nll(model, [(x, None)], draws=k).value for k in (1, 4000))
    assert truth - 1e-2 < tight < loose
    assert tight == pytest.approx(truth, abs=0.02)


def test_bound_adds_up_and_uses_beta_one() -> None:
    model = zoo.LinearGaussian()
    x = torch.randn(300, *model.shape)
    parts = bound(model, [(x, None)])
    assert parts.elbo.value == pytest.approx(-parts.distortion.value - parts.rate.value)
    assert parts.elbo.value == pytest.approx(model.evidence(x).mean().item(), abs=5 * parts.elbo.error)


def test_evaluation_leaves_mode_and_random_state_alone() -> None:
    model = zoo.model().train()
    x = zoo.data(model)
    state = torch.get_rng_state()
    bound(model, [(x, None)])
    nll(model, [(x, None)], draws=3)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())


MEASURES = {
    "bound": bound,
    "nll": lambda model, pairs: nll(model, pairs, draws=3),
    "posterior means": lambda model, pairs: evaluate.posterior_means(model, pairs).tolist(),
    "mutual information": evaluate.mutual_information,
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_model_in_training_is_measured_as_in_use(name: str) -> None:
    """Dropout drops nothing and batch statistics stay; the mode comes back, even from an error."""
    model, batch = zoo.model(), torch.nn.BatchNorm1d(2 * zoo.LATENT)
    net = model.encoder.net
    net.head = torch.nn.Sequential(net.head, torch.nn.Dropout(0.5), batch)
    x = zoo.data(model, 6)
    measured = MEASURES[name](model.eval(), [(x, None)])
    assert not model.training
    assert MEASURES[name](model.train(), [(x, None)]) == measured
    assert model.training
    assert batch.num_batches_tracked == 0
    with pytest.raises(RuntimeError):
        MEASURES[name](model, [(x[..., :1], None)])
    assert model.training


def test_beta_weighs_the_rate_only() -> None:
    model = zoo.model()
    x = zoo.data(model)
    trace = model(x)
    torch.testing.assert_close(elbo(trace, x, 3.0), trace.likelihood.log_prob(x) - 3 * trace.rate())
    objective = beta_elbo(4.0)
    assert objective.weights(0.0) == [1.0, 4.0]
    costs = objective.costs(trace, x)
    torch.testing.assert_close(costs.sum(), -elbo(trace, x).mean())


def test_mutual_information_of_known_codes() -> None:
    """Codes that say nothing of the datum carry 0 nats; codes that never meet carry log N."""
    model = zoo.LinearGaussian()
    model.weight = torch.zeros_like(model.weight)
    x = torch.randn(200, *model.shape)
    model.variance = torch.ones(2)
    assert evaluate.mutual_information(model, [(x, None)]) == pytest.approx(0, abs=1e-4)
    apart = zoo.LinearGaussian(noise=1e-3)
    assert evaluate.mutual_information(apart, [(x * 100, None)]) == pytest.approx(math.log(200), abs=0.05)


def test_mutual_information_of_a_gaussian_channel() -> None:
    """One linear latent: I = 1/2 log(1 + |w|^2 / s^2) when x follows the model."""
    model = zoo.LinearGaussian(latent=1, noise=1.0)
    with torch.no_grad():
        x = model.decode((torch.randn(2000, 1),)).sample()
    truth = 0.5 * math.log(1 + 4.0)
    assert evaluate.mutual_information(model, [(x, None)]) == pytest.approx(truth, abs=0.06)


def test_active_units_counts_dimensions_that_move() -> None:
    means = torch.stack((torch.randn(500), 0.05 * torch.randn(500), 0.5 * torch.randn(500), torch.ones(500)), 1)
    assert evaluate.active_units(means) == 2


def test_bits_per_dim_of_a_fair_coin() -> None:
    assert evaluate.bits_per_dim(10 * math.log(2), 10) == pytest.approx(1.0)


def test_a_sampled_kl_teaches_what_the_closed_form_teaches() -> None:
    """Averaged over draws, its gradient in both distributions' parameters is that of the closed form."""

    def gradients(closed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        q_mean, q_scale, p_mean, p_scale = (torch.tensor([v], requires_grad=True) for v in (0.3, 0.7, -0.5, 1.4))
        q, p = (Independent(Normal(m, s), 1) for m, s in ((q_mean, q_scale), (p_mean, p_scale)))
        one = MixtureSameFamily(Categorical(torch.ones(1)), Independent(Normal(p_mean[None], p_scale[None]), 1))
        z = q.rsample((200_000,))
        cost = kl(q, p, z).mean() if closed else kl(q, one, z).mean()
        return list(torch.autograd.grad(cost, [q_mean, q_scale, p_mean, p_scale]))

    for sampled, exact in zip(gradients(False), gradients(True), strict=True):
        assert sampled.item() == pytest.approx(exact.item(), abs=0.02)


def test_the_importance_weighted_bound_teaches_by_the_path_through_z() -> None:
    """With one draw, the same noise: its gradient in the posterior's mean is a finite difference of its value."""
    x = torch.zeros(4, 3)

    def bound(shift: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        q = Independent(Normal(shift.expand(4, 2), 0.5), 1)
        z = q.rsample((3,))
        p = Independent(Normal(torch.full((4, 2), 1.0), 2.0), 1)
        likelihood = Independent(Normal(z.sum(-1, keepdim=True).expand(3, 4, 3), 1.0), 1)
        return iwae(Trace((Draw(z, q, p),), likelihood), x).mean()

    at, step = torch.tensor(0.4, dtype=torch.float64, requires_grad=True), 1e-5
    (gradient,) = torch.autograd.grad(bound(at), at)
    difference = (bound(at.detach() + step) - bound(at.detach() - step)) / (2 * step)
    assert gradient.item() == pytest.approx(difference.item(), rel=1e-4)
