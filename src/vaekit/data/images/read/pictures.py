"""Read picture files as one set of images: read the headers, choose a size, decode once."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaekit.data.dataset import Raw, Resident
from vaekit.data.images.collection import Images, Request
from vaekit.data.images.read import depth as depths
from vaekit.data.images.read import notes
from vaekit.data.images.read.depth import WHOLE, Depth
from vaekit.data.images.read.notes import COLOURED
from vaekit.data.images.read.picture import (
    Header,
    Picture,
    Source,
    Unreadable,
    quiet,
    read_header,
    read_picture,
    read_range,
)
from vaekit.data.images.read.sizes import Sizes, choose, listed, resizing, size_option
from vaekit.data.images.schema import ImageSchema, describe
from vaekit.data.storage import cache
from vaekit.data.storage.disk import DiskImages
from vaekit.data.storage.workers import ordered
from vaekit.errors import VaekitError

LOOKED_AT = (
    32  # pictures stored in colour that are checked; if these show only grey, all are read as grey
)


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to be read: its name for the user, where it is, and its class (None when not known)."""

    name: str
    source: Source
    group: str | None


class Coloured(Exception):
    """A picture shows colour although all were assumed to be grey."""


@dataclass(frozen=True)
class Headers:
    """The pictures and their headers; the first `train` are the train part."""

    items: Sequence[Item]
    headers: Sequence[Header | Unreadable]
    train: int

    @cached_property
    def readable(self) -> list[tuple[Item, Header]]:
        pairs = zip(self.items, self.headers, strict=True)
        return [(item, header) for item, header in pairs if isinstance(header, Header)]

    @cached_property
    def sizes(self) -> Sizes:
        return Counter((header.height, header.width) for _, header in self.readable)


@dataclass(frozen=True)
class Reading:
    """The form that all pictures get, uint8 (C, H, W), and notes for the user about it.

    `depth` says which values become black and white in pictures of more than 8 bits; None if there are none.
    `supposed` says that they are read as grey because all checked ones are; another one may still show colour.
    """

    channels: int
    height: int
    width: int
    notes: tuple[str, ...]
    supposed: bool = False
    depth: Depth | None = None

    @property
    def bytes_each(self) -> int:
        return self.channels * self.height * self.width


Facts = dict[str, Any]
"""Facts about decoded pictures other than their pixels: plain data, saved as JSON beside a packed file."""


def gather(
    train: Sequence[Item],
    test: Sequence[Item],
    request: Request,
    key: str,
    unseen: Sequence[tuple[str, str]] = (),
) -> Images:
    """The pictures of `train` and `test`, in memory or, if over the budget, in a packed file named `key`.

    `unseen` are more skipped files, with reasons. Raises VaekitError if no picture can be read, or if they don't
    fit the schema.
    """
    path = request.cache / "images" / f"{key}.bin"
    facts = cache.read_facts(path)
    if facts is not None:
        return _images(facts, _kept_raw(path, facts, request.budget), request, unseen)
    with quiet():
        facts, raw = _decoded(train, test, request, path)
    return _images(facts, raw, request, unseen)


# Survey


def _decoded(
    train: Sequence[Item], test: Sequence[Item], request: Request, path: Path
) -> tuple[Facts, Raw]:
    items = [*train, *test]
    headers = list(ordered(_header_or_reason, items, "reading headers", request.progress))
    if not any(isinstance(header, Header) for header in headers[: len(train)]):
        raise VaekitError(_none_readable(train, headers, request.source))
    survey = Headers(items, headers, len(train))
    plan = replace(_plan(survey, request), depth=_depth(survey, request))
    with contextlib.suppress(Coloured):
        return _carried_out(plan, survey, request, path)
    return _carried_out(replace(plan, channels=3, supposed=False), survey, request, path)


def _carried_out(plan: Reading, survey: Headers, request: Request, path: Path) -> tuple[Facts, Raw]:
    """The pictures, read as planned. Raises Coloured if they were assumed to be grey and one is not."""
    outcomes: list[Picture | Unreadable | None] = [
        None if isinstance(h, Header) else h for h in survey.headers
    ]
    count = outcomes.count(None)
    if count * plan.bytes_each <= request.budget:
        values = torch.empty((count, plan.channels, plan.height, plan.width), dtype=torch.uint8)
        remarks = _decode(survey.items, outcomes, plan, request, _Rows(values.numpy()).append)
        facts = _facts(survey, outcomes, plan, remarks, request)
        return facts, Resident(values[: sum(facts["counts"])])
    with cache.packing(path, count * plan.bytes_each) as file:
        remarks = _decode(
            survey.items, outcomes, plan, request, lambda pixels: file.write(pixels.data)
        )
    facts = _facts(survey, outcomes, plan, remarks, request)
    cache.save_facts(path, facts)
    return facts, DiskImages(path, (sum(facts["counts"]), plan.channels, plan.height, plan.width))


def _header_or_reason(item: Item) -> Header | Unreadable:
    try:
        return read_header(item.source)
    except Unreadable as reason:
        return reason


def _none_readable(items: Sequence[Item], outcomes: Sequence[object], source: str) -> str:
    shown = [f"{item.name} ({reason})" for item, reason in zip(items[:3], outcomes, strict=False)]
    rest = f" and {len(items) - 3:,} more" if len(items) > 3 else ""
    if len(items) == 1:
        return f"{source}: cannot be read as an image: {shown[0]}: give a PNG, JPEG, WebP, BMP, GIF or TIFF file"
    return (
        f"{source}: none of its {len(items):,} files can be read as an image: {', '.join(shown)}{rest}: "
        "give PNG, JPEG, WebP, BMP, GIF or TIFF files"
    )


def _plan(survey: Headers, request: Request) -> Reading:
    sizes = survey.sizes
    height, width = size = _size(survey, request)
    told = (resizing(sizes, size, _why(request)),) if set(sizes) != {size} else ()
    coloured = [item for item, header in survey.readable if not header.grey]
    if request.channels is not None or not coloured:
        return Reading(request.channels or 1, height, width, told)
    supposed = not _any_coloured(coloured, size)
    return Reading(1 if supposed else 3, height, width, told, supposed)


def _why(request: Request) -> str:
    if request.schema is not None:
        return ", as in training" if request.schema.resized else ""
    return "" if request.size is not None else ", which data.size changes"


def _size(survey: Headers, request: Request) -> tuple[int, int]:
    """(H, W): the requested size, else the size that the model reads, else one that suits the images."""
    if request.size is not None:
        return request.size
    if request.schema is None:
        return choose(survey.sizes)
    wanted = request.schema.height, request.schema.width
    other = next(
        ((item.name, h) for item, h in survey.readable if (h.height, h.width) != wanted), None
    )
    if other is not None:
        name = (
            f" ({other[0]} is {describe(other[1].height, other[1].width)})"
            if len(survey.sizes) > 1
            else ""
        )
        raise VaekitError(
            f"{request.source}: images are {listed(survey.sizes)}{name}, this model reads "
            f"{describe(*wanted, request.schema.channels)}: "
            f"resize them to {size_option(wanted)} with the option size (command line: --resize)"
        )
    return wanted


def _depth(survey: Headers, request: Request) -> Depth | None:
    """The values that become black and white: the model's, else the range that all deep pictures share."""
    deep = [item for item, header in survey.readable if header.deep]
    if not deep:
        return None
    known = request.schema and request.schema.value_range
    if known:
        return Depth(*known, known=True)
    found = ordered(_range_or_reason, deep, "reading levels", request.progress)
    ranges = [levels for levels in found if not isinstance(levels, Unreadable)]
    return depths.choose(ranges) if ranges else WHOLE


def _range_or_reason(item: Item) -> tuple[int, int] | Unreadable:
    try:
        return read_range(item.source)
    except Unreadable as reason:
        return reason


def _any_coloured(items: Sequence[Item], size: tuple[int, int]) -> bool:
    """Whether any of a few of `items`, evenly spread, shows colour."""
    few = items[:: -(-len(items) // LOOKED_AT)]
    found = (_picture_or_reason(size, 1, WHOLE, item) for item in few)
    return any(isinstance(picture, Picture) and COLOURED in picture.remarks for picture in found)


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
    plan: Reading,
    request: Request,
    keep: Callable[[np.ndarray], object],
) -> Counter[str]:
    """Decode the pictures without an outcome, call `keep` with their pixels, and count their remarks.

    Failures are written into `outcomes`. Raises Coloured.
    """
    waiting = [i for i, outcome in enumerate(outcomes) if outcome is None]
    size, depth = (plan.height, plan.width), plan.depth or WHOLE
    read = partial(_picture_or_reason, size, plan.channels, depth)
    remarks: Counter[str] = Counter()
    with contextlib.closing(
        ordered(read, [items[i] for i in waiting], "decoding", request.progress)
    ) as pictures:
        for i, picture in zip(waiting, pictures, strict=True):
            if isinstance(picture, Unreadable):
                outcomes[i] = picture
                continue
            if plan.supposed and COLOURED in picture.remarks:
                raise Coloured
            keep(picture.pixels)
            remarks.update(picture.remarks)
    return remarks


def _picture_or_reason(
    size: tuple[int, int], channels: int, depth: Depth, item: Item
) -> Picture | Unreadable:
    try:
        return read_picture(item.source, size, channels, depth)
    except Unreadable as reason:
        return reason


# Facts


def _facts(
    survey: Headers,
    outcomes: Sequence[object],
    plan: Reading,
    found: Counter[str],
    request: Request,
) -> Facts:
    """The facts to save; `outcomes` are None for decoded pictures, else the reason of the failure."""
    items, good = survey.items, [outcome is None for outcome in outcomes]
    count = sum(good[: survey.train])
    if not count:
        raise VaekitError(_none_readable(items[: survey.train], outcomes, request.source))
    kept = list(itertools.compress(items, good))
    groups = [item.group for item in kept]
    skipped = [
        (item.name, str(reason))
        for item, reason in zip(items, outcomes, strict=True)
        if reason is not None
    ]
    classes, class_notes = _classes(groups, request.schema)
    number = {name: i for i, name in enumerate(classes)}
    stored = sum(
        isinstance(h, Header) and not h.grey for h in itertools.compress(survey.headers, good)
    )
    told = notes.colours(plan.channels, len(kept), found[COLOURED], stored)
    if plan.depth:
        told += depths.sentence(plan.depth, found[depths.DEEP], found[depths.BEYOND])
    return {
        "bytes": len(groups) * plan.bytes_each,
        "counts": [count, len(groups) - count],
        "form": [plan.channels, plan.height, plan.width],
        "labels": [number.get(group, -1) if group is not None else -1 for group in groups]
        if classes
        else None,
        "classes": list(classes),
        "files": [item.name for item in kept],
        "value_range": plan.depth and plan.depth.span,
        "resized": set(survey.sizes) != {(plan.height, plan.width)},
        "notes": [*plan.notes, *told, *notes.remarks(found), *class_notes],
        "skipped": skipped,
    }


def _classes(
    groups: Sequence[str | None], schema: ImageSchema | None
) -> tuple[list[str], list[str]]:
    """The classes that have images, sorted, and notes. A single class is dropped unless the model knows it."""
    names = sorted({group for group in groups if group is not None})
    if len(names) == 1 and not (schema and names[0] in schema.classes):
        return [], []
    loose = sum(group is None for group in groups)
    if names and loose:
        lie = "lies" if loose == 1 else "lie"
        return names, [
            f"{loose:,} of {len(groups):,} images {lie} beside the class folders, without a class"
        ]
    return names, []


def _kept_raw(path: Path, facts: Facts, budget: int) -> Raw:
    channels, height, width = facts["form"]
    disk = DiskImages(path, (sum(facts["counts"]), channels, height, width))
    return Resident(disk.take(torch.arange(len(disk)))) if facts["bytes"] <= budget else disk


def _images(facts: Facts, raw: Raw, request: Request, unseen: Sequence[tuple[str, str]]) -> Images:
    channels, height, width = facts["form"]
    count, files = facts["counts"][0], tuple(facts["files"])
    form = {
        "height": height,
        "width": width,
        "channels": channels,
        "classes": tuple(facts["classes"]),
    }
    schema = ImageSchema(**form, resized=facts["resized"], value_range=facts["value_range"])
    skipped = (*unseen, *((name, reason) for name, reason in facts["skipped"]))
    labels = None if facts["labels"] is None else torch.tensor(facts["labels"], dtype=torch.int64)
    train, held = (_slice(raw, part) for part in (slice(0, count), slice(count, len(raw))))
    test = None
    if facts["counts"][1]:
        test = Images(
            held,
            None if labels is None else labels[count:],
            schema,
            request.source,
            files=files[count:],
        )
    return Images(
        train,
        None if labels is None else labels[:count],
        schema,
        request.source,
        (*facts["notes"], *notes.skips(skipped, training=request.schema is None)),
        skipped,
        files[:count],
        test,
    )


def _slice(raw: Raw, part: slice) -> Raw:
    """A range of images; images in memory are not copied."""
    if isinstance(raw, Resident):
        return Resident(raw.values[part])
    return raw.subset(torch.arange(part.start, part.stop))
