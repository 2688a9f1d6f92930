"""Builds a latent from its word: `16`, `categorical:20x10`, `vq:512`, `rvq:4x256`, `fsq:8,5,5`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import nn

from vaekit.assembly import syntax
from vaekit.config import Network
from vaekit.core.objectives import WATCHED, Constant, Term
from vaekit.data.dataset import Schema
from vaekit.data.registry import modality
from vaekit.distributions.families import normal
from vaekit.errors import VaekitError
from vaekit.models.codes.codebooks import (
    AnyCodebook,
    Codebook,
    LearnedCodebook,
    ResidualCodebook,
    ScalarCodebook,
)
from vaekit.models.codes.posteriors import (
    GumbelSoftmax,
    StraightThroughGumbelSoftmax,
    VectorQuantiser,
    codebook_cost,
    commitment,
    perplexity,
    usage,
)
from vaekit.models.flows import FlowPosterior
from vaekit.models.vae import Conditional

LATENTS = {
    "categorical": "categorical:20x10",
    "categorical-hard": "categorical-hard:20x10",
    "vq": "vq:512",
    "vq-gradient": "vq-gradient:512",
    "rvq": "rvq:4x256",
    "fsq": "fsq:8,5,5,5",
}
"""The discrete latents: a name -> the word that it means if it has no numbers. A whole number is
the number of continuous dimensions."""

CATEGORIES: dict[str, type[GumbelSoftmax] | type[StraightThroughGumbelSoftmax]] = {
    "categorical": GumbelSoftmax,
    "categorical-hard": StraightThroughGumbelSoftmax,
}
"""Latents of categories: relaxed draws, and hard draws with the gradient of the relaxed ones."""

POSTERIORS = {"normal": "normal", "flow": "flow"}

CODE_WIDTH = 32
"""The length of a code vector in a learned codebook."""

MOST_LEVELS = 16

FLAT = "numbers or categories, such as 8 or categorical:20x10"
"""Latents without a grid, as words in an error message."""

USE = {"perplexity": perplexity, "usage": usage}
"""The measures of a codebook that are logged."""

COMMITMENT = 0.25
"""The weight of the commitment cost. Van den Oord et al. 2017, section 3.2."""


@dataclass(frozen=True)
class Latent:
    """What a latent needs from the nets, and what it adds.

    kind: the kind of latent, which determines the possible priors.
    features: the output shape of the encoder's net, without the batch.
    shape: the input shape of the decoder's net, without the batch.
    encoder: makes q(z|x) from the encoder's net.
    terms: costs in addition to the bound.
    """

    kind: str
    features: tuple[int, ...]
    shape: tuple[int, ...]
    encoder: Callable[[nn.Module], nn.Module]
    terms: Mapping[str, Term] = field(default_factory=dict)
    groups: tuple[int, int] = (0, 0)
    """For categories: the number of categories, and the number of classes of each."""
    codes: int = 0
    """For a codebook: the number of codes K."""


def latent(network: Network, schema: Schema) -> Latent:
    """The latent of `network` for data of this schema."""
    word = str(network.latent)
    if isinstance(network.latent, int):
        return _vector(
            syntax.bounded("latent", network.latent), network.posterior, len(schema.shape)
        )
    name, _ = syntax.choose("latent", word, {"16": "16", **LATENTS})
    word = word if ":" in word else LATENTS[name]
    if network.posterior != "normal":
        raise VaekitError(
            f"posterior '{network.posterior}' is for continuous latents such as 16, not for '{word}'"
        )
    if name in CATEGORIES:
        groups, classes = syntax.wholes("latent", word, "x", 2, least=2)
        syntax.bounded("latent", groups * classes, word)
        return _categories(CATEGORIES[name](groups, classes), len(schema.shape))
    return _quantised(_codebook(name, word), _grid(word, schema))


def kind_of(network: Network) -> str:
    """The kind of latent: `continuous`, `categories` or `codes`."""
    if isinstance(network.latent, int):
        return "continuous"
    return "categories" if network.latent.partition(":")[0] in CATEGORIES else "codes"


def in_words(latent: int | str, levels: int = 1, posterior: str = "normal") -> str:
    """A latent in words: "16 latent dimensions", "latent vq:512", "3 levels of latents ..."."""
    if levels > 1:
        return f"{levels} levels of latents, {latent} dimensions in the top one"
    bent = "" if posterior == "normal" else f" with a {posterior} posterior"
    return f"latent {latent}" if isinstance(latent, str) else f"{latent} latent dimensions{bent}"


def of_levels(network: Network) -> tuple[int, ...]:
    """The sizes of the latents of a hierarchy, top first. In a convolutional one only the top is a
    vector, and the others are the channels of maps; in others all are vectors."""
    top, levels = network.latent, network.levels
    if not isinstance(top, int) or network.posterior != "normal":
        what = f"posterior '{network.posterior}'" if isinstance(top, int) else f"latent '{top}'"
        raise VaekitError(
            f"levels={levels}: a hierarchy has normal latents such as 20, not {what}; use levels=1"
        )
    if levels > MOST_LEVELS:
        raise VaekitError(f"levels={levels}: expected at most {MOST_LEVELS}")
    if network.architecture == "conv":
        return (top, *[4] * (levels - 2), 2)
    return (*[top] * (levels - 1), 2 * top)


def codes(network: Network, schema: Schema) -> tuple[int, int] | None:
    """(codes per datum, codes in the codebook) for a learned codebook, else None."""
    name = str(network.latent).partition(":")[0]
    if name not in ("vq", "vq-gradient", "rvq"):
        return None
    made = latent(network, schema)
    return math.prod(made.shape[1:]), made.codes


def _grid(word: str, schema: Schema) -> tuple[int, int]:
    """The height and width of the grid of codes."""
    kind = modality(schema.modality)
    if kind.model.grid is None:
        raise VaekitError(
            f"latent '{word}': codes lie on a grid, but {kind.name} have none; use {FLAT}"
        )
    return kind.model.grid(schema)


def _vector(n: int, posterior: str, event_dim: int) -> Latent:
    syntax.choose("posterior", posterior, POSTERIORS)
    if posterior == "normal":
        return Latent("continuous", (2 * n,), (n,), partial(_conditional, normal, event_dim))
    flow = FlowPosterior(n)
    return Latent(
        "continuous", (2 * n + flow.features,), (n,), partial(_conditional, flow, event_dim)
    )


def _conditional(family: Callable, event_dim: int, net: nn.Module) -> nn.Module:
    return Conditional(net, family, event_dim=event_dim)


def _categories(family: GumbelSoftmax | StraightThroughGumbelSoftmax, event_dim: int) -> Latent:
    size = (family.groups * family.classes,)
    terms = {"perplexity": Term(perplexity, WATCHED)}
    return Latent(
        "categories",
        size,
        size,
        partial(_conditional, family, event_dim),
        terms,
        (family.groups, family.classes),
    )


def _codebook(name: str, word: str) -> AnyCodebook:
    if name == "fsq":
        levels = syntax.wholes("latent", word, ",", None, least=3, most=255)
        if math.prod(levels) > syntax.MOST:
            raise VaekitError(
                f"latent '{word}': makes {math.prod(levels):,} codes, more than {syntax.MOST:,}; use fewer"
            )
        return ScalarCodebook(levels)
    if name in ("vq", "vq-gradient"):
        return (Codebook if name == "vq" else LearnedCodebook)(
            syntax.whole("latent", word, least=2), CODE_WIDTH
        )
    depth, size = syntax.wholes("latent", word, "x", 2)
    if size < 2 or depth > 64:
        raise VaekitError(
            f"latent '{word}': expected DEPTHxCODES, 2 codes or more and a depth of at most 64, "
            "such as rvq:4x256"
        )
    return ResidualCodebook(depth, size, CODE_WIDTH)


def _quantised(codebook: AnyCodebook, grid: tuple[int, int]) -> Latent:
    shape, terms = (codebook.dim, *grid), {name: Term(cost, WATCHED) for name, cost in USE.items()}
    if not isinstance(codebook, ScalarCodebook):
        terms |= {"commitment": Term(commitment, Constant(COMMITMENT))}
    if isinstance(codebook, LearnedCodebook):
        terms |= {"codebook": Term(codebook_cost)}
    return Latent(
        "codes",
        shape,
        shape,
        lambda net: VectorQuantiser(net, codebook),
        terms,
        codes=codebook.size,
    )
