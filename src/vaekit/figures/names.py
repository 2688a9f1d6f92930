"""The names that reports use for the terms of the bound."""

NAMES = {"elbo": "ELBO", "nll": "NLL", "distortion": "reconstruction", "rate": "KL"}
"""The name in files -> the name in reports and plots."""
