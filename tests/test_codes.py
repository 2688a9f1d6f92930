"""Discrete latents in whole models, relaxed categories, and the costs of codes."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from discrete import BOOKS, EACH, SHAPE, awake, categorical_vae, objective, pixels, quantised_vae
from vaekit import VAE
from vaekit.core.objectives import Objective, Term, distortion, elbo, iwae, rate
from vaekit.core.trace import Draw, Trace
from vaekit.models.codes.codebooks import (
    straight_through,
)
from vaekit.models.codes.posteriors import (
    CodePosterior,
    GumbelSoftmax,
    HardCategorical,
    RelaxedCategorical,
    StraightThroughGumbelSoftmax,
    codebook_cost,
    commitment,
    perplexity,
    usage,
)
from vaekit.models.codes.priors import LearnedCategories, UniformCategories
from vaekit.training.step import Step


@EACH
@pytest.mark.parametrize("prior", ["uniform", "autoregressive"])
def test_a_quantised_model_keeps_the_shapes_of_a_trace(name: str, prior: str) -> None:
    vae = quantised_vae(name, prior)
    vae.encoder.start(pixels(50))  # type: ignore[operator]
    x = pixels()
    one, many = vae.eval()(x), vae(x, None, (3,))
    assert elbo(one, x).shape == one.draws[0].kl().shape == (5,)
    torch.testing.assert_close(
        iwae(many, x), elbo(one, x), rtol=1e-4, atol=1e-3
    )  # every draw is the same
    assert vae.generate(4).mean.shape == (4, *SHAPE)


def test_two_rows_of_context_are_not_mixed_up() -> None:
    vae = awake(quantised_vae(context=2))
    vae.encoder.start(pixels(50), torch.randn(50, 2))  # type: ignore[operator]
    x, c = pixels(), torch.randn(5, 2)
    together = elbo(vae(x, c), x)
    alone = torch.cat([elbo(vae(x[i : i + 1], c[i : i + 1]), x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)
    assert vae.generate(5, c).mean.shape == x.shape


def test_start_puts_the_codes_among_the_features() -> None:
    vae, x = quantised_vae(), pixels(1200)
    vae.eval().encoder.start(x)  # type: ignore[operator]
    q = vae.encode(x)[0]
    assert usage(Trace((Draw(q.mean, q, q),), q), x) == 1.0
    assert q.commitment.mean() < 0.7 * vae.encoder.net(x).flatten(2).var(2).sum(1).mean() * 6  # type: ignore[attr-defined, operator, union-attr]


MODELS: dict[str, Callable[[], VAE]] = {
    **{name: lambda name=name: quantised_vae(name) for name in BOOKS},  # type: ignore[misc]
    "uniform": lambda: quantised_vae(prior="uniform"),
    "relaxed": categorical_vae,
    "straight through": lambda: categorical_vae(StraightThroughGumbelSoftmax),
}


@pytest.mark.parametrize("name", ["moving", "residual", "scalar", "relaxed", "straight through"])
def test_a_step_compiles_into_one_graph(name: str) -> None:
    """This includes its gradient and its updated buffers, as in the fastest way of training."""
    torch.distributions.kl._KL_MEMOIZE.clear()
    torch.compiler.reset()
    model = awake(MODELS[name](), 0.1).train()
    terms = (
        objective().terms
        if hasattr(model.encoder, "codebook")
        else {"d": Term(distortion), "r": Term(rate)}
    )
    step, x = Step(model, Objective(terms)), pixels()

    def move(x: Tensor) -> tuple:
        def loss(copies: dict[str, Tensor]) -> tuple:
            buffers = {name: buffer.clone() for name, buffer in step.named_buffers()}
            with torch.autocast("cpu", torch.bfloat16):
                out = torch.func.functional_call(
                    step, copies | buffers, (x, None, torch.ones(len(terms)))
                )
            return out[0], (out[1], buffers)

        return torch.func.grad(loss, has_aux=True)(dict(step.named_parameters()))

    results = []
    for way in (move, torch.compile(move, fullgraph=True, backend="eager")):
        torch.manual_seed(5)
        with torch.no_grad():
            results.append(way(x))
    torch.testing.assert_close(results[1], results[0])
    assert all(torch.isfinite(g).all() for g in results[0][0].values())
    if name in ("moving", "residual"):
        assert any(
            not torch.equal(b, results[0][1][1][n]) for n, b in step.named_buffers() if "codes" in n
        )


@pytest.mark.parametrize("name", MODELS)
def test_a_model_survives_its_state_and_copying(name: str) -> None:
    model, other = awake(MODELS[name]()), MODELS[name]().eval()
    if hasattr(model.encoder, "start"):
        model.encoder.start(pixels(50))  # type: ignore[operator]
    assert not any(key.startswith("prior.codebook") for key in model.state_dict())
    other.load_state_dict(model.state_dict())
    x = pixels()
    results = []
    for each in (model, other, copy.deepcopy(model)):
        torch.manual_seed(3)
        results.append(torch.cat((each.generate(4).mean.flatten(), elbo(each(x), x))))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_copied_models_prior_knows_the_copied_codebook() -> None:
    model = copy.deepcopy(quantised_vae())
    assert model.prior.codebook is model.encoder.codebook


def test_reconstruction_teaches_the_encoder_in_training_and_evaluation() -> None:
    for model in (quantised_vae(), categorical_vae()):
        x = pixels()
        for mode in (True, False):
            model.zero_grad()
            distortion(awake(model).train(mode)(x), x).mean().backward()
            assert all(p.grad.abs().max() > 0 for p in model.encoder.parameters())


# Categories


def categories(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 5)


def test_kl_of_relaxed_categories_is_that_of_the_categories() -> None:
    q, p = RelaxedCategorical(categories(), 0.3), HardCategorical(torch.randn(3, 5))
    by_torch = kl_divergence(
        torch.distributions.Categorical(logits=q.log_probs),
        torch.distributions.Categorical(logits=p.log_probs),
    )
    torch.testing.assert_close(kl_divergence(q, p), by_torch.sum(-1))
    torch.testing.assert_close(Draw(q.rsample(), q, p).kl(), by_torch.sum(-1))
    uniform = UniformCategories(3, 5)()
    torch.testing.assert_close(kl_divergence(q, uniform), 3 * math.log(5) - q.entropy())


def test_log_prob_is_that_of_the_categories() -> None:
    q = HardCategorical(categories())
    z = q.sample((20,))
    by_torch = (
        torch.distributions.OneHotCategorical(logits=q.log_probs)
        .log_prob(z.unflatten(-1, (3, 5)))
        .sum(-1)
    )
    assert z.shape == (20, 4, 15)
    torch.testing.assert_close(q.log_prob(z), by_torch)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_hard_draws_are_one_hot_and_as_frequent_as_they_are_probable(temperature: float) -> None:
    q = HardCategorical(torch.randn(1, 1, 5), temperature)
    z = q.rsample((40_000,))
    assert torch.equal(z.unique(), torch.tensor([0.0, 1.0]))
    assert torch.equal(z.sum(-1), torch.ones(40_000, 1))
    error = (q.mean * (1 - q.mean) / 40_000).sqrt()
    assert ((z.mean(0) - q.mean).abs() < 4.5 * error).all()


def test_relaxed_draws_lie_in_the_simplex_with_the_categorys_argmax() -> None:
    q = RelaxedCategorical(torch.randn(1, 1, 5), 0.5)
    z = q.rsample((40_000,))
    torch.testing.assert_close(z.sum(-1), torch.ones(40_000, 1))
    assert ((z > 0) & (z < 1)).float().mean() > 0.9
    share = torch.bincount(z.argmax(-1).flatten(), minlength=5) / 40_000
    assert ((share - q.mean[0]).abs() < 4.5 * (q.mean[0] * (1 - q.mean[0]) / 40_000).sqrt()).all()


def test_training_relaxes_and_evaluation_does_not() -> None:
    family, raw = GumbelSoftmax(3, 5), categories().flatten(1)
    assert isinstance(family.train()(raw), RelaxedCategorical)
    assert isinstance(family.eval()(raw), HardCategorical)
    assert isinstance(StraightThroughGumbelSoftmax(3, 5).train()(raw), HardCategorical)


def test_the_temperature_anneals() -> None:
    family, raw = GumbelSoftmax(3, 5, start=2.0, end=0.5), categories().flatten(1)
    seen = []
    for progress in (0.0, 0.5, 1.0):
        family.progress.fill_(progress)
        seen.append(float(family(raw).temperature))
    assert seen == pytest.approx([2.0, 1.0, 0.5])
    family.progress.fill_(1.0)
    torch.manual_seed(0)
    cold = family(raw).rsample((500,)).max(-1).values.mean()
    family.progress.fill_(0.0)
    torch.manual_seed(0)
    assert family(raw).rsample((500,)).max(-1).values.mean() < cold


def test_the_straight_gradient_is_that_of_the_relaxed_draw() -> None:
    logits, weight = categories().requires_grad_(), torch.randn(15)
    gradients = []
    for kind in (HardCategorical, RelaxedCategorical):
        torch.manual_seed(0)
        gradients.append(
            torch.autograd.grad((kind(logits, 0.7).rsample() * weight).sum(), logits)[0]
        )
    torch.testing.assert_close(*gradients)


def test_the_relaxed_gradient_follows_the_expectation() -> None:
    """At a low temperature, the relaxed draw's mean gradient is close to that of the exact
    expectation.

    The cost is linear.
    """
    logits, weight = torch.randn(1, 1, 4).requires_grad_(), torch.randn(4)
    cost = (RelaxedCategorical(logits, 0.2).rsample((100_000,)) * weight).sum(-1).mean()
    (sampled,) = torch.autograd.grad(cost, logits)
    (exact,) = torch.autograd.grad((torch.softmax(logits, -1) * weight).sum(), logits)
    torch.testing.assert_close(sampled, exact, rtol=0.1, atol=0.02)


def test_learned_categories_start_uniform_and_follow_the_context() -> None:
    p = LearnedCategories(3, 5, context=2)
    torch.testing.assert_close(p(torch.randn(4, 2)).mean, torch.full((4, 15), 0.2))
    awake(p)
    a = p(torch.randn(4, 2))
    assert a.batch_shape == (4,)
    assert a.sample((2,)).shape == (2, 4, 15)
    assert not torch.allclose(a.mean[0], a.mean[1])
    assert LearnedCategories(3, 5)(None).batch_shape == ()


def test_the_bound_in_evaluation_is_below_the_evidence() -> None:
    """All 9 latents are enumerated: the mean of the ELBO's draws is the exact ELBO.

    That of iwae tends to the evidence.
    """
    vae, x = awake(categorical_vae()), pixels(3)
    every = torch.stack([torch.cat(pair) for pair in itertools.product(torch.eye(3), repeat=2)])
    with torch.no_grad():
        joint = (
            vae.decode((every[:, None].expand(9, 3, 6),)).log_prob(x)
            + vae.prior().log_prob(every)[:, None]
        )
        evidence, q = torch.logsumexp(joint, 0), vae.encode(x)[0]
        log_q = q.log_prob(every[:, None])
        exact = (log_q.exp() * (joint - log_q)).sum(0)
        many = vae(x, None, (4000,))
    assert (exact < evidence).all()
    torch.testing.assert_close(elbo(many, x).mean(0), exact, rtol=0, atol=0.1)
    torch.testing.assert_close(iwae(many, x), evidence, rtol=0, atol=0.05)


# Costs and measures


def of_indices(indices: Tensor, size: int, depth: int = 1) -> Trace:
    nothing = torch.zeros(len(indices))
    q = CodePosterior(
        (torch.zeros(len(indices), 1), indices, nothing + 2, nothing + 3), size, depth
    )  # type: ignore[arg-type]
    return Trace((Draw(q.mean, q, q),), q)


def test_perplexity_counts_the_codes_in_use() -> None:
    x = torch.zeros(8, 1)
    assert perplexity(of_indices(torch.arange(8)[:, None] % 4, 9), x).item() == pytest.approx(4)
    assert perplexity(of_indices(torch.full((8, 2), 3), 9), x).item() == pytest.approx(1)
    skewed = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert perplexity(
        of_indices(torch.tensor([[0], [0], [0], [5]]), 9), x[:4]
    ).item() == pytest.approx(skewed)
    levels = torch.stack(
        (torch.arange(8), torch.zeros(8, dtype=torch.long)), 1
    )  # 8 codes at one level, 1 at the other
    assert perplexity(of_indices(levels, 9, depth=2), x).item() == pytest.approx((8 + 1) / 2)
    q = HardCategorical(100 * torch.eye(4)[:, None])
    assert perplexity(Trace((Draw(q.mean, q, q),), q), x).item() == pytest.approx(4)


def test_usage_is_the_fraction_of_codes_seen() -> None:
    x = torch.zeros(2, 1)
    assert usage(of_indices(torch.tensor([[0, 1], [1, 1]]), 4), x) == 0.5
    assert usage(of_indices(torch.tensor([[0, 0], [0, 1]]), 4, depth=2), x) == pytest.approx(
        (0.25 + 0.5) / 2
    )


def test_costs_are_sums_over_the_draws_that_have_codes() -> None:
    trace, x = of_indices(torch.zeros(4, 1, dtype=torch.long), 2), torch.zeros(4, 1)
    plain = categorical_vae()(pixels(4))
    both = Trace((*trace.draws, *trace.draws, *plain.draws), plain.likelihood)
    assert torch.equal(commitment(both, x), torch.full((4,), 4.0))
    assert torch.equal(codebook_cost(both, x), torch.full((4,), 6.0))
    with pytest.raises(ValueError, match="codebook"):
        commitment(plain, x)


def test_what_passes_straight_through_is_exact() -> None:
    value, carrier = torch.tensor([0.1, 1e-8]), torch.tensor([12345.678, 3e7], requires_grad=True)
    assert torch.equal(straight_through(value, carrier), value)
