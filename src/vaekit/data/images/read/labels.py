"""Class labels: turn the numbers or words of a source into 0..K-1 and K names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Raw
from vaekit.data.images.collection import Images
from vaekit.data.images.schema import ImageSchema
from vaekit.errors import VaekitError

MOST = 10_000  # more distinct values than this are measurements or file numbers, not classes


@dataclass(frozen=True)
class Labelling:
    """Stored labels of the train and test parts, (N,) whole numbers or words, and names for 0..K-1."""

    train: np.ndarray | None
    test: np.ndarray | None = None
    names: tuple[str, ...] = ()


def label(
    raws: Sequence[Raw], labelling: Labelling, source: str, stored: tuple[int, int]
) -> Images:
    """The images of `raws` (train, or train and test) with schema and labels; `stored` is the (H, W) in the source."""
    _, channels, height, width = raws[0].shape
    dtype = "float32" if raws[0].dtype == torch.float32 else "uint8"
    (train, test), classes, notes = numbered(labelling, source)
    form = {"height": height, "width": width, "channels": channels, "dtype": dtype}
    schema = ImageSchema.model_validate(
        form | {"classes": classes, "resized": stored != (height, width)}
    )
    held = Images(raws[1], test, schema, source) if len(raws) > 1 else None
    return Images(raws[0], train, schema, source, notes, test=held)


def numbered(
    labelling: Labelling, source: str
) -> tuple[tuple[Tensor | None, Tensor | None], tuple[str, ...], tuple[str, ...]]:
    """Labels int64 (N,) of both parts, the names of the classes, and notes."""
    parts = [part for part in (labelling.train, labelling.test) if part is not None]
    if not parts:
        return (None, None), (), ()
    _require_one_kind(parts, source)
    values = np.unique(np.concatenate([np.unique(part) for part in parts]))
    values = values[values != -1] if values.dtype.kind in "iu" else values
    if len(values) > MOST:
        note = f"The labels have {len(values):,} different values, too many for classes: they were left out"
        return (None, None), (), (note,)
    names = tuple(str(value) for value in values.tolist())
    if _all_below(values, len(labelling.names)):
        values, names = np.arange(len(labelling.names)), labelling.names
    train, test = (
        None if p is None else _positions(p, values) for p in (labelling.train, labelling.test)
    )
    return (train, test), names, ()


def _all_below(values: np.ndarray, count: int) -> bool:
    """Whether the sorted `values` are whole numbers 0..count-1."""
    return bool(values.dtype.kind in "iu" and values.size and values[0] >= 0 and values[-1] < count)


def _positions(labels: np.ndarray, values: np.ndarray) -> Tensor:
    """The index of each label in the sorted `values`; -1 if it isn't there."""
    if not values.size:
        return torch.full((len(labels),), -1, dtype=torch.int64)
    places = np.searchsorted(values, labels).clip(max=len(values) - 1)
    return torch.from_numpy(np.where(values[places] == labels, places, -1).astype(np.int64))


def _require_one_kind(parts: Sequence[np.ndarray], source: str) -> None:
    if len({part.dtype.kind == "U" for part in parts}) > 1:
        raise VaekitError(
            f"{source}: the labels of train and test must both be numbers or both be words"
        )


def renamed(
    labels: Tensor | None, classes: tuple[str, ...], wanted: tuple[str, ...]
) -> Tensor | None:
    """`labels` as indices into `wanted` instead of `classes`, by name; -1 if `wanted` lacks the name."""
    if labels is None:
        return None
    table = torch.tensor([wanted.index(name) if name in wanted else -1 for name in classes] + [-1])
    return table[labels]  # a label of -1 takes the last entry
