"""Raw images by index, from memory or from a file."""

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import VaekitError

Layout = Literal["CHW", "HWC"]
DTYPES: dict[torch.dtype, Any] = {torch.uint8: np.uint8, torch.float32: np.float32}


class DiskImages:
    """Images stored one after another in a file, and read when they are needed.

    The file is read with `preadv` and not mapped, so what has been read doesn't count as this process's memory.
    It can be used from several threads. A pickle holds the path and the shape only: workers open the file themselves.

    `shape` is (N, C, H, W); `offset` is where the first image starts, in bytes; `layout` is the order of the
    axes within a stored image; `rows`, int64 (N,), are the positions of a subset's images in the file.
    """

    def __init__(
        self,
        path: str | Path,
        shape: tuple[int, int, int, int],
        *,
        dtype: torch.dtype = torch.uint8,
        offset: int = 0,
        layout: Layout = "CHW",
        rows: Tensor | None = None,
    ) -> None:
        self.path = os.path.abspath(path)
        self._shape = shape
        self._dtype = dtype
        self._offset = offset
        self._layout = layout
        self._rows = rows
        self._file: int | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._shape[0]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    def take(self, index: Tensor) -> Tensor:
        positions = self._positions(index)
        _, channels, height, width = self._shape
        item = (channels, height, width) if self._layout == "CHW" else (height, width, channels)
        out = np.empty((len(positions), *item), DTYPES[self._dtype])
        if out.size:
            self._fill(out, positions)
        values = torch.from_numpy(out)
        return values if self._layout == "CHW" else values.permute(0, 3, 1, 2).contiguous()

    def subset(self, index: Tensor) -> "DiskImages":
        rows = torch.from_numpy(self._positions(index))
        return DiskImages(
            self.path,
            (len(rows), *self._shape[1:]),
            dtype=self._dtype,
            offset=self._offset,
            layout=self._layout,
            rows=rows,
        )

    def _positions(self, index: Tensor) -> np.ndarray:
        index = index.cpu().long()
        if index.numel() and (int(index.min()) < 0 or int(index.max()) >= len(self)):
            raise IndexError(f"index out of range: the images are numbered 0 to {len(self) - 1}")
        return (index if self._rows is None else self._rows[index]).numpy()

    def _fill(self, out: np.ndarray, positions: np.ndarray) -> None:
        size = out[0].nbytes
        buffer = memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        for start, stop in _runs(positions):
            self._read(
                buffer[start * size : stop * size], self._offset + int(positions[start]) * size
            )

    def _read(self, buffer: memoryview, where: int) -> None:
        """Fill `buffer` with the bytes of the file that start at `where`."""
        try:
            while buffer:
                count = self._read_some(buffer, where)
                if count == 0:
                    raise VaekitError(
                        f"{self.path}: the file ends early; it has changed since it was opened: load the images again"
                    )
                buffer, where = buffer[count:], where + count
        except OSError as error:
            raise VaekitError(
                f"{self.path}: couldn't be read ({error.strerror}); load the images again"
            ) from error

    def _read_some(self, buffer: memoryview, where: int) -> int:
        file = self._descriptor()
        if hasattr(os, "preadv"):
            return os.preadv(file, [buffer], where)
        with self._lock:  # Windows has no positioned read
            os.lseek(file, where, os.SEEK_SET)
            data = os.read(file, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _descriptor(self) -> int:
        with self._lock:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_file", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _file=None, _lock=threading.Lock())

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]


def _runs(positions: np.ndarray) -> Iterator[tuple[int, int]]:
    """The ranges [start, stop) of `positions` that count up by one. Each range takes a single read."""
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    edges = [0, *breaks.tolist(), len(positions)]
    return itertools.pairwise(edges)
