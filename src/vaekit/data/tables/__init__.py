"""Tables: where they come from, how they become tensors, how they go back, how they are written."""

from vaekit.data.tables.collection import Progress, Table
from vaekit.data.tables.columns.decode import Columns, decode
from vaekit.data.tables.columns.encode import encode
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.columns.units import from_tensor, from_units, prepare, to_tensor, to_units
from vaekit.data.tables.fill import mend
from vaekit.data.tables.load import load, open_frame, recognises
from vaekit.data.tables.schema import OTHER, Column, LeftOut, TableSchema, describe
from vaekit.data.tables.write import write

__all__ = [
    "OTHER",
    "Column",
    "Columns",
    "LeftOut",
    "Progress",
    "Table",
    "TableSchema",
    "as_frame",
    "decode",
    "describe",
    "encode",
    "from_tensor",
    "from_units",
    "load",
    "mend",
    "open_frame",
    "prepare",
    "recognises",
    "to_tensor",
    "to_units",
    "write",
]
