"""Residual convolutional encoders and decoders for pictures of any height, width and channel count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 4
"""Pictures are halved until their shorter side has at most this many pixels.

From there, one vector describes the whole picture.
"""


class Residual(nn.Module):
    """x + conv(act(film(norm(conv(act(norm(x))))))): the context scales and shifts the features (FiLM, Perez 2018)."""

    def __init__(self, width: int, context: int = 0) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(width), group_norm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(context, 2 * width) if context else None
        nn.init.zeros_(
            self.conv2.weight
        )  # each block starts as the identity, so deep networks train as stably as shallow ones

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.film is not None and context is not None:
            scale, shift = self.film(context.to(h.dtype))[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return x + self.conv2(F.silu(h))


class _Descent(nn.Module):
    """Residual blocks at ever coarser scales, from `width` channels up to 4 times as many."""

    def __init__(
        self,
        in_shape: Sequence[int],
        width: int,
        blocks: int,
        stride: int,
        context: int,
        smallest: int,
    ) -> None:
        super().__init__()
        self.sizes, widths = pyramid(in_shape[1:], width, stride, smallest)
        self.top = widths[-1]
        self.stem = nn.Conv2d(in_shape[0], width, 2 * stride + 1, stride=stride, padding=stride)
        self.blocks = nn.ModuleList(
            nn.ModuleList(Residual(w, context) for _ in range(blocks)) for w in widths
        )
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.norm = group_norm(widths[-1])

    def descend(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Pictures (B, C, H, W) to features (B, top, h, w) at the coarsest scale."""
        h = self.stem(x)
        for level, blocks in enumerate(self.blocks):
            h = self.down[level - 1](h) if level else h
            for block in cast(nn.ModuleList, blocks):
                h = block(h, context)
        return F.silu(self.norm(h))


class _Ascent(nn.Module):
    """The scales of `_Descent` in reverse order, from coarse to fine."""

    def __init__(
        self,
        width: int,
        blocks: int,
        out_shape: Sequence[int],
        stride: int,
        context: int,
        smallest: int,
    ) -> None:
        super().__init__()
        self.sizes, widths = pyramid(out_shape[1:], width, stride, smallest)
        self.out_shape, self.top = tuple(out_shape), widths[-1]
        self.blocks = nn.ModuleList(
            nn.ModuleList(Residual(w, context) for _ in range(blocks)) for w in widths
        )
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(widths))
        self.norm = group_norm(width)
        self.head = nn.Conv2d(width, out_shape[0], 3, padding=1)

    def ascend(self, h: Tensor, context: Tensor | None) -> Tensor:
        """Features (B, top, h, w) at the coarsest scale to pictures (B, C, H, W)."""
        for level in reversed(range(len(self.blocks))):
            for block in cast(nn.ModuleList, self.blocks[level]):
                h = block(h, context)
            if level:
                h = self.up[level - 1](doubled(h, self.sizes[level - 1]))
        h = F.silu(self.norm(h))
        if (
            h.shape[2:] != self.out_shape[1:]
        ):  # enlarged before the last convolution, to avoid a checkerboard pattern
            h = doubled(h, self.out_shape[1:])
        return self.head(h)


class ConvEncoder(_Descent):
    """(B, C, H, W) and a context (B, `context`) to (B, out)."""

    def __init__(
        self,
        in_shape: Sequence[int],
        width: int,
        blocks: int,
        out: int,
        stride: int = 1,
        context: int = 0,
    ) -> None:
        super().__init__(in_shape, width, blocks, stride, context, SMALLEST)
        self.head = nn.Linear(self.top * math.prod(self.sizes[-1]), out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.head(self.descend(x, context).flatten(1))


class ConvDecoder(_Ascent):
    """(B, latent) and a context (B, `context`) to (B, C, H, W)."""

    def __init__(
        self,
        latent: int,
        width: int,
        blocks: int,
        out_shape: Sequence[int],
        stride: int = 1,
        context: int = 0,
    ) -> None:
        super().__init__(width, blocks, out_shape, stride, context, SMALLEST)
        self.foot = nn.Linear(latent, self.top * math.prod(self.sizes[-1]))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.ascend(self.foot(z).unflatten(1, (self.top, *self.sizes[-1])), context)


class GridEncoder(_Descent):
    """(B, C, H, W) and a context (B, `context`) to maps (B, out, h, w), see `code_grid`."""

    def __init__(
        self,
        in_shape: Sequence[int],
        width: int,
        blocks: int,
        out: int,
        stride: int = 1,
        context: int = 0,
    ) -> None:
        super().__init__(in_shape, width, blocks, stride, context, _smallest_grid(in_shape[1:]))
        self.head = nn.Conv2d(self.top, out, 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.head(self.descend(x, context))


class GridDecoder(_Ascent):
    """Maps (B, channels, h, w) and a context (B, `context`) to (B, C, H, W)."""

    def __init__(
        self,
        channels: int,
        width: int,
        blocks: int,
        out_shape: Sequence[int],
        stride: int = 1,
        context: int = 0,
    ) -> None:
        super().__init__(width, blocks, out_shape, stride, context, _smallest_grid(out_shape[1:]))
        self.foot = nn.Conv2d(channels, self.top, 3, padding=1)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.ascend(self.foot(z), context)


def code_grid(size: Sequence[int], stride: int) -> tuple[int, int]:
    """The (height, width) of the maps between `GridEncoder` and `GridDecoder`.

    It is 4x4 for 28x28 and 8x8 for 32x32.
    """
    return pyramid(size, 1, stride, _smallest_grid(size))[0][-1]


def _smallest_grid(size: Sequence[int]) -> int:
    """The shorter side at which halving ends: 8, or 4 for pictures of less than 32 pixels."""
    return 8 if min(size) >= 32 else 4


def doubled(h: Tensor, size: Sequence[int]) -> Tensor:
    """Each value of (B, C, h, w) as a 2x2 square.

    Cut to `size`, which `pyramid` halves to (h, w).
    """
    return (
        _squares(h, size)
        if torch.compiler.is_compiling()
        else F.interpolate(h, size=tuple(size), mode="nearest")
    )


def _squares(h: Tensor, size: Sequence[int]) -> Tensor:
    """Does what `F.interpolate` does, without its backward.

    Compiled by torch 2.13 for a CPU in bfloat16, that backward can give zeros. Uncompiled,
    `F.interpolate` is correct, and faster.
    """
    batch, channels, height, width = h.shape
    squares = h[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
    return squares.reshape(batch, channels, 2 * height, 2 * width)[:, :, : size[0], : size[1]]


def group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(width, 8), width)


def pyramid(
    size: Sequence[int], width: int, stride: int, smallest: int = SMALLEST
) -> tuple[list[tuple[int, int]], list[int]]:
    """The (height, width) of every scale, fine to coarse, and its channels.

    The last scale is the first whose shorter side is at most `smallest`.
    """
    sizes = [(-(-size[0] // stride), -(-size[1] // stride))]
    while min(sizes[-1]) > smallest:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes, [width * min(2**level, 4) for level in range(len(sizes))]
