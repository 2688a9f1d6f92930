"""Priors, flows and samplers: known densities, samples that match them, and which gradients
flow.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal
from torch.func import functional_call, grad

import zoo
from vaekit import VAE, Conditional, beta_elbo, elbo, iwae, nll
from vaekit.core.kl import kl
from vaekit.distributions.families import PixelBernoulli, normal
from vaekit.models.fitted_priors import fit_gmm
from vaekit.models.flows import CoupledNormal, Couplings, FlowPosterior, FlowPrior
from vaekit.models.priors import (
    LearnedNormal,
    MixtureOfNormals,
    NormalMixture,
    StandardNormal,
    VampPrior,
    mixture,
)
from vaekit.nn import MLP
from vaekit.training.step import Step

SHAPE, CONTEXT = (1, 4, 3), 2


def encoder(latent: int, context: int = 0) -> Conditional:
    return Conditional(MLP(SHAPE, [16], [2 * latent], context=context), normal, 3)


def vamp(latent: int, context: int = 0, count: int = 6) -> VampPrior:
    return VampPrior(encoder(latent, context), torch.rand(count, *SHAPE), context=context)


PRIORS: dict[str, Callable[[int, int], nn.Module]] = {
    "standard": lambda latent, context: StandardNormal(latent),
    "learned": LearnedNormal,
    "mixture": lambda latent, context: NormalMixture(latent, 4, context),
    "vamp": vamp,
    "flow": lambda latent, context: FlowPrior(latent, context, transforms=4, hidden=16),
    "gmm": lambda latent, context: fit_gmm(
        torch.randn(200, latent) + torch.arange(200)[:, None] % 2,
        3,
        labels=torch.arange(200) % max(1, context),
    ),
}
LEARNED = [name for name in PRIORS if name not in ("standard", "gmm")]


def shaken(module: nn.Module, by: float = 0.2) -> nn.Module:
    """The module with its weights moved away from their start, so that zeros hide nothing."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(by * torch.randn_like(p))
    return module


def prior(name: str, latent: int, context: int = 0) -> nn.Module:
    return shaken(PRIORS[name](latent, context))


def model(name: str, flow: bool = False, context: int = 0) -> VAE:
    """A small VAE with that prior; a VampPrior shares its encoder."""
    latent = 3
    family = FlowPosterior(latent, 4, 2, 16) if flow else normal
    outputs = family.outputs() if isinstance(family, FlowPosterior) else 2 * latent
    infer = Conditional(MLP(SHAPE, [16], [outputs], context=context), family, 3)
    p = (
        VampPrior(infer, torch.rand(6, *SHAPE), context=context)
        if name == "vamp"
        else PRIORS[name](latent, context)
    )
    decoder = Conditional(MLP([latent], [16], SHAPE, context=context), PixelBernoulli())
    return shaken(VAE(infer, p, decoder))  # type: ignore[return-value]


def pixels(n: int = 5) -> Tensor:
    return (torch.rand(n, *SHAPE) < 0.4).float()


def line(low: float = -40.0, high: float = 40.0, n: int = 40_001) -> Tensor:
    return torch.linspace(low, high, n, dtype=torch.float64)


# Densities


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("context", [0, CONTEXT])
def test_a_prior_integrates_to_one_and_its_samples_follow_it(name: str, context: int) -> None:
    """In one dimension, against its own distribution function, summed over a grid."""
    p = prior(name, 1, context)(torch.tensor([[0.3, 0.9]]) if context else None)
    grid = line()
    with torch.no_grad():
        density = (
            p.log_prob(grid.float()[:, None, None] if p.batch_shape else grid.float()[:, None])
            .double()
            .exp()
        )
        below = torch.cumsum(density.flatten(), 0) * (grid[1] - grid[0])
        draws = p.sample((2000,)).flatten().double()
    assert below[-1].item() == pytest.approx(1, abs=2e-3)
    position = ((draws - grid[0]) / (grid[1] - grid[0])).long().clamp(0, len(grid) - 1)
    assert kstest(below[position].numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_integrates_to_one_in_three_dimensions(name: str) -> None:
    """E_m[p / m] = 1 for m = (p + r) / 2 with a wider normal r: p / m is at most 2, whatever p's tails."""
    p, r = prior(name, 3)(None), Independent(Normal(torch.zeros(3), 3.0 * torch.ones(3)), 1)
    with torch.no_grad():
        z = torch.cat((p.sample((15_000,)), r.sample((15_000,))))
        log_p, log_r = p.log_prob(z), r.log_prob(z)
    ratio = 2 * torch.sigmoid(log_p - log_r)
    assert ratio.mean().item() == pytest.approx(1, abs=5 * ratio.std().item() / math.sqrt(len(z)))


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("context", [0, CONTEXT])
def test_batch_shapes_follow_the_context(name: str, context: int) -> None:
    p = prior(name, 3, context)(torch.rand(5, CONTEXT) if context else None)
    batch = (5,) if context and name != "standard" else ()
    assert p.batch_shape == batch
    assert p.event_shape == (3,)
    assert p.sample().shape == (*batch, 3)
    assert p.sample((7,)).shape == (7, *batch, 3)
    for shape in [(5,), (2, 5)]:
        z = torch.randn(*shape, 3)
        assert p.log_prob(z).shape == shape
        torch.testing.assert_close(
            p.log_prob(z)[..., 2], p.log_prob(z[..., 2:3, :].expand(z.shape))[..., 2]
        )


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_without_a_context_ignores_what_it_gets(name: str) -> None:
    p, z = prior(name, 3), torch.randn(5, 3)
    torch.testing.assert_close(p(torch.rand(5, 4)).log_prob(z), p(None).log_prob(z))


@pytest.mark.parametrize("name", LEARNED)
def test_a_conditional_prior_starts_unconditional_and_learns_to_depend_on_its_context(
    name: str,
) -> None:
    fresh, z = PRIORS[name](3, CONTEXT), torch.randn(5, 3)
    a, b = torch.randn(5, CONTEXT), torch.randn(5, CONTEXT)
    torch.testing.assert_close(fresh(a).log_prob(z), fresh(b).log_prob(z))
    later = shaken(fresh)
    assert not torch.allclose(later(a).log_prob(z), later(b).log_prob(z), atol=1e-3)


@pytest.mark.parametrize("name", ["learned", "flow"])
def test_these_priors_start_as_a_standard_normal(name: str) -> None:
    z = 2 * torch.randn(50, 5)
    torch.testing.assert_close(
        PRIORS[name](5, 0)(None).log_prob(z), StandardNormal(5)(None).log_prob(z)
    )


# Mixtures of normals


def explicit(logits: Tensor, means: Tensor, scales: Tensor) -> MixtureSameFamily:
    return MixtureSameFamily(
        Categorical(logits=logits.double()), Independent(Normal(means.double(), scales.double()), 1)
    )


@pytest.mark.parametrize("scale", [1.0, 3e-2, 1e-3])
@pytest.mark.parametrize("lowered", [False, True])
def test_the_matrix_form_of_a_mixture_is_exact_for_sharp_posteriors(
    scale: float, lowered: bool
) -> None:
    """Within 1e-4 nats of differences in float64, also under autocast to lower precision."""
    logits, means = torch.randn(100), 2 * torch.randn(100, 40)
    scales = scale * torch.exp(0.3 * torch.randn(100, 40))
    p, exact = MixtureOfNormals(logits, means, scales), explicit(logits, means, scales)
    z = p.sample((300,))
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
        found = p.log_prob(z)
    assert found.dtype == torch.float32
    assert (found - exact.log_prob(z.double())).abs().max() < 1e-4


@pytest.mark.parametrize("batched", ["neither", "logits", "all"])
def test_a_mixture_of_normals_agrees_with_torchs(batched: str) -> None:
    logits = torch.randn(*((5,) if batched != "neither" else ()), 4)
    shape = (5, 4, 3) if batched == "all" else (4, 3)
    means, scales = torch.randn(shape, requires_grad=True), torch.rand(shape) + 0.1
    p = MixtureOfNormals(logits, means, scales)
    exact = explicit(
        logits, means.expand(*p.batch_shape, 4, 3), scales.expand(*p.batch_shape, 4, 3)
    )
    z = torch.randn(7, 5, 3, requires_grad=True)
    torch.testing.assert_close(
        p.log_prob(z), exact.log_prob(z.double()).float(), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(p.mean, exact.mean.float())
    torch.testing.assert_close(p.variance, exact.variance.float(), rtol=1e-4, atol=1e-5)
    ours = torch.autograd.grad(p.log_prob(z).sum(), [z, means])
    theirs = torch.autograd.grad(exact.log_prob(z.double()).sum(), [z, means])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_vamp_prior_is_the_mixture_of_the_encoders_posteriors() -> None:
    infer, z = encoder(3), torch.randn(50, 3)
    p = VampPrior(infer, torch.rand(6, *SHAPE))
    q = infer(p.pseudo_inputs())
    each = torch.stack(
        [Independent(Normal(q.mean[k], q.stddev[k]), 1).log_prob(z) for k in range(6)]
    )
    torch.testing.assert_close(p().log_prob(z), torch.logsumexp(each, 0) - math.log(6))


def test_a_vamp_prior_of_a_flow_posterior_is_the_mixture_of_its_flows() -> None:
    vae = model("vamp", flow=True)
    p, z = vae.prior(None), torch.randn(9, 3)
    q = vae.encoder(vae.prior.pseudo_inputs())
    each = torch.stack([q.log_prob(row) for row in z])
    torch.testing.assert_close(
        p.log_prob(z), torch.logsumexp(each, 1) - math.log(6), rtol=1e-4, atol=1e-4
    )
    assert mixture(torch.zeros(5, 6), q).log_prob(torch.randn(5, 3)).shape == (5,)


def test_pseudo_inputs_start_at_the_data_and_stay_in_their_range() -> None:
    p = VampPrior(encoder(2), torch.rand(10, *SHAPE), low=-1, high=3)
    x = 4 * torch.rand(8, *SHAPE) - 1
    p.start(x)
    distance = (p.pseudo_inputs()[:, None] - x).flatten(2).abs().amax(-1)  # (10, 8)
    assert distance.amin(1).max() < 0.5
    assert len(distance.argmin(1).unique()) == 8  # every datum once before any twice
    with torch.no_grad():
        p.raw.mul_(1000)
    assert -1 <= p.pseudo_inputs().min() <= p.pseudo_inputs().max() <= 3


def test_pseudo_contexts_start_with_the_contexts_of_their_data() -> None:
    p = vamp(2, CONTEXT, count=4)
    x, context = torch.rand(4, *SHAPE), torch.randn(4, CONTEXT)
    p.start(x, context)
    nearest = (p.pseudo_inputs()[:, None] - x).flatten(2).norm(dim=-1).argmin(1)
    assert torch.equal(p.contexts, context[nearest])


@pytest.mark.parametrize("context", [0, CONTEXT])
def test_the_rate_teaches_encoder_and_pseudo_inputs(context: int) -> None:
    vae = model("vamp", context=context)
    vae(pixels(), torch.rand(5, CONTEXT) if context else None).rate().mean().backward()
    for name, p in [*vae.encoder.named_parameters(), *vae.prior.named_parameters()]:
        assert p.grad is not None, name
        assert p.grad.abs().max() > 0, name


def test_a_borrowed_encoder_stays_the_models_own_through_copies_and_states() -> None:
    vae, z = model("vamp"), torch.randn(4, 3)
    assert list(vae.prior.state_dict()) == ["raw"]
    twin, other = copy.deepcopy(vae), model("vamp")
    other.load_state_dict({name: tensor.clone() for name, tensor in vae.state_dict().items()})
    for made in (twin, other):
        before = vae.prior(None).log_prob(z)
        assert torch.equal(made.prior(None).log_prob(z), before)
        shaken(made.encoder)
        assert not torch.equal(made.prior(None).log_prob(z), before)
        assert torch.equal(vae.prior(None).log_prob(z), before)


# Flows


@pytest.mark.parametrize("latent", [1, 2, 5])
@pytest.mark.parametrize("context", [0, CONTEXT])
def test_couplings_invert_and_know_their_determinant(latent: int, context: int) -> None:
    """As exactly as float32 can: what rounding did to y comes back times the inverse's slope there."""
    f = shaken(Couplings(latent, context, 4, 16))
    c = torch.randn(context) if context else None
    x = 3 * torch.randn(20, latent)
    y, log_det = f(x, None if c is None else c.expand(20, -1))
    back, same = f.inverse(y, None if c is None else c.expand(20, -1))
    for i in range(len(x)):
        slope = torch.autograd.functional.jacobian(lambda one: f.inverse(one, c)[0], y[i].detach())
        steepest = torch.linalg.matrix_norm(slope, 2)
        assert (back[i] - x[i]).abs().max() <= 1e-5 * steepest * (1 + y[i].abs().max())
        _agree(slope, -same[i])
        _agree(torch.autograd.functional.jacobian(lambda one: f(one, c)[0], x[i]), log_det[i])


def _agree(jacobian: Tensor, log_det: Tensor) -> None:
    """Up to float32's rounding of the matrix, whose smallest directions it blurs."""
    error = (torch.linalg.slogdet(jacobian)[1] - log_det).abs()
    assert error <= 1e-5 * (10 + torch.linalg.cond(jacobian) + log_det.abs())


def bent() -> tuple[FlowPosterior, CoupledNormal]:
    family = shaken(FlowPosterior(2, 4, 3, 16), 0.15)
    assert isinstance(family, FlowPosterior)
    return family, family(torch.randn(1, family.outputs()))


def test_a_flow_posterior_starts_as_the_diagonal_normal() -> None:
    family, raw = FlowPosterior(3, 4), torch.randn(6, 10)
    q, start, z = family(raw), normal(raw[:, :6]), torch.randn(5, 6, 3)
    assert family.outputs() == 10
    torch.testing.assert_close(q.log_prob(z), start.log_prob(z), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(q.mean, start.mean)
    torch.testing.assert_close(q.stddev, start.stddev)


def test_a_flow_posteriors_draw_and_inverse_tell_the_same_density() -> None:
    _, q = bent()
    z = q.rsample((500,))
    assert z.shape == (500, 1, 2)
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()), rtol=1e-3, atol=1e-3)


def test_a_flow_posterior_integrates_to_one() -> None:
    _, q = bent()
    r = Independent(Normal(q.mean[0].detach(), 3 * q.stddev[0].detach()), 1)
    z = r.sample((30_000, 1))
    with torch.no_grad():
        ratio = (q.log_prob(z) - r.log_prob(z)).exp()
    assert ratio.mean().item() == pytest.approx(1, abs=5 * ratio.std().item() / math.sqrt(len(z)))


def test_a_flow_posteriors_sampled_rate_is_its_divergence() -> None:
    """It is compared with the KL on a grid, which is computed with the inverse and not with
    draws.
    """
    _, q = bent()
    p = StandardNormal(2)(None)
    with torch.no_grad():
        z = q.rsample((20_000,))
        rate = kl(q, p, z)
        axis = torch.linspace(-8, 8, 300)
        grid = torch.cartesian_prod(
            axis * q.stddev[0, 0] + q.mean[0, 0], axis * q.stddev[0, 1] + q.mean[0, 1]
        )[:, None]
        log_q = q.log_prob(grid)
        cell = (axis[1] - axis[0]) ** 2 * q.stddev.prod()
        exact = (log_q.exp() * (log_q - p.log_prob(grid))).sum() * cell
    assert rate.mean().item() == pytest.approx(
        exact.item(), abs=5 * rate.std().item() / math.sqrt(len(z)) + 1e-2
    )


def test_a_flow_posteriors_middle_repeats_and_its_spread_is_near_its_samples() -> None:
    family, _ = bent()
    q = FlowPosterior(2, 4, 3, 16)(torch.randn(1, family.outputs()))
    with torch.no_grad():
        for step in q.couplings.steps:  # affine maps alone, whose linearisation is exact
            step.net.head.bias.view(-1, 25)[:, :2] = 0.3 * torch.randn(1, 2)
        draws = q.rsample((20_000,))
    assert torch.equal(q.mean, q.mean)
    torch.testing.assert_close(draws.std(0), q.stddev.detach(), rtol=0.1, atol=0)


def test_a_foreign_latents_density_teaches_the_flow() -> None:
    family, q = bent()
    q.log_prob(torch.randn(1, 2)).sum().backward()
    for name, p in family.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all()
    assert q.sample((3,)).requires_grad is False


def test_a_flow_posterior_approaches_the_evidence_from_below() -> None:
    """A linear-Gaussian model with a posterior that differs from the true one.

    The bounds hold, and get tighter with more draws.
    """
    exact = zoo.LinearGaussian()
    x = 1.5 * torch.randn(30, *exact.shape)
    family = FlowPosterior(2, 3, 2, 16)
    with torch.no_grad():
        for step in family.couplings.steps:
            step.net.head.weight.add_(0.1 * torch.randn_like(step.net.head.weight))
            step.net.head.bias.add_(0.1 * torch.randn_like(step.net.head.bias))

    class Infer(nn.Module):
        def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
            q = exact.encoder(x)
            raw = torch.cat((q.mean, 1.2 * q.stddev.log(), x.flatten(1)[:, :3]), -1)
            return family(raw)

    vae = VAE(Infer(), exact.prior, exact.decoder)
    evidence = exact.evidence(x)
    with torch.no_grad():
        loose = elbo(vae(x, None, (2000,)), x).mean(0)
        assert (loose < evidence + 0.05).all()
        assert (loose < evidence - 0.01).any()
        repeated = x.expand(400, *x.shape).flatten(0, 1)
        few = iwae(vae(repeated, None, (2,)), repeated).mean()
        many = iwae(vae(x, None, (2000,)), x).mean()
    assert loose.mean() < few + 0.02
    assert few < many + 0.02
    assert nll(vae, [(x, None)], draws=4000).value == pytest.approx(
        -evidence.mean().item(), abs=0.05
    )


# Everything in training


TRAINED = [(name, False, CONTEXT) for name in LEARNED] + [
    ("standard", True, 0),
    ("vamp", True, CONTEXT),
]


@pytest.mark.parametrize(("name", "flow", "context"), TRAINED)
def test_a_step_with_it_compiles_into_one_graph(name: str, flow: bool, context: int) -> None:
    torch.compiler.reset()
    step = Step(model(name, flow, context).train(), beta_elbo())
    batch = (pixels(), torch.rand(5, context) if context else None, torch.ones(2))
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    torch.manual_seed(5)
    loss = compiled(*batch)[0]
    torch.manual_seed(5)
    torch.testing.assert_close(step(*batch)[0], loss, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("name", LEARNED)
def test_functional_gradients_are_those_of_backward(name: str, flow: bool) -> None:
    """Weights that are passed in must be used in both places of a borrowed encoder.

    The module itself must not change.
    """
    step, x = Step(model(name, flow), beta_elbo()), pixels()

    def loss(weights: dict[str, Tensor]) -> Tensor:
        torch.manual_seed(5)
        buffers = {name: buffer.clone() for name, buffer in step.named_buffers()}
        return functional_call(step, weights | buffers, (x, None, torch.ones(2)))[0]

    weights = dict(step.named_parameters())
    gradients = grad(loss)({name: p.detach() for name, p in weights.items()})
    torch.manual_seed(5)
    step(x, None, torch.ones(2))[0].backward()
    for name, p in weights.items():
        assert p.grad is not None, name
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LEARNED)
def test_densities_stay_in_float32_under_autocast(name: str) -> None:
    vae, x = model(name, flow=True), pixels()
    with torch.autocast("cpu", torch.bfloat16):
        trace = vae(x)
        rate = trace.rate()
    assert trace.draws[0].z.dtype == rate.dtype == torch.float32
    rate.mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in vae.encoder.parameters() if p.grad is not None)
