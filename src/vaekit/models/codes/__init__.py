"""Discrete latents: codebooks, the posteriors that choose codes, and priors over codes."""
