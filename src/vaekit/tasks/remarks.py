"""What a reader of a model's numbers should be told, a sentence each; nothing where there is nothing to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SILENT = 0.1
"""A latent whose KL is below so many nats has collapsed."""

SAME = 0.01
"""Reconstructions that differ by less than this share of what the data do are as good as equal."""

REMEDY = (
    "a longer objective.warmup, free bits (objective.bound=elbo+free-bits:4/latent) or a lower "
    "objective.beta"
)

DENSITY = (
    "a negative NLL, or a positive ELBO, is no mistake: densities of continuous values can exceed 1; "
    "a lower NLL is still better"
)


def remarks(numbers: Mapping[str, Any], discrete: bool) -> list[str]:
    """All that is to be told of the numbers of `Trained.evaluate`; `discrete`: p(x|z) is a probability."""
    told = (describe_collapse(numbers), explain_density(numbers, discrete))
    return [sentence for sentence in told if sentence]


def explain_density(numbers: Mapping[str, Any], discrete: bool) -> str:
    """Why an NLL is negative or an ELBO positive, where one is: it is the logarithm of a density."""
    usual = numbers["elbo"]["value"] <= 0 and numbers.get("nll", {"value": 0})["value"] >= 0
    return "" if discrete or usual else DENSITY


def describe_collapse(numbers: Mapping[str, Any]) -> str:
    """That the latents, or one of several, say nothing of the data (posterior collapse), where that is so."""
    rates = numbers.get("rates", [numbers["rate"]["value"]])
    spread = numbers.get("reconstruction_spread", 1.0)
    if numbers.get("active_units") == 0:
        none = f"none of {numbers['latent']} is active ({rates[0]:.2f} nats)"
        return f"the latents have collapsed: {none}{_spread(numbers)}: try {REMEDY}"
    if spread < SAME:
        return f"the decoder ignores the codes{_spread(numbers)}: try {REMEDY}"
    dead = [f"{i} of {len(rates)}" for i, rate in enumerate(rates, 1) if rate < SILENT]
    if not dead:
        return ""
    which = f"latent {', '.join(dead)} says" if len(rates) > 1 else "the latents say"
    return f"{which} next to nothing of the data (KL below {SILENT} nats): try {REMEDY}"


def _spread(numbers: Mapping[str, Any]) -> str:
    if "reconstruction_spread" not in numbers:
        return ""
    share = numbers["reconstruction_spread"]
    return f", and reconstructions of different data differ by {share:.1%} of what the data do"
