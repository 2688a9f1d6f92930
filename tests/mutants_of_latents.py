"""Mistakes in likelihoods, codes and categories, each with the law that knows it."""

from __future__ import annotations

import torch

import test_code_priors as code_priors
import test_codebooks as codebooks
import test_codes as codes
import test_families as families
import test_laws as laws
import test_laws_exact as exact
import test_laws_use as use
from mutants import Mutant
from vaekit.models.codes.codebooks import Codebook, ResidualCodebook


def unused_codes_stay_finite() -> None:
    """Smoothing is what keeps a code that nothing has come to from 0 / 0."""
    codebook = Codebook(3, 2, revive=0.0).train()
    codebook(torch.randn(5, 2))
    codebook.usage[0], codebook.sums[0] = 0.0, 0.0
    codebook._follow(torch.ones(4, 2), torch.ones(4, 2), torch.ones(4, dtype=torch.long))
    assert torch.isfinite(codebook.codes).all()


LATENTS = [
    Mutant(
        "a lost axis of the picture",
        "distributions.families:PixelBernoulli.forward",
        "validate_args=False), 3)",
        "validate_args=False), 2)",
        families.test_bce_is_summed_cross_entropy_in_nats,
    ),
    Mutant(
        "the variance of a batch in use",
        "distributions.families:AnalyticNormal.forward",
        "if self.training:",
        "if True:",
        lambda: use.test_use_changes_nothing_in_a_model("likelihood gaussian"),
    ),
    Mutant(
        "a continuous Bernoulli without its normaliser",
        "distributions.pixels:ContinuousBernoulliPixels.log_probs",
        " + log_norm",
        "",
        lambda: families.test_densities_integrate_to_one("continuous-bernoulli"),
    ),
    Mutant(
        "grey levels whose ends are cut off",
        "distributions.pixels:DiscretisedLogisticMixture._pixels",
        "torch.where(x >= 1 - half, F.logsigmoid(-lower), inside)",
        "inside",
        lambda: families.test_probabilities_sum_to_one("logistic-mixture:3", 256),
    ),
    Mutant(
        "uniform codes free of charge",
        "models.codes.priors:UniformCodePrior.log_prob_of",
        "self.nats",
        "(0 * self.nats)",
        lambda: code_priors.test_the_uniform_prior_costs_log_k_a_code("moving"),
    ),
    Mutant(
        "one level of a residual codebook paid for",
        "models.codes.priors:UniformCodes.__init__",
        " * codebook.depth",
        "",
        lambda: code_priors.test_the_uniform_prior_costs_log_k_a_code("residual"),
    ),
    Mutant(
        "codes in order free of charge",
        "models.codes.priors:AutoregressiveCodePrior.log_prob_of",
        "return -nats",
        "return 0 * nats",
        lambda: code_priors.test_the_probabilities_of_all_grids_sum_to_one(
            ResidualCodebook(2, 3, 2), (2,)
        ),
    ),
    Mutant(
        "a prior that sees its own token",
        "nn.attention:CausalTransformer.forward",
        "tokens[:, :-1]",
        "tokens[:, 1:]",
        code_priors.test_no_score_looks_ahead_and_every_score_looks_back,
    ),
    Mutant(
        "attention that looks ahead",
        "nn.attention:Block.forward",
        "is_causal=True",
        "is_causal=False",
        code_priors.test_no_score_looks_ahead_and_every_score_looks_back,
    ),
    Mutant(
        "a revived code overwritten by the moving average",
        "models.codes.codebooks:Codebook._follow",
        "self.codes.copy_(torch.where(dead[:, None], picked, codes))",
        "self.codes.copy_(codes)",
        codebooks.test_a_dead_code_is_put_on_a_feature_and_the_update_leaves_it_there,
    ),
    Mutant(
        "a revived code with the sums of its past",
        "models.codes.codebooks:Codebook._follow",
        "torch.where(dead[:, None], picked * self._granted, sums)",
        "sums",
        codebooks.test_a_dead_code_is_put_on_a_feature_and_the_update_leaves_it_there,
    ),
    Mutant(
        "the decay for its complement",
        "models.codes.codebooks:Codebook._follow",
        "self.usage.lerp(counts / counts.sum(), 1 - self.decay)",
        "self.usage.lerp(counts / counts.sum(), self.decay)",
        codebooks.test_moving_averages_are_those_of_another_implementation,
    ),
    Mutant(
        "usage that nothing smooths",
        "models.codes.codebooks:_smoothed",
        "return (usage + little) / (total + little * len(usage)) * total",
        "return usage",
        unused_codes_stay_finite,
    ),
    Mutant(
        "sums of features of the batch's size",
        "models.codes.codebooks:Codebook._follow",
        "self.sums.lerp(sums / counts.sum(), 1 - self.decay)",
        "self.sums.lerp(sums, 1 - self.decay)",
        codebooks.test_the_codes_do_not_depend_on_how_often_the_batch_is_repeated,
    ),
    Mutant(
        "codes that follow the data in use",
        "models.codes.codebooks:Codebook.forward",
        "if self.training:",
        "if True:",
        lambda: use.test_use_changes_nothing_in_a_model("vq"),
    ),
    Mutant(
        "residual codes that leave nothing over",
        "models.codes.codebooks:ResidualCodebook.forward",
        "rest = rest - found[-1].z.detach()",
        "rest = rest - 0 * found[-1].z.detach()",
        codebooks.test_residual_codes_are_those_of_another_implementation,
    ),
    Mutant(
        "FSQ with a value too many",
        "models.codes.codebooks:ScalarCodebook._squashed",
        "(levels - 1) * (1 + self.MARGIN) / 2",
        "(levels + 1) * (1 + self.MARGIN) / 2",
        codebooks.test_every_rounded_code_can_be_reached,
    ),
    Mutant(
        "FSQ with even levels off their middle",
        "models.codes.codebooks:ScalarCodebook._squashed",
        "0.5 * (levels % 2 == 0)",
        "0.0 * levels",
        codebooks.test_every_rounded_code_can_be_reached,
    ),
    Mutant(
        "a temperature that does not anneal",
        "models.codes.posteriors:_Annealed.temperature",
        "** self.progress",
        "** (0 * self.progress)",
        codes.test_the_temperature_anneals,
    ),
    Mutant(
        "the KL of categories at a relaxed draw",
        "core.kl:kl",
        "if has_closed_form(q, p)",
        "if False",
        codes.test_kl_of_relaxed_categories_is_that_of_the_categories,
    ),
    Mutant(
        "probabilities for log-probabilities",
        "models.codes.posteriors:GroupedCategorical.__init__",
        "torch.log_softmax",
        "torch.softmax",
        codes.test_log_prob_is_that_of_the_categories,
    ),
    Mutant(
        "relaxed draws in use",
        "models.codes.posteriors:GumbelSoftmax.forward",
        "RelaxedCategorical if self.training else HardCategorical",
        "RelaxedCategorical",
        codes.test_the_bound_in_evaluation_is_below_the_evidence,
    ),
    Mutant(
        "half a log standard deviation",
        "distributions.families:normal",
        "bounded(log_scale, -6, 6).exp()",
        "(0.5 * bounded(log_scale, -6, 6)).exp()",
        families.test_posterior_scale_is_a_standard_deviation_in_float32,
    ),
    Mutant(
        "Gumbel noise upside down",
        "models.codes.posteriors:GroupedCategorical.relaxed",
        "noise = -waits",
        "noise = waits",
        lambda: codes.test_hard_draws_are_one_hot_and_as_frequent_as_they_are_probable(1.0),
    ),
    Mutant(
        "the likeliest category for a draw",
        "models.codes.posteriors:HardCategorical.rsample",
        "_one_hot(soft)",
        "_one_hot(self.log_probs.expand_as(soft))",
        lambda: codes.test_hard_draws_are_one_hot_and_as_frequent_as_they_are_probable(1.0),
    ),
    Mutant(
        "the likeliest code for a draw",
        "models.codes.priors:_drawn",
        "torch.multinomial(torch.softmax(scores.float(), dim=-1), 1)[:, 0]",
        "scores.argmax(-1)",
        lambda: code_priors.test_what_is_sampled_is_as_frequent_as_it_is_probable(0),
    ),
    Mutant(
        "a channel's mean against the channels before it",
        "distributions.pixels:DiscretisedLogisticMixture._conditional_means",
        "self.means + _shift",
        "self.means - _shift",
        exact.test_colours_are_as_frequent_as_they_are_probable,
    ),
    Mutant(
        "commitment at the first level only",
        "models.codes.codebooks:ResidualCodebook.forward",
        "rest - found[-1].z.detach()",
        "rest - found[-1].z",
        exact.test_commitment_to_residual_codes_pulls_at_every_level,
    ),
    Mutant(
        "residual codes fitted to what is not left",
        "models.codes.codebooks:ResidualCodebook.fit",
        "rest - level.lookup",
        "rest + level.lookup",
        exact.test_every_level_of_residual_codes_is_fitted_to_what_is_left,
    ),
    Mutant(
        "a variance for a standard deviation",
        "models.codes.posteriors:GroupedCategorical.stddev",
        ".sqrt()",
        "",
        lambda: laws.test_mean_and_scale_of_a_posterior_are_those_of_its_draws(
            "categories learned"
        ),
    ),
    Mutant(
        "scales of maps that are not exponentiated",
        "models.hierarchy:normal_map",
        "bounded(log_scale, -6, 6).exp()",
        "bounded(log_scale, -6, 6).abs()",
        exact.test_maps_are_read_as_vectors_are,
    ),
]
