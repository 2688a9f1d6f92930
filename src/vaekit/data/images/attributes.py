"""Conditions of images: from their classes, from arrays beside them, or from a table of attributes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.config import nearest
from vaekit.data import conditions
from vaekit.data.conditions import Condition
from vaekit.data.dataset import counted
from vaekit.data.images.collection import Images, Request
from vaekit.data.images.read import arrays, streams
from vaekit.data.images.read.attribute_table import (
    FILE_COLUMNS,
    find_table,
    read_table,
    rows_by_file,
    table_beside,
    tables_beside,
)
from vaekit.errors import VaekitError

LABEL = "label"
"""The name of the condition that holds the images' own classes."""


class Unfitting(VaekitError):
    """Values of a condition were found, but they do not fit the images."""


@dataclass(frozen=True)
class Attribute:
    """Values of the images, (N,) or (N, K), and of the test part; the names of classes or flags if known."""

    train: np.ndarray
    test: np.ndarray | None
    names: tuple[str, ...] = ()


def with_conditions(
    images: Images, words: Sequence[str], table: str | None, request: Request
) -> Images:
    """`images` with the conditions that `words` name (`label`, `age`, `zip:category`). Raises VaekitError."""
    asked = [word.partition(":")[::2] for word in words]
    twice = {name for name, _ in asked if [other for other, _ in asked].count(name) > 1}
    if twice:
        raise VaekitError(f"condition '{twice.pop()}' is named twice")
    if table:
        find_table(table, request.source)  # raises an error if there is none
    found = {name: _find(name, images, table, request) for name, _ in asked}
    fields = [
        conditions.learn(name, found[name].train, found[name].names, kind) for name, kind in asked
    ]
    return _filled(images, found, fields)


def with_hint(images: Images, source: str) -> Images:
    """`images` with a note for each table in their folder that could be used and is not."""
    folder = Path(source).expanduser()
    found = tables_beside(folder, images.files) if images.files else []
    return replace(images, notes=(*images.notes, *map(_hint, found)))


def _hint(path: Path) -> str:
    columns = list(read_table(path))
    others = [name for name in columns[1:] if name.lower() not in FILE_COLUMNS] or columns
    more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
    can = "column can be a condition" if len(others) == 1 else "columns can be conditions"
    return f"{path.name} names the images; its {can}: {', '.join(others[:5])}{more}"


def as_known(
    images: Images, fields: Sequence[Condition], table: str | None, request: Request
) -> Images:
    """New `images` with those of a model's conditions that can be found; a note names the others."""
    found, lacking = {}, []
    for field in fields:
        try:
            found[field.name] = _find(field.name, images, table, request)
        except Unfitting:
            raise
        except VaekitError:
            lacking.append(field.name)
    note = f"Unknown for these images, so left open: {', '.join(lacking)}"
    filled = _filled(images, found, fields)
    return replace(filled, notes=(*filled.notes, note)) if lacking else filled


def factors(images: Images, names: Sequence[str], table: str | None, request: Request) -> Tensor:
    """The known factors of each image as small whole numbers (N, F), from columns or from tables (N, K)."""
    found = [_find(name, images, table, request).train for name in names]
    columns = [column for values in found for column in values.reshape(len(values), -1).T]
    return torch.stack(
        [torch.from_numpy(np.unique(column, return_inverse=True)[1]) for column in columns], dim=1
    )


def _filled(images: Images, found: dict[str, Attribute], fields: Sequence[Condition]) -> Images:
    schema = images.schema.model_copy(update={"conditions": tuple(fields)})
    context = conditions.encode({name: c.train for name, c in found.items()}, fields, len(images))
    test = images.test
    if test is not None:
        values = {name: c.test for name, c in found.items() if c.test is not None}
        test = replace(test, schema=schema, context=conditions.encode(values, fields, len(test)))
    notes = [
        note for i, field in enumerate(fields) if (note := _lacking(field, context, fields[:i]))
    ]
    return replace(images, schema=schema, context=context, test=test, notes=(*images.notes, *notes))


def _lacking(field: Condition, context: Tensor, before: Sequence[Condition]) -> str:
    """A note of the number of images for which a field is unknown; "" if that is none or all of them."""
    unknown = int(context[:, sum(other.width for other in before)].isnan().sum())
    return (
        f"{field.name}: unknown for {unknown:,} of {len(context):,} images"
        if 0 < unknown < len(context)
        else ""
    )


def _find(name: str, images: Images, table: str | None, request: Request) -> Attribute:
    if name == LABEL and images.labels is not None:
        return _labels(images)
    path = Path(request.source).expanduser()
    source = find_table(table, request.source) if table else table_beside(path, images.files)
    if source:
        return _tabled(name, images, source)
    if path.is_file() and arrays.is_array_file(path):
        return _array(name, images, path, request)
    there = [LABEL] if images.labels is not None else []
    hint = (
        f"there are: {', '.join(there)}"
        if there
        else "name a table that has it, such as table=attributes.csv"
    )
    raise VaekitError(f"{request.source}: has no '{name}'; {hint}")


def _labels(images: Images) -> Attribute:
    names = np.array((*images.schema.classes, ""))  # a label of -1 takes the last name
    parts = [
        None if i is None or i.labels is None else names[i.labels.cpu().numpy()]
        for i in (images, images.test)
    ]
    assert parts[0] is not None
    return Attribute(parts[0], parts[1], images.schema.classes)


# Arrays beside the images


def _array(name: str, images: Images, path: Path, request: Request) -> Attribute:
    held = arrays.open_arrays(path)
    chosen = arrays.choose(held, request)
    if name in (*chosen.names[0], *chosen.names[1]):
        raise VaekitError(
            f"condition '{name}': this array holds the images themselves; name another array"
        )
    if name in held and not held[name].shape:
        raise VaekitError(
            f"{request.source}: '{name}' is a single value, not one for each image; choose another array"
        )
    train = [_beside(held, image, name) for image in chosen.names[0]]
    test = [_beside(held, image, name) for image in chosen.names[1]]
    if any(other is None for other in train):
        raise VaekitError(
            f"{request.source}: there is no array '{name}' beside the images{_fitting(held, images, name)}"
        )
    stem = arrays.part_and_stem(name)[1]
    titles = next((held[key] for key in (f"{stem}_names", f"{name}_names") if key in held), None)
    names = (
        () if titles is None or titles.dtype.kind != "U" else tuple(str(v) for v in _values(titles))
    )
    column = _joined(held, [t for t in train if t])
    if len(column) != len(images):
        raise Unfitting(
            f"{request.source}: '{name}' has {len(column):,} values for {counted(len(images), 'image')}"
        )
    known = test and all(other is not None for other in test)
    other = _joined(held, [t for t in test if t]) if known else None
    if names and column.ndim == 1:
        return Attribute(
            _worded(name, column, names), other if other is None else _worded(name, other, names)
        )
    return Attribute(column, other, names)


def _worded(name: str, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The names of class numbers (N,), "" for negative numbers; words stay as they are."""
    if values.dtype.kind not in "biu":
        return values
    if values.max(initial=0) >= len(names):
        raise Unfitting(
            f"'{name}' has class numbers up to {values.max()}, but only {counted(len(names), 'name')} for them"
        )
    return np.array((*names, ""))[np.where(values < 0, len(names), values)]


def _beside(held: dict[str, streams.Stream], images: str, name: str) -> str | None:
    """The array called `name` of the same part as the array `images`: `age_train` goes with `x_train`."""
    part, _ = arrays.part_and_stem(images)
    for other in held:
        own, stem = arrays.part_and_stem(other)
        if other == name and own in ("", part):
            return other
        if own == part and stem == arrays.part_and_stem(name)[1] and other != images:
            return other
    return None


def _joined(held: dict[str, streams.Stream], names: Iterable[str]) -> np.ndarray:
    return np.concatenate([_values(held[name]) for name in names])


def _values(stream: streams.Stream) -> np.ndarray:
    if stream.dtype.hasobject or stream.dtype.kind not in "biufU":
        raise VaekitError(f"{stream.name} is {stream.dtype}: expected numbers or words")
    return np.concatenate([values for _, _, values in streams.chunks(stream)]).reshape(stream.shape)


def _fitting(held: dict[str, streams.Stream], images: Images, name: str) -> str:
    rows = {len(images), len(images.test) if images.test else len(images)}
    likely = [
        key for key, s in held.items() if s.shape and s.shape[0] in rows and len(s.shape) <= 2
    ]
    return nearest(name, ([LABEL] if images.labels is not None else []) + likely) if likely else ""


# A table


def _tabled(name: str, images: Images, path: Path) -> Attribute:
    columns = read_table(path)
    if name not in columns:
        known = ([LABEL] if images.labels is not None else []) + list(columns)
        raise VaekitError(f"{path}: there is no column '{name}'{nearest(name, known)}")
    if not images.files:
        return _by_row(name, images, path, columns[name])
    test = images.test.files if images.test else ()
    rows = rows_by_file(path, columns, (*images.files, *test))
    values = columns[name]
    return Attribute(
        _picked(values, rows, images.files), _picked(values, rows, test) if images.test else None
    )


def _by_row(name: str, images: Images, path: Path, values: np.ndarray) -> Attribute:
    n, both = len(images), len(images) + (len(images.test) if images.test else 0)
    if len(values) not in (n, both):
        raise VaekitError(
            f"{path}: has {len(values):,} rows for {counted(n, 'image')}; expected one row for each image"
        )
    return Attribute(values[:n], values[n:] if len(values) == both > n else None)


def _picked(values: np.ndarray, rows: dict[str, int], files: Sequence[str]) -> np.ndarray:
    return np.array([values[rows[file]] if file in rows else "" for file in files])
