"""What a caller asks for a table's columns: conditions, kinds, target and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vaekit.config import nearest
from vaekit.data.tables.read import frames
from vaekit.data.tables.rules.constraints import arranged
from vaekit.data.tables.rules.grammar import Rule
from vaekit.errors import VaekitError


@dataclass(frozen=True)
class ColumnRequest:
    """What the caller asked for: conditions, kinds (also of conditions), target and rules."""

    conditions: tuple[str, ...]
    kinds: Mapping[str, str]
    target: str | None
    rules: tuple[Rule, ...] = ()

    @classmethod
    def of(
        cls,
        frame: frames.Frame,
        words: Sequence[str],
        kinds: Mapping[str, str] | str | None,
        target: str | None,
        constraints: Sequence[str] = (),
    ) -> ColumnRequest:
        """Parse what the caller wrote, and check that every column exists. Raises VaekitError."""
        asked = dict.fromkeys(frame.names, kinds) if isinstance(kinds, str) else dict(kinds or {})
        pairs = [
            (word, "") if word in frame.names else tuple(word.rpartition(":")[::2])
            for word in words
        ]
        names = [name or kind for name, kind in pairs]
        asked |= {name: kind for name, kind in pairs if name and kind}
        for name in (*names, *asked, *([target] if target else [])):
            if name not in frame.names:
                raise VaekitError(
                    f"{frame.source}: there is no column '{name}'{nearest(name, list(frame.names))}"
                )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise VaekitError(f"condition '{twice}' is named twice")
        texts = (constraints,) if isinstance(constraints, str) else constraints
        if not isinstance(texts, Sequence):
            raise VaekitError(
                f"constraints={texts!r}: expected rules, such as ['total = price + tax']"
            )
        rules = arranged(texts, frame.names)
        for rule in rules:
            if rule.target and rule.target in (*names, target):
                what = "the labels" if rule.target == target else "a condition"
                raise VaekitError(
                    f"{rule}: '{rule.target}' is {what}, so it cannot be computed as well"
                )
        return cls(tuple(names), asked, target, rules)
