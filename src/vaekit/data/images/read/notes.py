"""Notes on the reading of picture files, in the singular and the plural."""

from collections import Counter
from collections.abc import Sequence

from vaekit.data.dataset import counted

COLOURED = "coloured"
"""The remark for a picture whose red, green and blue differ somewhere; `colours` makes the note."""

REMARKS = {
    "animated": ("has several frames", "have several frames", "the first was used"),
    "transparent": ("has transparent parts", "have transparent parts", "they were laid over white"),
    "float": ("holds floats", "hold floats", "scaled to 0..255"),
    "turned": ("was turned", "were turned", "as the EXIF orientation says"),
}
"""By remark: what one picture has, what many pictures have, and what was done about it."""


def remarks(found: Counter[str]) -> list[str]:
    """A sentence for each of REMARKS that was found."""
    return [
        f"{counted(found[key], 'image')} {one if found[key] == 1 else many}: {done}"
        for key, (one, many, done) in REMARKS.items()
        if found[key]
    ]


def colours(channels: int, count: int, coloured: int, stored: int) -> list[str]:
    """A note if `count` images were read with another number of `channels` than they have.

    `coloured` of them show colour; `stored` of them have colour channels.
    """
    if channels == 3 and coloured < count:
        return [f"{_of(count - coloured, count)} grey: read as colour"]
    if channels == 1 and coloured:
        return [f"{_of(coloured, count)} in colour: read as grey"]
    if channels == 1 and stored:
        return [f"{_of(stored, count)} stored in colour but without colour: read as grey"]
    return []


def skips(skipped: Sequence[tuple[str, str]], training: bool) -> list[str]:
    """A note of the number of skipped files (name, reason), why, and which. A training lists them in a file."""
    if not skipped:
        return []
    reasons = Counter(reason.split(":")[0] for _, reason in skipped)
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    more = f" and {len(skipped) - 3:,} more" if len(skipped) > 3 else ""
    names = ", ".join(name for name, _ in skipped[:3]) + more
    where = "; training lists them in skipped.tsv of the run's folder" if training else ""
    return [
        f"{counted(len(skipped), 'file')} {_was(len(skipped))} skipped ({counts}): {names}{where}"
    ]


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _of(part: int, count: int) -> str:
    return f"{part:,} of {counted(count, 'image')} {'is' if part == 1 else 'are'}"
