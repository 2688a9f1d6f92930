"""Variational autoencoders and their parts: posteriors, priors, flows, hierarchies, discrete codes."""
