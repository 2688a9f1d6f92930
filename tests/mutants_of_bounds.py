"""Mistakes in what a trace costs, and in what that teaches, each with the law that knows it."""

from __future__ import annotations

import test_codebooks as codebooks
import test_hierarchy as hierarchies
import test_laws as laws
import test_laws_exact as exact
import test_loop as loop
import test_objectives as objectives
import test_terms as terms
from mutants import Mutant

BOUNDS = [
    Mutant(
        "the KL the wrong way round",
        "core.kl:kl",
        "kl_divergence(q, p)",
        "kl_divergence(p, q)",
        lambda: laws.test_the_rate_is_the_mean_of_the_sampled_rate("prior learned"),
    ),
    Mutant(
        "the KL without its half",
        "torch.distributions.kl:_kl_normal_normal",
        "0.5 * (",
        "1.0 * (",
        lambda: laws.test_the_rate_is_the_mean_of_the_sampled_rate("prior standard"),
    ),
    Mutant(
        "a sampled KL with the wrong sign",
        "core.kl:kl",
        "q.log_prob(z) - p.log_prob(z)",
        "p.log_prob(z) - q.log_prob(z)",
        lambda: laws.test_the_rate_is_the_mean_of_the_sampled_rate("prior mixture"),
    ),
    Mutant(
        "the log ratio upside down",
        "core.trace:Draw.log_ratio",
        "self.prior.log_prob(self.z) - self.posterior.log_prob(self.z)",
        "self.posterior.log_prob(self.z) - self.prior.log_prob(self.z)",
        exact.test_exact_posterior_gives_exact_evidence,
    ),
    Mutant(
        "a hierarchy's weight of the top level only",
        "core.trace:Trace.log_weight",
        "in self.draws)",
        "in self.draws[:1])",
        hierarchies.test_exact_posteriors_give_exact_evidence,
    ),
    Mutant(
        "the rate of the top level twice",
        "core.trace:Trace.rate",
        "self.draws[1:]",
        "self.draws",
        lambda: laws.test_the_rate_is_the_mean_of_the_sampled_rate("hierarchy"),
    ),
    Mutant(
        "distortion averaged over pixels",
        "core.trace:Trace.distortion",
        "-self.likelihood.log_prob(x)",
        "-self.likelihood.log_prob(x) / x[0].numel()",
        lambda: laws.test_what_is_measured_is_the_bound("prior standard"),
    ),
    Mutant(
        "IWAE without log K",
        "core.objectives:iwae",
        " - math.log(log_weight.shape[0])",
        "",
        exact.test_exact_posterior_gives_exact_evidence,
    ),
    Mutant(
        "IWAE over the batch instead of the draws",
        "core.objectives:iwae",
        "dim=0",
        "dim=-1",
        lambda: laws.test_a_trace_has_one_number_a_datum("prior standard"),
    ),
    Mutant(
        "IWAE as the mean of logs",
        "core.objectives:iwae",
        "torch.logsumexp(log_weight, dim=0) - math.log(log_weight.shape[0])",
        "log_weight.mean(0)",
        lambda: laws.test_iwae_is_no_looser_than_elbo_and_tightens_with_draws("prior standard"),
    ),
    Mutant(
        "MIWAE with its axes mixed up",
        "core.objectives:miwae",
        "dim=1)",
        "dim=0)",
        objectives.test_miwae_of_weights_known_by_hand,
    ),
    Mutant(
        "CIWAE with its weights swapped",
        "core.objectives:ciwae",
        "weight * elbo(trace, x).mean(0) + (1 - weight) * iwae(trace, x)",
        "(1 - weight) * elbo(trace, x).mean(0) + weight * iwae(trace, x)",
        objectives.test_ciwae_joins_the_elbo_to_iwae,
    ),
    Mutant(
        "beta on the distortion as well",
        "core.objectives:elbo",
        "trace.likelihood.log_prob(x) - beta * trace.rate()",
        "beta * (trace.likelihood.log_prob(x) - trace.rate())",
        exact.test_beta_weighs_the_rate_only,
    ),
    Mutant(
        "a warm-up that never arrives",
        "core.objectives:LinearWarmup.__call__",
        "self.weight if progress >= self.fraction else self.weight * progress / self.fraction",
        "self.weight * progress * (1 - self.fraction)",
        lambda: loop.test_schedules_reach_their_weight.hypothesis.inner_test(0.5, 2.0, 4, 0.5),  # type: ignore[attr-defined]
    ),
    Mutant(
        "the NLL of the whole chunks only",
        "measures.bounds:_nll_of_few",
        " + [draws % chunk] * (draws % chunk > 0)",
        "",
        lambda: exact.test_nll_counts_every_draw_once_however_chunked(7, 3),
    ),
    Mutant(
        "chunks of an NLL with the first chunk's conditions",
        "measures.bounds:_nll",
        "context.split(few)",
        "[context[:few].expand(few, -1)[: len(part)] for part in x.split(few)]",
        lambda: laws.test_draws_that_are_all_the_same_leave_every_bound_the_elbo("told, codes"),
    ),
    Mutant(
        "mutual information without log N",
        "measures.bounds:mutual_information",
        " + math.log(len(z))",
        "",
        exact.test_mutual_information_of_known_codes,
    ),
]

GRADIENTS = [
    Mutant(
        "a draw without its gradient",
        "models.vae:VAE.forward",
        "q.rsample(",
        "q.sample(",
        lambda: laws.test_reconstruction_alone_teaches_the_encoder("prior standard", True),
    ),
    Mutant(
        "a hierarchy's draws without their gradient",
        "models.hierarchy:Hierarchy.forward",
        "q.rsample(",
        "q.sample(",
        lambda: laws.test_reconstruction_alone_teaches_the_encoder("hierarchy", True),
    ),
    Mutant(
        "no way straight through the codes",
        "models.codes.codebooks:straight_through",
        " + (carrier - carrier.detach())",
        "",
        lambda: laws.test_reconstruction_alone_teaches_the_encoder("vq", True),
    ),
    Mutant(
        "the decoder teaches the codes as well",
        "models.codes.codebooks:straight_through",
        "value.detach()",
        "value",
        lambda: codebooks.test_the_gradient_at_the_features_is_the_decoders("learned"),
    ),
    Mutant(
        "commitment and codebook cost on the wrong sides",
        "models.codes.codebooks:LearnedCodebook.forward",
        "_squares(features - found.detach()), _squares(features.detach() - found)",
        "_squares(features.detach() - found), _squares(features - found.detach())",
        codebooks.test_commitment_teaches_the_features_and_codebook_cost_the_codes,
    ),
    Mutant(
        "DReG with weights that are not squared",
        "core.objectives:dreg",
        "if draw.z.requires_grad:",
        "if False:",
        objectives.test_dreg_is_the_formula_of_its_paper,
    ),
    Mutant(
        "DReG that forgets to stop the posterior's parameters",
        "core.objectives:dreg",
        "_path_rate(draw)",
        "draw.kl() * 0 - draw.log_ratio()",
        objectives.test_dreg_is_the_formula_of_its_paper,
    ),
    Mutant(
        "sticking the landing stops the prior too",
        "core.objectives:_path_rate",
        "- draw.prior.log_prob",
        "- detached(draw.prior).log_prob",
        lambda: objectives.test_sticking_the_landing_has_the_mean_of_the_gradient_of_the_elbo(True),
    ),
    Mutant(
        "sticking the landing leaves the scale free",
        "detached normal",
        "q.scale.detach()",
        "q.scale",
        lambda: objectives.test_sticking_the_landing_is_still_at_the_exact_posterior(()),
    ),
    Mutant(
        "FactorVAE's discriminator teaches the encoder",
        "core.extra_costs:FactorTC.discrimination",
        "_flat(trace).detach()",
        "_flat(trace)",
        terms.test_discriminator_and_encoder_do_not_teach_each_other,
    ),
    Mutant(
        "FactorVAE's encoder teaches the discriminator",
        "core.extra_costs:FactorTC.forward",
        "p.detach()",
        "p",
        terms.test_discriminator_and_encoder_do_not_teach_each_other,
    ),
]
