"""Contact sheets: many pictures in one, with a title and the names of the rows."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vaekit import files
from vaekit.errors import VaekitError

SHEET_WIDTH = 1000  # pixels: small images are enlarged until their sheet is about this wide
LARGEST = 160  # pixels: no image is enlarged beyond this side length
GAP = 2  # pixels between images
GROUND = 128  # mid-grey, on which the edges of dark and of light images are visible


def sheet(x: Tensor, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """A contact sheet of `x` (N, C, H, W), values in [0, 1], C 1 or 3, row by row.

    Without `columns` the sheet is about square. `scale` is a whole factor of enlargement; without
    it images are enlarged until the sheet is about `SHEET_WIDTH` pixels wide or they have a side
    of `LARGEST` pixels. Pixels become squares, without blur.
    Raises VaekitError if there are no images or the number of channels is not 1 or 3.
    """
    count, channels, height, width = x.shape
    if count == 0 or channels not in (1, 3):
        raise VaekitError(
            "a sheet shows at least 1 image, each with 1 or 3 channels; "
            f"got images of shape {tuple(x.shape)}"
        )
    columns = columns or math.ceil(math.sqrt(count))
    scale = scale or enlargement(columns, height, width)
    large = F.interpolate(x.detach().float().cpu(), scale_factor=scale, mode="nearest")
    pixels = (large.clamp(0, 1) * 255).round().byte().numpy()
    cell = height * scale + GAP, width * scale + GAP
    canvas = np.full(
        (math.ceil(count / columns) * cell[0] + GAP, columns * cell[1] + GAP, channels),
        GROUND,
        np.uint8,
    )
    for i, image in enumerate(pixels):
        top, left = (i // columns) * cell[0] + GAP, (i % columns) * cell[1] + GAP
        canvas[top : top + height * scale, left : left + width * scale] = image.transpose(1, 2, 0)
    return Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)


def enlargement(columns: int, height: int, width: int) -> int:
    """The whole factor by which images of this size are enlarged on a sheet with this number of
    columns; 1 for large images."""
    return max(1, min(SHEET_WIDTH // (columns * width), LARGEST // max(height, width)))


def save_sheet(
    path: Path, pictures: Tensor, columns: int, title: str = "", rows: Sequence[str] = ()
) -> None:
    """Write a contact sheet of pictures (N, C, H, W) in [0, 1], with a title above it and a name
    beside each row."""
    drawn = sheet(pictures, columns)
    if title or rows:
        drawn = _named(drawn, title, rows, math.ceil(len(pictures) / columns))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    files.write(path, buffer.getvalue())


LETTER = 16
"""The font size on a sheet, in pixels."""


def _named(drawn: Any, title: str, rows: Sequence[str], count: int) -> Any:
    """The picture on white paper, with its title above and the names of its rows to the left."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=LETTER)
    left = max((math.ceil(font.getlength(name)) + 14 for name in rows), default=0)
    top = 2 * LETTER if title else 0
    width = max(left + drawn.width, math.ceil(font.getlength(title)) + 12)
    paper = Image.new("RGB", (width, top + drawn.height), "white")
    paper.paste(drawn.convert("RGB"), (left, top))
    pen = ImageDraw.Draw(paper)
    pen.text((6, top // 2), title, fill="black", font=font, anchor="lm")
    for i, name in enumerate(rows):
        middle = top + (i + 0.5) * drawn.height / count
        pen.text((left - 8, middle), name, fill="#333333", font=font, anchor="rm")
    return paper


def side_by_side(originals: Tensor, copies: Tensor, columns: int) -> Tensor:
    """Rows of originals, each above the row of its copies. A last row that is shorter is filled up
    with grey pictures."""
    pairs = zip(originals.split(columns), copies.split(columns), strict=True)
    blank = torch.full_like(originals[:1], 0.5).expand(columns, *originals.shape[1:])
    return torch.cat([torch.cat((row, blank))[:columns] for pair in pairs for row in pair])
