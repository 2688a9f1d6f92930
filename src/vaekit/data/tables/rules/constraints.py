"""Apply a schema's constraints to rows: compute columns, and find the rows that break a rule.

All values are raw values. Rules can use numbers, dates (as days), booleans (as 0 and 1) and
categories whose classes are all numbers. A rule with a missing operand counts as obeyed; a computed
column with a missing operand is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vaekit.data.conditions import Condition
from vaekit.data.tables.columns.units import rounded
from vaekit.data.tables.read import dates
from vaekit.data.tables.read.cells import NUMBER
from vaekit.data.tables.rules.grammar import Rule, names_in, parse, require_sense
from vaekit.data.tables.schema import Column, TableSchema
from vaekit.errors import VaekitError

MOSTLY = 0.9
"""A rule is refused if less than this share of the training rows obey it."""

LOOSE = {"Float32": 1e-6}
"""The relative error, by dtype, up to which unrounded floats are equal; 1e-9 for all others."""


def arranged(texts: Sequence[str], names: Sequence[str]) -> tuple[Rule, ...]:
    """Parse rules on columns called `names`: equalities first, each after those it needs.

    Raises VaekitError, also if two rules compute the same column, or if rules need each other.
    """
    rules = [parse(text, names) for text in texts]
    waiting = [rule for rule in rules if rule.target]
    targets = [rule.target for rule in waiting]
    twice = next((rule for i, rule in enumerate(waiting) if rule.target in targets[:i]), None)
    if twice:
        raise VaekitError(
            f"{twice}: '{twice.target}' is computed by another constraint already; leave out one of them"
        )
    done: list[Rule] = []
    while waiting:
        open_ = {rule.target for rule in waiting}
        ready = [rule for rule in waiting if not open_ & (set(rule.names) - {rule.target})]
        if not ready:
            raise VaekitError(
                f"{waiting[0]}: '{waiting[0].target}' is needed to compute itself; leave out a rule"
            )
        done += ready
        waiting = [rule for rule in waiting if rule not in ready]
    return (*done, *(rule for rule in rules if not rule.target))


def require_usable(schema: TableSchema) -> None:
    """Raise a VaekitError if a constraint uses a column of words, or one that new rows lack."""
    for rule in schema.rules:
        columns = [_usable(rule, name, schema) for name in rule.names]
        require_sense(rule, [column.name for column in columns if column.kind == "date"])


def _usable(rule: Rule, name: str, schema: TableSchema) -> Column:
    left = next((left for left in schema.left_out if left.name == name), None)
    if left is not None and (not left.written or left.reason == "missing"):
        raise VaekitError(
            f"{rule}: '{name}' is left out ({left.why}), so new rows do not have it; set its kind "
            f"(data.kinds={{{name}: number}}), or leave out the constraint"
        )
    column = schema.column(name)
    if column.discrete and numbers_of(column) is None:
        raise VaekitError(
            f"{rule}: '{name}' is a {column.kind} ({column.why}); constraints need numbers or dates"
        )
    return column


# Values


def observed(
    names: Sequence[str],
    raw: np.ndarray,
    schema: TableSchema,
    context: Tensor | None,
    settle: Callable[[str, np.ndarray], np.ndarray] = lambda name, found: found,
) -> dict[str, np.ndarray]:
    """The columns `names` of raw rows (N, C), and those that computed ones need, as numbers (N,).

    A computed column is the result of its rule, rounded to the column's steps. `settle(name,
    result)` may replace that result.
    """
    needed = {*names, *(name for rule in schema.rules if rule.target for name in rule.names)}
    found = {name: _values(name, raw, schema, context) for name in needed - set(schema.computed)}
    for rule in schema.rules:
        if rule.target:
            found[rule.target] = settle(
                rule.target, _rounded(schema.column(rule.target), rule.computed(found))
            )
    return found


def compute(raw: Tensor, schema: TableSchema, context: Tensor | None = None) -> Tensor:
    """The computed columns (N, K) of raw rows (N, C)."""
    found = observed((), raw.numpy(), schema, context)
    parts = [torch.from_numpy(found[name]) for name in schema.computed]
    return torch.stack(parts, dim=1) if parts else raw.new_empty(len(raw), 0)


def _values(name: str, raw: np.ndarray, schema: TableSchema, context: Tensor | None) -> np.ndarray:
    if name in schema.names:
        place = schema.names.index(name)
        return _as_numbers(raw[:, place], schema.columns[place])
    given = [column.name for column in schema.given]
    if name in given:
        place = given.index(name)
        told = (
            np.full(len(raw), np.nan)
            if context is None
            else context[:, place].double().cpu().numpy()
        )
        return _as_numbers(from_context(told, schema.conditions[place]), schema.given[place])
    left = next(left for left in schema.left_out if left.name == name)
    if left.reason == "duplicate":
        return _values(left.of, raw, schema, context)
    assert left.column is not None
    return _as_numbers(np.full(len(raw), np.nan if left.value is None else left.value), left.column)


def from_context(values: np.ndarray, field: Condition) -> np.ndarray:
    """A column (N,) of a context as the raw values that it was made from."""
    return values if field.kind == "category" else values * field.scale + field.mean


def _as_numbers(values: np.ndarray, column: Column) -> np.ndarray:
    if not column.discrete:
        return values
    table = numbers_of(column)
    assert table is not None
    places = np.where(np.isnan(values), len(table), values).astype(np.int64)
    return np.append(table, np.nan)[places]  # -1 is a class that was never seen: NaN too


def numbers_of(column: Column) -> np.ndarray | None:
    """The numbers (K,) that the classes of a category or boolean stand for, None if they do not."""
    if column.kind == "boolean":
        return np.array([0.0, 1.0])
    if column.other or column.dtype.startswith(("Date", "Time")):
        return None
    if not all(NUMBER.fullmatch(word) for word in column.classes):
        return None
    return np.array([float(word) for word in column.classes])


def _rounded(column: Column, values: np.ndarray) -> np.ndarray:
    return rounded(column, torch.from_numpy(values)).numpy() + 0.0  # -0.0 becomes 0.0


# Rows that obey


def obeyed(raw: Tensor, schema: TableSchema, context: Tensor | None = None) -> np.ndarray:
    """Which raw rows (N, C) obey every constraint, bool (N,).

    The computed columns must also fit their types.
    """
    well = np.ones(len(raw), bool)
    if not schema.rules:
        return well
    names = [name for rule in schema.rules for name in rule.names]
    values = observed(names, raw.numpy(), schema, context)
    for rule in schema.rules:
        well &= (
            rule.holds(values)
            if not rule.target
            else _fits(values[rule.target], schema.column(rule.target))
        )
    return well


def _fits(values: np.ndarray, column: Column) -> np.ndarray:
    """Whether values (N,) can be written in the column's type."""
    if not column.dtype.startswith(("Int", "UInt")) or column.dtype.endswith("128"):
        return np.ones(len(values), bool)
    bounds = np.iinfo(column.dtype.lower())
    return np.isnan(values) | ((values >= bounds.min) & (values <= bounds.max))


def obeying(rule: Rule, values: Mapping[str, np.ndarray], schema: TableSchema) -> np.ndarray:
    """Which rows (N,) obey a rule; an equality needs to hold only up to the steps of its column."""
    if not rule.target:
        return rule.holds(values)
    column = schema.column(rule.target)
    if column.step:
        return rule.holds(values, 0.5 * column.step / dates.DAY)
    if column.decimals is None:
        return rule.holds(values, 0.0, LOOSE.get(column.dtype, 1e-9))
    return rule.holds(values, 0.5 * 10.0**-column.decimals)


def told(
    raw: Tensor,
    schema: TableSchema,
    context: Tensor | None,
    computed: Tensor | None,
    place: Callable[[int], str],
) -> list[tuple[Rule, int, str]]:
    """Each constraint, the number of rows that break it, and the place and cells of the first."""
    names = [name for rule in schema.rules for name in rule.names]
    came = {} if computed is None else dict(zip(schema.computed, computed.numpy().T, strict=True))
    values = observed(names, raw.numpy(), schema, context, lambda name, found: came[name])
    found = []
    for rule in schema.rules:
        broken = np.flatnonzero(~obeying(rule, values, schema))
        first = (
            f"{place(int(broken[0]))} ({_shown(rule, values, int(broken[0]), schema)})"
            if len(broken)
            else ""
        )
        found.append((rule, len(broken), first))
    return found


def learned(
    raw: Tensor,
    schema: TableSchema,
    context: Tensor | None,
    computed: Tensor | None,
    place: Callable[[int], str],
) -> list[str]:
    """A sentence for each constraint on how many training rows obey it.

    Raises VaekitError if less than MOSTLY of them do.
    """
    notes = []
    for rule, broken, first in told(raw, schema, context, computed, place):
        if broken > (1 - MOSTLY) * len(raw):
            raise VaekitError(
                f"{rule}: is broken by {broken:,} of {len(raw):,} rows, first on {first}; correct the rule or the rows"
            )
        end = f"is broken by {broken:,} of {len(raw):,} rows, first on {first}; new rows obey it"
        notes.append(f"The {rule} {end if broken else 'holds in all rows'}")
    return notes


def broken(
    raw: Tensor,
    schema: TableSchema,
    context: Tensor | None,
    computed: Tensor | None,
    place: Callable[[int], str],
) -> list[str]:
    """A sentence for each constraint that some of the new rows break."""
    return [
        f"The {rule} is broken by {count:,} of {len(raw):,} rows, first on {first}"
        for rule, count, first in told(raw, schema, context, computed, place)
        if count
    ]


def _shown(rule: Rule, values: Mapping[str, np.ndarray], row: int, schema: TableSchema) -> str:
    """The cells that a rule uses: "total is 7, price is 2, quantity is 3"."""
    return ", ".join(
        f"{name} is {in_words(values[name][row], schema.column(name))}" for name in rule.names[:4]
    )


def in_words(value: float, column: Column) -> str:
    """A raw value as people write it."""
    if column.kind == "date":
        iso = "%Y-%m-%d" if column.step == dates.DAY else "%Y-%m-%d %H:%M:%S"
        return dates.write(np.array([value]), column.format or iso)[0]
    return f"{value:.10g}"


# Cells that are missing


def completed(
    raw: Tensor, lost: Tensor, schema: TableSchema, context: Tensor | None, computed: Tensor
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Make rows whose `lost` cells (N, C) were drawn fit the computed cells (N, K) they have.

    Where a computed cell is present, the rule is solved for one of its lost operands, which
    replaces the drawn value. Then all absent computed cells are computed. Returns the rows, the
    computed cells, and which rows (N,) obey all rules that use lost cells.
    """
    raw = raw.clone()
    known = {name: computed[:, k].numpy().copy() for k, name in enumerate(schema.computed)}
    for rule in reversed([rule for rule in schema.rules if rule.target]):
        _solve(rule, raw, lost, known, schema, context)
    values = _completed(raw, schema, context, known)
    well = ~(raw.isnan() & lost).any(dim=1).numpy()
    for rule in schema.rules:
        well &= obeying(rule, values, schema) | ~_touched(rule, lost, computed, schema)
        well &= ~_strayed(rule, raw, lost, schema)
    parts = [torch.from_numpy(values[name]) for name in schema.computed]
    return raw, torch.stack(parts, dim=1) if parts else computed, well


def _completed(
    raw: Tensor, schema: TableSchema, context: Tensor | None, known: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """All columns that rules use; computed ones are computed only where they are not known."""
    names = [name for rule in schema.rules for name in rule.names]
    settle = lambda name, found: np.where(np.isnan(known[name]), found, known[name])  # noqa: E731
    return observed(names, raw.numpy(), schema, context, settle)


def _solve(
    rule: Rule,
    raw: Tensor,
    lost: Tensor,
    known: dict[str, np.ndarray],
    schema: TableSchema,
    context: Tensor | None,
) -> None:
    """Where the rule's target is known, solve the rule for one lost operand of each row.

    The solution is written into `raw`, or into `known` if the operand is a computed column.
    """
    values = _completed(raw, schema, context, known)
    todo = ~np.isnan(known[rule.target])
    for name in _unknowns(rule, schema):
        modelled = name in schema.names
        gone = lost[:, schema.names.index(name)].numpy() if modelled else np.isnan(known[name])
        rows = torch.from_numpy(todo & gone)
        solved = torch.from_numpy(_rounded(schema.column(name), rule.solved(name, values)))
        column = raw[:, schema.names.index(name)] if modelled else torch.from_numpy(known[name])
        column.copy_(torch.where(rows, solved, column))
        todo &= ~gone


def _unknowns(rule: Rule, schema: TableSchema) -> list[str]:
    """The columns that the rule can be solved for, because they occur once, in order of preference.

    Measured modelled columns come before computed ones. Of the modelled ones, those with the most
    decimals come first: a price can fit a drawn quantity, but hardly any quantity fits a price.
    """
    often = list(names_in(rule.source))
    once = [name for name in reversed(rule.names) if often.count(name) == 1]
    modelled = [name for name in once if name in schema.names and not schema.column(name).discrete]
    modelled.sort(key=lambda name: _digits(schema.column(name)), reverse=True)
    return [*modelled, *(name for name in once if name in schema.computed)]


def _digits(column: Column) -> float:
    """The number of decimals of the column's numbers."""
    return np.inf if column.decimals is None else column.decimals


def _strayed(rule: Rule, raw: Tensor, lost: Tensor, schema: TableSchema) -> np.ndarray:
    """Which rows (N,) lost several cells of the rule and got a value outside its column's range."""
    places = [schema.names.index(name) for name in rule.names if name in schema.names]
    measured = [i for i in places if not schema.columns[i].discrete]
    low, high = (
        torch.tensor([getattr(schema.columns[i], end) for i in measured]) for end in ("low", "high")
    )
    cells = raw[:, measured]
    beyond = lost[:, measured] & ((cells < low) | (cells > high))
    return (beyond.any(dim=1) & (lost[:, places].sum(dim=1) > 1)).numpy()


def _touched(rule: Rule, lost: Tensor, computed: Tensor, schema: TableSchema) -> np.ndarray:
    """Which rows (N,) have a lost cell that the rule uses."""
    modelled = [schema.names.index(name) for name in rule.names if name in schema.names]
    others = [schema.computed.index(name) for name in rule.names if name in schema.computed]
    return (lost[:, modelled].any(dim=1) | computed[:, others].isnan().any(dim=1)).numpy()
