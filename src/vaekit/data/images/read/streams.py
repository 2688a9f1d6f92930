"""Images stored one after another as numbers. They are read whole if they fit in memory, else in chunks."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from vaekit.data.dataset import Raw, Resident
from vaekit.data.images.collection import Request
from vaekit.data.images.read.levels import BYTES, Chunk, Reading, choose
from vaekit.data.images.read.resize import over_white, refit
from vaekit.data.images.read.sizes import resizing
from vaekit.data.storage import cache
from vaekit.data.storage.disk import DiskImages, Layout
from vaekit.errors import VaekitError

CHUNK = 8 << 20  # bytes read at a time


@dataclass(frozen=True)
class Stream:
    """An array of images in a file.

    `name` is the array's name in messages; `shape` is the stored one: (N, H, W), (N, H, W, C) or (N, C, H, W).
    `open` gives an open file at the position of the first value. `offset` is where the values start in `file`,
    in bytes, or None if they are compressed. `fortran` says that they are stored in column-major order.
    """

    name: str
    file: Path
    open: Callable[[], BinaryIO]
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int | None = None
    fortran: bool = False

    @property
    def channels_last(self) -> bool:
        return len(self.shape) == 4 and self.shape[3] in (1, 3, 4)

    @property
    def form(self) -> tuple[int, int, int]:
        """(C, H, W), with the stored number of channels."""
        if len(self.shape) == 3:
            return 1, self.shape[1], self.shape[2]
        height, width, channels = (
            self.shape[1:] if self.channels_last else (*self.shape[2:], self.shape[1])
        )
        return channels, height, width

    def planes(self, values: np.ndarray) -> np.ndarray:
        """Stored images (n, ...) as (n, C, H, W)."""
        if values.ndim == 3:
            return values[:, None]
        return values.transpose(0, 3, 1, 2) if self.channels_last else values


def looks_like_one_picture(shape: tuple[int, ...]) -> bool:
    """Whether the shape is (H, W, 3) or (H, W, 4): one colour picture rather than H pictures of a few columns."""
    return len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) >= 8


def is_image_like(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array can be images: (N, H, W), (N, H, W, C) or (N, C, H, W) of numbers."""
    if dtype.kind not in "buif" or len(shape) not in (3, 4) or 0 in shape[1:]:
        return False
    return len(shape) == 3 or shape[3] in (1, 3, 4) or shape[1] in (1, 3)


def read(parts: Sequence[Sequence[Stream]], request: Request) -> tuple[list[Raw], tuple[str, ...]]:
    """One Raw for each of `parts` (train, test), all read the same way, and notes for the user.

    The streams of one part are joined. Raises VaekitError.
    """
    streams = [stream for part in parts for stream in part]
    _require_one_form(streams)
    reading = choose((chunk for stream in streams for chunk in chunks(stream)), streams[0].dtype)
    notes = [reading.note] if reading.note else []
    if streams[0].form[0] == 4:
        notes.append("Transparent parts were laid over white")
    notes += _refitting(streams, request)
    budget = request.budget
    raws: list[Raw] = []
    for part in parts:
        raws.append(_read_part(part, reading, request, budget))
        budget -= (
            0
            if isinstance(raws[-1], DiskImages)
            else math.prod(raws[-1].shape) * reading.dtype.itemsize
        )
    return raws, tuple(notes)


def chunks(stream: Stream) -> Iterator[Chunk]:
    """The rows of a stream in chunks. Raises VaekitError if the file is damaged."""
    try:
        with stream.open() as file:
            yield from _fortran_chunks(stream, file) if stream.fortran else _chunks(stream, file)
    except VaekitError:
        raise
    except Exception as error:  # zipfile, zlib and gzip have no common error
        text = " ".join(str(error).split()) or type(error).__name__
        raise VaekitError(
            f"{stream.name}: the file is damaged ({text}): download or save it again"
        ) from error


def _chunks(stream: Stream, file: BinaryIO) -> Iterator[Chunk]:
    size = math.prod(stream.shape[1:]) * stream.dtype.itemsize
    rows = max(1, CHUNK // size)
    for first in range(0, stream.shape[0], rows):
        count = min(rows, stream.shape[0] - first)
        values = np.frombuffer(_read_exactly(stream, file, count * size), stream.dtype)
        yield stream.name, first, values.reshape(count, *stream.shape[1:])


def _fortran_chunks(stream: Stream, file: BinaryIO) -> Iterator[Chunk]:
    """The chunks of a column-major array. It is read whole because its images are not contiguous."""
    data = _read_exactly(stream, file, math.prod(stream.shape) * stream.dtype.itemsize)
    values = np.frombuffer(data, stream.dtype).reshape(stream.shape, order="F")
    rows = max(1, CHUNK // max(1, values[0].nbytes))
    for first in range(0, len(values), rows):
        yield stream.name, first, values[first : first + rows]


def _read_exactly(stream: Stream, file: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = file.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise VaekitError(
                f"{stream.name}: the file ends before the {stream.shape[0]:,} images that it announces: get it again"
            )
        view = view[count:]
    return data


def _require_one_form(streams: Sequence[Stream]) -> None:
    first = streams[0]
    for stream in streams:
        if stream.shape[0] == 0:
            raise VaekitError(
                f"{stream.name}: the array has no images (its shape is {stream.shape}): give at least 2"
            )
        if looks_like_one_picture(stream.shape):
            raise VaekitError(
                f"{stream.name}: an array of shape {stream.shape} is one colour picture, but images are (N, H, W, C): "
                f"save it as {(1, *stream.shape)}"
            )
        if stream.form != first.form or stream.dtype != first.dtype:
            raise VaekitError(
                f"{stream.name} is {stream.dtype} {stream.shape} and {first.name} is {first.dtype} {first.shape}: "
                "parts of one data set must have one image size and one dtype"
            )


def _read_part(part: Sequence[Stream], reading: Reading, request: Request, budget: int) -> Raw:
    shape = _final_shape(part, request)
    need = math.prod(shape) * reading.dtype.itemsize
    pieces = (
        refit(_laid(stream.planes(reading.convert(values))), request.size, request.channels)
        for stream in part
        for _, _, values in chunks(stream)
    )
    if need <= budget:
        return _in_memory(pieces, shape, reading.dtype)
    if len(part) == 1 and _readable_in_place(part[0], reading, shape):
        stream = part[0]
        layout: Layout = "HWC" if stream.channels_last else "CHW"
        return DiskImages(stream.file, shape, offset=stream.offset or 0, layout=layout)
    path = request.cache / "images" / f"{_key(part, reading, request)}.bin"
    if not (path.exists() and path.stat().st_size == need):
        _to_file(pieces, path, need, shape[0], request)
    return DiskImages(path, shape, dtype=reading.dtype)


def _refitting(streams: Sequence[Stream], request: Request) -> list[str]:
    """Notes on how the images of `streams`, all of one form, are resized and converted for the request."""
    (channels, *sides), count = streams[0].form, sum(stream.shape[0] for stream in streams)
    size, notes = (sides[0], sides[1]), []
    if request.size not in (None, size):
        why = ", as in training" if request.schema and request.schema.resized else ""
        notes.append(resizing(Counter({size: count}), request.size, why))
    if request.channels == 1 and channels > 1:
        notes.append("The images are stored in colour: read as grey")
    return notes


def _laid(planes: np.ndarray) -> np.ndarray:
    return over_white(planes) if planes.shape[1] == 4 else planes


def _final_shape(part: Sequence[Stream], request: Request) -> tuple[int, int, int, int]:
    channels, height, width = part[0].form
    height, width = request.size or (height, width)
    return sum(s.shape[0] for s in part), request.channels or min(channels, 3), height, width


def _in_memory(
    pieces: Iterable[np.ndarray], shape: tuple[int, int, int, int], dtype: torch.dtype
) -> Resident:
    values = torch.empty(shape, dtype=dtype)
    target, row = values.numpy(), 0
    for piece in pieces:
        target[row : row + len(piece)] = piece
        row += len(piece)
    return Resident(values)


def _to_file(
    pieces: Iterable[np.ndarray], path: Path, need: int, count: int, request: Request
) -> None:
    done = 0
    with cache.packing(path, need) as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).data)
            done += len(piece)
            request.progress("decoding", done, count)


def _readable_in_place(stream: Stream, reading: Reading, shape: tuple[int, int, int, int]) -> bool:
    untouched = stream.form == shape[1:] and reading is BYTES and stream.dtype == np.uint8
    return untouched and stream.offset is not None and not stream.fortran


def _key(part: Sequence[Stream], reading: Reading, request: Request) -> str:
    """A name for the packed file. It changes if the file, the array or the wanted form changes."""
    stat = os.stat(part[0].file)
    facts = (
        cache.VERSION,
        str(part[0].file.resolve()),
        (stat.st_size, stat.st_mtime_ns),
        [(s.name, s.shape, s.dtype.str) for s in part],
        (reading.note, request.size, request.channels),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
