"""One small instance of everything: what the laws are tried on. A new part gets its line here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from vaekit import VAE, Conditional
from vaekit.data.images.likelihoods import NAMES, likelihood
from vaekit.families import normal
from vaekit.nn import MLP, ConvDecoder, ConvEncoder
from vaekit.priors import LearnedNormal, NormalMixture, StandardNormal

LATENT, CONTEXT = 3, 2
SHAPES = {"grey": (1, 8, 6), "colour": (3, 9, 8)}

PRIORS: dict[str, Callable[[], nn.Module]] = {
    "standard": lambda: StandardNormal(LATENT),
    "learned": lambda: LearnedNormal(LATENT),
    "mixture": lambda: NormalMixture(LATENT, 4),
}
LIKELIHOODS = [name.replace(":S", ":0.3").replace(":K", ":3") for name in NAMES]


def model(
    prior: str = "standard", pixels: str = "bernoulli", shape: str = "grey", net: str = "mlp", context: int = 0
) -> VAE:
    """A model with weights away from their start, so that nothing is hidden by a zero."""
    torch.manual_seed(1)
    c, h, w = SHAPES[shape]
    likely = likelihood(pixels, c)
    if net == "mlp":
        encoder: nn.Module = MLP((c, h, w), [16], [2 * LATENT], context=context)
        decoder: nn.Module = MLP([LATENT], [16], (likely.outputs, h, w), context=context)
    else:
        encoder = ConvEncoder((c, h, w), 8, 1, 2 * LATENT, context=context)
        decoder = ConvDecoder(LATENT, 8, 1, (likely.outputs, h, w), context=context)
    vae = VAE(Conditional(encoder, normal, 3), PRIORS[prior](), Conditional(decoder, likely.family))
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return vae.eval()


MODELS: dict[str, Callable[[], VAE]] = {
    **{f"prior {name}": lambda name=name: model(prior=name) for name in PRIORS},  # type: ignore[misc]
    **{f"likelihood {name}": lambda name=name: model(pixels=name) for name in LIKELIHOODS},  # type: ignore[misc]
    "colour": lambda: model(shape="colour", pixels="logistic-mixture:2"),
    "conv": lambda: model(net="conv"),
    "conv colour": lambda: model(net="conv", shape="colour", pixels="gaussian", prior="mixture"),
}


def data(vae: VAE, n: int = 4, context: Tensor | None = None) -> Tensor:
    """Images that every likelihood takes: black or white."""
    torch.manual_seed(2)
    shape = vae.decoder(torch.zeros(1, LATENT), context).event_shape
    return (torch.rand(n, *shape) < 0.4).float()


class LinearGaussian(VAE):
    """z ~ N(0, I), x = W z + b + s e with orthogonal columns in W, and the exact posterior: everything is known.

    p(x) = N(b, W W' + s^2 I); q(z|x) = N(v W'(x - b) / s^2, v), v = s^2 / (s^2 + |w_j|^2).
    """

    def __init__(self, shape: tuple[int, int, int] = (1, 3, 2), latent: int = 2, noise: float = 0.5) -> None:
        dims = shape[0] * shape[1] * shape[2]
        self.shape, self.noise = shape, noise
        self.weight = torch.linalg.qr(torch.randn(dims, latent))[0] * torch.tensor([2.0, 0.7][:latent])
        self.offset = torch.randn(dims)
        self.variance = noise**2 / (noise**2 + self.weight.pow(2).sum(0))
        super().__init__(_Function(self._posterior), StandardNormal(latent), _Function(self._likelihood))

    def _posterior(self, x: Tensor) -> Independent:
        mean = self.variance * ((x.flatten(-3) - self.offset) @ self.weight) / self.noise**2
        return Independent(Normal(mean, self.variance.sqrt().expand_as(mean)), 1)

    def _likelihood(self, z: Tensor) -> Independent:
        mean = (z @ self.weight.T + self.offset).unflatten(-1, self.shape)
        return Independent(Normal(mean, torch.full_like(mean, self.noise)), 3)

    def evidence(self, x: Tensor) -> Tensor:
        """log p(x), exactly, shape (B,)."""
        covariance = self.weight @ self.weight.T + self.noise**2 * torch.eye(len(self.offset))
        return torch.distributions.MultivariateNormal(self.offset, covariance).log_prob(x.flatten(-3))


class _Function(nn.Module):
    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, value: Tensor, context: Tensor | None = None):  # type: ignore[no-untyped-def]
        return self.function(value)
