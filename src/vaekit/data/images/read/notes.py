"""What is told of reading picture files, in sentences that are true of one as of many."""

from collections import Counter
from collections.abc import Sequence

from vaekit.data.dataset import counted

COLOURED = "coloured"
"""The remark on a picture whose red, green and blue differ somewhere; `colours` tells what comes of it."""

REMARKS = {
    "animated": ("has several frames", "have several frames", "the first was taken"),
    "transparent": ("has transparent parts", "have transparent parts", "they were laid over white"),
    "float": ("holds floats", "hold floats", "scaled to 0..255"),
    "turned": ("was turned", "were turned", "the EXIF orientation says so"),
}
"""What a picture had, of one and of many, and what was done about it."""


def remarks(found: Counter[str]) -> list[str]:
    """A sentence for each of REMARKS that was made."""
    return [
        f"{counted(found[key], 'image')} {one if found[key] == 1 else many}: {done}"
        for key, (one, many, done) in REMARKS.items()
        if found[key]
    ]


def colours(channels: int, count: int, coloured: int, stored: int) -> list[str]:
    """What it means that of `count` images read with `channels`, `coloured` show colour and `stored` could have."""
    if channels == 3 and coloured < count:
        return [f"{_of(count - coloured, count)} grey: read as colour"]
    if channels == 1 and coloured:
        return [f"{_of(coloured, count)} in colour: read as grey"]
    if channels == 1 and stored:
        return [f"{_of(stored, count)} stored in colour and without any: read as grey"]
    return []


def skips(skipped: Sequence[tuple[str, str]], training: bool) -> list[str]:
    """How many files of (name, reason) were skipped, why, and which; all of them are listed by a training."""
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
