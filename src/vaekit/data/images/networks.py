"""Encoder and decoder networks for images, sized by one word or in full."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vaekit.nn import MLP, ConvDecoder, ConvEncoder

DENSE = {"tiny": (128,), "small": (512,), "base": (512, 512), "large": (1024, 1024, 1024)}
CONVOLUTIONAL = {"tiny": (16, 1), "small": (32, 1), "base": (64, 2), "large": (128, 3)}
"""Channels at the finest scale, and residual blocks a scale."""

LARGE_SIDE = 48
"""Pictures whose sides are at least this are read with a stride of 2, so that the widest maps are half their size."""


def dense(
    shape: Sequence[int], widths: Sequence[int], latent: int, outputs: int, activation: str, context: int = 0
) -> tuple[MLP, MLP]:
    """(encoder, decoder) of fully connected layers: (C, H, W) -> (2 latent), latent -> (outputs, H, W)."""
    encoder = MLP(shape, widths, (2 * latent,), activation, context)
    return encoder, MLP((latent,), tuple(reversed(widths)), (outputs, *shape[1:]), activation, context)


def convolutional(
    shape: Sequence[int], width: int, blocks: int, latent: int, outputs: int, context: int = 0
) -> tuple[ConvEncoder, ConvDecoder]:
    """(encoder, decoder) of residual convolutions: (C, H, W) -> (2 latent), latent -> (outputs, H, W)."""
    stride = 2 if min(shape[1:]) >= LARGE_SIDE else 1
    encoder = ConvEncoder(shape, width, blocks, 2 * latent, stride, context)
    return encoder, ConvDecoder(latent, width, blocks, (outputs, *shape[1:]), stride, context)


@torch.no_grad()
def start_at(decoder: MLP | ConvDecoder, raw: Tensor) -> None:
    """Set the last layer's bias so that the untrained decoder gives about `raw` (C, H, W), or its channels' levels.

    Outputs beyond the first C channels (scales) keep their bias.
    """
    bias = decoder.head.bias
    assert bias is not None
    if isinstance(decoder, MLP):
        bias[: raw.numel()] = raw.flatten()
    else:
        bias[: len(raw)] = raw.mean((1, 2))
