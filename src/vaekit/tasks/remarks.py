"""Remarks on a model's numbers, a sentence each: a collapse, or a surprising sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SILENT = 0.1
"""A latent whose KL is below this number of nats has collapsed."""

SAME = 0.01
"""Reconstructions count as equal if their difference is below this share of the data's."""

REMEDY = (
    "a longer objective.warmup, free bits (objective.bound=elbo+free-bits:4/latent) or a lower "
    "objective.beta"
)

DENSITY = (
    "a negative NLL, or a positive ELBO, is no mistake: densities of continuous values can exceed 1; "
    "a lower NLL is still better"
)


def remarks(numbers: Mapping[str, Any], discrete: bool) -> list[str]:
    """All remarks on the numbers of `Trained.evaluate`; `discrete`: p(x|z) is a probability."""
    told = (describe_collapse(numbers), explain_density(numbers, discrete))
    return [sentence for sentence in told if sentence]


def explain_density(numbers: Mapping[str, Any], discrete: bool) -> str:
    """If the NLL is negative or the ELBO positive: why that can be; else ""."""
    usual = numbers["elbo"]["value"] <= 0 and numbers.get("nll", {"value": 0})["value"] >= 0
    return "" if discrete or usual else DENSITY


def describe_collapse(numbers: Mapping[str, Any]) -> str:
    """A sentence if the latents, or one of several, have collapsed to the prior; else ""."""
    rates = numbers.get("rates", [numbers["rate"]["value"]])
    spread = numbers.get("reconstruction_spread", 1.0)
    if numbers.get("active_units") == 0:
        none = f"none of {numbers['latent']} is active (KL {rates[0]:.2f} nats)"
        return f"the latents have collapsed: {none}{_spread(numbers)}: try {REMEDY}"
    if spread < SAME:
        return f"the decoder ignores the codes{_spread(numbers)}: try {REMEDY}"
    dead = [f"{i} of {len(rates)}" for i, rate in enumerate(rates, 1) if rate < SILENT]
    if not dead:
        return ""
    which = f"latent {', '.join(dead)} says" if len(rates) > 1 else "the latents say"
    return f"{which} almost nothing about the data (KL below {SILENT} nats): try {REMEDY}"


def _spread(numbers: Mapping[str, Any]) -> str:
    if "reconstruction_spread" not in numbers:
        return ""
    share = numbers["reconstruction_spread"]
    return f", and reconstructions differ by {share:.1%} of the difference of their data"
