"""Networks of a hierarchy: from the data up, one feature per level, and down through the latents.

On the way down, a state carries the latents so far. Dense networks have vectors (B, width),
convolutional ones maps (B, channels, height, width). Features of the way up are returned with the
top first. Every context (B, `context`) scales and shifts features (FiLM, Perez et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.nn.conv import SMALLEST, Residual, doubled, group_norm, pyramid
from vaekit.nn.mlp import ACTIVATIONS


class DenseResidual(nn.Module):
    """x + V drop(act(film(U act(norm(x))))) over vectors of `width`."""

    def __init__(
        self, width: int, activation: str = "silu", context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm, self.act = nn.LayerNorm(width), ACTIVATIONS[activation]()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.film = nn.Linear(context, 2 * width) if context else None
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(
            self.outer.weight
        )  # each block starts as the identity, so deep networks train as stably as shallow ones

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.inner(self.act(self.norm(x)))
        if self.film is not None and context is not None:
            scale, shift = self.film(context.to(h.dtype)).chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return x + self.outer(self.drop(self.act(h)))


class Chain(nn.Module):
    """Blocks (x, context) -> x of the same shape, one after the other."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, context)
        return x


class DenseRise(nn.Module):
    """(B, *in_shape) to one feature (B, width) per step of `steps`, with the top first."""

    def __init__(self, in_shape: Sequence[int], width: int, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stem, self.steps = nn.Linear(math.prod(in_shape), width), nn.ModuleList(steps)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        h, features = self.stem(x.flatten(1)), []
        for step in self.steps:
            h = step(h, context)
            features.append(h)
        return tuple(reversed(features))


class DenseHead(nn.Module):
    """The output (B, *out_shape) for a state or a feature (B, width)."""

    def __init__(self, width: int, out_shape: Sequence[int], activation: str = "silu") -> None:
        super().__init__()
        self.norm, self.act, self.out_shape = (
            nn.LayerNorm(width),
            ACTIVATIONS[activation](),
            tuple(out_shape),
        )
        self.head = nn.Linear(width, math.prod(out_shape))

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        return self.head(self.act(self.norm(h))).unflatten(1, self.out_shape)


class DenseMeet(nn.Module):
    """Joins a state (B, width) on the way down with the level's feature (B, width) from the way up.

    The two go through `chain` to (B, out).
    """

    def __init__(self, width: int, chain: nn.Module, out: int, activation: str = "silu") -> None:
        super().__init__()
        self.join, self.chain = nn.Linear(2 * width, width), chain
        self.read = DenseHead(width, (out,), activation)

    def forward(self, state: Tensor, feature: Tensor, context: Tensor | None = None) -> Tensor:
        return self.read(self.chain(self.join(torch.cat((state, feature), dim=1)), context))


class DenseMerge(nn.Module):
    """Adds a latent (B, latent) to the state (B, width), then applies `chain`.

    Without a state, the latent makes the first one.
    """

    def __init__(self, latent: int, width: int, chain: nn.Module) -> None:
        super().__init__()
        self.lift, self.chain = nn.Linear(latent, width), chain

    def forward(
        self, z: Tensor, state: Tensor | None = None, context: Tensor | None = None
    ) -> Tensor:
        lifted = self.lift(z)
        return self.chain(lifted if state is None else state + lifted, context)


@dataclass(frozen=True)
class Scales:
    """The sizes (height, width) and channels of a picture's maps, and where the lower latents are.

    `sizes` and `widths` go from fine to coarse. `places` are their scales, coarse to fine, evenly
    spread from the coarsest to one of at most half the picture's size.
    """

    shape: tuple[int, ...]
    stride: int
    sizes: list[tuple[int, int]]
    widths: list[int]
    places: list[int]

    @staticmethod
    def of(shape: Sequence[int], width: int, stride: int, lower: int) -> Scales:
        """For pictures (C, H, W) that are read with `stride`.

        The finest scale has `width` channels, and there are `lower` latent maps.
        """
        sizes, widths = pyramid(shape[1:], width, stride, SMALLEST)
        finest = 0 if stride > 1 else min(1, len(sizes) - 1)
        spread = len(sizes) - finest
        places = [finest + (lower - 1 - i) * spread // lower for i in range(lower)]
        return Scales(tuple(shape), stride, sizes, widths, places)


class ConvRise(nn.Module):
    """(B, C, H, W) to the coarsest map, followed by the maps at the latents' scales.

    There are `blocks` residual blocks per scale.
    """

    def __init__(self, scales: Scales, blocks: int, context: int = 0) -> None:
        super().__init__()
        self.places, stride, widths = scales.places, scales.stride, scales.widths
        self.stem = nn.Conv2d(
            scales.shape[0], widths[0], 2 * stride + 1, stride=stride, padding=stride
        )
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.steps = nn.ModuleList(_conv_chain(width, blocks, context) for width in widths)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        h, maps = self.stem(x), []
        for scale, step in enumerate(self.steps):
            h = step(self.down[scale - 1](h) if scale else h, context)
            maps.append(h)
        return (maps[-1], *(maps[place] for place in self.places))


class ConvTop(nn.Module):
    """A map (B, width, *size) to a vector (B, out)."""

    def __init__(self, width: int, size: Sequence[int], out: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.head = nn.Linear(width * math.prod(size), out)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        return self.head(F.silu(self.norm(h)).flatten(1))


class ConvHead(nn.Module):
    """The output (B, out, h, w) for a state (B, width, h, w)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.head = nn.Conv2d(width, out, 3, padding=1)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        return self.head(F.silu(self.norm(h)))


class ConvMeet(nn.Module):
    """Joins a state on the way down with the level's feature from the way up, to (B, out, h, w).

    Both have the shape (B, width, h, w).
    """

    def __init__(self, width: int, blocks: int, out: int, context: int = 0) -> None:
        super().__init__()
        self.join = nn.Conv2d(2 * width, width, 1)
        self.chain = _conv_chain(width, blocks, context)
        self.read = ConvHead(width, out)

    def forward(self, state: Tensor, feature: Tensor, context: Tensor | None = None) -> Tensor:
        return self.read(self.chain(self.join(torch.cat((state, feature), dim=1)), context))


class ConvFoot(nn.Module):
    """Turns the top latent (B, latent) into the state at the scale of the first latent map."""

    def __init__(
        self, latent: int, scales: Scales, blocks: int, end: int, context: int = 0
    ) -> None:
        super().__init__()
        self.shape = (scales.widths[-1], *scales.sizes[-1])
        self.lift = nn.Linear(latent, math.prod(self.shape))
        self.climb = Climb(scales, len(scales.sizes) - 1, end, blocks, context)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.climb(self.lift(z).unflatten(1, self.shape), context)


class ConvMerge(nn.Module):
    """Adds a latent map (B, latent, h, w) to the state (B, width, h, w), then goes to `end`."""

    def __init__(
        self, latent: int, scales: Scales, blocks: int, start: int, end: int, context: int = 0
    ) -> None:
        super().__init__()
        self.lift = nn.Conv2d(latent, scales.widths[start], 1)
        self.climb = Climb(scales, start, end, blocks, context)

    def forward(self, z: Tensor, state: Tensor, context: Tensor | None = None) -> Tensor:
        return self.climb(state + self.lift(z), context)


class ConvFall(nn.Module):
    """Maps the last state to the picture (B, out, H, W)."""

    def __init__(self, scales: Scales, blocks: int, start: int, out: int, context: int = 0) -> None:
        super().__init__()
        self.size = tuple(scales.shape[1:])
        self.climb = Climb(scales, start, 0, blocks, context)
        self.norm = group_norm(scales.widths[0])
        self.head = nn.Conv2d(scales.widths[0], out, 3, padding=1)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        h = F.silu(self.norm(self.climb(h, context)))
        return self.head(h if h.shape[2:] == self.size else doubled(h, self.size))


class Climb(nn.Module):
    """Maps from the scale `start` to the same or a finer scale `end`.

    There are `blocks` residual blocks at each scale.
    """

    def __init__(self, scales: Scales, start: int, end: int, blocks: int, context: int = 0) -> None:
        super().__init__()
        way, widths = range(start, end - 1, -1), scales.widths
        self.sizes = [scales.sizes[scale] for scale in way[1:]]
        self.steps = nn.ModuleList(_conv_chain(widths[scale], blocks, context) for scale in way)
        self.up = nn.ModuleList(
            nn.Conv2d(widths[a], widths[b], 3, padding=1) for a, b in pairwise(way)
        )

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.steps[0](h, context)
        for size, up, step in zip(self.sizes, self.up, list(self.steps)[1:], strict=True):
            h = step(up(doubled(h, size)), context)
        return h


def _conv_chain(width: int, blocks: int, context: int) -> Chain:
    return Chain([Residual(width, context) for _ in range(blocks)])
