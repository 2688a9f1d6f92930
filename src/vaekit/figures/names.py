"""The names that reports use for the terms of the bound."""

NAMES = {
    "elbo": "ELBO",
    "nll": "NLL",
    "distortion": "reconstruction",
    "rate": "KL",
    "free_bits": "KL in the loss",
}
"""The name in files -> the name in reports and plots; the KL is in nats."""
