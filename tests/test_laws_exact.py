"""Laws with a known answer: models of which everything is known, and measures of artificial
codes.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import zoo
from vaekit import beta_elbo, bound, elbo, iwae, nll
from vaekit.core.kl import kl
from vaekit.core.trace import Draw, Trace
from vaekit.distributions.families import normal
from vaekit.distributions.pixels import DiscretisedLogisticMixture
from vaekit.measures import bounds
from vaekit.models.codes.codebooks import Quantised, ResidualCodebook
from vaekit.models.codes.posteriors import CodePosterior
from vaekit.models.hierarchy import normal_map


def test_exact_posterior_gives_exact_evidence() -> None:
    """With the true posterior, each single draw of each bound is log p(x).

    So no constant, sign or factor of one half is lost.
    """
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
    """The tolerance follows from the known variance of the weights, E w^2 / p(x)^2 - 1 per draw."""
    n, draws, model = 4000, 100, zoo.LinearGaussian()
    right = model.variance
    x = model.offset.view(model.shape) + 0.3 * torch.randn(n, *model.shape)
    mean = right * ((x.flatten(1) - model.offset) @ model.weight) / model.noise**2
    model.variance = 1.5 * right  # mean and width both wrong now
    spread = (1.5 / math.sqrt(2) * ((0.5 * mean) ** 2 / (2 * right)).exp()).prod(1) - 1
    bias = spread.mean().item() / (2 * draws)
    deviation = math.sqrt(spread.mean().item() / (n * draws))
    truth = -model.evidence(x).mean().item()
    loose, tight = (nll(model, [(x, None)], draws=k).value for k in (1, draws))
    assert abs(tight - truth) < 2 * bias + 6 * deviation + 1e-4
    assert tight < loose - 0.04  # by the KL, at least 2 (1.5 - 1 - log 1.5) / 2 = 0.094


def test_bound_adds_up_and_uses_beta_one() -> None:
    model = zoo.LinearGaussian()
    x = torch.randn(300, *model.shape)
    parts = bound(model, [(x, None)])
    assert parts.elbo.value == pytest.approx(-parts.distortion.value - parts.rate.value)
    assert parts.elbo.value == pytest.approx(
        model.evidence(x).mean().item(), abs=5 * parts.elbo.error
    )


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
    "posterior means": lambda model, pairs: bounds.posterior_means(model, pairs).tolist(),
    "mutual information": bounds.mutual_information,
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_model_in_training_is_measured_as_in_use(name: str) -> None:
    """Dropout is off and batch statistics do not change.

    The mode is restored, even after an error.
    """
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
    """Codes that do not depend on the datum carry 0 nats; codes that never overlap carry log N."""
    model = zoo.LinearGaussian()
    model.weight = torch.zeros_like(model.weight)
    x = torch.randn(200, *model.shape)
    model.variance = torch.ones(2)
    assert bounds.mutual_information(model, [(x, None)]) == pytest.approx(0, abs=1e-4)
    apart = zoo.LinearGaussian(noise=1e-3)
    assert bounds.mutual_information(apart, [(x * 100, None)]) == pytest.approx(
        math.log(200), abs=0.05
    )


def test_mutual_information_of_a_gaussian_channel() -> None:
    """One linear latent: I = 1/2 log(1 + |w|^2 / s^2) when x follows the model."""
    model = zoo.LinearGaussian(latent=1, noise=1.0)
    with torch.no_grad():
        x = model.decode((torch.randn(2000, 1),)).sample()
    truth = 0.5 * math.log(1 + 4.0)
    assert bounds.mutual_information(model, [(x, None)]) == pytest.approx(truth, abs=0.06)


def test_active_units_counts_dimensions_that_move() -> None:
    means = torch.stack(
        (torch.randn(500), 0.05 * torch.randn(500), 0.5 * torch.randn(500), torch.ones(500)), 1
    )
    assert bounds.active_units(means) == 2


class Coded(torch.nn.Module):
    """A model whose data are their own codes.

    x (B, T) holds whole numbers: T positions, with `depth` levels side by side.
    """

    def __init__(self, size: int, depth: int) -> None:
        super().__init__()
        self.size, self.depth = size, depth

    def encode(
        self, x: torch.Tensor, context: torch.Tensor | None = None
    ) -> tuple[CodePosterior, ...]:
        nothing = torch.zeros(len(x))
        return (CodePosterior(Quantised(x.float(), x, nothing, nothing), self.size, self.depth),)


def test_code_use_of_known_codes() -> None:
    """Four of eight codes are used equally often, in two batches.

    With two levels, one level uses four codes and the other one code.
    """
    x = torch.arange(4)[:, None]
    plain = bounds.code_use(Coded(8, 1), [(x[:3], None), (x[3:], None)])  # type: ignore[arg-type]
    assert plain == {"codes": 8, "codes_used": 0.5, "perplexity": pytest.approx(4)}
    two = torch.cat((x, torch.zeros_like(x)), dim=1)
    both = bounds.code_use(Coded(8, 2), [(two, None)])  # type: ignore[arg-type]
    assert both == {
        "codes": 8,
        "codes_used": pytest.approx(5 / 16),
        "perplexity": pytest.approx(2.5),
    }


def test_bits_per_dim_of_a_fair_coin() -> None:
    assert bounds.bits_per_dim(10 * math.log(2), 10) == pytest.approx(1.0)


def test_a_sampled_kl_teaches_what_the_closed_form_teaches() -> None:
    """Averaged over draws, its gradient in both distributions' parameters is the closed form's."""

    def gradients(closed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        q_mean, q_scale, p_mean, p_scale = (
            torch.tensor([v], requires_grad=True) for v in (0.3, 0.7, -0.5, 1.4)
        )
        q, p = (Independent(Normal(m, s), 1) for m, s in ((q_mean, q_scale), (p_mean, p_scale)))
        one = MixtureSameFamily(
            Categorical(torch.ones(1)), Independent(Normal(p_mean[None], p_scale[None]), 1)
        )
        z = q.rsample((200_000,))
        cost = kl(q, p, z).mean() if closed else kl(q, one, z).mean()
        return list(torch.autograd.grad(cost, [q_mean, q_scale, p_mean, p_scale]))

    for sampled, exact in zip(gradients(False), gradients(True), strict=True):
        assert sampled.item() == pytest.approx(exact.item(), abs=0.02)


def test_the_importance_weighted_bound_teaches_by_the_path_through_z() -> None:
    """With one draw and the same noise, its gradient in the posterior's mean is a finite
    difference.
    """
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


def test_colours_are_as_frequent_as_they_are_probable() -> None:
    """One pixel with three channels of three levels, where each channel depends on those before it.

    Chi-square with 26 degrees of freedom has the 0.001 quantile 54.05.
    """
    mixing = torch.tensor([0.9, -0.7, 0.5]).view(1, 3, 1, 1).expand(2, -1, -1, -1)
    p = DiscretisedLogisticMixture(
        torch.randn(2, 1, 1), torch.randn(2, 3, 1, 1) / 2, 0.4 * torch.ones(2, 3, 1, 1), mixing, 3
    )
    levels = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3)
    truth = p.log_prob(levels.view(27, 3, 1, 1)).double().exp()
    assert truth.sum().item() == pytest.approx(1, abs=1e-5)
    places = (2 * p.sample((20_000,)).flatten(1)).round().long() @ torch.tensor([9, 3, 1])
    counts = torch.bincount(places, minlength=27)
    assert ((counts - 20_000 * truth) ** 2 / (20_000 * truth)).sum() < 54.05


def test_commitment_to_residual_codes_pulls_at_every_level() -> None:
    """sum_d |f - e_1 ... - e_d|^2 has the gradient 2 sum_d (f - e_1 ... - e_d) for constant
    codes.
    """
    codebook, features = ResidualCodebook(3, 5, 4).eval(), torch.randn(200, 4)
    codebook.fit(features)
    f = features[:6].clone().requires_grad_()
    found = codebook(f)
    (slope,) = torch.autograd.grad(found.commitment.sum(), f)
    parts = [
        level.lookup(found.indices[:, d : d + 1], ()) for d, level in enumerate(codebook.levels)
    ]  # type: ignore[operator, union-attr]
    rests = [f.detach() - sum(parts[: d + 1]) for d in range(3)]
    torch.testing.assert_close(slope, 2 * sum(rests))
    torch.testing.assert_close(
        found.commitment, torch.stack([rest.square().sum(1) for rest in rests]).sum(0)
    )


def test_every_level_of_residual_codes_is_fitted_to_what_is_left() -> None:
    features = torch.randn(2000, 2)
    codebook = ResidualCodebook(3, 8, 2).eval()
    codebook.fit(features)
    rests, rest = [], features
    for level in codebook.levels:
        rest = rest - level(rest).z.detach()
        rests.append(rest.square().sum(1).mean().item())
    for before, left in pairwise([features.square().sum(1).mean().item(), *rests]):
        assert left < 0.5 * before


def test_maps_are_read_as_vectors_are() -> None:
    raw = torch.randn(3, 8, 2, 2)
    one, other = normal_map(raw), normal(raw.movedim(1, -1))
    torch.testing.assert_close(one.mean.movedim(1, -1), other.mean)
    torch.testing.assert_close(one.stddev.movedim(1, -1), other.stddev)
    assert one.event_shape == (4, 2, 2)
