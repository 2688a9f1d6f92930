"""Images in NumPy files: .npy and .npz, read without unpickling anything."""

import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vaekit.data.images.collection import Images, Request
from vaekit.data.images.read import streams
from vaekit.data.images.read.labels import Labelling, label
from vaekit.data.images.read.streams import Stream
from vaekit.errors import VaekitError

SUFFIXES = (".npy", ".npz")
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
PARTS |= {"val": "valid", "valid": "valid", "validation": "valid"}
IMAGE_STEMS = ("x", "images", "image", "imgs", "img", "data", "pixels", "")
LABEL_STEMS = ("y", "labels", "label", "targets", "target", "classes", "class")
NAME_KEYS = ("class_names", "label_names", "target_names", "classes")


def is_array_file(path: Path) -> bool:
    """Whether `path` has the suffix or the first bytes of a NumPy file."""
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x93NUMPY", b"PK\x03\x04"))


def has_images(path: Path) -> bool:
    """Whether a NumPy file holds something like images. True also for a damaged file, so that `read` reports it."""
    try:
        arrays = open_arrays(path)
    except VaekitError:
        return True
    return any(streams.is_image_like(s.shape, s.dtype) for s in arrays.values())


def read(path: Path, request: Request) -> Images:
    """The images of a NumPy file with their labels and test part. Raises VaekitError."""
    arrays = open_arrays(path)
    chosen = choose(arrays, request)
    parts = [part for part in (chosen.train, chosen.test) if part]
    raws, notes = streams.read(parts, request)
    labelling = _labels(arrays, chosen, request)
    images = label(raws, labelling, request.source, parts[0][0].form[1:])
    return replace(images, notes=notes + chosen.notes + images.notes)


# The arrays of a file


def open_arrays(path: Path) -> dict[str, Stream]:
    """Every array of the file by name; only headers are read. Raises VaekitError."""
    with _explained(path):
        with path.open("rb") as file:
            start = file.read(6)
        if start.startswith(b"PK"):
            return _members(path)
        if not start:
            raise VaekitError(f"{path}: the file is empty: save it again with numpy.save")
        if start[:1] == b"\x80":
            raise VaekitError(
                f"{path}: this is a pickle, which could run code when opened: save a uint8 array instead"
            )
        if not start.startswith(b"\x93NUMPY"):
            raise VaekitError(
                f"{path}: this isn't a NumPy file, or it is damaged: save it again with numpy.save"
            )
        return {
            path.name: _with_header(
                path, str(path), lambda: path.open("rb"), path.stat().st_size, True
            )
        }


def _members(path: Path) -> dict[str, Stream]:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if not members:
        raise VaekitError(
            f"{path}: this zip file holds no NumPy arrays: unpack it and give the folder"
        )
    return {
        info.filename.removesuffix(".npy"): _with_header(
            path,
            f"{path}: {info.filename.removesuffix('.npy')}",
            _opener(path, info.filename),
            info.file_size,
            False,
        )
        for info in members
    }


def _opener(path: Path, member: str) -> Callable[[], BinaryIO]:
    def open_member() -> BinaryIO:
        return zipfile.ZipFile(path).open(member)  # type: ignore[return-value]

    return open_member


def _with_header(
    path: Path, name: str, opener: Callable[[], BinaryIO], size: int, in_place: bool
) -> Stream:
    """The stream of one array; `size` is the size of header and values together, in bytes."""
    with opener() as file:
        shape, fortran, dtype = _header(file)
        start = file.tell()
    if not dtype.hasobject and start + dtype.itemsize * math.prod(shape) > size:
        raise VaekitError(
            f"{name}: the file ends before the end of the array {tuple(shape)}: download or save it again"
        )

    def open_values() -> BinaryIO:
        file = opener()
        file.read(start)
        return file

    return Stream(
        name, path, open_values, tuple(shape), dtype, start if in_place else None, fortran
    )


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the errors that zipfile and NumPy raise for damaged files into a VaekitError."""
    try:
        yield
    except VaekitError:
        raise
    except OSError as error:
        raise VaekitError(
            f"{path}: couldn't be read ({error.strerror or error}): check the file"
        ) from error
    except Exception as error:
        text = " ".join(str(error).split())[:100] or type(error).__name__
        raise VaekitError(
            f"{path}: the file is damaged ({text}): download or save it again"
        ) from error


# Choosing among them


@dataclass(frozen=True)
class Chosen:
    """The streams of the train part and of the test part, and the names of their arrays."""

    train: tuple[Stream, ...]
    test: tuple[Stream, ...]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    notes: tuple[str, ...] = ()


def part_and_stem(name: str) -> tuple[str, str]:
    """ "x_train" -> ("train", "x"); "images" -> ("", "images")."""
    tokens = name.lower().replace("-", "_").split("_")
    parts = [PARTS[token] for token in tokens if token in PARTS]
    return (parts[0] if len(parts) == 1 else ""), "_".join(
        token for token in tokens if token not in PARTS
    )


def choose(arrays: dict[str, Stream], request: Request) -> Chosen:
    if request.array is not None:
        return _chosen(arrays, _named(arrays, request.array, request.source))
    likely = [name for name, s in arrays.items() if streams.is_image_like(s.shape, s.dtype)]
    if not likely:
        raise VaekitError(_nothing_like_images(arrays, request.source))
    if len(likely) == 1:
        return _chosen(arrays, likely[0])
    train = [name for name in likely if part_and_stem(name)[0] == "train"]
    preferred = [name for name in train if part_and_stem(name)[1] in IMAGE_STEMS]
    others = [name for name in likely if not part_and_stem(name)[0]]
    if len(preferred) == 1 and not others:
        return _chosen(arrays, preferred[0])
    raise VaekitError(
        f"{request.source}: several arrays could be the images ({_listing(arrays, likely)}): "
        "choose one with array=NAME"
    )


def _chosen(arrays: dict[str, Stream], name: str) -> Chosen:
    """The array `name`. If it is a train part, the valid part is added to it, and the test part is taken too."""
    part, stem = part_and_stem(name)
    if part != "train":
        return Chosen((arrays[name],), (), ((name,), ()))
    kin = {
        part_and_stem(other)[0]: other
        for other in arrays
        if part_and_stem(other)[1] == stem and other != name
    }
    train = (name, kin["valid"]) if "valid" in kin else (name,)
    test = (kin["test"],) if "test" in kin else ()
    notes = (
        (f"The images of {kin['valid']} were added to those of {name}",) if "valid" in kin else ()
    )
    return Chosen(
        tuple(arrays[n] for n in train), tuple(arrays[n] for n in test), (train, test), notes
    )


def _named(arrays: dict[str, Stream], name: str, source: str) -> str:
    if name not in arrays:
        raise VaekitError(
            f"{source}: there is no array {name!r}; {what_it_holds(arrays)}: choose one of these"
        )
    stream = arrays[name]
    if stream.dtype.hasobject:
        raise VaekitError(
            f"{stream.name}: the array holds Python objects, which could run code when opened: save numbers instead"
        )
    if not streams.is_image_like(stream.shape, stream.dtype):
        raise VaekitError(
            f"{stream.name} is {stream.dtype} {stream.shape}, but images are (N, H, W) or (N, H, W, C) of numbers: "
            "reshape it or choose another with array=NAME"
        )
    return name


def _nothing_like_images(arrays: dict[str, Stream], source: str) -> str:
    objects = [name for name, stream in arrays.items() if stream.dtype.hasobject]
    if objects:
        return (
            f"{source}: {', '.join(objects)} holds Python objects, which could run code when opened: "
            "save the images as a uint8 array (N, H, W) or (N, H, W, C)"
        )
    return (
        f"{source}: no array looks like images (N, H, W) or (N, H, W, C); {what_it_holds(arrays)}: "
        "reshape the images and save them again"
    )


def what_it_holds(arrays: dict[str, Stream]) -> str:
    return f"it holds {_listing(arrays, list(arrays))}"


def _listing(arrays: dict[str, Stream], names: list[str]) -> str:
    shown = [f"{name} {arrays[name].dtype} {arrays[name].shape}" for name in names[:12]]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


# Labels


def _labels(arrays: dict[str, Stream], chosen: Chosen, request: Request) -> Labelling:
    found: list[np.ndarray | None] = []
    for names, part in zip(chosen.names, (chosen.train, chosen.test), strict=True):
        pieces = [
            _labels_of(arrays, name, stream.shape[0], request)
            for name, stream in zip(names, part, strict=True)
        ]
        found.append(_joined(pieces, [stream.shape[0] for stream in part]))
    return Labelling(found[0], found[1], _class_names(arrays))


def _joined(pieces: Sequence[np.ndarray | None], counts: Sequence[int]) -> np.ndarray | None:
    """The labels of all pieces of a part: -1 for a piece without labels, None if no piece has labels."""
    if all(piece is None for piece in pieces):
        return None
    whole = [
        np.full(count, -1) if piece is None else piece
        for piece, count in zip(pieces, counts, strict=True)
    ]
    return np.concatenate(whole)


def _labels_of(
    arrays: dict[str, Stream], images: str, count: int, request: Request
) -> np.ndarray | None:
    """The labels (N,) that go with the array `images`, or None."""
    part, _ = part_and_stem(images)
    if request.labels is not None:
        return _asked_labels(arrays, request.labels, part, count, request.source)
    for name, stream in arrays.items():
        other, stem = part_and_stem(name)
        if stem in LABEL_STEMS and other == part and name != images and _is_labels(stream, count):
            return _values(stream)
    return None


def _asked_labels(
    arrays: dict[str, Stream], wanted: str, part: str, count: int, source: str
) -> np.ndarray | None:
    stem = part_and_stem(wanted)[1]
    same = [
        name for name in arrays if name == wanted or (part and part_and_stem(name) == (part, stem))
    ]
    same.sort(key=lambda name: part_and_stem(name)[0] != part)
    if not same:
        if part in ("test", "valid"):
            return None
        raise VaekitError(
            f"{source}: there is no array {wanted!r} for labels; {what_it_holds(arrays)}"
        )
    stream = arrays[same[0]]
    if not _is_labels(stream, count):
        raise VaekitError(
            f"{stream.name} is {stream.dtype} {stream.shape}: labels of {count:,} images are whole numbers or words, "
            f"{count:,} of them in one column; choose another with labels=NAME"
        )
    return _values(stream)


def _is_labels(stream: Stream, count: int) -> bool:
    return stream.dtype.kind in "biuU" and stream.shape in ((count,), (count, 1))


def _values(stream: Stream) -> np.ndarray:
    pieces = [values for _, _, values in streams.chunks(stream)]
    return np.concatenate(pieces).reshape(-1)


def _class_names(arrays: dict[str, Stream]) -> tuple[str, ...]:
    for key in NAME_KEYS:
        if key in arrays and arrays[key].dtype.kind == "U" and len(arrays[key].shape) == 1:
            return tuple(str(name) for name in _values(arrays[key]))
    return ()
