"""Encoder and decoder networks for images, sized by one word or in full."""

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
"""The shapes, without the batch, of what the encoder gives and of what the decoder takes."""

DENSE = {"tiny": (128,), "small": (512,), "base": (512, 512), "large": (1024, 1024, 1024)}
CONVOLUTIONAL = {"tiny": (16, 1), "small": (32, 1), "base": (64, 2), "large": (128, 3)}
"""Channels at the finest scale, and residual blocks a scale."""

PATCHES = {"tiny": (96, 1), "small": (128, 2), "base": (192, 3), "large": (256, 4)}
"""Channels of each patch, and residual blocks."""

LADDER = {"tiny": (128, 1), "small": (256, 1), "base": (512, 2), "large": (1024, 2)}
"""Of dense hierarchies: the width of all states, and residual blocks a stage."""

LARGE_SIDE = 48
"""Pictures whose sides are at least this are read with a stride of 2, so that the widest maps are half their size."""


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

    Of a latent that is a map, both stay maps throughout.
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
    """By how much pictures (C, H, W) are made smaller by the first layer."""
    return 2 if min(shape[1:]) >= LARGE_SIDE else 1


def grid(shape: Sequence[int]) -> tuple[int, int]:
    """The (height, width) of the maps that codes lie on, for pictures (C, H, W)."""
    return code_grid(shape[1:], first_stride(shape))


@torch.no_grad()
def start_at(decoder: nn.Module, raw: Tensor) -> None:
    """Set the last layer's bias so that the untrained decoder gives about `raw` (C, H, W), or its channels' levels.

    Outputs beyond the first C channels (scales) keep their bias.
    """
    bias = cast(nn.Linear | nn.Conv2d, decoder.head).bias
    assert bias is not None
    if bias.numel() >= raw.numel():
        bias[: raw.numel()] = raw.flatten()
    else:
        bias[: len(raw)] = raw.mean((1, 2))
