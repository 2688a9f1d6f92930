"""Write images: as one picture to look at, and as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from vaekit.data.images.schema import ImageSchema, to_tensor
from vaekit.data.modality import Place
from vaekit.data.storage.cache import replacing
from vaekit.errors import VaekitError
from vaekit.figures.sheets import save_sheet, sheet, side_by_side
from vaekit.files import new_folder

ABREAST = 16
"""The largest number of originals side by side, above their reconstructions."""

ODDEST = 16
"""The number of the oddest images that are shown."""

WRITTEN: dict[str, dict[str, object]] = {
    ".png": {"format": "PNG"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".bmp": {"format": "BMP"},
    ".tif": {"format": "TIFF"},
    ".tiff": {"format": "TIFF"},
    ".jpg": {"format": "JPEG", "quality": 95},
    ".jpeg": {"format": "JPEG", "quality": 95},
}
"""The options to save a picture, by its file's suffix; only JPEG is lossy."""


def to_array(x: Tensor) -> np.ndarray:
    """`x` (N, C, H, W) in [0, 1] as uint8 (N, H, W, C), or (N, H, W) when C is 1."""
    pixels = (x.detach().float().cpu().clamp(0, 1) * 255).round().byte()
    return (pixels[:, 0] if x.shape[1] == 1 else pixels.permute(0, 2, 3, 1)).contiguous().numpy()


def write(x: Tensor, schema: ImageSchema, folder: str | Path, stem: str) -> tuple[Path, Path]:
    """Write `x` (N, C, H, W) in [0, 1] as a sheet `stem.png` and an array `stem.npy`, uint8 as in `to_array`.

    Each file is written whole or not at all. Returns both paths. Raises VaekitError.
    """
    if tuple(x.shape[1:]) != schema.shape:
        raise VaekitError(
            f"{stem}: expected images of shape {schema.shape}, got {tuple(x.shape[1:])}"
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


def write_made(x: Tensor, schema: ImageSchema, place: Place) -> dict[str, str]:
    """Write new images as a sheet and an array in a new folder, or as the one picture file that the user named.

    Reconstructions are shown below their originals.
    """
    drawn, columns = x, place.columns
    if place.originals is not None:
        columns = min(ABREAST, len(x))
        drawn = side_by_side(place.originals, x, columns)
    if place.named is not None and is_picture_file(place.named):
        return {"picture": str(write_picture(drawn, place.named, columns))}
    folder = new_folder(place.named or place.folder)
    picture, array = write(x, schema, folder, place.stem)
    if columns:
        save_sheet(picture, drawn, columns)
    return {"sheet": str(picture), "array": str(array)}


def illustrate(images: Any, found: Any, table: Path) -> dict[str, str]:
    """Write a sheet of the oddest images beside the table of scores. A map below each shows where it is odd."""
    first = found.scores.argsort(descending=True)[:ODDEST]
    pictures = to_tensor(images.raw.take(first), images.schema)
    maps = found.parts[first].mean(1, keepdim=True)
    few = found.parts.numel() < 2**24
    low = found.parts.mean(1).flatten().quantile(0.5) if few else maps.min()
    shown = ((maps - low) / (maps.max() - low).clamp_min(1e-9)).clamp(0, 1).expand_as(pictures)
    columns = min(8, len(first))
    path = table.with_suffix(".png")
    save_sheet(path, side_by_side(pictures, shown, columns), columns)
    return {"sheet": str(path)}


def is_picture_file(path: str | Path) -> bool:
    """Whether a path to write to is one picture file, not a folder."""
    return Path(path).suffix.lower() in WRITTEN


def check_named(path: Path) -> None:
    """Raise a VaekitError if a picture file already exists. Folders are not checked: a number makes them new."""
    if is_picture_file(path) and path.exists():
        raise VaekitError(f"{path}: is there already; choose another name, or move it away")


def write_picture(x: Tensor, path: str | Path, columns: int | None = None) -> Path:
    """Write `x` (N, C, H, W) in [0, 1] as one picture file: a single image as it is, several as a sheet.

    The file is written whole or not at all. Raises VaekitError if it already exists.
    """
    path = Path(path)
    check_named(path)
    drawn = Image.fromarray(to_array(x)[0]) if len(x) == 1 else sheet(x, columns)
    try:
        with replacing(path) as file:
            drawn.save(file, **WRITTEN[path.suffix.lower()])  # type: ignore[arg-type]
    except OSError as error:
        raise VaekitError(
            f"{path}: couldn't be written ({error.strerror or error}): choose another place"
        ) from error
    return path
