"""A set of images with what is known of it, and what a caller may ask for."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from vaekit.data.images.raw import Raw
from vaekit.data.images.schema import ImageSchema

Progress = Callable[[str, int, int], None]
"""Called with what is being done ("decoding"), how many are done, and how many there are."""


@dataclass(frozen=True)
class Images:
    """Images and what is known of them.

    `labels` is int64 (N,), -1 where no class is known, or None. `source` is as the user named it. `notes`
    are sentences that say what was decided, skipped and converted; `skipped` lists (file, reason). `files`
    are the N names of the picture files, below the source's folder, or () where images don't come from such.
    `test` is the source's own test part, if it has one. `context` is what `schema.conditions` say of each image,
    float32 (N, F), NaN where that is not known; None without conditions.
    """

    raw: Raw
    labels: Tensor | None
    schema: ImageSchema
    source: str
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    test: "Images | None" = None
    context: Tensor | None = None

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def skipped_table(self) -> str:
        """The lines of skipped.tsv: a file and its reason each."""
        return "".join(f"{' '.join(name.split())}\t{reason}\n" for name, reason in self.skipped)

    @property
    def fingerprint(self) -> str:
        """A digest of their number, their files' names, their conditions and 64 of them: other data have another."""
        some = self.raw.take(torch.linspace(0, len(self) - 1, min(len(self), 64)).long())
        names = "\n".join((str(len(self)), *self.files)).encode(errors="surrogateescape")
        known = b"" if self.context is None else self.context.numpy().tobytes()
        return hashlib.sha256(names + some.cpu().contiguous().numpy().tobytes() + known).hexdigest()

    def subset(self, index: Tensor) -> "Images":
        """Only the images at `index`, int64 (B,), in that order; the test part stays whole."""
        index = torch.as_tensor(index, dtype=torch.int64)
        labels = None if self.labels is None else self.labels.index_select(0, index.to(self.labels.device))
        files = tuple(self.files[i] for i in index.tolist()) if self.files else ()
        context = None if self.context is None else self.context[index]
        return replace(self, raw=self.raw.subset(index), labels=labels, files=files, context=context)


@dataclass(frozen=True)
class Request:
    """What the caller of `load` asked for. `budget` is in bytes; `size` is (H, W)."""

    source: str
    size: tuple[int, int] | None
    channels: int | None
    array: str | None
    labels: str | None
    cache: Path
    budget: int
    schema: ImageSchema | None
    progress: Progress = field(repr=False)
