"""Picture files in a folder. Sub-folders are classes, or the parts train and test with classes inside."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vaekit.data.images.collection import Images, Request
from vaekit.data.images.read.attribute_table import is_table_of
from vaekit.data.images.read.picture import SUFFIXES
from vaekit.data.images.read.pictures import Item, gather
from vaekit.data.storage import cache
from vaekit.errors import VaekitError

IGNORED = {"__macosx", "thumbs.db", "desktop.ini"}
TRAIN = {"train", "training"}
VALID = {"val", "valid", "validation"}
TEST = {"test", "testing"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its name within the folder (with "/"), its path, its size in bytes and when it last changed."""

    name: str
    path: str
    size: int
    changed: int


@dataclass(frozen=True)
class Arranged:
    """Items of the train and test parts, and notes for the user about the arrangement."""

    train: list[Item]
    test: list[Item]
    notes: tuple[str, ...] = ()


def read(path: Path, request: Request) -> Images:
    """The pictures below a folder. Raises VaekitError."""
    found, unseen = scan(path, request.source)
    entries = _without_tables(found)
    if not entries:
        raise VaekitError(
            f"{request.source}: the folder is empty: put at least 2 images (PNG, JPEG, ...) into it"
        )
    arranged = arrange(entries, request.schema.classes if request.schema else ())
    images = gather(
        arranged.train, arranged.test, request, _key(entries, arranged, request), unseen
    )
    return replace(images, notes=arranged.notes + images.notes)


def _without_tables(entries: list[Entry]) -> list[Entry]:
    """All entries except tables of attributes, that is, tables directly in the folder that name pictures."""
    files = [entry.name for entry in entries if is_picture_name(entry.name)]
    return [e for e in entries if "/" in e.name or not is_table_of(Path(e.path), files)]


def read_file(path: Path, request: Request) -> Images:
    """A single picture. Raises VaekitError."""
    stat = path.stat()
    entry = Entry(path.name, str(path), stat.st_size, stat.st_mtime_ns)
    arranged = Arranged([Item(entry.name, entry.path, None)], [])
    return gather(arranged.train, [], request, _key([entry], arranged, request))


def has_pictures(path: Path, most: int = 2000) -> bool:
    """Whether one of the first `most` files below `path` is named like a picture."""
    waiting, seen = [str(path)], 0
    while waiting and seen < most:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    seen += 1
                    if is_picture_name(entry.name):
                        return True
                    if entry.is_dir(follow_symlinks=False) and not _is_ignored(entry.name):
                        waiting.append(entry.path)
        except OSError:
            continue
    return False


def is_picture_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


# Scan


def scan(root: Path, source: str) -> tuple[list[Entry], list[tuple[str, str]]]:
    """All files below `root`, sorted by name, and (name, reason) for what couldn't be opened."""
    entries: list[Entry] = []
    unseen: list[tuple[str, str]] = []
    waiting: list[tuple[str, str, frozenset[str]]] = [
        (str(root), "", frozenset({os.path.realpath(root)}))
    ]
    while waiting:
        folder, prefix, above = waiting.pop()
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    if not _is_ignored(entry.name):
                        _sort_in(entry, prefix, above, entries, waiting, unseen)
        except OSError as error:
            if not prefix:
                raise VaekitError(
                    f"{source}: the folder can't be read ({error.strerror}): check its permissions"
                ) from error
            unseen.append((prefix, f"can't be opened: {error.strerror}"))
    entries.sort(key=lambda entry: entry.name)
    return entries, unseen


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def _sort_in(
    entry: "os.DirEntry[str]",
    prefix: str,
    above: frozenset[str],
    entries: list[Entry],
    waiting: list[tuple[str, str, frozenset[str]]],
    unseen: list[tuple[str, str]],
) -> None:
    name = prefix + _printable(entry.name)
    try:
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if real not in above:  # following a link to a folder further up would never end
                waiting.append((entry.path, name + "/", above | {real}))
        elif entry.is_file():
            stat = entry.stat()
            entries.append(Entry(name, entry.path, stat.st_size, stat.st_mtime_ns))
        else:
            unseen.append((name, "not a file"))
    except OSError as error:
        unseen.append((name, f"can't be opened: {error.strerror}"))


def _printable(name: str) -> str:
    """The name as valid UTF-8: other names can be neither printed nor saved as JSON."""
    return os.fsencode(name).decode("utf-8", "replace")


# Arrange


def arrange(entries: Sequence[Entry], known: Sequence[str]) -> Arranged:
    """The part and class of each file; `known` are the names of a model's classes."""
    prefix = _wrapping(entries, known)
    notes = (f"All images are in {prefix}: its sub-folders are the classes",) if prefix else ()
    tops = {name.split("/")[0] for name in _pictures(entries, prefix) if "/" in name}
    lowered = {top.lower() for top in tops}
    if lowered <= TRAIN | VALID | TEST and lowered & (TRAIN | VALID):
        return _split(entries, prefix, lowered, notes)
    return Arranged([_item(entry, prefix, 0) for entry in entries], [], notes)


def _pictures(entries: Sequence[Entry], prefix: str) -> list[str]:
    """Names below `prefix` that look like pictures, so that a stray text file does not change the arrangement."""
    named = [
        e.name[len(prefix) :]
        for e in entries
        if e.name.startswith(prefix) and is_picture_name(e.name)
    ]
    return named or [e.name[len(prefix) :] for e in entries if e.name.startswith(prefix)]


def _wrapping(entries: Sequence[Entry], known: Sequence[str]) -> str:
    """The common folder ("a/b/", or "") that contains the folders of all pictures."""
    prefix = ""
    while True:
        names = _pictures(entries, prefix)
        tops = {name.split("/")[0] if "/" in name else "" for name in names}
        top = next(iter(tops))
        deeper = all(name.count("/") >= 2 for name in names)
        if len(tops) > 1 or not deeper or top in known or top.lower() in TRAIN | VALID | TEST:
            return prefix
        prefix += top + "/"


def _item(entry: Entry, prefix: str, depth: int) -> Item:
    """An item whose class is the folder `depth` levels below `prefix`, if there is one."""
    inside = entry.name[len(prefix) :] if entry.name.startswith(prefix) else ""
    folders = inside.split("/")[:-1]
    return Item(entry.name, entry.path, folders[depth] if len(folders) > depth else None)


def _split(
    entries: Sequence[Entry], prefix: str, parts: set[str], notes: tuple[str, ...]
) -> Arranged:
    train: list[Item] = []
    test: list[Item] = []
    for entry in entries:
        top = entry.name[len(prefix) :].split("/")[0].lower()
        (test if top in TEST else train).append(_item(entry, prefix, 1))
    if parts & VALID and parts & TRAIN:
        notes += (f"The images of {', '.join(sorted(parts & VALID))} were added to those of train",)
    return Arranged(train, test, notes)


def _key(entries: Sequence[Entry], arranged: Arranged, request: Request) -> str:
    """A name for the packed file. It changes if a file, its class or the wanted form changes."""
    schema = request.schema
    wanted = schema.model_dump_json() if schema else None
    digest = hashlib.sha256(repr((cache.VERSION, request.size, request.channels, wanted)).encode())
    for entry in entries:
        digest.update(f"{entry.name}\0{entry.size}\0{entry.changed}\0".encode())
    for items in (arranged.train, arranged.test):
        digest.update(f"{len(items)}\0".encode())
        for item in items:
            digest.update(f"{item.group}\0".encode())
    return digest.hexdigest()[:32]
