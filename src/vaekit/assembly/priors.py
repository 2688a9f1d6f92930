"""Builds a prior from its word, for each kind of latent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from vaekit.assembly import syntax
from vaekit.assembly.latents import Latent
from vaekit.errors import VaekitError
from vaekit.models.codes.priors import (
    AutoregressiveCodes,
    LearnedCategories,
    UniformCategories,
    UniformCodes,
)
from vaekit.models.flows import FlowPrior
from vaekit.models.priors import (
    LearnedNormal,
    NormalMixture,
    StandardNormal,
    UnitLaplace,
    VampPrior,
)

PRIORS = {
    "continuous": {
        "standard": "standard",
        "laplace": "laplace",
        "learned": "learned",
        "mixture": "mixture:10",
        "vamp": "vamp:500",
        "flow": "flow",
    },
    "categories": {"learned": "learned", "uniform": "uniform"},
    "codes": {"autoregressive": "autoregressive", "uniform": "uniform"},
}
"""The priors of each kind of latent: name -> an example. The first one is the default."""

MANY = 10_000
"""The most components of a mixture or pseudo-inputs: no data could determine more."""


@dataclass(frozen=True)
class LatentSetting:
    """What a prior depends on: latent, encoder, shape of the data, and length of the context."""

    latent: Latent
    encoder: nn.Module
    shape: Sequence[int]
    context: int


def prior(word: str, setting: LatentSetting) -> nn.Module:
    """The prior that `word` names; or a VaekitError that lists the priors for this latent."""
    kind = setting.latent.kind
    _refuse_others(word, kind)
    word = default(kind, setting.context > 0) if word == "auto" else word
    name, _ = syntax.choose("prior", word, PRIORS[kind])
    return _MAKERS[kind][name](word, setting)


def _refuse_others(word: str, kind: str) -> None:
    name = word.partition(":")[0]
    others = [other for other, known in PRIORS.items() if other != kind and name in known]
    if others and name not in PRIORS[kind]:
        known = ", ".join(PRIORS[kind].values())
        raise VaekitError(
            f"prior '{word}' is for latents that are {others[0]}, these are {kind}; there are: {known}"
        )


def components(word: str) -> int:
    """K of `mixture:K` or `vamp:K`."""
    syntax.choose("prior", word, PRIORS["continuous"])
    return syntax.whole("prior", word if ":" in word else f"{word}:10", most=MANY)


def learned_from_data(word: str) -> int:
    """The number of components or pseudo-inputs of a prior that are learned from data."""
    return components(word) if word.partition(":")[0] in ("mixture", "vamp") else 0


def default(kind: str, conditional: bool) -> str:
    """The default prior of a kind of latent; for a conditional model, one that uses conditions."""
    return "flow" if conditional and kind == "continuous" else next(iter(PRIORS[kind]))


def _dims(setting: LatentSetting) -> int:
    return setting.latent.shape[0]


def _vamp(word: str, setting: LatentSetting) -> nn.Module:
    inputs = torch.rand(components(word), *setting.shape)
    return VampPrior(setting.encoder, inputs, context=setting.context)


def _grid(setting: LatentSetting) -> tuple[int, ...]:
    return setting.latent.shape[1:]


_MAKERS: dict[str, dict[str, Callable[[str, LatentSetting], nn.Module]]] = {
    "continuous": {
        "standard": lambda word, s: StandardNormal(_dims(s)),
        "laplace": lambda word, s: UnitLaplace(_dims(s)),
        "learned": lambda word, s: LearnedNormal(_dims(s), s.context),
        "mixture": lambda word, s: NormalMixture(_dims(s), components(word), s.context),
        "vamp": _vamp,
        "flow": lambda word, s: FlowPrior(_dims(s), s.context),
    },
    "categories": {
        "uniform": lambda word, s: UniformCategories(*s.latent.groups),
        "learned": lambda word, s: LearnedCategories(*s.latent.groups, context=s.context),
    },
    "codes": {
        "uniform": lambda word, s: UniformCodes(s.encoder.codebook, _grid(s)),  # type: ignore[arg-type]
        "autoregressive": lambda word, s: AutoregressiveCodes(
            s.encoder.codebook,  # type: ignore[arg-type]
            _grid(s),
            context=s.context,
        ),
    },
}
