"""Builds an objective from its word: a bound, and terms after plus signs, as `elbo+beta-tc:6`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vaekit.assembly import syntax
from vaekit.config import Cost
from vaekit.core.extra_costs import (
    FactorTC,
    FreeBits,
    TargetRate,
    TotalCorrelation,
    dip_i,
    dip_ii,
    in_total,
    mmd,
    of_each_dimension,
    of_each_latent,
)
from vaekit.core.objectives import (
    WATCHED,
    Constant,
    Cyclical,
    LinearWarmup,
    Objective,
    Schedule,
    Term,
    beta_elbo,
    convexly_weighted,
    doubly_reparameterised,
    importance_weighted,
    multiply_weighted,
    sticking_the_landing,
)
from vaekit.errors import VaekitError

BOUNDS = {
    "elbo": "elbo",
    "stl": "stl",
    "iwae": "iwae:5",
    "miwae": "miwae:4x8",
    "ciwae": "ciwae:8,0.5",
    "dreg": "dreg:5",
}
TERMS = {
    "free-bits": "free-bits:0.1",
    "target-rate": "target-rate:25",
    "beta-tc": "beta-tc:6",
    "factor": "factor:10",
    "dip": "dip:10",
    "dip-i": "dip-i:10",
    "mmd": "mmd:100",
}
GROUPS = {"dim": of_each_dimension, "latent": of_each_latent, "total": in_total}
"""The groups for free bits: each dimension, each latent (level of a hierarchy), or all together."""

RATE_WEIGHT = 10.0
"""The weight of `target-rate`, in nats for each nat of KL off the target. It must be more than the
reconstruction gains from a nat of KL there."""


@dataclass(frozen=True)
class Setting:
    """What some objectives depend on: the number of training data, and the length, kind and terms
    of the latent."""

    data: int = 1
    latent: int = 1
    kind: str = "continuous"
    terms: Mapping[str, Term] | None = None


def objective(cost: Cost, setting: Setting | None = None) -> Objective:
    """The objective that `cost` describes, with the terms that the latent adds."""
    setting = setting or Setting()
    first, *others = (part.strip() for part in cost.bound.split("+"))
    try:
        built = _bound(first, cost, setting)
        for word in others:
            built = _with(built, word, cost, setting)
        for name, term in (setting.terms or {}).items():
            built = built.plus(name, term)
    except ValueError as error:
        raise VaekitError(f"objective '{cost.bound}': {error}") from None
    return built


def _bound(word: str, cost: Cost, setting: Setting) -> Objective:
    name, argument = syntax.choose("bound", word, BOUNDS)
    if name in ("elbo", "stl"):
        return (beta_elbo if name == "elbo" else sticking_the_landing)(_schedule(cost))
    if setting.kind == "codes":
        raise VaekitError(
            f"bound '{word}': all draws of an image's codes are the same, so several gain nothing; use elbo"
        )
    if cost.beta != 1:
        raise VaekitError(
            f"objective.beta={cost.beta:g}: the {name} bound has no beta; leave it at 1 or use the elbo"
        )
    if name == "miwae":
        groups, draws = syntax.wholes("bound", word, "x", 2, most=4096)
        syntax.bounded("bound", groups * draws, word, most=4096)
        return multiply_weighted(groups, draws)
    if name == "ciwae":
        count, _, weight = argument.partition(",")
        share = syntax.fraction("bound", word, weight or "0.5")
        return convexly_weighted(syntax.whole("bound", f"{name}:{count}", most=4096), share)
    draws = syntax.whole("bound", word, most=4096)
    return importance_weighted(draws) if name == "iwae" else doubly_reparameterised(draws)


def _with(built: Objective, word: str, cost: Cost, setting: Setting) -> Objective:
    name, argument = syntax.choose("term of an objective", word, TERMS)
    if name in CONTINUOUS and setting.kind != "continuous":
        raise VaekitError(
            f"'{word}' is for latents that are continuous, these are {setting.kind}; leave it out"
        )
    if name in REPLACING and setting.kind == "codes":
        raise VaekitError(
            f"'{word}' would make the prior of codes worse: their KL depends only on the prior; "
            "leave it out"
        )
    if name in REPLACING and not _pays_rate(built):
        raise VaekitError(
            f"objective '{cost.bound}': '{word}' replaces the KL, but there is no plain KL before "
            "it; use it once, after elbo"
        )
    twin = next((other for other in SAME.get(name, (name,)) if other in built.terms), "")
    if twin:
        raise VaekitError(
            f"objective '{cost.bound}': '{word}' does about the same as a term before it; "
            "use one of them"
        )
    return _ADD[name](built, word, argument, cost, setting)


def _pays_rate(built: Objective) -> bool:
    return "rate" in built.terms and built.terms["rate"].schedule != WATCHED


SAME = {"beta-tc": ("tc",), "factor": ("tc",), "dip-i": ("dip",)}
"""The word of a term -> its name in an objective, if that is different."""

CONTINUOUS = ("beta-tc", "factor", "dip", "dip-i", "mmd")
"""The terms that only continuous latents can have."""

REPLACING = ("free-bits", "target-rate")
"""The terms that replace the KL, which is then only logged."""


def _free_bits(
    built: Objective, word: str, argument: str, cost: Cost, setting: Setting
) -> Objective:
    nats, _, group = argument.partition("/")
    if group and group not in GROUPS:
        raise VaekitError(f"'{word}': expected one of /{', /'.join(GROUPS)} after the number")
    term = FreeBits(syntax.positive("term", word, nats), GROUPS[group or "dim"])
    return built.watching("rate").plus("free_bits", Term(term, _schedule(cost)))


FREE = {"dim": " in each dimension", "latent": " in each latent", "total": " in total"}
"""The words of `GROUPS` in a sentence."""


def explain_free_bits(bound: str) -> list[str]:
    """What free bits do to the loss, as a reason; [] for an objective without them."""
    for word in bound.split("+"):
        name, _, argument = word.partition(":")
        nats, _, group = argument.partition("/")
        if name == "free-bits":
            return [
                f"objective {bound}: KL below {nats} nats{FREE[group or 'dim']} costs nothing, so that the latents "
                "are used; the log shows the KL, and the KL in the loss (free_bits in the files)"
            ]
    return []


def _target_rate(
    built: Objective, word: str, argument: str, cost: Cost, setting: Setting
) -> Objective:
    term = Term(TargetRate(syntax.positive("term", word, argument)), Constant(RATE_WEIGHT))
    return built.watching("rate").plus("target_rate", term)


def _beta_tc(built: Objective, word: str, argument: str, cost: Cost, setting: Setting) -> Objective:
    beta = syntax.positive("term", word, argument)
    if beta < 1:
        raise VaekitError(
            f"'{word}': expected at least 1, since the KL contains the total correlation once"
        )
    return built.plus(
        "tc", Term(TotalCorrelation(setting.data), LinearWarmup(beta - 1, cost.warmup))
    )


def _factor(built: Objective, word: str, argument: str, cost: Cost, setting: Setting) -> Objective:
    tc = FactorTC(setting.latent)
    weight = LinearWarmup(syntax.positive("term", word, argument), cost.warmup)
    return built.plus("tc", Term(tc, weight)).plus("discriminator", Term(tc.discrimination))


def _plain(cost_of: Callable, name: str) -> Callable:
    def add(built: Objective, word: str, argument: str, cost: Cost, setting: Setting) -> Objective:
        return built.plus(name, Term(cost_of, Constant(syntax.positive("term", word, argument))))

    return add


_ADD: dict[str, Callable[[Objective, str, str, Cost, Setting], Objective]] = {
    "free-bits": _free_bits,
    "target-rate": _target_rate,
    "beta-tc": _beta_tc,
    "factor": _factor,
    "dip": _plain(dip_ii, "dip"),
    "dip-i": _plain(dip_i, "dip"),
    "mmd": _plain(mmd, "mmd"),
}


def _schedule(cost: Cost) -> Schedule:
    if cost.cycles:
        return Cyclical(cost.beta, cost.cycles, cost.warmup or 1e-9)
    return LinearWarmup(cost.beta, cost.warmup)
