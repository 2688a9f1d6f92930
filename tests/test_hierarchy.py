"""Hierarchies: one walk infers and generates, and they support all that other models support."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence
from torch.func import functional_call, grad

from vaekit import beta_elbo, bound, elbo, iwae, nll
from vaekit.core.objectives import distortion
from vaekit.distributions.families import PixelBernoulli
from vaekit.measures.bounds import posterior_means
from vaekit.models.hierarchy import Hierarchy, TopEncoder, conv_hierarchy, dense_hierarchy
from vaekit.models.priors import LearnedNormal, NormalMixture, VampPrior
from vaekit.nn.ladder import Scales
from vaekit.training.step import Step

SHAPE, LATENTS, CONTEXT = (1, 8, 6), (3, 2, 4), 2


def dense(
    context: int = 0, top: nn.Module | None = None, latents: tuple[int, ...] = LATENTS
) -> Hierarchy:
    torch.manual_seed(1)
    return moved(
        dense_hierarchy(SHAPE, 1, latents, 12, 1, PixelBernoulli(), context=context, top=top)
    )


def conv(context: int = 0, top: nn.Module | None = None, stride: int = 1) -> Hierarchy:
    torch.manual_seed(1)
    return moved(conv_hierarchy(SHAPE, 1, LATENTS, 8, 1, PixelBernoulli(), stride, context, top))


def moved(model: Hierarchy) -> Hierarchy:
    """Weights moved away from their start, so that zeros hide nothing."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def vamp() -> Hierarchy:
    model = dense()
    model.prior = VampPrior(TopEncoder(model.rise, model.top), torch.rand(5, *SHAPE))
    return model


MODELS: dict[str, Callable[[], Hierarchy]] = {
    "dense": dense,
    "dense of one level": lambda: dense(latents=(3,)),
    "dense under a mixture": lambda: dense(top=NormalMixture(3, 4)),
    "dense under a learned normal": lambda: dense(top=LearnedNormal(3)),
    "dense under a VampPrior": vamp,
    "conv": conv,
    "conv with a stride": lambda: conv(stride=2),
    "conv under a mixture": lambda: conv(top=NormalMixture(3, 4)),
}
EVERY = pytest.mark.parametrize("name", MODELS)


def data(n: int = 4) -> Tensor:
    return (torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(2)) < 0.4).float()


@EVERY
def test_a_trace_has_a_draw_a_level_and_one_number_a_datum(name: str) -> None:
    model, x = MODELS[name](), data()
    one, many = model(x), model(x, None, (5,))
    assert len(one.draws) == len(many.draws) == model.levels
    for draw, deep in zip(one.draws, many.draws, strict=True):
        assert draw.z.shape == (4, *draw.posterior.event_shape)
        assert deep.z.shape == (5, *draw.z.shape)
        assert draw.prior.event_shape == draw.posterior.event_shape
        assert draw.log_ratio().shape == (4,)
        assert deep.log_ratio().shape == (5, 4)
    assert elbo(one, x).shape == (4,)
    assert elbo(many, x).shape == (5, 4)
    assert iwae(many, x).shape == (4,)
    assert one.likelihood.mean.shape == model.generate(4).mean.shape == x.shape


@EVERY
def test_the_rate_is_the_sum_of_the_levels_and_the_mean_of_the_sampled_rate(name: str) -> None:
    model, x = MODELS[name](), data(2)
    with torch.no_grad():
        trace = model(x, None, (3000,))
    exact = sum(draw.kl() for draw in trace.draws)
    torch.testing.assert_close(trace.rate(), exact)
    for draw in trace.draws:
        difference = -draw.log_ratio() - draw.kl()  # (S, B), of mean 0 at every level
        assert (difference.mean(0).abs() < 5 * difference.std(0) / math.sqrt(3000) + 1e-4).all()
    for draw in trace.draws[1:]:
        torch.testing.assert_close(draw.kl(), kl_divergence(draw.posterior, draw.prior))
        assert (draw.kl() >= 0).all()


class At(Distribution):
    """All mass on one point."""

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, z: Tensor) -> None:
        self.z = z
        super().__init__(z.shape[:1], z.shape[1:], validate_args=False)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:
        return self.z


class Always(nn.Module):
    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.z = z

    def forward(self, *given: object) -> At:
        return At(self.z)


@EVERY
def test_generated_latents_have_the_prior_and_the_likelihood_that_inference_sees(name: str) -> None:
    model, x = MODELS[name](), data(5)
    with torch.no_grad():
        z = model.sample(5)
        walked = model.descend(lambda level, prior, state: (prior, z[level]))
        decoded = model.decode(z)
        model.top, model.posteriors = Always(z[0]), nn.ModuleList(Always(part) for part in z[1:])
        inferred = model(x)
    assert len(z) == model.levels
    for level in range(model.levels):
        assert torch.equal(inferred.draws[level].z, z[level])
        seen = inferred.draws[level].prior.log_prob(z[level])
        assert seen.shape == (5,)
        assert torch.equal(seen, walked.draws[level].prior.log_prob(z[level]))
    assert torch.equal(inferred.likelihood.log_prob(x), decoded.log_prob(x))


@EVERY
def test_generated_latents_follow_the_prior(name: str) -> None:
    """At each level, the mean of log p(z) over draws is minus the entropy of p, where that is
    known.
    """
    model = MODELS[name]()
    with torch.no_grad():
        z = model.sample(4000)
        trace = model.descend(lambda level, prior, state: (prior, z[level]))
    for draw in trace.draws[1:]:
        excess = draw.prior.log_prob(draw.z) + draw.prior.entropy()
        assert excess.mean().abs() < 5 * excess.std() / math.sqrt(4000)
    assert (z[0].mean(0) - trace.draws[0].prior.mean).abs().max() < 5 * z[0].std() / math.sqrt(4000)


@EVERY
def test_generation_follows_the_seed(name: str) -> None:
    model, pictures = MODELS[name](), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        pictures.append(model.generate(5).mean)
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


@EVERY
def test_encoding_is_repeatable_and_its_means_decode_to_the_reconstruction(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If each posterior gives its mean, inference and decoding are one function."""
    model, x = MODELS[name](), data()
    first, second = model.encode(x), model.encode(x)
    assert all(
        torch.equal(a.mean, b.mean) and torch.equal(a.stddev, b.stddev)
        for a, b in zip(first, second, strict=True)
    )
    assert all(q.batch_shape == (4,) for q in first)
    monkeypatch.setattr(
        torch.distributions.normal, "_standard_normal", lambda s, dtype, device: torch.zeros(s)
    )
    decoded = model.decode([q.mean for q in first])
    assert torch.equal(model(x).likelihood.mean, decoded.mean)


@EVERY
def test_iwae_is_no_looser_than_elbo_and_tightens_with_draws(name: str) -> None:
    model, x = MODELS[name](), data(2)
    with torch.no_grad():
        weights = model(x, None, (2048,)).log_weight(x).double()
    bounds = [
        (torch.logsumexp(weights.view(k, -1, 2), 0) - math.log(k)).mean(0) for k in (1, 8, 64)
    ]
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] < bounds[2]).all()


@EVERY
def test_a_hierarchy_is_measured_like_any_model(name: str) -> None:
    model, x = MODELS[name](), data(6)
    parts = bound(model, [(x, None)])
    assert (
        nll(model, [(x, None)], draws=300, rows=500).value
        < -parts.elbo.value + 2 * parts.elbo.error
    )
    assert posterior_means(model, [(x, None)]).shape == (
        6,
        sum(q.event_shape.numel() for q in model.encode(x)),
    )


@EVERY
def test_reconstruction_alone_teaches_every_encoder_and_the_way_down(name: str) -> None:
    model, x = MODELS[name](), data()
    distortion(model(x), x).mean().backward()
    for part in (model.rise, model.top, model.posteriors, model.merges, model.decoder):
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
            assert parameter.grad.abs().max() > 0


@EVERY
def test_rate_alone_teaches_priors_and_encoders_but_not_the_decoder(name: str) -> None:
    model = MODELS[name]()
    model(data()).rate().mean().backward()
    for part in (model.rise, model.top, model.prior, model.posteriors, model.priors):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())


@EVERY
def test_a_datum_scores_the_same_alone_and_in_company(name: str) -> None:
    model, x = MODELS[name](), data(3)
    together = [q.mean for q in model.encode(x)]
    each = [model.encode(x[i : i + 1]) for i in range(3)]
    alone = [
        torch.cat([posteriors[level].mean for posteriors in each]) for level in range(model.levels)
    ]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@EVERY
def test_a_hierarchy_survives_its_state_and_its_copy(name: str) -> None:
    model, other, x = MODELS[name](), MODELS[name](), data()
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    other.load_state_dict({key: value.clone() for key, value in model.state_dict().items()})
    scores = []
    for each in (model, other, copy.deepcopy(model)):
        torch.manual_seed(5)
        scores.append(elbo(each(x), x))
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])


@pytest.mark.parametrize("name", ["dense under a mixture", "conv"])
def test_a_step_compiles_into_one_graph(name: str) -> None:
    torch.compiler.reset()
    x = data()
    step = Step(MODELS[name]().train(), beta_elbo())
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    torch.manual_seed(5)
    loss, costs = compiled(x, None, torch.ones(2))
    torch.manual_seed(5)
    torch.testing.assert_close(step(x, None, torch.ones(2))[0], loss)
    assert costs.shape == (2,)


@pytest.mark.parametrize("net", [dense, conv])
def test_a_step_is_a_function_of_its_weights_also_in_bfloat16(
    net: Callable[..., Hierarchy],
) -> None:
    x = data()
    step = Step(net(CONTEXT).train(), beta_elbo())
    weights = {name: p.detach().clone() for name, p in step.named_parameters()}

    def loss(given: dict[str, Tensor]) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return functional_call(step, given, (x, torch.ones(4, CONTEXT), torch.ones(2)))[0]

    assert loss(weights).dtype == torch.float32
    assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in grad(loss)(weights).values())
    with torch.autocast("cpu", torch.bfloat16):
        trace = step.model(x, torch.ones(4, CONTEXT))
        assert all(
            draw.log_ratio().dtype == draw.kl().dtype == torch.float32 for draw in trace.draws
        )


@pytest.mark.parametrize("net", [dense, conv])
def test_context_reaches_every_part_of_every_level(net: Callable[..., Hierarchy]) -> None:
    model, x = net(CONTEXT, LearnedNormal(LATENTS[0], CONTEXT)), data(3)
    model = moved(model)
    a, b = torch.zeros(3, CONTEXT), torch.ones(3, CONTEXT)
    fixed = model.sample(3, a)
    walks = [model.descend(lambda level, prior, state: (prior, fixed[level]), c) for c in (a, b)]
    for one, other in zip(walks[0].draws, walks[1].draws, strict=True):
        assert not torch.allclose(one.prior.mean, other.prior.mean)
    for one, other in zip(model.encode(x, a), model.encode(x, b), strict=True):
        assert not torch.allclose(one.mean, other.mean)
    assert not torch.allclose(model.decode(fixed, a).mean, model.decode(fixed, b).mean)
    assert model(x, a, (4,)).likelihood.batch_shape == (4, 3)
    assert iwae(model(x, a, (4,)), x).shape == (3,)
    loss = -elbo(model(x, b), x).mean()
    loss.backward()
    films = [p for name, p in model.named_parameters() if "film" in name]
    assert films
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in films)


def test_dropout_acts_in_training_only() -> None:
    model, x = dense_hierarchy(SHAPE, 1, LATENTS, 12, 1, PixelBernoulli(), dropout=0.5), data()
    model = moved(model)
    assert torch.equal(model.encode(x)[0].mean, model.encode(x)[0].mean)
    model.train()
    assert not torch.equal(model.encode(x)[0].mean, model.encode(x)[0].mean)


@pytest.mark.parametrize("net", [dense, conv])
def test_a_hierarchy_without_a_context_ignores_the_one_it_is_given(
    net: Callable[..., Hierarchy],
) -> None:
    model, x = net(), data(3)
    for one, other in zip(model.encode(x), model.encode(x, torch.ones(3, 7)), strict=True):
        assert torch.equal(one.mean, other.mean)


@pytest.mark.parametrize("net", [dense, conv])
def test_details_are_drawn_below_given_latents(net: Callable[..., Hierarchy]) -> None:
    """`decode` with the top alone is repeatable; `sample` below it keeps it and varies the rest."""
    model = net()
    top = model.sample(6)[:1]
    assert torch.equal(model.decode(top).mean, model.decode(top).mean)
    one, other = model.sample(6, latents=top), model.sample(6, latents=top)
    assert torch.equal(one[0], top[0])
    assert not torch.equal(one[1], other[1])
    assert [z.shape for z in one] == [z.shape for z in model.sample(6)]


def test_too_many_and_no_latents_are_refused() -> None:
    model = dense()
    z = model.sample(2)
    with pytest.raises(ValueError, match="at most 3 latents"):
        model.decode((*z, z[0]))
    with pytest.raises(ValueError, match="1 to 3 latents"):
        model.decode(())


@pytest.mark.parametrize("net", [dense, conv])
def test_a_posterior_that_adds_nothing_is_the_prior(net: Callable[..., Hierarchy]) -> None:
    model = net()
    with torch.no_grad():
        for name, p in model.posteriors.named_parameters():
            if "read.head" in name:
                p.zero_()
    for draw in model(data()).draws[1:]:
        torch.testing.assert_close(draw.kl(), torch.zeros(4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 4), (1, 28, 28), (2, 9, 31), (3, 64, 48)])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_convolutional_ladder_fits_any_picture(
    shape: tuple[int, int, int], stride: int
) -> None:
    model = conv_hierarchy(shape, shape[0], (4, 1, 2, 1, 1), 4, 1, PixelBernoulli(), stride)
    x = torch.rand(2, *shape).round()
    trace = model(x, None, (2,))
    assert trace.likelihood.event_shape == shape
    assert torch.isfinite(elbo(trace, x)).all()
    heights = [draw.z.shape[-2] for draw in trace.draws[1:]]
    assert heights == sorted(heights)


def test_lower_latents_spread_over_the_scales() -> None:
    """28x28 has scales of 28, 14, 7 and 4 pixels.

    Latents skip the finest scale, unless the stride has already left out full resolution.
    """
    assert Scales.of((1, 28, 28), 8, 1, 2).places == [2, 1]
    assert Scales.of((1, 28, 28), 8, 1, 3).places == [3, 2, 1]
    assert Scales.of((1, 28, 28), 8, 1, 6).places == [3, 3, 2, 2, 1, 1]
    assert Scales.of((1, 28, 28), 8, 2, 2).places == [1, 0]
    assert Scales.of((1, 3, 3), 8, 1, 2).places == [0, 0]


class Given(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, *values: Tensor, context: Tensor | None = None) -> object:
        return self.function(*values)


def test_exact_posteriors_give_exact_evidence() -> None:
    """z1 ~ N(0, 1), z2 ~ N(a z1, s^2), x ~ N(w z2, t^2 I): each draw's log-weight is exactly log
    p(x).

    So no level is lost or counted twice. q(z1|x) and q(z2|z1, x) are the exact Gaussian
    conditionals, computed from the joint covariance.
    """
    a, s, t = 1.7, 0.6, 0.5
    w = torch.tensor([0.8, -1.1, 0.3])
    above = torch.outer(w, w) * s**2 + t**2 * torch.eye(3)  # cov(x | z1)
    covariance = torch.outer(w, w) * a**2 + above
    gain1 = a * torch.linalg.solve(covariance, w)
    width1 = (1 - gain1 @ (a * w)).sqrt()
    gain2 = s**2 * torch.linalg.solve(above, w)
    width2 = (s**2 - gain2 @ (s**2 * w)).sqrt()

    def gaussian(mean: Tensor, scale: float | Tensor) -> Independent:
        return Independent(Normal(mean, torch.as_tensor(scale).expand_as(mean)), 1)

    model = Hierarchy(
        rise=Given(lambda x, context: (x, x)),
        top=Given(lambda x, context: gaussian((x @ gain1)[..., None], width1)),
        prior=Given(lambda context: gaussian(torch.zeros(1), 1.0)),
        posteriors=[
            Given(
                lambda prior, z, x, context: gaussian(
                    prior.mean + ((x - prior.mean * w) @ gain2)[..., None], width2
                )
            )
        ],
        priors=[Given(lambda z, context: gaussian(a * z, s))],
        merges=[Given(lambda z: z), Given(lambda z, state: z)],
        decoder=Given(lambda z, context: gaussian(z * w, t)),
    )
    x = 2 * torch.randn(7, 3)
    evidence = MultivariateNormal(torch.zeros(3), covariance).log_prob(x)
    torch.testing.assert_close(model(x).log_weight(x), evidence, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(iwae(model(x, None, (9,)), x), evidence, rtol=1e-4, atol=1e-4)
    averaged = elbo(model(x, None, (20_000,)), x).mean(0)
    torch.testing.assert_close(averaged, evidence, rtol=0, atol=0.06)
    assert nll(model, [(x, None)], draws=3).value == pytest.approx(
        -evidence.mean().item(), abs=1e-3
    )


def test_training_makes_use_of_more_than_the_top() -> None:
    """Four independent stripes.

    A top latent of one dimension cannot hold them, so a lower level must.
    """
    torch.manual_seed(0)
    model = dense_hierarchy(SHAPE, 1, (1, 2, 2), 24, 1, PixelBernoulli())
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        stripes = (
            torch.randint(0, 2, (64, 1, 4, 1)).repeat_interleave(2, 2).expand(64, *SHAPE).float()
        )
        loss = -elbo(model(stripes), stripes).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        rates = [float(draw.kl().mean()) for draw in model(stripes).draws]
    assert sum(rates[1:]) > 0.5
    assert loss < 12  # 33 nats untrained; 4 bits are 2.8
