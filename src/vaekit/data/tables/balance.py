"""Fill up the rare classes of a category with new rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaekit.config import nearest
from vaekit.core.trace import Model
from vaekit.data.conditions import blank, where
from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.units import fold
from vaekit.data.tables.sampling import new
from vaekit.data.tables.schema import TableSchema
from vaekit.errors import VaekitError
from vaekit.measures.lookalikes import Lookalikes
from vaekit.measures.row_quality import Copies

LOOKED_AT = 20_000
"""The largest number of training rows that new rows are compared with to find copies."""

MOST_REFUSED = 10
"""At most so many rows are refused for each new row because they look like another class."""

SPARE = 0.02
"""If so many more of the new rows than of the real ones look like another class, a note says so."""


@dataclass(frozen=True)
class NewRows:
    """New rows: raw (N, C), the context (N, F) they were drawn with, and their number by class."""

    raw: Tensor
    context: Tensor | None
    counts: dict[str, int]


def balanced(
    model: Model,
    real: Table,
    schema: TableSchema,
    name: str,
    wanted: int | None,
    tell: Callable[[str], None],
) -> NewRows:
    """New rows that fill every class of the category `name` up to `wanted` rows.

    By default, `wanted` is the number of rows in the largest class. A row that is a near copy of a
    training row (`vaekit.measures.row_quality.Copies`) is refused, and another is drawn. So are
    rows that look like another class, if they are more than among real rows. Raises VaekitError.
    """
    classes, values = _classes(real, schema, name)
    counts = np.bincount(values[~np.isnan(values)].astype(int), minlength=len(classes))
    goal = wanted or int(counts.max())
    lacking = {k: goal - int(n) for k, n in enumerate(counts) if n < goal}
    if not lacking:
        raise VaekitError(
            f"--balance {name}: every class has {goal:,} rows or more already; ask for more with -n"
        )
    source = ClassSource(
        model, schema, name, real, Lookalikes(_plain(real, name), values, len(classes))
    )
    found = {k: _of_class(source, classes[k], k, n, tell) for k, n in lacking.items()}
    raw = torch.cat([raw for raw, _ in found.values()])
    contexts = [context for _, context in found.values() if context is not None]
    told = {classes[k]: len(raw) for k, (raw, _) in found.items()}
    return NewRows(raw, torch.cat(contexts) if contexts else None, told)


class ClassSource:
    """Draws rows of one class of the category `name`, without copies of real rows."""

    def __init__(
        self, model: Model, schema: TableSchema, name: str, real: Table, looks: Lookalikes
    ) -> None:
        self.model, self.schema, self.name, self.looks = model, schema, name, looks
        categories = np.array([column.discrete for column in schema.columns])
        self.copies = Copies(real.raw.values.numpy()[:LOOKED_AT], categories)

    def context(self, word: str) -> Tensor | None:
        """The context (1, F) that asks for the class, if the category is a condition."""
        if self.name in {field.name for field in self.schema.conditions}:
            return where({self.name: word}, self.schema.conditions)
        return blank(self.schema.conditions, 1) if self.schema.conditions else None

    def fresh(self, word: str, n: int) -> tuple[Tensor, int]:
        """n drawn rows of the class less those that are near copies, and the number of these."""
        words = {self.name: word} if self.name in self.schema.names else {}
        raw = new(self.model, self.schema, n, words, self.context(word))
        fresh = torch.from_numpy(~self.copies.near(self.copies.nearest(raw.numpy())))
        return raw[fresh], int((~fresh).sum())

    def alike(self, raw: Tensor, label: int) -> Tensor:
        """Which rows look like another class."""
        return torch.from_numpy(self.looks.among(_without(raw, self.schema, self.name), label))


def _plain(real: Table, name: str) -> np.ndarray:
    return _without(real.raw.values, real.schema, name)


def _without(raw: Tensor, schema: TableSchema, name: str) -> np.ndarray:
    """Rows without the category `name`, with rare words as one class; (N, 1) of 0 if nothing is left."""
    rest = [i for i, column in enumerate(schema.columns) if column.name != name]
    rows = fold(raw, schema)[:, rest].numpy()
    return rows if rest else np.zeros((len(raw), 1))


def _classes(real: Table, schema: TableSchema, name: str) -> tuple[Sequence[str], np.ndarray]:
    """The classes of a category (modelled or a condition), and the class of each row, or NaN."""
    fields = {field.name: (i, field.classes) for i, field in enumerate(schema.conditions)}
    if name in fields and real.context is not None:
        place, classes = fields[name]
        values = real.context[:, place].numpy()
    elif name in schema.names:
        place = schema.names.index(name)
        classes = schema.columns[place].classes
        values = fold(real.raw.values, schema)[:, place].numpy()
    else:
        raise VaekitError(
            f"--balance {name}: the model has no such column{nearest(name, [*fields, *schema.names])}"
        )
    if not classes:
        there = [column.name for column in (*schema.given, *schema.columns) if column.classes]
        listed = f"; there are: {', '.join(there[:20])}" if there else ", and the table has none"
        raise VaekitError(f"--balance {name}: is not a category{listed}")
    return classes, values


def _of_class(
    source: ClassSource, word: str, label: int, n: int, tell: Callable[[str], None]
) -> tuple[Tensor, Tensor | None]:
    """n rows of a class and their context; what was refused, and what it looks like, is told."""
    parts: list[Tensor] = []
    copies = drawn = alike = refused = 0
    while (have := sum(map(len, parts))) < n:
        if copies > 20 * n + 1000:
            raise VaekitError(
                f"--balance {source.name}: nearly all drawn rows of class {word} are copies of training rows"
            )
        raw, near = source.fresh(word, max(n - have, 32))
        like = source.alike(raw, label)
        copies, drawn, alike = copies + near, drawn + len(raw), alike + int(like.sum())
        spare = refused < MOST_REFUSED * n
        chance = source.looks.kept(label, alike / max(1, drawn)) if spare else 1.0
        kept = ~like | (torch.rand(len(raw)) < chance)
        refused += int((~kept).sum())
        parts.append(raw[kept])
    raw, context = torch.cat(parts)[:n], source.context(word)
    real, still = source.looks.shares[label], float(source.alike(raw, label).double().mean())
    if copies:
        tell(f"{source.name}={word}: {_refused(copies)} as near-copies of training rows")
    if refused:
        tell(
            f"{source.name}={word}: {_refused(refused)}, because more look like another class "
            f"({alike / drawn:.1%}) than real rows do ({real:.1%})"
        )
    if still > real + SPARE:
        tell(
            f"{source.name}={word}: {still:.1%} of the new rows look like another class, and {real:.1%} of real "
            "rows do: the model has not learned this class; train for longer, or with it as --condition"
        )
    return raw, None if context is None else context.expand(n, -1)


def _refused(count: int) -> str:
    return "1 drawn row was refused" if count == 1 else f"{count:,} drawn rows were refused"
