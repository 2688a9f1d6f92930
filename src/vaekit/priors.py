"""Priors over a latent vector: modules whose `forward(context)` returns p(z | context), batch shape () or (B,)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaekit.families import bounded


class StandardNormal(nn.Module):
    """N(0, I) over `latent` dimensions."""

    zero: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def forward(self, context: Tensor | None = None) -> Independent:
        return Independent(Normal(self.zero, torch.ones_like(self.zero), validate_args=False), 1)


class LearnedNormal(nn.Module):
    """N(mean, diag(scale^2)) with both learned, starting at N(0, I)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(latent))
        self.log_scale = nn.Parameter(torch.zeros(latent))

    def forward(self, context: Tensor | None = None) -> Independent:
        return Independent(Normal(self.mean, bounded(self.log_scale, -6, 6).exp(), validate_args=False), 1)


class NormalMixture(nn.Module):
    """sum_k pi_k N(m_k, diag(s_k^2)), all learned, with the means spread over N(0, I) at the start."""

    def __init__(self, latent: int, components: int = 10) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent))
        self.log_scales = nn.Parameter(torch.zeros(components, latent))

    def forward(self, context: Tensor | None = None) -> MixtureSameFamily:
        scales = bounded(self.log_scales, -6, 6).exp()
        normals = Independent(Normal(self.means, scales, validate_args=False), 1)
        return MixtureSameFamily(Categorical(logits=self.logits, validate_args=False), normals, validate_args=False)
