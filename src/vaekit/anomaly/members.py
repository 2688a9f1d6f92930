"""Many small denoising VAEs, trained and evaluated together as one batched model."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from vaekit.distributions.families import normal
from vaekit.distributions.pixels import CellNormal
from vaekit.models.priors import StandardNormal
from vaekit.models.vae import VAE
from vaekit.nn.batched import ManyMLP

FINEST = 0.03
"""The smallest scale that can be learned for a column, as a share of its standard deviation: a
smaller one would reward copying the input."""

LANES = 16
"""The number of outputs of a decoder is a multiple of this; the first ones are used. Matrix
products of other widths use different instructions for the last rows of a batch, so that a row's
score would depend on its place in the batch."""


class EachMember(nn.Module):
    """p(output | value) of M members: value (M, B, D) -> a distribution, batch shape (M, B)."""

    def __init__(self, net: ManyMLP, family: Callable[[Tensor], Distribution]) -> None:
        super().__init__()
        self.net, self.family = net, family

    def forward(self, value: Tensor, context: Tensor | None = None) -> Distribution:
        return self.family(self.net(value))


class Denoising(nn.Module):
    """q(z | x): an encoder whose input is clipped to the range of the training rows, and noisy
    while training.

    Member m gets x + noise_m e, e ~ N(0, I) (Vincent et al. 2008; Im et al. 2017). A missing cell
    is 0; for each column in `gaps` a further input marks missing cells. Because of the clipping,
    values outside the range of the training rows are never reproduced.
    """

    low: Tensor
    high: Tensor
    noise: Tensor
    gaps: Tensor

    def __init__(
        self, encoder: EachMember, low: Tensor, high: Tensor, noise: Tensor, gaps: Tensor
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("low", low)  # (M, 1, C)
        self.register_buffer("high", high)
        self.register_buffer("noise", noise)  # (M, 1, 1)
        self.register_buffer("gaps", gaps)  # (G,) indices of columns

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        noise = self.noise * torch.randn_like(x) if self.training else None
        return self.encoder(self.inputs(x, slice(None), noise))

    def inputs(self, x: Tensor, member: int | slice, noise: Tensor | None = None) -> Tensor:
        """The input for x of one member's network, or of all members' networks."""
        seen = torch.maximum(torch.minimum(x, self.high[member]), self.low[member])
        seen = seen if noise is None else seen + noise
        missing = x[..., self.gaps].isnan().float()
        return torch.cat((seen.nan_to_num(0.0), missing), dim=-1)


class CellScales(nn.Module):
    """Normal cells: their means from the network, and a learned scale per member and column."""

    def __init__(self, members: int, columns: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((members, 1, columns), -0.5))

    def forward(self, raw: Tensor) -> CellNormal:
        return CellNormal(raw[..., : self.log_scale.shape[-1]], self.scales())

    def scales(self) -> Tensor:
        """The logarithms of the scales, (M, 1, C)."""
        least = math.log(FINEST)
        return least + F.softplus(self.log_scale - least)


def explained(model: VAE, x: Tensor) -> CellNormal:
    """p(x' | z) at the mean z of q(z | x), x (M, B, C): reconstructions without drawing z."""
    likelihood = model.decode((model.encoder(x).mean,))
    assert isinstance(likelihood, CellNormal)
    return likelihood


def build(low: Tensor, high: Tensor, noise: Tensor, gaps: Tensor, latent: int, hidden: int) -> VAE:
    """M members of the same shape over C columns. low and high (M, 1, C) are the range of each
    member's input, noise (M, 1, 1) is its standard deviation of the noise, gaps are the columns
    with missing cells."""
    members, _, columns = low.shape
    inner = EachMember(ManyMLP(members, columns + len(gaps), (hidden,), 2 * latent), normal)
    outputs = math.ceil(columns / LANES) * LANES
    decoder = EachMember(ManyMLP(members, latent, (hidden,), outputs), CellScales(members, columns))
    return VAE(Denoising(inner, low, high, noise, gaps), StandardNormal(latent), decoder)
