"""Encoders and decoders that read a picture as a grid of square patches: one vector of channels for each patch.

A convolution at full resolution spends most of its time on single pixels. Here a patch, say of 8x8 pixels, becomes one
vector at once (Dosovitskiy et al. 2021). The blocks that follow look at the neighbouring patches, one channel at a
time, and then at all channels of each patch (ConvNeXt, Liu et al. 2022). On a CPU a step takes a fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.nn.conv import group_norm

REACH = 5
"""The side, in patches, of the square that each block looks at."""


class Neighbours(nn.Module):
    """x + narrow(act(widen(film(norm(look(x)))))), maps (B, width, h, w) to the same shape.

    `look` is one kernel for each channel, `widen` and `narrow` work on the channels of each patch. A context
    (B, `context`) scales and shifts the features (FiLM, Perez et al. 2018).
    """

    def __init__(self, width: int, context: int = 0) -> None:
        super().__init__()
        self.look = nn.Conv2d(width, width, REACH, padding=REACH // 2, groups=width)
        self.norm = group_norm(width)
        self.widen, self.narrow = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, width, 1)
        self.film = nn.Linear(context, 2 * width) if context else None
        for start in self.narrow.parameters():  # each block starts as the identity
            nn.init.zeros_(start)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.norm(self.look(x))
        if self.film is not None and context is not None:
            scale, shift = self.film(context.to(h.dtype))[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return x + self.narrow(F.silu(self.widen(h)))


class PatchEncoder(nn.Module):
    """(B, C, H, W) and a context (B, `context`) to (B, out)."""

    def __init__(
        self, in_shape: Sequence[int], width: int, blocks: int, out: int, context: int = 0
    ) -> None:
        super().__init__()
        side, grid = patch_side(in_shape[1:]), patch_grid(in_shape[1:])
        self.missing = (0, grid[1] * side - in_shape[2], 0, grid[0] * side - in_shape[1])
        self.stem = nn.Conv2d(in_shape[0], width, side, stride=side)
        self.blocks = nn.ModuleList(Neighbours(width, context) for _ in range(blocks))
        self.norm = group_norm(width)
        self.head = nn.Linear(width * math.prod(grid), out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.stem(_channels_last(F.pad(x, self.missing) if any(self.missing) else x))
        for block in self.blocks:
            h = block(h, context)
        return self.head(F.silu(self.norm(h)).flatten(1))


class PatchDecoder(nn.Module):
    """(B, latent) and a context (B, `context`) to (B, C, H, W)."""

    def __init__(
        self, latent: int, width: int, blocks: int, out_shape: Sequence[int], context: int = 0
    ) -> None:
        super().__init__()
        self.side, self.size = patch_side(out_shape[1:]), tuple(out_shape[1:])
        self.start = (width, *patch_grid(self.size))
        self.foot = nn.Linear(latent, math.prod(self.start))
        self.blocks = nn.ModuleList(Neighbours(width, context) for _ in range(blocks))
        self.norm = group_norm(width)
        self.paint = nn.Conv2d(width, out_shape[0] * self.side**2, 1)
        self.head = Picture(out_shape)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        h = _channels_last(self.foot(z).unflatten(1, self.start))
        for block in self.blocks:
            h = block(h, context)
        patches = self.paint(F.silu(self.norm(h)))
        pixels = F.pixel_shuffle(patches, self.side)
        return self.head(pixels[:, :, : self.size[0], : self.size[1]])


class Picture(nn.Module):
    """Adds a learned picture (C, H, W) to pictures (B, C, H, W).

    So the latent need not encode what all pictures have in common.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.bias = nn.Parameter(torch.zeros(math.prod(shape)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.view(self.shape)


def patch_side(size: Sequence[int]) -> int:
    """The side of a patch in pixels, for pictures of (height, width): about 8 patches along the shorter side."""
    shorter = min(size)
    if shorter >= 48:
        return 8
    return 4 if shorter >= 16 else 2


def patch_grid(size: Sequence[int]) -> tuple[int, int]:
    """The number of patches (rows, columns) that cover a picture of (height, width).

    It is 8x8 for 64x64 pixels, 7x7 for 28x28, and 8x13 for 30x50.
    """
    side = patch_side(size)
    return -(-size[0] // side), -(-size[1] // side)


def _channels_last(x: Tensor) -> Tensor:
    """The same values in the memory layout that is fastest for these layers on a CPU."""
    return x.contiguous(memory_format=torch.channels_last)
