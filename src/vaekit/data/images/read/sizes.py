"""Choose one size for pictures of many sizes, and describe the change in words."""

import math
from collections import Counter

from vaekit.data.images.schema import describe

KEEP = 128  # pictures of one common size are not resized up to this side, in pixels
MOST = 64  # the largest side that is chosen by default, in pixels
STEP = 4  # sides of 8 or more are multiples of this, so that networks can halve them

Sizes = Counter[tuple[int, int]]
"""The number of pictures of each (H, W)."""


def choose(sizes: Sizes) -> tuple[int, int]:
    """The default (H, W): the size that all have, else a square that nine pictures in ten fill.

    The square's side is the 10% quantile of the shorter sides, at most MOST, rounded down to a multiple of STEP.
    The quantile is low because enlarging adds no detail; it is not the minimum because one thumbnail among a
    thousand photographs must not shrink them all.
    """
    only = next(iter(sizes))
    if len(sizes) == 1 and max(only) <= KEEP:
        return only
    shorter = sorted(min(size) for size in sizes.elements())
    side = min(MOST, shorter[len(shorter) // 10])
    side -= side % STEP if side >= 2 * STEP else 0
    return side, side


def size_option(size: tuple[int, int]) -> str:
    """(28, 28) -> "28"; (28, 20) -> "28x20"."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def listed(sizes: Sizes) -> str:
    """ "28x28", or "of 3 sizes, 20x28 to 90x40"."""
    small, large = (pick(sizes, key=math.prod) for pick in (min, max))
    return (
        describe(*small)
        if len(sizes) == 1
        else f"of {len(sizes):,} sizes, {describe(*small)} to {describe(*large)}"
    )


def resizing(sizes: Sizes, size: tuple[int, int], why: str = "") -> str:
    """A sentence on how pictures of `sizes` were resized to `size`; `why` follows it, such as ", as in training"."""
    count = sum(sizes.values())
    were, they = ("image was", "it was") if count == 1 else ("images were", "they were")
    cropped = (
        "cropped about the centre and " if any(h * size[1] != w * size[0] for h, w in sizes) else ""
    )
    enlarged = sum(n for (h, w), n in sizes.items() if h < size[0] or w < size[1])
    smaller = f", {enlarged:,} of them smaller than that" if 0 < enlarged < count else ""
    return (
        f"The {were} {cropped}resized to {describe(*size)}{why} ({they} {listed(sizes)}{smaller})"
    )
