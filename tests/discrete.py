"""Small discrete models, which the tests of their parts share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vaekit import VAE, Conditional
from vaekit.core.objectives import Objective, Term, distortion, rate
from vaekit.distributions.families import PixelBernoulli
from vaekit.models.codes.codebooks import (
    AnyCodebook,
    Codebook,
    LearnedCodebook,
    ResidualCodebook,
    ScalarCodebook,
)
from vaekit.models.codes.posteriors import (
    GumbelSoftmax,
    VectorQuantiser,
    codebook_cost,
    commitment,
    perplexity,
)
from vaekit.models.codes.priors import AutoregressiveCodes, LearnedCategories, UniformCodes
from vaekit.nn import MLP

GRID, SHAPE = (2, 3), (1, 4, 4)

BOOKS: dict[str, Callable[[], AnyCodebook]] = {
    "moving": lambda: Codebook(7, 4),
    "learned": lambda: LearnedCodebook(7, 4),
    "residual": lambda: ResidualCodebook(2, 5, 4),
    "scalar": lambda: ScalarCodebook([4, 5, 3, 3]),
}
EACH = pytest.mark.parametrize("name", BOOKS)


def book(name: str) -> AnyCodebook:
    """A codebook that has seen features."""
    codebook = BOOKS[name]().eval()
    codebook.fit(features(200))
    return codebook


def features(n: int = 6) -> Tensor:
    return torch.randn(n, 4, *GRID) * torch.linspace(0.5, 2, 4)[:, None, None]


def quantised_vae(name: str = "moving", prior: str = "autoregressive", context: int = 0) -> VAE:
    codebook = BOOKS[name]()
    net = MLP(SHAPE, [16], (4, *GRID), context=context)
    p = (
        AutoregressiveCodes(codebook, GRID, 8, 1, 2, context)
        if prior != "uniform"
        else UniformCodes(codebook, GRID)
    )
    decoder = Conditional(
        MLP((4, *GRID), [16], SHAPE, context=context), PixelBernoulli(), event_dim=3
    )
    return VAE(VectorQuantiser(net, codebook), p, decoder)


def categorical_vae(family: Callable[[int, int], nn.Module] = GumbelSoftmax) -> VAE:
    encoder = Conditional(MLP(SHAPE, [16], (6,)), family(2, 3), event_dim=3)
    return VAE(
        encoder, LearnedCategories(2, 3), Conditional(MLP((6,), [16], SHAPE), PixelBernoulli())
    )


def pixels(n: int = 5) -> Tensor:
    return (torch.rand(n, *SHAPE) < 0.4).float()


def objective() -> Objective:
    terms = {
        "distortion": distortion,
        "rate": rate,
        "commitment": commitment,
        "codebook": codebook_cost,
    }
    return Objective(
        {name: Term(cost) for name, cost in (terms | {"perplexity": perplexity}).items()}
    )


def awake(module: nn.Module, scale: float = 0.3) -> nn.Module:
    """Weights away from their start, so that nothing is hidden by a zero."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn_like(p))
    return module.eval()
