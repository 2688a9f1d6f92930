"""Convert new data for an existing model to exactly its size, channels, dtype and classes."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vaekit.data.dataset import Raw, Resident
from vaekit.data.images.collection import Images
from vaekit.data.images.read.labels import renamed
from vaekit.data.images.read.sizes import size_option
from vaekit.data.images.schema import ImageSchema, describe
from vaekit.errors import VaekitError

ROWS = 4096


def conform(images: Images, schema: ImageSchema) -> Images:
    """`images` in the form of `schema`. Raises VaekitError if the conversion would lose something."""
    raw = _with_size(images.raw, schema, images.source)
    raw = _with_channels(raw, schema, images.source)
    raw = _with_dtype(raw, schema, images.source)
    labels = (
        renamed(images.labels, images.schema.classes, schema.classes) if schema.classes else None
    )
    notes = images.notes + _unknown_classes(images.schema.classes, schema.classes)
    test = None if images.test is None else conform(images.test, schema)
    return replace(images, raw=raw, labels=labels, schema=schema, notes=notes, test=test)


def _unknown_classes(found: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    unknown = sorted(set(found) - set(known))
    if not (known and unknown):
        return ()
    more = f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
    return (
        f"The model doesn't know the classes {', '.join(unknown[:5])}{more}: their images have no class",
    )


def _with_size(raw: Raw, schema: ImageSchema, source: str) -> Raw:
    _, channels, height, width = raw.shape
    if (height, width) != (schema.height, schema.width):
        raise VaekitError(
            f"{source}: images are {describe(height, width, channels)}, this model reads "
            f"{describe(schema.height, schema.width, schema.channels)}: "
            f"resize them to {size_option((schema.height, schema.width))} with the option size (command line: --resize)"
        )
    return raw


def _with_channels(raw: Raw, schema: ImageSchema, source: str) -> Raw:
    channels = raw.shape[1]
    if channels == schema.channels:
        return raw
    if (channels, schema.channels) == (1, 3) and isinstance(raw, Resident):
        return Resident(raw.values.expand(-1, 3, -1, -1).contiguous())
    if (channels, schema.channels) == (3, 1) and isinstance(raw, Resident) and _is_grey(raw.values):
        return Resident(raw.values[:, :1].contiguous())
    raise VaekitError(
        f"{source}: images are{describe_colour(channels)}, this model reads{describe_colour(schema.channels)} ones: "
        f"convert them with channels={schema.channels}, or use a model trained on such images"
    )


def describe_colour(channels: int) -> str:
    return {1: " grey", 3: " in colour"}.get(channels, f" of {channels} channels")


def _is_grey(values: Tensor) -> bool:
    return all(bool((part == part[:, :1]).all()) for part in values.split(ROWS))


def _with_dtype(raw: Raw, schema: ImageSchema, source: str) -> Raw:
    wanted = torch.float32 if schema.dtype == "float32" else torch.uint8
    if raw.dtype == wanted:
        return raw
    if wanted == torch.uint8:
        raise VaekitError(
            f"{source}: values are floats, but this model reads whole numbers 0..255: round them and save them as uint8"
        )
    if isinstance(raw, Resident):
        return Resident(raw.values.float() / 255)
    raise VaekitError(
        f"{source}: too many images to convert to float32 in memory: save them as float32 in [0, 1]"
    )
