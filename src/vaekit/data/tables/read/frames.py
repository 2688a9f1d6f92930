"""Any table, read column by column: a frame in memory (pandas, Polars, Arrow, numpy) or a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from vaekit.data.tables.read.cells import Cells
from vaekit.errors import VaekitError

POLARS = "reading and writing files of tables needs Polars: pip install 'vaekit[tables]'"


class Frame(ABC):
    """A table of `rows` rows and columns called `names`. `source` is its name in messages.

    `backend` is its kind, so that new rows can be returned as the same kind: "pandas", "polars",
    "pyarrow" ... , "numpy", "records" or "file". `notes` are sentences on how it was read.
    """

    names: tuple[str, ...]
    rows: int
    source: str
    backend: str
    notes: tuple[str, ...] = ()

    @abstractmethod
    def cells(self, name: str) -> Cells:
        """The column called `name`.

        Ask for each column once and in order, because a file is read in that order.
        """


class MemoryFrame(Frame):
    """A frame in memory, read by narwhals."""

    def __init__(self, frame: nw.DataFrame[Any], source: str) -> None:
        self.frame, self.source = frame, source
        self.names, self.rows = tuple(frame.columns), frame.shape[0]
        self.backend = frame.implementation.value

    def cells(self, name: str) -> Cells:
        column = self.frame.get_column(name)
        return Cells(name, _numbers_of(column) if column.dtype == nw.Object else column, _row)


class Array(Frame):
    """A numpy array (N, C), or a structured array ("records") whose fields are the columns."""

    def __init__(
        self, columns: Mapping[str, np.ndarray], rows: int, source: str, backend: str = "numpy"
    ) -> None:
        self.columns, self.names, self.rows, self.source = columns, tuple(columns), rows, source
        self.backend = backend

    def cells(self, name: str) -> Cells:
        column = self.columns[name]
        plain = self.backend == "numpy" and column.dtype != object
        return Cells(
            name, _numbers_of(column) if column.dtype == object else column, _row, measured=plain
        )


class Parquet(Frame):
    """A Parquet file, read one column at a time."""

    backend = "file"

    def __init__(self, path: Path) -> None:
        pl = polars()
        self.path, self.source = path, str(path)
        try:
            self.names = tuple(pl.read_parquet_schema(path))
            self.rows = int(pl.scan_parquet(path).select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise VaekitError(
                f"{path}: cannot be read as a Parquet file ({_first(error)}); save it again"
            ) from None

    def cells(self, name: str) -> Cells:
        pl = polars()
        try:
            column = pl.read_parquet(self.path, columns=[name]).to_series()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise VaekitError(
                f"{self.source}: column '{name}' cannot be read ({_first(error)})"
            ) from None
        return Cells(name, nw.from_native(column, series_only=True), _row)


class FrameRows(Frame):
    """The rows of a frame where `chosen`, bool (N,), is true, without the column `without`."""

    def __init__(self, whole: Frame, chosen: np.ndarray, without: str) -> None:
        self.whole, self.rows_chosen = whole, np.flatnonzero(chosen)
        self.names = tuple(name for name in whole.names if name != without)
        self.rows, self.source, self.backend = len(self.rows_chosen), whole.source, whole.backend
        self.notes = whole.notes

    def cells(self, name: str) -> Cells:
        return self.whole.cells(name).part(self.rows_chosen)


def polars() -> Any:
    """The optional package polars. Raises VaekitError if it is not installed."""
    try:
        import polars
    except ImportError:
        raise VaekitError(POLARS) from None
    return polars


def frame_of(source: Any, name: str = "the table") -> Frame:
    """A table in memory as a `Frame`. Raises VaekitError."""
    if isinstance(source, Frame):
        return source
    if isinstance(source, np.ndarray):
        return _array(source, name)
    try:
        found = nw.from_native(plainly_named(source, name))
    except TypeError:
        kind = type(source).__name__
        raise VaekitError(
            f"expected a data frame (pandas, Polars, Arrow), a numpy array of 2 dimensions or a file; got {kind}"
        ) from None
    return MemoryFrame(found.collect() if isinstance(found, nw.LazyFrame) else found, name)


def is_frame(source: object) -> bool:
    """Whether `source` is a table in memory."""
    if isinstance(source, (str, Path)):
        return False
    kept = nw.from_native(source, pass_through=True)
    return isinstance(source, (Frame, np.ndarray)) or isinstance(kept, (nw.DataFrame, nw.LazyFrame))


def _array(values: np.ndarray, source: str) -> Array:
    if values.dtype.names:
        return Array(
            {name: values[name] for name in values.dtype.names}, len(values), source, "records"
        )
    if values.ndim != 2:
        raise VaekitError(
            f"{source}: expected an array of 2 dimensions, rows and columns, got shape {values.shape}"
            + ("; one column is values.reshape(-1, 1)" if values.ndim == 1 else "")
        )
    if values.dtype.kind not in "biufUSO":
        raise VaekitError(f"{source}: expected numbers or words, got an array of {values.dtype}")
    wide = len(str(max(0, values.shape[1] - 1)))
    return Array(
        {f"x{i:0{wide}}": values[:, i] for i in range(values.shape[1])},
        len(values),
        source,
        "numpy",
    )


def _numbers_of(values: Any) -> Any:
    """Python objects as an array of numbers if all of them are numbers or None; else unchanged."""
    cells = values.tolist() if isinstance(values, np.ndarray) else values.to_list()
    types = {type(cell) for cell in cells} - {type(None)}
    if not types or not all(
        issubclass(kind, (int, float, np.number)) and kind is not bool for kind in types
    ):
        return values
    try:
        whole = all(issubclass(kind, (int, np.integer)) for kind in types) and None not in cells
        return np.array(cells, np.int64 if whole else np.float64)
    except OverflowError:
        return values


def plainly_named(source: Any, name: str = "the table") -> Any:
    """The frame with its columns' names as strings, because pandas may call them 0, 1, 2.

    Raises VaekitError where two names are equal as strings.
    """
    if not hasattr(type(source), "set_axis"):
        return source
    names = [str(column) for column in source.columns]
    require_distinct(names, name)
    return source if names == list(source.columns) else source.set_axis(names, axis=1)


def require_distinct(names: Sequence[str], source: str) -> None:
    """Raise a VaekitError if two columns have the same name, or if two have none."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        where = " and ".join(str(i) for i, name in enumerate(names, 1) if name == twice)
        called = f"called '{twice}'" if twice else "without a name"
        raise VaekitError(
            f"{source}: columns {where} are both {called}; give each a name of its own"
        )


def require_named(names: Sequence[str], source: str) -> None:
    """Raise a VaekitError if a column of a file has no name."""
    if "" in names:
        raise VaekitError(
            f"{source}: column {list(names).index('') + 1} has no name; give it one in the first line"
        )


def _row(i: int) -> str:
    return f"row {i:,} (from 0)"


def _first(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
