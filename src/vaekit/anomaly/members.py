"""Many small denoising VAEs, trained and asked at once as one batched model."""

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
"""No column's scale is learned below this share of its standard deviation: a sharper one would reward copying."""

LANES = 16
"""Decoders have a multiple of so many outputs, of which the first are used: products of odd widths are computed by
other instructions at the end of a batch than within it, and a row's score would follow its place."""


class EachMember(nn.Module):
    """p(output | value) of M members: value (M, B, D) to a distribution of batch shape (M, B)."""

    def __init__(self, net: ManyMLP, family: Callable[[Tensor], Distribution]) -> None:
        super().__init__()
        self.net, self.family = net, family

    def forward(self, value: Tensor, context: Tensor | None = None) -> Distribution:
        return self.family(self.net(value))


class Denoising(nn.Module):
    """q(z | x): an encoder that sees cells held to the range of the training rows, and with noise while training.

    Member m sees x + noise_m e, e ~ N(0, I) (Vincent et al. 2008; Im et al. 2017), where a missing cell is a 0 and,
    for the columns in `gaps`, a mark of its own. What lies beyond the rows seen is thus never reproduced.
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
        """What the member's (or every member's) network is given for x."""
        seen = torch.maximum(torch.minimum(x, self.high[member]), self.low[member])
        seen = seen if noise is None else seen + noise
        missing = x[..., self.gaps].isnan().float()
        return torch.cat((seen.nan_to_num(0.0), missing), dim=-1)


class CellScales(nn.Module):
    """Normal cells: the network's output is their mean, and each member learns one scale a column, above `FINEST`."""

    def __init__(self, members: int, columns: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((members, 1, columns), -0.5))

    def forward(self, raw: Tensor) -> CellNormal:
        return CellNormal(raw[..., : self.log_scale.shape[-1]], self.scales())

    def scales(self) -> Tensor:
        """Logarithms of the scales, (M, 1, C)."""
        least = math.log(FINEST)
        return least + F.softplus(self.log_scale - least)


def explained(model: VAE, x: Tensor) -> CellNormal:
    """p(x' | the mean of q(z | x)), x (M, B, C): what the members make of rows, without a draw."""
    likelihood = model.decode((model.encoder(x).mean,))
    assert isinstance(likelihood, CellNormal)
    return likelihood


def build(low: Tensor, high: Tensor, noise: Tensor, gaps: Tensor, latent: int, hidden: int) -> VAE:
    """M members of one shape over C columns, from the range (M, 1, C) that each sees and its noise (M, 1, 1)."""
    members, _, columns = low.shape
    inner = EachMember(ManyMLP(members, columns + len(gaps), (hidden,), 2 * latent), normal)
    outputs = math.ceil(columns / LANES) * LANES
    decoder = EachMember(ManyMLP(members, latent, (hidden,), outputs), CellScales(members, columns))
    return VAE(Denoising(inner, low, high, noise, gaps), StandardNormal(latent), decoder)
