"""Mistakes in priors, flows, hierarchies and conditions, each with the law that knows it."""

from __future__ import annotations

import test_conditions as conditions
import test_hierarchy as hierarchies
import test_laws_use as use
import test_priors as priors
from mutants import Mutant

PRIORS = [
    Mutant(
        "mixture weights that do not sum to one",
        "models.priors:MixtureOfNormals.__init__",
        "torch.log_softmax(logits.float(), dim=-1)",
        "logits.float()",
        lambda: priors.test_a_prior_integrates_to_one_in_three_dimensions("mixture"),
    ),
    Mutant(
        "a VampPrior without 1/K",
        "models.priors:MixtureOfNormals.log_prob",
        "self.log_weights + ",
        "",
        priors.test_a_vamp_prior_is_the_mixture_of_the_encoders_posteriors,
    ),
    Mutant(
        "a density without its constant",
        "models.priors:MixtureOfNormals._log_normals",
        "- 0.5 * z.shape[-1] * math.log(2 * math.pi)",
        "",
        lambda: priors.test_a_prior_integrates_to_one_in_three_dimensions("mixture"),
    ),
    Mutant(
        "a flow prior's determinant with the wrong sign",
        "models.flows:Normalised.log_prob",
        "+ log_det",
        "- log_det",
        lambda: priors.test_a_prior_integrates_to_one_and_its_samples_follow_it("flow", 0),
    ),
    Mutant(
        "a flow posterior's determinant with the wrong sign",
        "models.flows:CoupledNormal._density",
        "- log_det",
        "+ log_det",
        priors.test_a_flow_posterior_integrates_to_one,
    ),
    Mutant(
        "a coupling that forgets its scale's determinant",
        "models.flows:Coupling.forward",
        "(log_slope + log_scale).sum(-1)",
        "log_slope.sum(-1)",
        lambda: priors.test_couplings_invert_and_know_their_determinant(2, 0),
    ),
    Mutant(
        "a posterior that is not about its prior",
        "models.hierarchy:ResidualNormal.forward",
        "prior.mean + shift.float()",
        "shift.float()",
        lambda: hierarchies.test_a_posterior_that_adds_nothing_is_the_prior(hierarchies.dense),
    ),
    Mutant(
        "a posterior's scale that is not the prior's times a ratio",
        "models.hierarchy:ResidualNormal.forward",
        "prior.base_dist.scale * ",
        "",
        lambda: hierarchies.test_a_posterior_that_adds_nothing_is_the_prior(hierarchies.dense),
    ),
    Mutant(
        "a lower prior that ignores what is above it",
        "models.hierarchy:Hierarchy.descend",
        "self.priors[level - 1](state, context)",
        "self.priors[level - 1](0 * state, context)",
        hierarchies.test_exact_posteriors_give_exact_evidence,
    ),
    Mutant(
        "a prior that is not told what is asked for",
        "models.vae:Conditioned.sample",
        "self._embedded(context, like.new_empty(n))",
        "self._embedded(None, like.new_empty(n))",
        conditions.test_the_prior_is_told_what_is_asked_for,
    ),
    Mutant(
        "conditions dropped in use",
        "nn.conditioning:ConditionEmbedding.forward",
        "if self.training and self.dropout",
        "if self.dropout",
        lambda: use.test_conditions_are_left_out_in_training_only("told"),
    ),
    Mutant(
        "conditions never dropped",
        "nn.conditioning:ConditionEmbedding._drop",
        "fate[:, :1] | fate[:, 1:]",
        "fate[:, :1] & ~fate[:, :1]",
        conditions.test_conditions_are_dropped_in_training_only,
    ),
    Mutant(
        "the condition of another datum",
        "models.vae:Conditional.forward",
        "context = context.expand(",
        "context = context.flip(0).expand(",
        lambda: use.test_a_datum_scores_the_same_alone_and_in_company("prior learned of a context"),
    ),
    Mutant(
        "guidance away from what is asked for",
        "distributions.guidance:_line",
        "(given - blind)",
        "(blind - given)",
        lambda: use.test_guidance_of_one_changes_nothing_and_of_none_takes_what_was_told_away(
            "prior standard"
        ),
    ),
    Mutant(
        "a mixture's means for its draws",
        "models.priors:MixtureOfNormals.sample",
        "torch.normal(means, scales)",
        "means",
        lambda: priors.test_a_prior_integrates_to_one_and_its_samples_follow_it("mixture", 0),
    ),
    Mutant(
        "a flow sampled the way that it is evaluated",
        "models.flows:Normalised._at",
        "self.couplings.inverse(e",
        "self.couplings(e",
        lambda: priors.test_a_prior_integrates_to_one_and_its_samples_follow_it("flow", 0),
    ),
    Mutant(
        "an unknown class taken for the first",
        "nn.conditioning:ConditionEmbedding.forward",
        "last).long()",
        "0 * last).long()",
        conditions.test_every_column_and_its_absence_matter,
    ),
]
