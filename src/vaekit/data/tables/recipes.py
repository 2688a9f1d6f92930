"""Experiments on tables."""

from __future__ import annotations

from vaekit.config import Cost, Data, Experiment, Network, Training


def tables(source: str) -> Experiment:
    """Any table: each column follows those before it and the latents, which are given 3 nats for nothing."""
    return Experiment(
        data=Data(source=source),
        model=Network(latent=8, dropout=0.2),
        objective=Cost(bound="elbo+free-bits:3/total"),
        train=Training(lr=2e-3, weight_decay=0.01, ema=0.998, validations=20),
    )


RECIPES = {"tables": tables}
"""By name; the first is for any table."""
