"""Convert raw images to the x of the likelihood; draw bits from grey levels."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.data.images.schema import ImageSchema, to_tensor


def prepare(raw: Tensor, schema: ImageSchema, generator: torch.Generator | None = None) -> Tensor:
    """raw (B, C, H, W) to x, float32 in [0, 1]. If the schema binarises dynamically, x is drawn in {0, 1} each time."""
    return draw_bits(raw, generator) if schema.binarise == "dynamic" else to_tensor(raw, schema)


def draw_bits(raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """x ~ Bernoulli(grey level) for every pixel, float32 in {0, 1}, from uint8 0..255 or floats in [0, 1].

    On the CPU, an 8-bit pixel takes 16 random bits: its probability is exact to 2^-17, at a quarter of the cost.
    """
    if raw.dtype == torch.uint8 and raw.device.type == "cpu":
        return (_sixteen_bits(raw.shape, generator) < _thresholds()[raw.int()]).float()
    level = raw / 255 if raw.dtype == torch.uint8 else raw
    if generator is None:
        return (torch.rand_like(level) < level).float()
    return (torch.rand(level.shape, generator=generator).to(level.device) < level).float()


def is_black_and_white(raw: Tensor) -> bool:
    """Whether every value is the lowest or highest of its type: 0 or 255 for uint8, 0 or 1 for floats."""
    return bool(((raw == 0) | (raw == (255 if raw.dtype == torch.uint8 else 1))).all())


def _sixteen_bits(shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    """Uniform integers in [-32768, 32767]."""
    words = torch.empty(-(-shape.numel() // 4), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[: shape.numel()].view(shape)


def _thresholds() -> Tensor:
    """For each grey level, the threshold below which a value of `_sixteen_bits` gives a 1."""
    return (torch.arange(256, dtype=torch.float64) / 255 * 65536).round().int() - 32768
