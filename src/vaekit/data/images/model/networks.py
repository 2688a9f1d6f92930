"""Encoder and decoder networks for images. One word, or all widths, set their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vaekit.nn import (
    MLP,
    ConvDecoder,
    ConvEncoder,
    GridDecoder,
    GridEncoder,
    PatchDecoder,
    PatchEncoder,
    code_grid,
)

Latent = tuple[tuple[int, ...], tuple[int, ...]]
"""The shapes, without the batch, of the encoder's output and of the decoder's input."""

DENSE = {"tiny": (128,), "small": (512,), "base": (512, 512), "large": (1024, 1024, 1024)}
CONVOLUTIONAL = {"tiny": (16, 1), "small": (32, 1), "base": (64, 2), "large": (128, 3)}
"""Channels at the finest scale, and residual blocks per scale."""

PATCHES = {"tiny": (96, 1), "small": (128, 2), "base": (192, 3), "large": (256, 4)}
"""Channels of each patch, and residual blocks."""

LADDER = {"tiny": (128, 1), "small": (256, 1), "base": (512, 2), "large": (1024, 2)}
"""For dense hierarchies: the width of all states, and residual blocks per stage."""

LARGE_SIDE = 48
"""If both sides of a picture are at least this (in pixels), the first layer has stride 2: maps of half the size."""


def dense(
    shape: Sequence[int],
    widths: Sequence[int],
    latent: Latent,
    outputs: int,
    activation: str,
    context: int = 0,
    dropout: float = 0.0,
) -> tuple[MLP, MLP]:
    """(encoder, decoder) of fully connected layers: (C, H, W) -> features, latent -> (outputs, H, W)."""
    features, z = latent
    encoder = MLP(shape, widths, features, activation, context, dropout)
    return encoder, MLP(
        z, tuple(reversed(widths)), (outputs, *shape[1:]), activation, context, dropout
    )


def convolutional(
    shape: Sequence[int], width: int, blocks: int, latent: Latent, outputs: int, context: int = 0
) -> tuple[nn.Module, nn.Module]:
    """(encoder, decoder) of residual convolutions: (C, H, W) -> features, latent -> (outputs, H, W).

    If the latent is a map, the networks keep maps throughout.
    """
    features, z = latent
    encoder, decoder = (ConvEncoder, ConvDecoder) if len(z) == 1 else (GridEncoder, GridDecoder)
    stride = first_stride(shape)
    return (
        encoder(shape, width, blocks, features[0], stride, context),
        decoder(z[0], width, blocks, (outputs, *shape[1:]), stride, context),
    )


def patches(
    shape: Sequence[int], width: int, blocks: int, latent: Latent, outputs: int, context: int = 0
) -> tuple[PatchEncoder, PatchDecoder]:
    """(encoder, decoder) over patches: (C, H, W) -> features (F,), latent (Z,) -> (outputs, H, W)."""
    features, z = latent
    encoder = PatchEncoder(shape, width, blocks, features[0], context)
    return encoder, PatchDecoder(z[0], width, blocks, (outputs, *shape[1:]), context)


def first_stride(shape: Sequence[int]) -> int:
    """The stride of the first layer, by which it makes pictures (C, H, W) smaller."""
    return 2 if min(shape[1:]) >= LARGE_SIDE else 1


def grid(shape: Sequence[int]) -> tuple[int, int]:
    """The (height, width) of the grid of codes, for pictures (C, H, W)."""
    return code_grid(shape[1:], first_stride(shape))


@torch.no_grad()
def start_at(decoder: nn.Module, raw: Tensor) -> None:
    """Set the last layer's bias so that the untrained decoder's output is near `raw` (C, H, W).

    If the bias has one value for each channel, the output is near the mean of each channel.
    Outputs beyond the first C channels (scales) keep their bias.
    """
    bias = cast(nn.Linear | nn.Conv2d, decoder.head).bias
    assert bias is not None
    if bias.numel() >= raw.numel():
        bias[: raw.numel()] = raw.flatten()
    else:
        bias[: len(raw)] = raw.mean((1, 2))
