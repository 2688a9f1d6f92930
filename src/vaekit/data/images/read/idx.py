"""Folders of idx files, the format of MNIST: train-images-idx3-ubyte, t10k-labels-idx1-ubyte ..., also gzipped."""

import gzip
import math
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vaekit.data.images.collection import Images, Request
from vaekit.data.images.read import streams
from vaekit.data.images.read.labels import Labelling, label
from vaekit.data.images.read.streams import Stream
from vaekit.errors import VaekitError

NAME = re.compile(
    r"^(?P<prefix>.*?)(?P<part>train|t10k|test)[-_.](?P<kind>images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?$"
)
MAGIC = {3: 0x803, 1: 0x801}  # unsigned bytes in 3 axes, in 1


@dataclass(frozen=True)
class IdxSet:
    """The files of one set, such as "emnist-letters-", by (part, kind)."""

    prefix: str
    files: dict[tuple[str, str], Path]


def is_idx_name(path: Path) -> bool:
    return NAME.match(path.name.lower()) is not None


def has_idx_files(folder: Path) -> bool:
    """Whether a folder directly holds images in idx files."""
    try:
        return any("images" in path.name.lower() and is_idx_name(path) for path in folder.iterdir())
    except OSError:
        return False


def read(path: Path, request: Request) -> Images:
    """The images of a folder of idx files, or of one such file and its labels. Raises VaekitError."""
    found = _only(path) if path.is_file() else _chosen(_sets(path), request)
    parts = [part for part in ("train", "test") if (part, "images") in found.files]
    if parts == ["test"]:
        found = IdxSet(
            found.prefix, {("train", kind): file for (_, kind), file in found.files.items()}
        )
        parts = ["train"]
    images = [_stream(found.files[part, "images"], 3) for part in parts]
    raws, notes = streams.read([[stream] for stream in images], request)
    labels = {
        part: _labels(found, part, stream.shape[0])
        for part, stream in zip(parts, images, strict=True)
    }
    if found.prefix.startswith("emnist"):
        notes += (
            "EMNIST stores its characters lying on their side: they are read as they are stored",
        )
    labelling = Labelling(labels["train"], labels.get("test"))
    result = label(raws, labelling, request.source, images[0].form[1:])
    return replace(result, notes=notes + result.notes)


def _sets(folder: Path) -> dict[str, IdxSet]:
    sets: dict[str, IdxSet] = {}
    for path in sorted(
        folder.iterdir(), reverse=True
    ):  # "name" comes after "name.gz" and replaces it
        if match := NAME.match(path.name.lower()):
            part = "train" if match["part"] == "train" else "test"
            sets.setdefault(match["prefix"], IdxSet(match["prefix"], {})).files[
                part, match["kind"]
            ] = path
    return {
        prefix: found
        for prefix, found in sets.items()
        if any(kind == "images" for _, kind in found.files)
    }


def _chosen(sets: dict[str, IdxSet], request: Request) -> IdxSet:
    names = {prefix.strip("-_."): found for prefix, found in sets.items()}
    if request.array is not None and request.array not in names:
        raise VaekitError(
            f"{request.source}: there is no set {request.array!r}; it holds {', '.join(sorted(names))}"
        )
    if request.array is None and len(names) > 1:
        raise VaekitError(
            f"{request.source}: the folder holds several sets ({', '.join(sorted(names))}): "
            "choose one with array=NAME"
        )
    return names[request.array] if request.array is not None else next(iter(names.values()))


def _only(path: Path) -> IdxSet:
    """One file of images, with the labels that lie beside it."""
    files = {("train", "images"): path}
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if beside != path and beside.exists():
        files["train", "labels"] = beside
    return IdxSet("", files)


def _labels(found: IdxSet, part: str, count: int) -> np.ndarray | None:
    path = found.files.get((part, "labels"))
    if path is None:
        return None
    stream = _stream(path, 1)
    if stream.shape != (count,):
        raise VaekitError(
            f"{path}: {stream.shape[0]:,} labels for {count:,} images: get both files from the same source"
        )
    return np.concatenate(
        [values for _, _, values in streams.chunks(stream)] or [np.empty(0, np.uint8)]
    )


def _stream(path: Path, axes: int) -> Stream:
    """The bytes of an idx file after its header: magic number, then `axes` lengths, big-endian 32 bits each."""
    start = 4 + 4 * axes
    packed = path.name.lower().endswith(".gz")

    def open_whole() -> BinaryIO:
        return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]

    def open_values() -> BinaryIO:
        file = open_whole()
        file.read(start)
        return file

    try:
        with open_whole() as file:
            head = file.read(start)
    except (OSError, EOFError) as error:
        raise VaekitError(f"{path}: couldn't be read ({error}): get the file again") from error
    shape = _shape(path, head, axes)
    if not packed and path.stat().st_size != start + math.prod(shape):
        raise VaekitError(
            f"{path}: the header announces {start + math.prod(shape):,} bytes, but the file has "
            f"{path.stat().st_size:,}: get the file again"
        )
    return Stream(
        str(path), path, open_values, shape, np.dtype(np.uint8), None if packed else start
    )


def _shape(path: Path, head: bytes, axes: int) -> tuple[int, ...]:
    if len(head) < 4 + 4 * axes:
        raise VaekitError(
            f"{path}: the file has {len(head)} bytes, too few for an idx header: get the file again"
        )
    magic, *shape = struct.unpack(f">{1 + axes}I", head)
    if magic != MAGIC[axes]:
        raise VaekitError(
            f"{path}: an idx file of {'images' if axes == 3 else 'labels'} begins with {MAGIC[axes]:#06x}, but "
            f"this one with {magic:#06x}: get the file again"
        )
    if axes == 3 and 0 in shape:
        raise VaekitError(
            f"{path}: the header announces {shape[0]} images of {shape[1]}x{shape[2]}: get the file again"
        )
    return tuple(shape)
