"""Picture files into one set of images: survey the headers, choose a size, decode once."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaekit.data.images import packed
from vaekit.data.images.collection import Images, Request
from vaekit.data.images.picture import REMARKS, Header, Picture, Source, Unreadable, quiet, read_header, read_picture
from vaekit.data.images.raw import DiskImages, Raw, ResidentImages
from vaekit.data.images.schema import ImageSchema, describe
from vaekit.data.images.threads import ordered
from vaekit.errors import VaekitError

KEEP = 128  # pictures of one size are left as they are up to this side, in pixels
TARGET = (64, 64)  # what others become when nothing is asked for


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to be read: its name for the user, where it is, and its class (None when not known)."""

    name: str
    source: Source
    group: str | None


@dataclass(frozen=True)
class Plan:
    """The form that all pictures get, uint8 (C, H, W), and what to tell the user about it."""

    channels: int
    height: int
    width: int
    notes: tuple[str, ...]

    @property
    def bytes_each(self) -> int:
        return self.channels * self.height * self.width


Facts = dict[str, Any]
"""What is known of decoded pictures apart from their pixels; plain data, kept as JSON beside a packed file."""


def gather(train: Sequence[Item], test: Sequence[Item], request: Request, key: str) -> Images:
    """The pictures of `train` and `test`, from memory or, over the budget, from a packed file named `key`.

    Raises VaekitError when none can be read, or when they don't fit the schema.
    """
    path = request.cache / "images" / f"{key}.bin"
    facts = packed.read_facts(path)
    if facts is not None:
        return _images(facts, _kept_raw(path, facts, request.budget), request)
    with quiet():
        facts, raw = _decoded(train, test, request, path)
    return _images(facts, raw, request)


# Survey


def _decoded(train: Sequence[Item], test: Sequence[Item], request: Request, path: Path) -> tuple[Facts, Raw]:
    items = [*train, *test]
    headers = list(ordered(_header_or_reason, items, "reading headers", request.progress))
    readable = [header for header in headers if isinstance(header, Header)]
    if not any(isinstance(header, Header) for header in headers[: len(train)]):
        raise VaekitError(_none_readable(train, headers, request.source))
    plan = _plan(readable, request)
    outcomes: list[Picture | Unreadable | None] = [None if isinstance(h, Header) else h for h in headers]
    if len(readable) * plan.bytes_each <= request.budget:
        values = torch.empty((len(readable), plan.channels, plan.height, plan.width), dtype=torch.uint8)
        remarks = _decode(items, outcomes, plan, request, _Rows(values.numpy()).append)
        facts = _facts(items, outcomes, len(train), plan, remarks, request)
        return facts, ResidentImages(values[: sum(facts["counts"])])
    with packed.packing(path, len(readable) * plan.bytes_each) as file:
        remarks = _decode(items, outcomes, plan, request, lambda pixels: file.write(pixels.data))
    facts = _facts(items, outcomes, len(train), plan, remarks, request)
    packed.save_facts(path, facts)
    return facts, DiskImages(path, (sum(facts["counts"]), plan.channels, plan.height, plan.width))


def _header_or_reason(item: Item) -> Header | Unreadable:
    try:
        return read_header(item.source)
    except Unreadable as reason:
        return reason


def _none_readable(items: Sequence[Item], outcomes: Sequence[object], source: str) -> str:
    shown = [f"{item.name} ({reason})" for item, reason in zip(items[:3], outcomes, strict=False)]
    rest = f" and {len(items) - 3:,} more" if len(items) > 3 else ""
    return (
        f"{source}: none of its {len(items):,} files can be read as an image: {', '.join(shown)}{rest}: "
        "give PNG, JPEG, WebP, BMP, GIF or TIFF files"
    )


def _plan(headers: Sequence[Header], request: Request) -> Plan:
    sizes = Counter((header.height, header.width) for header in headers)
    height, width = _size(sizes, request)
    notes = []
    if set(sizes) != {(height, width)}:
        wanted = describe(height, width)
        notes.append(f"The images were cropped about the centre and resized to {wanted} (they were {_range(sizes)})")
    grey = sum(header.grey for header in headers)
    channels = request.channels or (1 if grey == len(headers) else 3)
    if channels == 3 and grey:
        notes.append(f"{grey:,} of {len(headers):,} images are grey: they are read as colour images")
    if channels == 1 and grey < len(headers):
        notes.append(f"{len(headers) - grey:,} of {len(headers):,} images are in colour: they are read as grey ones")
    return Plan(channels, height, width, tuple(notes))


def _size(sizes: Counter[tuple[int, int]], request: Request) -> tuple[int, int]:
    """(H, W): what was asked for, else what the model reads, else what the images have, else TARGET."""
    if request.size is not None:
        return request.size
    only = next(iter(sizes)) if len(sizes) == 1 else None
    if request.schema is not None:
        wanted = request.schema.height, request.schema.width
        if only != wanted:
            raise VaekitError(
                f"{request.source}: images are {_range(sizes)}, this model reads "
                f"{describe(*wanted, request.schema.channels)}: resize with --resize {size_option(wanted)}"
            )
        return wanted
    return only if only is not None and max(only) <= KEEP else TARGET


def size_option(size: tuple[int, int]) -> str:
    """(28, 28) -> "28"; (28, 20) -> "28x20"."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _range(sizes: Counter[tuple[int, int]]) -> str:
    small, large = (pick(sizes, key=math.prod) for pick in (min, max))
    return describe(*small) if len(sizes) == 1 else f"of {len(sizes):,} sizes, {describe(*small)} to {describe(*large)}"


# Decode


class _Rows:
    """Fills an array (N, C, H, W) from its first row on."""

    def __init__(self, target: np.ndarray) -> None:
        self.target, self.count = target, 0

    def append(self, pixels: np.ndarray) -> None:
        self.target[self.count] = pixels
        self.count += 1


def _decode(
    items: Sequence[Item],
    outcomes: list[Picture | Unreadable | None],
    plan: Plan,
    request: Request,
    keep: Callable[[np.ndarray], object],
) -> Counter[str]:
    """Decode what has no outcome yet, `keep` the pixels, note in `outcomes` what fails; count the remarks."""
    waiting = [i for i, outcome in enumerate(outcomes) if outcome is None]
    read = partial(_picture_or_reason, (plan.height, plan.width), plan.channels)
    remarks: Counter[str] = Counter()
    pictures = ordered(read, [items[i] for i in waiting], "decoding", request.progress)
    for i, picture in zip(waiting, pictures, strict=True):
        if isinstance(picture, Unreadable):
            outcomes[i] = picture
        else:
            keep(picture.pixels)
            remarks.update(picture.remarks)
    return remarks


def _picture_or_reason(size: tuple[int, int], channels: int, item: Item) -> Picture | Unreadable:
    try:
        return read_picture(item.source, size, channels)
    except Unreadable as reason:
        return reason


# Facts


def _facts(
    items: Sequence[Item],
    outcomes: Sequence[object],
    train: int,
    plan: Plan,
    remarks: Counter[str],
    request: Request,
) -> Facts:
    """`outcomes` are None for what was decoded; the first `train` items are the train part."""
    good = [outcome is None for outcome in outcomes]
    if not any(good[:train]):
        raise VaekitError(_none_readable(items[:train], outcomes, request.source))
    groups = [item.group for item, kept in zip(items, good, strict=True) if kept]
    skipped = [(item.name, str(reason)) for item, reason in zip(items, outcomes, strict=True) if reason is not None]
    classes, class_notes = _classes(groups, request.schema)
    number = {name: i for i, name in enumerate(classes)}
    count = sum(good[:train])
    notes = [*plan.notes, *_remark_notes(remarks), *class_notes, *_skip_notes(skipped)]
    return {
        "bytes": len(groups) * plan.bytes_each,
        "counts": [count, len(groups) - count],
        "form": [plan.channels, plan.height, plan.width],
        "labels": [number.get(group, -1) if group is not None else -1 for group in groups] if classes else None,
        "classes": list(classes),
        "notes": notes,
        "skipped": skipped,
    }


def _classes(groups: Sequence[str | None], schema: ImageSchema | None) -> tuple[list[str], list[str]]:
    """The classes that have images, sorted, and notes; a single one tells nothing unless the model knows it."""
    names = sorted({group for group in groups if group is not None})
    if len(names) == 1 and not (schema and names[0] in schema.classes):
        return [], []
    loose = sum(group is None for group in groups)
    if names and loose:
        return names, [f"{loose:,} of {len(groups):,} images lie beside the class folders: they have no class"]
    return names, []


def _remark_notes(remarks: Counter[str]) -> list[str]:
    return [f"{remarks[key]:,} images {text}" for key, text in REMARKS.items() if remarks[key]]


def _skip_notes(skipped: Sequence[tuple[str, str]]) -> list[str]:
    if not skipped:
        return []
    reasons = Counter(reason.split(":")[0] for _, reason in skipped)
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return [f"{len(skipped):,} files were skipped ({counts})"]


def _kept_raw(path: Path, facts: Facts, budget: int) -> Raw:
    channels, height, width = facts["form"]
    disk = DiskImages(path, (sum(facts["counts"]), channels, height, width))
    return ResidentImages(disk.take(torch.arange(len(disk)))) if facts["bytes"] <= budget else disk


def _images(facts: Facts, raw: Raw, request: Request) -> Images:
    channels, height, width = facts["form"]
    count = facts["counts"][0]
    schema = ImageSchema(height=height, width=width, channels=channels, classes=tuple(facts["classes"]))
    labels = None if facts["labels"] is None else torch.tensor(facts["labels"], dtype=torch.int64)
    train, held = (_slice(raw, part) for part in (slice(0, count), slice(count, len(raw))))
    test = None
    if facts["counts"][1]:
        test = Images(held, None if labels is None else labels[count:], schema, request.source)
    return Images(
        train,
        None if labels is None else labels[:count],
        schema,
        request.source,
        tuple(facts["notes"]),
        tuple((name, reason) for name, reason in facts["skipped"]),
        test,
    )


def _slice(raw: Raw, part: slice) -> Raw:
    """Neighbouring images; in memory without a copy."""
    if isinstance(raw, ResidentImages):
        return ResidentImages(raw.values[part])
    return raw.subset(torch.arange(part.start, part.stop))
