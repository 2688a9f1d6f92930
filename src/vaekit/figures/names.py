"""What people read for the terms of the bound."""

NAMES = {
    "elbo": "ELBO",
    "nll": "NLL",
    "distortion": "reconstruction",
    "rate": "KL",
    "free_bits": "KL in the loss",
}
"""What people read for a number that files call otherwise; the KL is in nats."""
