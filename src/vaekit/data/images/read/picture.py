"""Read one picture file: its header and its pixels."""

import contextlib
import errno
import math
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from vaekit.data.images.read.depth import BEYOND, DEEP, WHOLE, WIDEST, Depth
from vaekit.data.images.read.notes import COLOURED
from vaekit.data.images.read.resize import cover

# Only formats that Pillow decodes itself: others start programs (EPS) or don't have one size.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")
SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".pgm",
    ".ppm",
    ".pbm",
)
GREY_MODES = ("1", "L", "LA", "La", "I", "F")
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap height and width
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Source = str | Callable[[], BinaryIO]
"""A path, or a function that opens the bytes of a picture."""


class Unreadable(Exception):
    """A file that can't be read as a picture; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Header:
    """Facts from the header of a picture, with the EXIF orientation applied.

    `grey` says that it can't hold colour; `deep` that its values are whole numbers of more than 8 bits.
    """

    height: int
    width: int
    grey: bool
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels uint8 (C, H, W), and remarks for notes: COLOURED, DEEP, BEYOND and keys of REMARKS."""

    pixels: np.ndarray
    remarks: frozenset[str]


def read_header(source: Source) -> Header:
    """The size and colour of a picture, without decoding it. Raises Unreadable."""
    with _opened(source) as image:
        height, width = image.height, image.width
        if _orientation(image) >= 5:
            height, width = width, height
        return Header(height, width, _is_grey(image), _is_deep(image))


def read_range(source: Source) -> tuple[int, int]:
    """The lowest and the highest value of a deep picture. Raises Unreadable."""
    with _opened(source) as image:
        return _range(np.asarray(image))


def read_picture(
    source: Source, size: tuple[int, int], channels: int, depth: Depth = WHOLE
) -> Picture:
    """The pixels of a picture, cropped about the centre and resized to `size` (H, W). Raises Unreadable.

    `depth` says which values become black and white in a picture of more than 8 bits.
    """
    with _opened(source) as image:
        remarks = {"animated"} if _is_animated(image) else set()
        orientation = _orientation(image)
        lying = size if orientation < 5 else (size[1], size[0])
        _draft(image, lying)
        fitted = cover(_flattened(image, remarks, depth), lying)
        if fitted.mode == "RGB" and not _same_channels(np.asarray(fitted)):
            remarks.add(COLOURED)
        fitted = fitted.convert("L" if channels == 1 else "RGB")
        if orientation != 1:
            fitted = fitted.transpose(TURNS[orientation])
            remarks.add("turned")
        pixels = np.asarray(fitted).reshape(*size, channels).transpose(2, 0, 1)
        return Picture(np.ascontiguousarray(pixels), frozenset(remarks))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about single files: notes and reasons for skipping report these."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        yield


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[Image.Image]:
    try:
        with _stream(source) as stream, Image.open(stream, formats=FORMATS) as image:
            limit = Image.MAX_IMAGE_PIXELS or math.inf
            if image.width * image.height > limit:
                raise Unreadable(
                    f"too large: {image.width}x{image.height} pixels, more than {limit:,}"
                )
            yield image
    except Unreadable:
        raise
    except Exception as error:  # damaged files make Pillow's plug-ins raise almost anything
        raise Unreadable(_reason(error, source)) from error


def _stream(source: Source) -> contextlib.AbstractContextManager[str | BinaryIO]:
    """What Pillow opens. It closes a file that it opened by its path, but no other."""
    return contextlib.nullcontext(source) if isinstance(source, str) else source()


def _reason(error: Exception, source: Source) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return "too large: more pixels than Pillow's limit against decompression bombs"
    if isinstance(source, str) and _is_empty(source):
        return "an empty file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.errno in (
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
    ):
        return f"can't be opened: {(error.strerror or '').lower()}"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"damaged: {text[:100]}"


def _is_empty(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0
    except OSError:
        return False


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these by itself
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_animated(image: Image.Image) -> bool:
    if image.format == "MPO":  # a phone's JPEG with a preview or a depth map behind it
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged later frame
        return True


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P" and image.palette is not None:
        palette = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        return _same_channels(palette)
    return image.mode in GREY_MODES or image.mode.startswith("I;16")


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "I" or image.mode.startswith("I;16")


def _same_channels(values: np.ndarray) -> bool:
    """Whether red, green and blue (..., 3) are equal everywhere."""
    return bool((values == values[..., :1]).all())


def _draft(image: Image.Image, size: tuple[int, int]) -> None:
    """Let a JPEG decode at 1/2, 1/4 or 1/8 of its size, but not below twice the wanted size."""
    scale = max(size[0] / image.height, size[1] / image.width)
    if image.format in ("JPEG", "MPO") and scale < 0.5:
        image.draft(None, (math.ceil(2 * scale * image.width), math.ceil(2 * scale * image.height)))


def _flattened(image: Image.Image, remarks: set[str], depth: Depth) -> Image.Image:
    """The first frame as "L" or "RGB", 8 bits a channel and opaque. Adds to `remarks`."""
    mode = "L" if _is_grey(image) else "RGB"
    if _is_deep(image):
        return Image.fromarray(_from_integers(np.asarray(image), remarks, depth))
    if image.mode == "F":
        remarks.add("float")
        return Image.fromarray(_from_floats(np.asarray(image)))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _over_white(image.convert("RGBA"), remarks).convert(mode)
    if image.mode == mode:
        image.load()
        return image
    return image.convert("RGB" if image.mode == "P" else mode).convert(mode)


def _over_white(image: Image.Image, remarks: set[str]) -> Image.Image:
    if image.getchannel("A").getextrema() != (255, 255):
        remarks.add("transparent")
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image)
    return canvas


def _range(values: np.ndarray) -> tuple[int, int]:
    low, high = int(values.min()), int(values.max())
    if low < WIDEST[0] or high > WIDEST[1]:
        raise Unreadable(f"its values go from {low} to {high}, outside of 0 to {WIDEST[1]}")
    return low, high


def _from_integers(values: np.ndarray, remarks: set[str], depth: Depth) -> np.ndarray:
    """Whole numbers scaled to 0..255. Adds to `remarks`."""
    _range(values)
    remarks.add(DEEP)
    if depth.is_beyond(values):
        remarks.add(BEYOND)
    return depth.to_bytes(values)


def _from_floats(values: np.ndarray) -> np.ndarray:
    """Numbers in 0..255 rounded, or numbers in [0, 1] scaled to 0..255."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # also refuses NaN
        raise Unreadable(
            f"its values go from {low:g} to {high:g}, outside of 0 to 1 and of 0 to 255"
        )
    return np.rint(values * 255 if high <= 1 else values).astype(np.uint8)
