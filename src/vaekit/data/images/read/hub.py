"""Data sets of the Hugging Face hub, read with the library `datasets`."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from vaekit.data.images.collection import Images, Request
from vaekit.data.images.read.pictures import Item, gather
from vaekit.data.storage import cache
from vaekit.errors import VaekitError

TRAIN = ("train", "training")
VALID = ("validation", "valid", "val")
TEST = ("test", "testing")


def read(name: str, request: Request) -> Images:
    """The images of the data set `name` ("owner/name"). Raises VaekitError."""
    datasets = _library()
    try:
        found = datasets.load_dataset(name)
    except Exception as error:  # the library has no common error for "not found" and "no network"
        text = " ".join(str(error).split())[:160] or type(error).__name__
        raise VaekitError(
            f"{request.source}: the data set couldn't be reached ({text}): check the name and the network, "
            "or try `vaekit train digits` or a folder on this computer"
        ) from error
    splits = dict(found) if hasattr(found, "keys") else {"train": found}
    train, test = _parts(splits)
    image, label = _columns(train[0].features, request)
    train, test = (
        [_undecoded(datasets, s, image) for s in train],
        [_undecoded(datasets, s, image) for s in test],
    )
    items = [
        [item for split in part for item in _items(split, image, label)] for part in (train, test)
    ]
    images = gather(items[0], items[1], request, _key(name, [*train, *test], image, label, request))
    return replace(
        images, files=(), test=images.test and replace(images.test, files=())
    )  # rows are not files


def _library() -> Any:
    try:
        import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise VaekitError(
            "hf: data sets need one more package: pip install 'vaekit[hub]'"
        ) from error
    return datasets


def _parts(splits: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The splits to train on and those to test with. If none is called train or valid, the first is for training."""
    train = [splits[name] for name in TRAIN + VALID if name in splits]
    test = [splits[name] for name in TEST if name in splits]
    if train:
        return train, test
    return [next(iter(splits.values()))], []


def _columns(features: Any, request: Request) -> tuple[str, str | None]:
    """The column of the images, and that of the labels or None."""
    images = [column for column, feature in features.items() if type(feature).__name__ == "Image"]
    classes = [
        column for column, feature in features.items() if type(feature).__name__ == "ClassLabel"
    ]
    return (
        _pick(images, request.array, "image", features, request),
        _pick(classes, request.labels, "class label", features, request)
        if classes or request.labels
        else None,
    )


def _pick(
    columns: Sequence[str], wanted: str | None, kind: str, features: Any, request: Request
) -> str:
    if wanted is None and columns:
        return columns[0]
    if wanted in columns:
        return str(wanted)
    listing = ", ".join(
        f"{column} ({type(feature).__name__})" for column, feature in features.items()
    )
    asked = f"{wanted!r} isn't" if wanted else "there is no"
    raise VaekitError(
        f"{request.source}: {asked} a column of {kind}s; it holds {listing}: choose another"
    )


def _undecoded(datasets: Any, split: Any, image: str) -> Any:
    """The split with its pictures as bytes. vaekit's own reader handles damage, orientation and transparency."""
    return split.cast_column(image, datasets.Image(decode=False))


def _items(split: Any, image: str, label: str | None) -> list[Item]:
    numbers = split[label] if label is not None else [None] * len(split)
    names = split.features[label].names if label is not None else []
    return [
        Item(
            f"row {i}",
            _Opener(split, image, i),
            names[n] if n is not None and 0 <= n < len(names) else None,
        )
        for i, n in enumerate(numbers)
    ]


class _Opener:
    """Opens the picture in one row of a split."""

    __slots__ = ("column", "row", "split")

    def __init__(self, split: Any, column: str, row: int) -> None:
        self.split, self.column, self.row = split, column, row

    def __call__(self) -> BinaryIO:
        cell = self.split[self.row][self.column]
        if cell["bytes"] is None:
            return open(cell["path"], "rb")
        return io.BytesIO(cell["bytes"])


def _key(name: str, splits: Sequence[Any], image: str, label: str | None, request: Request) -> str:
    prints = [getattr(split, "_fingerprint", len(split)) for split in splits]
    schema = request.schema
    wanted = schema.model_dump_json() if schema else None
    facts = (cache.VERSION, name, prints, image, label, request.size, request.channels, wanted)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
