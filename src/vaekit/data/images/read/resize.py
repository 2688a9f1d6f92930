"""Convert pictures to a given size and number of channels."""

import math

import numpy as np
from PIL import Image

LUMA = (
    19595,
    38470,
    7471,
)  # ITU-R 601 weights in 1/65536, as in Pillow: they keep R = G = B exact


def cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest centred part of `image` with the proportions of `size` (H, W), resized with antialiasing."""
    height, width = size
    scale = max(height / image.height, width / image.width)
    crop_height, crop_width = min(image.height, height / scale), min(image.width, width / scale)
    # Whole offsets: half a pixel would blur a picture that only needs cropping.
    top, left = (
        math.floor((image.height - crop_height) / 2),
        math.floor((image.width - crop_width) / 2),
    )
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def refit(pixels: np.ndarray, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    """`pixels` (N, C, H, W), uint8 or float32 in [0, 1], converted to `size` (H, W) and `channels` if given."""
    return recolour(resize(pixels, size), channels)


def resize(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """`pixels` (N, C, H, W) cropped about the centre and resized to `size` (H, W)."""
    if size is None or pixels.shape[2:] == size:
        return pixels
    planes = np.ascontiguousarray(pixels).reshape(-1, *pixels.shape[2:])
    out = np.empty((len(planes), *size), pixels.dtype)
    for i, plane in enumerate(planes):
        out[i] = cover(Image.fromarray(plane), size)
    if out.dtype != np.uint8:  # bicubic resampling overshoots
        np.clip(out, 0, 1, out=out)
    return out.reshape(*pixels.shape[:2], *size)


def recolour(pixels: np.ndarray, channels: int | None) -> np.ndarray:
    """`pixels` (N, C, H, W) converted to 1 or 3 channels: grey is repeated, colour becomes its luma."""
    if channels is None or pixels.shape[1] == channels:
        return pixels
    return np.repeat(pixels, 3, axis=1) if channels == 3 else luma(pixels)


def luma(pixels: np.ndarray) -> np.ndarray:
    """Colour (N, 3, H, W) to grey (N, 1, H, W)."""
    red, green, blue = (pixels[:, i : i + 1] for i in range(3))
    if pixels.dtype == np.uint8:
        whole = [np.uint32(weight) for weight in LUMA]
        mixed = (
            red * whole[0] + green * whole[1] + blue * whole[2] + np.uint32(0x8000)
        ) // np.uint32(0x10000)
    else:
        part = [np.float64(weight / 65536) for weight in LUMA]
        mixed = red * part[0] + green * part[1] + blue * part[2]
    return mixed.astype(pixels.dtype)


def over_white(pixels: np.ndarray) -> np.ndarray:
    """RGBA (N, 4, H, W), uint8 or float32 in [0, 1], laid over white: (N, 3, H, W)."""
    if pixels.dtype == np.uint8:
        alpha = pixels[:, 3:].astype(np.uint32)
        mixed = pixels[:, :3] * alpha + 255 * (255 - alpha)
        return ((mixed + 127) // 255).astype(np.uint8)
    return pixels[:, :3] * pixels[:, 3:] + (1 - pixels[:, 3:])
