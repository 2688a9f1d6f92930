"""Experiments on tables."""

from __future__ import annotations

from vaekit.config import Cost, Data, Experiment, Network, Training


def tables(source: str) -> Experiment:
    """Any table: each column depends on those before it and on the latents.

    The first 3 nats of the KL are free, so that the latents are used.
    """
    return Experiment(
        data=Data(source=source),
        model=Network(latent=8, dropout=0.2),
        objective=Cost(bound="elbo+free-bits:3/total"),
        train=Training(lr=2e-3, weight_decay=0.01, ema=0.998, validations=20),
    )


RECIPES = {"tables": tables}
"""Recipes by name; the first is the default for tables."""
