"""Parse rules between columns: "total = price * quantity", "0 <= share <= 1", "end >= start".

    rule    = sum (sign sum)+         sign: = <= >= < >
    sum     = product ([+-] product)*
    product = factor ([*/] factor)*
    factor  = number | date such as 2023-12-31 | column | "(" sum ")" | "-" factor

A column is written by its name, of which the longest that matches is read, or by its name between
`backticks` or quotes. The text is parsed and never executed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vaekit.config import nearest
from vaekit.data.tables.read import dates
from vaekit.errors import VaekitError

LONGEST = 200
"""The largest number of parts (numbers, names and signs) in a rule."""

EXACT = 1e-12
"""Sides are equal up to this share of the sizes of their terms, because float sums are inexact."""

SIGNS = ("<=", ">=", "==", "=", "<", ">")

LEVELS = {"+": 0, "-": 0, "*": 1, "/": 1}

Values = Mapping[str, np.ndarray]
"""Columns (N,) as float64 by name, NaN where missing."""


@dataclass(frozen=True)
class Number:
    """A number, or a date as days since 1970-01-01."""

    value: float
    dated: bool = False


@dataclass(frozen=True)
class Name:
    """The value of a column."""

    name: str


@dataclass(frozen=True)
class Pair:
    """Two nodes with + - * or / between them."""

    sign: str
    left: Node
    right: Node


Node = Number | Name | Pair


@dataclass(frozen=True)
class Rule:
    """Sides with signs between them, all of which must hold; `text` is what was written.

    In `column = sum` (or `sum = column`), `target` is the column and `source` is the sum.
    """

    text: str
    sides: tuple[Node, ...]
    signs: tuple[str, ...]

    def __str__(self) -> str:
        return f"constraint '{self.text}'"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns that the rule uses, each once."""
        return tuple(dict.fromkeys(name for side in self.sides for name in names_in(side)))

    @property
    def target(self) -> str:
        """The column that the rule computes, or ""."""
        if self.signs != ("=",):
            return ""
        return next((side.name for side in self.sides if isinstance(side, Name)), "")

    @property
    def source(self) -> Node:
        """The side that the target is computed from."""
        first, second = self.sides
        return second if first == Name(self.target) else first

    def holds(self, values: Values, slack: float = 0.0, part: float = EXACT) -> np.ndarray:
        """Whether rows (N,) obey, bool; true if an operand is missing or a quotient has no value.

        `slack` is the absolute error that an equality may have. `part` is the error, relative to
        the sizes of the sides, that every comparison ignores.
        """
        sides = [evaluate(side, values) for side in self.sides]
        well = np.array(True)
        for (low, size), sign, (high, other) in zip(sides[:-1], self.signs, sides[1:], strict=True):
            well = well & (
                _compared(low, sign, high, part * (size + other), slack) | ~np.isfinite(low + high)
            )
        return np.broadcast_to(well, (len(next(iter(values.values()))),))

    def computed(self, values: Values) -> np.ndarray:
        """The target (N,) before it is rounded; NaN where an operand is missing or a quotient has no value."""
        found = evaluate(self.source, values)[0]
        found = np.broadcast_to(found, (len(next(iter(values.values()))),))
        return np.where(np.isfinite(found), found, np.nan)

    def solved(self, name: str, values: Values) -> np.ndarray:
        """The values (N,) of a column that give the target its value; NaN where there are none."""
        found = _solved(self.source, name, values[self.target], values)
        return np.where(np.isfinite(found), found, np.nan)


def parse(text: str, names: Sequence[str]) -> Rule:
    """Parse a rule on columns called `names`. Raises VaekitError."""
    if not isinstance(text, str):
        raise VaekitError(f'constraint {text!r}: expected text, such as "total = price * quantity"')
    return _Reader(text, names).rule()


def evaluate(node: Node, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """The node's value in each row, (N,) or (), and the size of its terms: |a| + |b| for a - b."""
    if isinstance(node, Number):
        return np.array(node.value), np.array(abs(node.value))
    if isinstance(node, Name):
        return values[node.name], np.abs(values[node.name])
    (left, first), (right, second) = evaluate(node.left, values), evaluate(node.right, values)
    with np.errstate(all="ignore"):
        if node.sign in "+-":
            return (left + right if node.sign == "+" else left - right), first + second
        if node.sign == "*":
            return left * right, first * second
        return left / right, first / second


def names_in(node: Node) -> Iterator[str]:
    """The columns of a node, once for each occurrence."""
    if isinstance(node, Name):
        yield node.name
    if isinstance(node, Pair):
        yield from names_in(node.left)
        yield from names_in(node.right)


def require_sense(rule: Rule, dated: Collection[str]) -> None:
    """Raise a VaekitError if dates and numbers are mixed; `dated` are the columns of dates."""
    kinds = {_kind(side, dated) for side in rule.sides}
    if kinds not in ({0}, {1}):
        raise VaekitError(
            f"{rule}: compares dates with numbers; compare a date with a date such as 2023-12-31, "
            "or a difference of dates with a number of days"
        )


def _kind(node: Node, dated: Collection[str]) -> int:
    """0 for a number, 1 for a date (as days since 1970-01-01), another number for neither."""
    if not isinstance(node, Pair):
        return int(node.dated if isinstance(node, Number) else node.name in dated)
    left, right = _kind(node.left, dated), _kind(node.right, dated)
    if node.sign in "+-":
        return left + right if node.sign == "+" else left - right
    return 0 if left == right == 0 else 9


def _compared(
    low: np.ndarray, sign: str, high: np.ndarray, part: np.ndarray, slack: float
) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        if sign == "=":
            return np.abs(low - high) <= slack + part
        if sign in ("<", ">"):
            return low < high - part if sign == "<" else low > high + part
        return low <= high + part if sign == "<=" else low >= high - part


def _solved(node: Node, name: str, wanted: np.ndarray, values: Values) -> np.ndarray:
    if not isinstance(node, Pair):
        return wanted
    first = name in names_in(node.left)
    other = evaluate(node.right if first else node.left, values)[0]
    with np.errstate(all="ignore"):
        undone = {
            "+": lambda: wanted - other,
            "-": lambda: wanted + other if first else other - wanted,
            "*": lambda: wanted / other,
            "/": lambda: wanted * other if first else other / wanted,
        }[node.sign]()
    return _solved(node.left if first else node.right, name, undone, values)


class _Reader:
    """Parses a rule from left to right."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self.text, self.names = text.strip(), names
        self.parts = list(self._parts())
        self.at = 0
        if len(self.parts) > LONGEST:
            raise VaekitError(
                f"constraint '{self.text[:40]}...': has more than {LONGEST} parts; shorten it"
            )

    def rule(self) -> Rule:
        sides, signs = [self._sum(0)], []
        while self._next() in SIGNS:
            signs.append(self._take().replace("==", "="))
            sides.append(self._sum(0))
        if self._next():
            raise self._odd()
        if not signs:
            raise self._wrong(
                "compares nothing; expected a rule such as total = price * quantity, or age >= 18"
            )
        rule = Rule(self.text, tuple(sides), tuple(signs))
        self._check(rule)
        return rule

    def _check(self, rule: Rule) -> None:
        if not rule.names:
            raise self._wrong("names no column")
        if "=" in rule.signs and not rule.target:
            raise self._wrong(
                "an equality needs a single column on one side, such as total = price * quantity"
            )
        if rule.target in names_in(rule.source) if rule.target else False:
            raise self._wrong(f"'{rule.target}' cannot be computed from itself")

    def _sum(self, level: int) -> Node:
        node = self._factor()
        while LEVELS.get(self._next(), -1) >= level:
            sign = self._take()
            node = Pair(sign, node, self._sum(LEVELS[sign] + 1))
        return node

    def _factor(self) -> Node:
        kind, word = self.parts[self.at] if self.at < len(self.parts) else ("", "")
        if kind not in ("date", "number", "name") and word not in ("(", "-"):
            raise self._odd()
        self.at += 1
        if word == "-" and kind == "sign":
            return Pair("-", Number(0.0), self._factor())
        if word == "(" and kind == "sign":
            node = self._sum(0)
            if self._next() != ")":
                raise self._odd("a closing bracket")
            self.at += 1
            return node
        if kind == "date":
            return self._date(word)
        return Name(word) if kind == "name" else Number(float(word))

    def _date(self, word: str) -> Node:
        day = float(dates.parse([word], "%Y-%m-%d")[0])
        if np.isnan(day):
            raise self._wrong(f"there is no day {word}")
        return Number(day, dated=True)

    def _parts(self) -> Iterator[tuple[str, str]]:
        """The parts as (kind, word); the kinds are "name", "number", "date" and "sign"."""
        called = "|".join(
            re.escape(name) for name in sorted(self.names, key=len, reverse=True) if name
        )
        pattern = re.compile(
            r"`(?P<tick>[^`]+)`|\"(?P<double>[^\"]+)\"|'(?P<single>[^']+)'|(?P<date>\d{4}-\d{2}-\d{2})(?!\w)|"
            rf"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])|(?P<name>(?:{called}))(?!\w)|"
            r"(?P<word>\w+)|(?P<sign><=|>=|==|[=<>+*/()-])"
        )
        at = 0
        while at < len(self.text):
            found = pattern.match(self.text, at)
            if found is None:
                if not self.text[at].isspace():
                    raise self._wrong(f"'{self.text[at : at + 20]}' means nothing here; {EXPECTED}")
                at += 1
                continue
            at = found.end()
            kind = found.lastgroup or ""
            if kind in ("tick", "double", "single", "word"):
                self._require_name(found[kind])
                kind, word = "name", found[kind]
            else:
                word = found[kind]
            yield kind, word

    def _require_name(self, word: str) -> None:
        if word not in self.names:
            raise self._wrong(
                f"there is no column '{word}'{nearest(word, list(self.names))} "
                "(a rule can use columns, numbers and dates, but not the words of classes)"
            )

    def _next(self) -> str:
        """The next part if it is a sign, "" at the end; other parts are never equal to a sign."""
        kind, word = self.parts[self.at] if self.at < len(self.parts) else ("", "")
        return word if kind in ("sign", "") else f"{kind} {word}"

    def _take(self) -> str:
        self.at += 1
        return self.parts[self.at - 1][1]

    def _odd(self, expected: str = "a column or a number") -> VaekitError:
        if self.at >= len(self.parts):
            return self._wrong(f"ends early; expected {expected}")
        return self._wrong(f"'{self.parts[self.at][1]}' has no place there; {EXPECTED}")

    def _wrong(self, what: str) -> VaekitError:
        return VaekitError(f"constraint '{self.text[:80]}': {what}")


EXPECTED = "a rule has columns, numbers, + - * / ( ) and = <= >= < >; put names with spaces or signs in `backticks`"
