"""Priors over discrete latents: modules whose `forward(context)` returns p(z | context), batch shape () or (B,)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution
from torch.distributions.kl import register_kl

from vaekit.models.codes.codebooks import AnyCodebook
from vaekit.models.codes.posteriors import CodePosterior, HardCategorical, Shape
from vaekit.nn.attention import CausalTransformer


class CodePrior(Distribution, ABC):
    """p(z) over features (D, *grid) that are a codebook's codes: p(z) = P(indices of z).

    Log-probabilities are in nats per datum. `length` is T, the number of codes per datum; indices
    (..., T) are int64.
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, codebook: AnyCodebook, grid: Sequence[int], batch: Size = Size()) -> None:
        self.codebook, self.grid, self.length = (
            codebook,
            tuple(grid),
            math.prod(grid) * codebook.depth,
        )
        super().__init__(batch, Size((codebook.dim, *grid)), validate_args=False)

    @abstractmethod
    def log_prob_of(self, indices: Tensor) -> Tensor:
        """log P(indices), shape (...) from (..., T)."""

    @abstractmethod
    def sample_indices(self, sample_shape: Shape = Size()) -> Tensor:
        """Codes of shape sample_shape + batch_shape + (T,)."""

    def log_prob(self, value: Tensor) -> Tensor:
        batch = value.shape[: value.dim() - len(self.event_shape)]
        indices = self.codebook.indices(value.detach().reshape(-1, *self.event_shape))
        return self.log_prob_of(indices.reshape(*batch, self.length))

    @torch.no_grad()
    def sample(self, sample_shape: Shape = Size()) -> Tensor:
        """Quantised features of shape sample_shape + batch_shape + (D, *grid)."""
        indices = self.sample_indices(sample_shape)
        features = self.codebook.lookup(indices.reshape(-1, self.length), self.grid)
        return features.reshape(*indices.shape[:-1], *self.event_shape)


@register_kl(CodePosterior, CodePrior)
def _kl_of_codes(q: CodePosterior, p: CodePrior) -> Tensor:
    return -p.log_prob_of(q.indices)


class UniformCodePrior(CodePrior):
    """All codes are equally likely: log p = `nats` = -T log K."""

    def __init__(self, nats: Tensor, codebook: AnyCodebook, grid: Sequence[int]) -> None:
        self.nats = nats
        super().__init__(codebook, grid)

    def log_prob_of(self, indices: Tensor) -> Tensor:
        return self.nats.expand(indices.shape[:-1])

    def sample_indices(self, sample_shape: Shape = Size()) -> Tensor:
        return torch.randint(
            self.codebook.size, (*sample_shape, self.length), device=self.nats.device
        )


class AutoregressiveCodePrior(CodePrior):
    """log p = sum_t log P(i_t | i_1 ... i_(t-1), context), with logits from a causal network."""

    def __init__(
        self,
        net: CausalTransformer,
        codebook: AnyCodebook,
        grid: Sequence[int],
        context: Tensor | None = None,
    ) -> None:
        self.net, self.context = net, context
        super().__init__(codebook, grid, Size() if context is None else context.shape[:1])

    def log_prob_of(self, indices: Tensor) -> Tensor:
        flat = indices.reshape(-1, self.length)
        scores = self.net(flat, self._context(indices.shape[:-1]))
        nats = F.cross_entropy(scores.flatten(0, 1).float(), flat.flatten(), reduction="none")
        return -nats.view(*indices.shape).sum(-1)

    def sample_indices(self, sample_shape: Shape = Size()) -> Tensor:
        batch = Size((*sample_shape, *self.batch_shape))
        flat = self.net.complete(batch.numel(), _drawn, self._context(batch))
        return flat.view(*batch, self.length)

    def _context(self, batch: Size) -> Tensor | None:
        """The context of every row, (N, F)."""
        return (
            None
            if self.context is None
            else self.context.expand(*batch, -1).reshape(-1, self.context.shape[-1])
        )


class _OverCodes(nn.Module):
    """Refers to the codebook without owning it.

    The encoder owns the codebook, with its state and its updates.
    """

    def __init__(self, codebook: AnyCodebook, grid: Sequence[int]) -> None:
        super().__init__()
        self.grid, self._codebook = (
            tuple(grid),
            (codebook,),
        )  # in a tuple, so that it is not a sub-module

    @property
    def codebook(self) -> AnyCodebook:
        return self._codebook[0]


class UniformCodes(_OverCodes):
    """p(z) = K^-T over the codes of a grid, whatever the context. Van den Oord et al. 2017, section 3.1."""

    nats: Tensor

    def __init__(self, codebook: AnyCodebook, grid: Sequence[int]) -> None:
        super().__init__(codebook, grid)
        nats = -math.prod(grid) * codebook.depth * math.log(codebook.size)
        self.register_buffer("nats", torch.tensor(nats), persistent=False)

    def forward(self, context: Tensor | None = None) -> UniformCodePrior:
        return UniformCodePrior(self.nats, self.codebook, self.grid)


class AutoregressiveCodes(_OverCodes):
    """p(z | context) by a causal transformer over the T codes, in the codebook's order.

    It starts uniform and learns from the rate, together with the codes or after them. It gets the
    codes as integers and has its own embeddings, so encoder and codebook get no gradient from it.
    Van den Oord et al. 2017, section 3.3, use a PixelCNN.
    """

    def __init__(
        self,
        codebook: AnyCodebook,
        grid: Sequence[int],
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        context: int = 0,
    ) -> None:
        super().__init__(codebook, grid)
        self.conditional, length = bool(context), math.prod(grid) * codebook.depth
        self.net = CausalTransformer(
            codebook.size, length, width, layers, heads, context, codebook.depth
        )

    def forward(self, context: Tensor | None = None) -> AutoregressiveCodePrior:
        return AutoregressiveCodePrior(
            self.net, self.codebook, self.grid, context if self.conditional else None
        )


class UniformCategories(nn.Module):
    """`groups` independent categories, each uniform over `classes`."""

    logits: Tensor

    def __init__(self, groups: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("logits", torch.zeros(groups, classes), persistent=False)

    def forward(self, context: Tensor | None = None) -> HardCategorical:
        return HardCategorical(self.logits)


class LearnedCategories(nn.Module):
    """`groups` independent categories of `classes`, with learned logits (linear in a context).

    They start uniform.
    """

    def __init__(self, groups: int, classes: int, context: int = 0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(groups, classes))
        self.slope = nn.Linear(context, groups * classes, bias=False) if context else None
        if self.slope is not None:
            nn.init.zeros_(self.slope.weight)

    def forward(self, context: Tensor | None = None) -> HardCategorical:
        if self.slope is None or context is None:
            return HardCategorical(self.logits)
        return HardCategorical(
            self.logits + self.slope(context).float().unflatten(-1, self.logits.shape)
        )


def _drawn(scores: Tensor) -> Tensor:
    return torch.multinomial(torch.softmax(scores.float(), dim=-1), 1)[:, 0]
