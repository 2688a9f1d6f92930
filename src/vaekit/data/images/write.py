"""Images on their way out: one picture to look at, and files."""

import math
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vaekit.data.images.schema import ImageSchema
from vaekit.data.storage.cache import replacing
from vaekit.errors import VaekitError

SHEET_WIDTH = 1000  # pixels: small images are enlarged until their sheet is about so wide
LARGEST = 160  # pixels: and no image larger than this
GAP = 2
GROUND = 128  # mid-grey shows the edges of dark and of light images

WRITTEN: dict[str, dict[str, object]] = {
    ".png": {"format": "PNG"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".bmp": {"format": "BMP"},
    ".tif": {"format": "TIFF"},
    ".tiff": {"format": "TIFF"},
    ".jpg": {"format": "JPEG", "quality": 95},
    ".jpeg": {"format": "JPEG", "quality": 95},
}
"""How a picture is saved, by the end of its file's name; only JPEG loses anything."""


def sheet(x: Tensor, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """A contact sheet of `x` (N, C, H, W), values in [0, 1], C 1 or 3, row by row.

    `columns` makes the sheet about square unless given; `scale` is a whole factor of enlargement. Images are enlarged
    pixel by pixel, without blur, until the sheet is about `SHEET_WIDTH` wide or they have a side of `LARGEST`.
    Raises VaekitError when there are no images or their channels can't be shown.
    """
    count, channels, height, width = x.shape
    if count == 0 or channels not in (1, 3):
        raise VaekitError(
            f"a sheet shows at least 1 image with 1 or 3 channels, and this is of shape {tuple(x.shape)}"
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
    """The whole factor by which a sheet of so many columns enlarges images of this size; 1 for large ones."""
    return max(1, min(SHEET_WIDTH // (columns * width), LARGEST // max(height, width)))


def to_array(x: Tensor) -> np.ndarray:
    """`x` (N, C, H, W) in [0, 1] as uint8 (N, H, W, C), or (N, H, W) when C is 1."""
    pixels = (x.detach().float().cpu().clamp(0, 1) * 255).round().byte()
    return (pixels[:, 0] if x.shape[1] == 1 else pixels.permute(0, 2, 3, 1)).contiguous().numpy()


def write(x: Tensor, schema: ImageSchema, folder: str | Path, stem: str) -> tuple[Path, Path]:
    """Write `x` (N, C, H, W) in [0, 1] as a sheet `stem.png` and an array `stem.npy`, uint8 as in `to_array`.

    Each file appears whole or not at all. Returns both paths. Raises VaekitError.
    """
    if tuple(x.shape[1:]) != schema.shape:
        raise VaekitError(
            f"{stem}: images of shape {schema.shape} are to be written, and these are {tuple(x.shape[1:])}"
        )
    picture, array = Path(folder) / f"{stem}.png", Path(folder) / f"{stem}.npy"
    try:
        with replacing(picture) as file:
            sheet(x).save(file, "PNG")
        with replacing(array) as file:
            np.save(file, to_array(x), allow_pickle=False)
    except OSError as error:
        raise VaekitError(
            f"{folder}: {stem} couldn't be written ({error.strerror or error}): choose another folder"
        ) from error
    return picture, array


def is_picture_file(path: str | Path) -> bool:
    """Whether a name to write to is that of one picture, not of a folder."""
    return Path(path).suffix.lower() in WRITTEN


def write_picture(x: Tensor, path: str | Path, columns: int | None = None) -> Path:
    """Write `x` (N, C, H, W) in [0, 1] as one picture file: a single image as it is, several as a sheet.

    The file appears whole or not at all. Raises VaekitError where it is there already.
    """
    path = Path(path)
    if path.exists():
        raise VaekitError(f"{path}: is there already; choose another name, or move it away")
    drawn = Image.fromarray(to_array(x)[0]) if len(x) == 1 else sheet(x, columns)
    try:
        with replacing(path) as file:
            drawn.save(file, **WRITTEN[path.suffix.lower()])  # type: ignore[arg-type]
    except OSError as error:
        raise VaekitError(
            f"{path}: couldn't be written ({error.strerror or error}): choose another place"
        ) from error
    return path
