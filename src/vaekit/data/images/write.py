"""Images on their way out: one picture to look at, and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vaekit.data.images.schema import ImageSchema, to_tensor
from vaekit.data.modality import Place
from vaekit.data.storage.cache import replacing
from vaekit.errors import VaekitError
from vaekit.figures.sheets import save_sheet, sheet, side_by_side
from vaekit.files import new_folder

ABREAST = 16
"""At most so many originals stand side by side over their reconstructions."""

ODDEST = 16
"""So many of the oddest images are shown."""


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


def write_made(x: Tensor, schema: ImageSchema, place: Place) -> dict[str, str]:
    """New images as a sheet and an array, in a new folder; reconstructions below their originals."""
    folder = new_folder(place.named or place.folder)
    picture, array = write(x, schema, folder, place.stem)
    if place.originals is not None:
        columns = min(ABREAST, len(x))
        save_sheet(picture, side_by_side(place.originals, x, columns), columns)
    elif place.columns:
        save_sheet(picture, x, place.columns)
    return {"sheet": str(picture), "array": str(array)}


def illustrate(images: Any, found: Any, table: Path) -> dict[str, str]:
    """A sheet of the oddest images beside the table of scores, below each where it is odd."""
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
