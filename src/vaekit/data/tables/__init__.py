"""Tables: where they come from, how they become tensors, how they go back, how they are written."""

from vaekit.data.tables.codec import from_tensor, from_units, prepare, to_tensor, to_units
from vaekit.data.tables.collection import Progress, ResidentRows, Table
from vaekit.data.tables.schema import OTHER, Column, LeftOut, TableSchema, describe

__all__ = [
    "OTHER",
    "Column",
    "LeftOut",
    "Progress",
    "ResidentRows",
    "Table",
    "TableSchema",
    "describe",
    "from_tensor",
    "from_units",
    "prepare",
    "to_tensor",
    "to_units",
]
