"""Change training pictures at random: mirror, move, crop, make brighter or darker. Raw in, raw out.

Everything is drawn on the CPU from torch's global generator. A run saves the generator's state, so a resumed run
sees the same changes. Validation, encoding and measures use unchanged pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vaekit.config import nearest
from vaekit.data.images.schema import ImageSchema, from_tensor, to_tensor
from vaekit.errors import VaekitError

Change = Callable[[Tensor], Tensor]
"""Raw pictures (B, C, H, W) to changed ones, of the same shape and dtype."""

NAMES = {
    "flip": "mirrored left to right, with probability 1/2",
    "shift:K": "moved by up to K pixels each way, with the edge repeated (default: a sixteenth of the side)",
    "crop:S": "a part of at least S of each side, enlarged to the full size (default: 0.8)",
    "brightness:B": "brighter or darker by up to this part B of each value (default: 0.1)",
}

SHIFT, CROP, BRIGHTNESS = 1 / 16, 0.8, 0.1
"""The defaults: the largest shift (part of the shorter side), the smallest crop (part of a side), and the largest
relative change of a pixel."""

KEEP_BITS = ("flip", "shift")
"""Changes that keep black-and-white pictures black and white."""


def augmentation(words: Sequence[str], schema: ImageSchema) -> Change:
    """The changes that `words` name, one after the other. Raises VaekitError."""
    changes = [_change(word, schema) for word in words]

    def change(raw: Tensor) -> Tensor:
        for one in changes:
            raw = one(raw)
        return raw

    return change


def require_fits(words: Sequence[str], schema: ImageSchema, bits: bool) -> list[str]:
    """A note of what is done to training pictures. Raises VaekitError if the words do not fit.

    `bits` says that the model needs black-and-white pictures.
    """
    augmentation(words, schema)
    grey = [word for word in words if word.partition(":")[0] not in KEEP_BITS]
    if bits and grey:
        raise VaekitError(
            f"data.augment={grey[0]} makes grey levels, but this likelihood needs pixels in {{0, 1}}; "
            "use flip and shift, or model.binarise=dynamic"
        )
    return [f"training images are changed at random: {', '.join(words)}"] if words else []


def _change(word: str, schema: ImageSchema) -> Change:
    name, colon, text = word.partition(":")
    if name == "flip" and not colon:
        return flip
    if name == "shift":
        side = min(schema.height, schema.width)
        default = str(max(1, round(SHIFT * side)))
        return partial(shift, most=_whole(word, text if colon else default, side - 1))
    if name == "crop":
        least = _number(
            word, text if colon else str(CROP), "a part of the side, above 0 and below 1"
        )
        return partial(crop, least=least, schema=schema)
    if name == "brightness":
        most = _number(word, text if colon else str(BRIGHTNESS), "a number above 0 and below 1")
        return partial(brightness, most=most, schema=schema)
    raise VaekitError(f"data.augment: there is no '{word}'{nearest(word, list(NAMES))}")


def _whole(word: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise VaekitError(
            f"data.augment: '{word}': expected a whole number of pixels from 1 to {most} after the colon"
        )
    return int(text)


def _number(word: str, text: str, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise VaekitError(f"data.augment: '{word}': expected {expected} after the colon")
    return value


def flip(raw: Tensor) -> Tensor:
    """Every picture mirrored left to right, or not, with probability 1/2."""
    mirrored = (torch.rand(len(raw)) < 0.5).to(raw.device)
    return torch.where(mirrored[:, None, None, None], raw.flip(-1), raw)


def shift(raw: Tensor, most: int) -> Tensor:
    """Every picture moved by up to `most` pixels down or up, and right or left, with its edge repeated."""
    moves = torch.randint(-most, most + 1, (2, len(raw), 1)).to(raw.device)
    rows, columns = (
        (torch.arange(side, device=raw.device) - move).clamp(0, side - 1)
        for side, move in zip(raw.shape[2:], moves, strict=True)
    )
    down = raw.gather(2, rows[:, None, :, None].expand(raw.shape))
    return down.gather(3, columns[:, None, None, :].expand(raw.shape))


def crop(raw: Tensor, least: float, schema: ImageSchema) -> Tensor:
    """A part of each picture, with its proportions and at least `least` of its sides, enlarged to full size."""
    part = least + (1 - least) * torch.rand(len(raw))
    x, y = (1 - part) * (2 * torch.rand(2, len(raw)) - 1)
    none = torch.zeros_like(part)
    top, low = torch.stack((part, none, x), dim=-1), torch.stack((none, part, y), dim=-1)
    places = torch.stack((top, low), dim=1).to(raw.device)
    grid = F.affine_grid(places, list(raw.shape), align_corners=False)
    pictures = F.grid_sample(
        to_tensor(raw, schema), grid, padding_mode="border", align_corners=False
    )
    return from_tensor(pictures, schema)


def brightness(raw: Tensor, most: float, schema: ImageSchema) -> Tensor:
    """Every picture times a number in [1 - most, 1 + most]; values above white become white."""
    factor = (1 + most * (2 * torch.rand(len(raw), 1, 1, 1) - 1)).to(raw.device)
    return from_tensor(to_tensor(raw, schema) * factor, schema)
