"""Grey pictures of more than 8 bits a channel: which of their values become black (0) and white (255).

A 12-bit camera writes 0..4095 into files that could hold 0..65535. All pictures of a source share
one range, so that their brightness stays comparable. A model saves the range for new pictures.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vaekit.data.dataset import counted

DEEP = "deep"
"""The remark for a picture whose values are whole numbers of more than 8 bits."""

BEYOND = "beyond"
"""The remark for a picture with values outside of the model's range."""

WIDEST = (0, 65535)
LEVELS = 256


@dataclass(frozen=True)
class Depth:
    """The values `black` and `white` become 0 and 255; `known` says that they come from a model's training."""

    black: int = WIDEST[0]
    white: int = WIDEST[1]
    known: bool = False

    @property
    def span(self) -> tuple[int, int]:
        return self.black, self.white

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """Whole numbers as uint8; values outside of the range are clipped."""
        above = np.clip(values, self.black, self.white).astype(np.float64) - self.black
        return np.rint(above * ((LEVELS - 1) / (self.white - self.black))).astype(np.uint8)

    def is_beyond(self, values: np.ndarray) -> bool:
        """Whether some of the values lie outside of the range."""
        return bool(values.min() < self.black or values.max() > self.white)


WHOLE = Depth()


def choose(ranges: Iterable[tuple[int, int]]) -> Depth:
    """The range for pictures, given the lowest and highest value of each.

    It is 0..2^k - 1 if the values span at least half of that. Otherwise, as with a scanner that counts from 30,000
    to 34,000, it goes from the lowest to the highest value.
    """
    lows, highs = zip(*ranges, strict=True)
    low, high = min(lows), max(highs)
    white = max(LEVELS - 1, 2 ** high.bit_length() - 1)
    if low == high or white < LEVELS or 2 * (high - low) >= white:
        return Depth(0, white)
    return Depth(low, high)


def sentence(depth: Depth, deep: int, beyond: int) -> list[str]:
    """Notes on what was done to `deep` pictures, of which `beyond` have values outside of the range."""
    if not deep:
        return []
    have = "has" if deep == 1 else "have"
    why = "as in training" if depth.known else _loss(depth)
    told = (
        f"{counted(deep, 'image')} {have} more than 8 bits a channel: "
        f"{depth.black:,}..{depth.white:,} became 0..255, {why}"
    )
    return [told, *_beyond(beyond)]


def _loss(depth: Depth) -> str:
    """What the conversion to 256 levels loses."""
    values = depth.white - depth.black + 1
    if values <= LEVELS:
        return "which keeps every level"
    return f"so about {round(values / LEVELS):,} neighbouring levels became one"


def _beyond(count: int) -> list[str]:
    if not count:
        return []
    has = "has" if count == 1 else "have"
    return [
        f"{counted(count, 'image')} {has} values outside of the range that the model was trained "
        "with: they were clipped"
    ]
