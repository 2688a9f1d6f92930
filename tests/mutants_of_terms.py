"""Mistakes in further terms and in measures, each with the law that knows it."""

from __future__ import annotations

import numpy as np
import pytest

import test_codes as codes
import test_laws_exact as exact
import test_measures as measures
import test_terms as terms
from mutants import Mutant
from vaekit.measures.disentanglement import _concentration, factorvae_score


def votes_do_not_go_by_scale() -> None:
    """A factor's own dimension is its own in whatever unit."""
    z, v = measures.toy("perfect")
    noisy = z + 0.03 * np.random.default_rng(0).normal(size=z.shape)
    assert factorvae_score(
        noisy * [1, 100, 3, 1, 1], v, votes=1000, collapsed=0
    ) == factorvae_score(noisy, v, votes=1000)


def what_tells_of_nothing_is_not_concentrated() -> None:
    """A dimension that tells of no factor is as bad as one that tells of all alike; one that tells of one is best."""
    rows = np.array([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [0.0, 5.0, 0.0]])
    assert _concentration(rows) == pytest.approx([0, 0, 1])


TERMS = [
    Mutant(
        "the own weight of a total correlation off the diagonal",
        "core.extra_costs:TotalCorrelation._log_weights",
        "device=each.device)",
        "device=each.device).roll(1, 0)",
        terms.test_the_density_that_total_correlation_is_made_of_is_unbiased_over_batches,
    ),
    Mutant(
        "whole rows shuffled",
        "core.extra_costs:shuffled",
        "torch.rand_like(z).argsort(dim=-2)",
        "torch.rand_like(z[..., :1]).argsort(dim=-2).expand_as(z)",
        terms.test_shuffled_columns_hold_the_same_values_each_in_its_own_order,
    ),
    Mutant(
        "free bits of the sum",
        "core.extra_costs:FreeBits.__call__",
        ".clamp_min(self.nats).sum()",
        ".sum().clamp_min(self.nats)",
        terms.test_free_bits_of_known_rates,
    ),
    Mutant(
        "free bits of every datum",
        "core.extra_costs:in_total",
        "trace.rate().mean()[None]",
        "trace.rate()",
        terms.test_free_bits_of_known_rates,
    ),
    Mutant(
        "a target rate without its absolute value",
        "core.extra_costs:TargetRate.forward",
        ".abs()",
        "",
        terms.test_the_target_rate_pulls_from_both_sides_and_rises,
    ),
    Mutant(
        "DIP with the diagonal among the rest",
        "core.extra_costs:_distance_to_identity",
        " - own.square().sum()",
        "",
        terms.test_moments_of_a_known_covariance,
    ),
    Mutant(
        "an MMD with each draw against itself",
        "core.extra_costs:mmd",
        "excess.masked_fill(own, 0.0).sum((-1, -2)) / max(1, batch * (batch - 1))",
        "excess.sum((-1, -2)) / batch**2",
        lambda: terms.test_mmd_has_mean_zero_between_equals_and_grows_with_what_differs(False),
    ),
    Mutant(
        "an MMD that teaches the prior",
        "core.extra_costs:_drawn",
        "prior.sample(missing)",
        "prior.rsample(missing)",
        terms.test_mmd_teaches_the_posterior_and_not_the_prior,
    ),
    Mutant(
        "perplexity of bits",
        "models.codes.posteriors:perplexity",
        "-torch.xlogy(p, p).sum(-1)",
        "-torch.xlogy(p, p).sum(-1) / 0.6931",
        codes.test_perplexity_counts_the_codes_in_use,
    ),
    Mutant(
        "the use of all levels of codes as of one",
        "measures.bounds:code_use",
        ".unbind(1)",
        ".T.reshape(1, -1)",
        exact.test_code_use_of_known_codes,
    ),
    Mutant(
        "a Fréchet distance without its root",
        "measures.feature_distances:frechet_of_gaussians",
        "squares - 2 * shared",
        "squares",
        measures.test_frechet_distance_of_gaussians_that_do_not_commute_is_that_of_the_formula,
    ),
    Mutant(
        "a kernel distance with pictures against themselves",
        "measures.feature_distances:_within",
        "(kernel.sum() - kernel.trace()) / (len(a) * (len(a) - 1))",
        "kernel.mean()",
        measures.test_kernel_distance_is_its_definition,
    ),
    Mutant(
        "a bin of MIG lost",
        "measures.disentanglement:_cut",
        "edges[1:-1]",
        "edges[2:-1]",
        measures.test_every_bin_of_mig_counts,
    ),
    Mutant(
        "MIG in nats",
        "measures.disentanglement:mig",
        " / [_information(factor, factor) for factor in v.T]",
        "",
        measures.test_mig_by_hand,
    ),
    Mutant(
        "factors that vote with dimensions out of scale",
        "measures.disentanglement:factorvae_score",
        "(z - z.mean(0)) / z.std(0)",
        "z - z.mean(0)",
        votes_do_not_go_by_scale,
    ),
    Mutant(
        "neighbours that count a picture itself",
        "measures.feature_distances:_reach",
        "[:, k]",
        "[:, k - 1]",
        lambda: measures.test_neighbours_are_those_of_brute_force.hypothesis.inner_test(
            8, 9, 2, 1, 0.5
        ),  # type: ignore[attr-defined]
    ),
    Mutant(
        "bits that are nats",
        "measures.bounds:bits_per_dim",
        "(dims * math.log(2))",
        "dims",
        exact.test_bits_per_dim_of_a_fair_coin,
    ),
    Mutant(
        "a dimension that tells of nothing taken for a good one",
        "measures.disentanglement:_concentration",
        "1 / matrix.shape[1]",
        "0.0",
        what_tells_of_nothing_is_not_concentrated,
    ),
]
