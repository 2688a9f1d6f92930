"""Discrete latents: codes from a codebook, and groups of categories with a relaxed gradient.

A model uses both like any other posterior. Their costs beyond the bound (`commitment`,
`codebook_cost`) are terms of an objective and never part of the bound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution
from torch.distributions.kl import register_kl

from vaekit.core.trace import Trace
from vaekit.models.codes.codebooks import AnyCodebook, Quantised, straight_through

Shape = Size | list[int] | tuple[int, ...]


class CodePosterior(Distribution):
    """q(z|x) with all its mass on the codes of x: log q(z|x) is 0 there and -inf elsewhere.

    Batch shape (B,), event shape (D, *grid). `indices` (B, T) are the codes; `size` K and `depth`
    are those of the codebook; `commitment` and `codebook_cost` (B,) are summed squared distances.
    """

    arg_constraints: ClassVar[dict] = {}
    has_rsample = True

    def __init__(self, quantised: Quantised, size: int, depth: int = 1) -> None:
        self._z, self.indices, self.commitment, self.codebook_cost = quantised
        self.size, self.depth = size, depth
        super().__init__(self._z.shape[:1], self._z.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self._z

    @property
    def mode(self) -> Tensor:
        return self._z

    @property
    def stddev(self) -> Tensor:
        return torch.zeros_like(self._z)

    def rsample(self, sample_shape: Shape = Size()) -> Tensor:
        """The codes, the same in each sample; the gradient goes straight to the features."""
        return self._z.expand(*sample_shape, *self._z.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """0 where value (..., B, D, *grid) is the code, else -inf; shape (..., B)."""
        same = (value == self._z).flatten(value.dim() - len(self.event_shape)).all(-1)
        return torch.where(same, 0.0, -torch.inf)

    def entropy(self) -> Tensor:
        return torch.zeros_like(self.commitment)


class VectorQuantiser(nn.Module):
    """q(z|x, c) with all its mass on the codes nearest to net(x, c). Van den Oord et al. 2017.

    The net gives (B, D, *grid), where D is the codebook's `dim`.
    """

    def __init__(self, net: nn.Module, codebook: AnyCodebook) -> None:
        super().__init__()
        self.net, self.codebook = net, codebook

    def forward(self, value: Tensor, context: Tensor | None = None) -> CodePosterior:
        return CodePosterior(
            self.codebook(self.net(value, context)), self.codebook.size, self.codebook.depth
        )

    @torch.no_grad()
    def start(self, x: Tensor, context: Tensor | None = None) -> None:
        """Fit the codebook to the features of data x (N, ...) before training."""
        contexts = [None] * len(x) if context is None else context.split(500)
        parts = [self.net(a, c) for a, c in zip(x.split(500), contexts, strict=False)]
        self.codebook.fit(torch.cat(parts))


class GroupedCategorical(Distribution, ABC):
    """G independent categorical variables of K classes as one vector of G one-hot groups.

    The event shape is (G K,). log p(z) = sum_g <z_g, log pi_g> in nats: the probability of a
    one-hot z. A relaxed z (inside the simplex) gets the same linear form, not the relaxed density
    of Maddison et al. 2017. The KL is that of the categorical variables.
    """

    arg_constraints: ClassVar[dict] = {}
    has_rsample = True

    def __init__(self, logits: Tensor, temperature: Tensor | float = 1.0) -> None:
        """logits (..., G, K), which need not be normalised."""
        self.log_probs, self.temperature = torch.log_softmax(logits.float(), dim=-1), temperature
        groups, classes = logits.shape[-2:]
        super().__init__(logits.shape[:-2], Size((groups * classes,)), validate_args=False)

    @abstractmethod
    def rsample(self, sample_shape: Shape = Size()) -> Tensor:
        """z of shape sample_shape + batch_shape + (G K,), with a gradient for the logits."""

    def log_prob(self, value: Tensor) -> Tensor:
        return (value.unflatten(-1, self.log_probs.shape[-2:]) * self.log_probs).sum((-2, -1))

    def entropy(self) -> Tensor:
        return -(self.log_probs.exp() * self.log_probs).sum((-2, -1))

    @property
    def mean(self) -> Tensor:
        return self.log_probs.exp().flatten(-2)

    @property
    def stddev(self) -> Tensor:
        return (self.mean * (1 - self.mean)).sqrt()

    @property
    def mode(self) -> Tensor:
        return _one_hot(self.log_probs).flatten(-2)

    def relaxed(self, sample_shape: Shape) -> Tensor:
        """softmax((log pi + g) / temperature), g Gumbel noise, shape (..., G, K). Jang et al. 2017, eq. 2."""
        waits = torch.empty_like(
            self.log_probs.detach().expand(*sample_shape, *self.log_probs.shape)
        ).exponential_()
        noise = -waits.clamp_min(torch.finfo(waits.dtype).tiny).log()
        return torch.softmax((self.log_probs + noise) / self.temperature, dim=-1)


class RelaxedCategorical(GroupedCategorical):
    """Draws inside the simplex, with their own gradient; used in training."""

    def rsample(self, sample_shape: Shape = Size()) -> Tensor:
        return self.relaxed(sample_shape).flatten(-2)


class HardCategorical(GroupedCategorical):
    """Exact one-hot draws (Gumbel-max), with the gradient of the relaxed draw.

    Jang et al. 2017, section 2.2.
    """

    def rsample(self, sample_shape: Shape = Size()) -> Tensor:
        soft = self.relaxed(sample_shape)
        return straight_through(_one_hot(soft), soft).flatten(-2)


@register_kl(GroupedCategorical, GroupedCategorical)
def _kl_of_categories(q: GroupedCategorical, p: GroupedCategorical) -> Tensor:
    return (q.log_probs.exp() * (q.log_probs - p.log_probs)).sum((-2, -1))


class _Annealed(nn.Module):
    """Reads `groups` * `classes` raw numbers, with a temperature that falls from `start` to `end`.

    It is start (end/start)^p, where p is the fraction of the run that is done.
    """

    progress: Tensor

    def __init__(self, groups: int, classes: int, start: float = 1.0, end: float = 0.5) -> None:
        super().__init__()
        self.groups, self.classes, self.start, self.end = groups, classes, start, end
        self.register_buffer("progress", torch.tensor(0.0))  # p in [0, 1], set by the run

    def temperature(self) -> Tensor:
        return self.start * (self.end / self.start) ** self.progress

    def logits(self, raw: Tensor) -> Tensor:
        return raw.unflatten(-1, (self.groups, self.classes))


class GumbelSoftmax(_Annealed):
    """Categories from raw (..., G K): relaxed draws in training, exact one-hot draws in evaluation.

    Jang et al. 2017; Maddison et al. 2017. Training uses the relaxed draw with the exact KL of the
    categories, so the training objective has a bias that depends on the temperature. The bound in
    evaluation is exact.
    """

    def forward(self, raw: Tensor) -> GroupedCategorical:
        kind = RelaxedCategorical if self.training else HardCategorical
        return kind(self.logits(raw), self.temperature())


class StraightThroughGumbelSoftmax(_Annealed):
    """Categories from raw (..., G K): always one-hot draws, with the relaxed gradient.

    Jang et al. 2017, 2.2.
    """

    def forward(self, raw: Tensor) -> GroupedCategorical:
        return HardCategorical(self.logits(raw), self.temperature())


def commitment(trace: Trace, x: Tensor) -> Tensor:
    """sum |f - sg(e)|^2 over a datum's features f and codes e, shape (B,); sg stops the gradient.

    It keeps the encoder's features near their codes.
    """
    return torch.stack([q.commitment for q in _quantised(trace)]).sum(0)


def codebook_cost(trace: Trace, x: Tensor) -> Tensor:
    """sum |sg(f) - e|^2, shape (B,): moves learned codes towards the features.

    It is 0 for codes that do not learn by gradient.
    """
    return torch.stack([q.codebook_cost for q in _quantised(trace)]).sum(0)


def perplexity(trace: Trace, x: Tensor) -> Tensor:
    """exp of the entropy of how often the batch uses each code or class, shape ().

    This is the effective number of codes or classes in use, at most K. It is the mean over the
    levels of a residual codebook, over groups of categories, and over the latents.
    """
    shares = [_shares(draw.posterior) for draw in trace.draws if _is_discrete(draw.posterior)]
    if not shares:
        raise ValueError(
            "perplexity needs a model with codes or categories, but this one has neither"
        )
    effective = [torch.exp(-torch.xlogy(p, p).sum(-1)).mean() for p in shares]
    return torch.stack(effective).mean()


def usage(trace: Trace, x: Tensor) -> Tensor:
    """The fraction of the codes that occur in the batch, ().

    It is the mean over the levels of a residual codebook and over the latents.
    """
    return torch.stack([(_shares(q) > 0).float().mean() for q in _quantised(trace)]).mean()


def _quantised(trace: Trace) -> Iterator[CodePosterior]:
    found = [draw.posterior for draw in trace.draws if isinstance(draw.posterior, CodePosterior)]
    if not found:
        raise ValueError("this cost needs a model with a codebook, but this one has none")
    yield from found


def _is_discrete(q: Distribution) -> bool:
    return isinstance(q, CodePosterior | GroupedCategorical)


def _shares(q: Distribution) -> Tensor:
    """How often the batch uses each code or class, (depth, K) or (G, K); rows sum to one."""
    if isinstance(q, GroupedCategorical):
        return q.log_probs.detach().exp().flatten(0, -3).mean(0)
    assert isinstance(q, CodePosterior)
    level = torch.arange(q.indices.shape[1], device=q.indices.device) % q.depth
    cells = (q.indices + level * q.size).flatten()
    weight = torch.full(cells.shape, q.depth / q.indices.numel(), device=cells.device)
    return weight.new_zeros(q.depth * q.size).index_add(0, cells, weight).view(q.depth, q.size)


def _one_hot(scores: Tensor) -> Tensor:
    """1 at the largest value along the last axis, else 0."""
    return torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)
