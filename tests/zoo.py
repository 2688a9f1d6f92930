"""One small instance of everything: what the laws are tried on. A new part gets its line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from vaekit import VAE, Conditional
from vaekit.core.trace import Model
from vaekit.data.images.model.likelihoods import NAMES, likelihood
from vaekit.distributions.families import PixelBernoulli, normal
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
)
from vaekit.models.codes.priors import (
    AutoregressiveCodes,
    LearnedCategories,
    UniformCategories,
    UniformCodes,
)
from vaekit.models.flows import FlowPosterior, FlowPrior
from vaekit.models.hierarchy import Hierarchy, TopEncoder, conv_hierarchy, dense_hierarchy
from vaekit.models.priors import (
    LearnedNormal,
    NormalMixture,
    StandardNormal,
    UnitLaplace,
    VampPrior,
)
from vaekit.models.vae import Conditioned
from vaekit.nn import (
    MLP,
    ConditionEmbedding,
    ConvDecoder,
    ConvEncoder,
    GridDecoder,
    GridEncoder,
    PatchDecoder,
    PatchEncoder,
    code_grid,
)

LATENT, CONTEXT = 3, 2
LEVELS = (LATENT, 2, 4)
GROUPS, CLASSES = 2, 3
CODE = 4
FIELDS = (3, 0, 0)
"""What a told model is told: one of three classes, and two numbers."""

SHAPES = {"grey": (1, 8, 6), "colour": (3, 9, 8)}
LIKELIHOODS = [name.replace(":S", ":0.3").replace(":K", ":3") for name in NAMES]

PRIORS: dict[str, Callable[[nn.Module, int], nn.Module]] = {
    "standard": lambda encoder, context: StandardNormal(LATENT),
    "laplace": lambda encoder, context: UnitLaplace(LATENT),
    "learned": lambda encoder, context: LearnedNormal(LATENT, context),
    "mixture": lambda encoder, context: NormalMixture(LATENT, 4, context),
    "vamp": lambda encoder, context: VampPrior(
        encoder, torch.rand(5, *SHAPES["grey"]), context=context
    ),
    "flow": lambda encoder, context: FlowPrior(LATENT, context, transforms=2, hidden=8),
}
POSTERIORS: dict[str, Callable[[], Callable]] = {
    "normal": lambda: normal,
    "flow": lambda: FlowPosterior(LATENT, 4, 2, 8),
}
BOOKS: dict[str, Callable[[], AnyCodebook]] = {
    "vq": lambda: Codebook(7, CODE),
    "vq by gradient": lambda: LearnedCodebook(7, CODE),
    "residual vq": lambda: ResidualCodebook(2, 5, CODE),
    "fsq": lambda: ScalarCodebook([4, 5, 3, 3]),
}
CATEGORIES: dict[str, Callable[[int], nn.Module]] = {
    "learned": lambda context: LearnedCategories(GROUPS, CLASSES, context),
    "uniform": lambda context: UniformCategories(GROUPS, CLASSES),
}


def awake(model: Model) -> Model:
    """Weights away from their start, so that nothing is hidden by a zero."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def model(
    prior: str = "standard",
    pixels: str = "bernoulli",
    shape: str = "grey",
    net: str = "mlp",
    context: int = 0,
    posterior: str = "normal",
) -> VAE:
    """A VAE with a vector of a latent."""
    torch.manual_seed(1)
    c, h, w = SHAPES[shape]
    likely, family = likelihood(pixels, c), POSTERIORS[posterior]()
    out = family.outputs() if isinstance(family, FlowPosterior) else 2 * LATENT
    if net == "conv":
        encoder: nn.Module = ConvEncoder((c, h, w), 8, 1, out, context=context)
        decoder: nn.Module = ConvDecoder(LATENT, 8, 1, (likely.outputs, h, w), context=context)
    elif net == "patches":
        encoder = PatchEncoder((c, h, w), 8, 1, out, context)
        decoder = PatchDecoder(LATENT, 8, 1, (likely.outputs, h, w), context)
    else:
        act = "gated" if net == "gated" else "silu"
        encoder = MLP((c, h, w), [16], [out], act, context)
        decoder = MLP([LATENT], [16], (likely.outputs, h, w), act, context)
    infer = Conditional(encoder, family, 3)
    vae = VAE(infer, PRIORS[prior](infer, context), Conditional(decoder, likely.family))
    return awake(vae)  # type: ignore[return-value]


def categorical(prior: str = "learned", family: type = GumbelSoftmax, context: int = 0) -> VAE:
    """A VAE whose latent is a few categories."""
    torch.manual_seed(1)
    shape, size = SHAPES["grey"], GROUPS * CLASSES
    encoder = Conditional(MLP(shape, [16], [size], context=context), family(GROUPS, CLASSES), 3)
    decoder = Conditional(MLP([size], [16], shape, context=context), PixelBernoulli())
    return awake(VAE(encoder, CATEGORIES[prior](context), decoder))  # type: ignore[return-value]


def quantised(book: str = "vq", prior: str = "uniform", net: str = "mlp", context: int = 0) -> VAE:
    """A VAE whose latent is a grid of codes that have seen some data."""
    torch.manual_seed(1)
    shape, codebook = SHAPES["grey"], BOOKS[book]()
    grid = code_grid(shape[1:], 1)
    if net == "grid":
        encoder: nn.Module = GridEncoder(shape, 8, 1, CODE, context=context)
        decoder: nn.Module = GridDecoder(CODE, 8, 1, shape, context=context)
    else:
        encoder = MLP(shape, [16], (CODE, *grid), context=context)
        decoder = MLP((CODE, *grid), [16], shape, context=context)
    p = (
        UniformCodes(codebook, grid)
        if prior == "uniform"
        else AutoregressiveCodes(codebook, grid, 8, 1, 2, context)
    )
    infer = VectorQuantiser(encoder, codebook)
    vae = awake(VAE(infer, p, Conditional(decoder, PixelBernoulli(), 3)))
    infer.start(
        (torch.rand(200, *shape) < 0.4).float(), torch.randn(200, context) if context else None
    )
    return vae  # type: ignore[return-value]


def hierarchy(net: str = "dense", prior: str = "standard", context: int = 0) -> Hierarchy:
    """Three latents on top of each other."""
    torch.manual_seed(1)
    make = dense_hierarchy if net == "dense" else conv_hierarchy
    built = make(
        SHAPES["grey"], 1, LEVELS, 12 if net == "dense" else 8, 1, PixelBernoulli(), context=context
    )
    built.prior = PRIORS[prior](TopEncoder(built.rise, built.top), context)
    return awake(built)  # type: ignore[return-value]


def told(make: Callable[..., Model], **kind: str) -> Conditioned:
    """A model that is told a class and two numbers, or some of them."""
    inner = make(**kind, context=CONTEXT)
    return awake(Conditioned(inner, ConditionEmbedding(FIELDS, CONTEXT), len(FIELDS)))  # type: ignore[return-value]


@dataclass(frozen=True)
class Specimen:
    """How to make a model, and what is peculiar to it."""

    make: Callable[[], Model]
    varies: bool = True
    """Whether a datum's draws differ: not, where it has has one code."""
    context: int = 0
    """The length of the rows that it is told, 0 for none."""

    def __call__(self) -> Model:
        return self.make()


def _of(make: Callable[..., Model], varies: bool = True, **kind: object) -> Specimen:
    """`make(**kind)`, by itself or told something."""
    return Specimen(lambda: make(**kind), varies, int(kind.get("context", 0)))  # type: ignore[call-overload]


def _told(make: Callable[..., Model], varies: bool = True, **kind: str) -> Specimen:
    return Specimen(lambda: told(make, **kind), varies, len(FIELDS))


MODELS: dict[str, Specimen] = {
    **{f"prior {name}": _of(model, prior=name) for name in PRIORS},
    **{f"prior {name} of a context": _of(model, prior=name, context=CONTEXT) for name in PRIORS},
    **{f"likelihood {name}": _of(model, pixels=name) for name in LIKELIHOODS},
    "colour": _of(model, shape="colour", pixels="logistic-mixture:2"),
    "gated": _of(model, net="gated"),
    "conv": _of(model, net="conv"),
    "conv of a context": _of(model, net="conv", context=CONTEXT),
    "patches": _of(model, net="patches"),
    "patches of a context": _of(model, net="patches", context=CONTEXT),
    "patches colour": _of(model, net="patches", shape="colour", pixels="gaussian-pixel"),
    "conv colour": _of(model, net="conv", shape="colour", pixels="gaussian", prior="mixture"),
    "posterior flow": _of(model, posterior="flow"),
    "posterior and prior flow": _of(model, posterior="flow", prior="flow", context=CONTEXT),
    "posterior flow under a vamp": _of(model, posterior="flow", prior="vamp"),
    **{f"categories {name}": _of(categorical, prior=name) for name in CATEGORIES},
    "categories straight through": _of(categorical, family=StraightThroughGumbelSoftmax),
    "categories of a context": _of(categorical, context=CONTEXT),
    **{name: _of(quantised, False, book=name) for name in BOOKS},
    **{
        f"{name} in order": _of(quantised, False, book=name, prior="autoregressive")
        for name in BOOKS
    },
    "grid": _of(quantised, False, net="grid"),
    "grid in order of a context": _of(
        quantised, False, net="grid", prior="autoregressive", context=CONTEXT
    ),
    "hierarchy": _of(hierarchy),
    "hierarchy of a context": _of(hierarchy, prior="learned", context=CONTEXT),
    "hierarchy under a vamp": _of(hierarchy, prior="vamp"),
    "hierarchy under a flow": _of(hierarchy, prior="flow"),
    "conv hierarchy": _of(hierarchy, net="conv"),
    "conv hierarchy under a vamp of a context": _of(
        hierarchy, net="conv", prior="vamp", context=CONTEXT
    ),
    "told": _told(model, prior="learned"),
    "told, a vamp": _told(model, prior="vamp"),
    "told, a flow": _told(model, prior="flow", posterior="flow"),
    "told, categories": _told(categorical),
    "told, codes": _told(quantised, False, prior="autoregressive"),
    "told, a hierarchy": _told(hierarchy, prior="mixture"),
}
VARY = [name for name, kind in MODELS.items() if kind.varies]
CERTAIN = [name for name, kind in MODELS.items() if not kind.varies]
TOLD = [name for name, kind in MODELS.items() if kind.context]
CONDITIONED = [name for name in MODELS if name.startswith("told")]


def data(model: Model, n: int = 4, context: Tensor | None = None) -> Tensor:
    """Images that every likelihood takes: black or white."""
    with torch.no_grad():
        shape = model.generate(1, context).event_shape
    torch.manual_seed(2)
    return (torch.rand(n, *shape) < 0.4).float()


def rows(name: str, n: int, seed: int = 3) -> Tensor | None:
    """What a model is told of n data: any numbers; of a told one, something but not everything."""
    width, generator = MODELS[name].context, torch.Generator().manual_seed(seed)
    if not width:
        return None
    if name not in CONDITIONED:
        return torch.randn(n, width, generator=generator)
    known = torch.randn(n, width, generator=generator)
    known[:, 0] = (torch.arange(n) + seed) % FIELDS[0]
    return known.masked_fill(torch.rand(n, width, generator=generator) < 0.2, torch.nan)


def batch(name: str, n: int = 4) -> tuple[Model, Tensor, Tensor | None]:
    """A model, images and what it is told of them."""
    model, context = MODELS[name](), rows(name, n)
    return model, data(model, n, None if context is None else context[:1]), context


def inner(model: Model) -> VAE | Hierarchy:
    """The model itself, without what tells it conditions."""
    found = model.model if isinstance(model, Conditioned) else model
    assert isinstance(found, VAE | Hierarchy)
    return found


def inference(model: Model) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of q(z | x), by name; of codes, those of the net that is put on them."""
    found = inner(model)
    if isinstance(found, Hierarchy):
        parts = {"rise": found.rise, "top": found.top, "posteriors": found.posteriors}
    elif isinstance(found.encoder, VectorQuantiser):
        parts = {"net": found.encoder.net}
    else:
        parts = {"encoder": found.encoder}
    return (
        (f"{part}.{name}", p)
        for part, module in parts.items()
        for name, p in module.named_parameters()
    )


def generation(model: Model) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of p(z), by name."""
    found = inner(model)
    lower = found.priors.named_parameters() if isinstance(found, Hierarchy) else ()
    return chain(found.prior.named_parameters(), lower)


class LinearGaussian(VAE):
    """z ~ N(0, I), x = W z + b + s e with orthogonal columns in W, and the exact posterior: everything is known.

    p(x) = N(b, W W' + s^2 I); q(z|x) = N(v W'(x - b) / s^2, v), v = s^2 / (s^2 + |w_j|^2).
    """

    def __init__(
        self, shape: tuple[int, int, int] = (1, 3, 2), latent: int = 2, noise: float = 0.5
    ) -> None:
        dims = shape[0] * shape[1] * shape[2]
        self.shape, self.noise = shape, noise
        self.weight = torch.linalg.qr(torch.randn(dims, latent))[0] * torch.tensor(
            [2.0, 0.7][:latent]
        )
        self.offset = torch.randn(dims)
        self.variance = noise**2 / (noise**2 + self.weight.pow(2).sum(0))
        super().__init__(
            _Function(self._posterior), StandardNormal(latent), _Function(self._likelihood)
        )

    def _posterior(self, x: Tensor) -> Independent:
        mean = self.variance * ((x.flatten(-3) - self.offset) @ self.weight) / self.noise**2
        return Independent(Normal(mean, self.variance.sqrt().expand_as(mean)), 1)

    def _likelihood(self, z: Tensor) -> Independent:
        mean = (z @ self.weight.T + self.offset).unflatten(-1, self.shape)
        return Independent(Normal(mean, torch.full_like(mean, self.noise)), 3)

    def evidence(self, x: Tensor) -> Tensor:
        """log p(x), exactly, shape (B,)."""
        covariance = self.weight @ self.weight.T + self.noise**2 * torch.eye(len(self.offset))
        return torch.distributions.MultivariateNormal(self.offset, covariance).log_prob(
            x.flatten(-3)
        )


class _Function(nn.Module):
    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, value: Tensor, context: Tensor | None = None):  # type: ignore[no-untyped-def]
        return self.function(value)
