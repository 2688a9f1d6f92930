"""The posterior over codes and its priors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from discrete import EACH, GRID, awake, book, features, pixels, quantised_vae
from vaekit.models.codes.codebooks import (
    AnyCodebook,
    Codebook,
    ResidualCodebook,
)
from vaekit.models.codes.posteriors import (
    CodePosterior,
)
from vaekit.models.codes.priors import AutoregressiveCodes, UniformCodes
from vaekit.nn.attention import CausalTransformer


def test_all_mass_is_on_the_code() -> None:
    q = CodePosterior(book("moving")(features()), 7)
    z = q.rsample((3,))
    assert torch.equal(q.log_prob(z), torch.zeros(3, 6))
    assert torch.equal(q.log_prob(z + 1), torch.full((3, 6), -math.inf))
    assert torch.equal(q.mean, q.sample())
    assert torch.equal(q.stddev, torch.zeros_like(z[0]))
    assert torch.equal(q.entropy(), torch.zeros(6))


@EACH
def test_the_uniform_prior_costs_log_k_a_code(name: str) -> None:
    codebook = book(name)
    q, p = (
        CodePosterior(codebook(features()), codebook.size, codebook.depth),
        UniformCodes(codebook, GRID)(),
    )
    nats = 6 * codebook.depth * math.log(codebook.size)
    torch.testing.assert_close(kl_divergence(q, p), torch.full((6,), nats))
    torch.testing.assert_close(p.log_prob(q.rsample((2,))), torch.full((2, 6), -nats))
    z = p.sample((9,))
    torch.testing.assert_close(codebook.lookup(codebook.indices(z), GRID), z)


def test_an_untrained_autoregressive_prior_is_the_uniform_one() -> None:
    codebook = book("residual")
    indices = torch.randint(5, (3, 12))
    p, uniform = AutoregressiveCodes(codebook, GRID, 8)(), UniformCodes(codebook, GRID)()
    torch.testing.assert_close(p.log_prob_of(indices), uniform.log_prob_of(indices))


@pytest.mark.parametrize(
    ("codebook", "grid"), [(Codebook(3, 2), (2, 2)), (ResidualCodebook(2, 3, 2), (2,))]
)
def test_the_probabilities_of_all_grids_sum_to_one(
    codebook: AnyCodebook, grid: tuple[int, ...]
) -> None:
    p = awake(AutoregressiveCodes(codebook, grid, 8, 1, 2), 1.0)()
    everything = torch.tensor(list(itertools.product(range(3), repeat=4)))
    assert p.log_prob_of(everything).double().exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("context", [0, 2])
def test_what_is_sampled_is_as_frequent_as_it_is_probable(context: int) -> None:
    """Chi-square over all 27 sequences; with 26 degrees of freedom, the 0.001 quantile is 54.05."""
    part = awake(AutoregressiveCodes(Codebook(3, 2), (3,), 8, 1, 2, context), 1.0)
    p = part(torch.randn(1, context) if context else None)
    everything = torch.tensor(list(itertools.product(range(3), repeat=3)))
    truth = p.log_prob_of(everything[:, None] if context else everything).exp().flatten().double()
    drawn = p.sample_indices((20_000,)).reshape(-1, 3)
    counts = torch.bincount(drawn @ torch.tensor([9, 3, 1]), minlength=27)
    assert truth.min() < 0.02 < 0.1 < truth.max()
    assert (((counts - 20_000 * truth) ** 2) / (20_000 * truth)).sum() < 54.05


@pytest.mark.parametrize(("streams", "context"), [(1, 0), (2, 3)])
def test_tokens_completed_one_by_one_have_the_scores_of_the_whole(
    streams: int, context: int
) -> None:
    net = awake(CausalTransformer(5, 8, 16, 2, 4, context, streams))
    seen: list[Tensor] = []

    def choose(scores: Tensor) -> Tensor:
        seen.append(scores)
        return torch.randint(5, (len(scores),))

    c = torch.randn(6, context) if context else None
    tokens = net.complete(6, choose, c)
    torch.testing.assert_close(torch.stack(seen, 1), net(tokens, c), rtol=1e-4, atol=1e-5)


def test_no_score_looks_ahead_and_every_score_looks_back() -> None:
    net = awake(CausalTransformer(5, 6, 16, 2, 4))
    tokens = torch.randint(5, (1, 6))
    for t in range(6):
        changed = tokens.clone()
        changed[0, t] = (changed[0, t] + 1) % 5
        same = (net(tokens) == net(changed)).all(-1)[0]
        assert same[: t + 1].all()
        assert not same[t + 1 :].any()


def test_the_prior_follows_its_context() -> None:
    p = awake(AutoregressiveCodes(book("moving"), GRID, 8, context=2))
    a, b = p(torch.zeros(4, 2)), p(torch.ones(4, 2))
    indices = torch.randint(7, (4, 6))
    assert a.batch_shape == (4,)
    assert not torch.allclose(a.log_prob_of(indices), b.log_prob_of(indices))
    assert a.sample((3,)).shape == (3, 4, 4, *GRID)
    assert a.log_prob(a.sample((3,))).shape == (3, 4)
    mixed = p(torch.cat((torch.zeros(2, 2), torch.ones(2, 2)))).log_prob_of(indices)
    torch.testing.assert_close(mixed[:2], a.log_prob_of(indices)[:2])
    torch.testing.assert_close(mixed[2:], b.log_prob_of(indices)[2:])


def test_the_prior_teaches_neither_encoder_nor_codebook() -> None:
    vae = quantised_vae("learned")
    awake(vae)(pixels()).rate().mean().backward()
    assert all(p.grad is None for p in vae.encoder.parameters())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in vae.prior.parameters())


def test_a_prior_learns_the_sequences_it_sees() -> None:
    """Two sequences, equally often, cost log 2 nats each."""
    p = AutoregressiveCodes(book("moving"), GRID, 16, 1, 2)
    optimiser = torch.optim.Adam(p.parameters(), 0.01)
    known = torch.randint(7, (2, 6))
    for _ in range(150):
        optimiser.zero_grad()
        loss = -p().log_prob_of(known).mean()
        loss.backward()
        optimiser.step()
    assert loss.item() == pytest.approx(math.log(2), abs=0.05)
    drawn = p().sample_indices((50,))
    assert ((drawn[:, None] == known).all(-1).any(1)).float().mean() > 0.9
