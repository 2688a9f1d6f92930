"""Read the conditions that users set for new data: `label=7`, `age>60`, or a mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vaekit.errors import VaekitError


def parse_where(
    where: Mapping[str, Any] | Sequence[str] | None, known: Sequence[str]
) -> dict[str, Any]:
    """The wanted values by name. A range keeps its sign: `age>60` becomes {"age": ">60"}. Raises VaekitError.

    `known` are the names of the fields, which may contain `=`, `<` or `>` themselves.
    """
    if where is None:
        return {}
    if isinstance(where, Mapping):
        return {str(name): value for name, value in where.items()}
    if isinstance(where, str) or not all(isinstance(word, str) for word in where):
        raise VaekitError(
            f"where={where!r}: expected values by name, such as {{'label': 7}}, or a list, such as ['age>60']"
        )
    asked: dict[str, Any] = {}
    for word in where:
        name, value = _parsed(word, known)
        if name in asked:
            raise VaekitError(
                f"where {word}: {name} is already set to {asked[name]}; set it once, a range as {name}=30..40"
            )
        asked[name] = value
    return asked


def _parsed(word: str, known: Sequence[str]) -> tuple[str, str]:
    """Name and value of `field=value` or `field>value`."""
    begins = (name for name in known if re.match(re.escape(name) + r"\s*[=<>]", word))
    owner = max(begins, key=len, default="")
    pattern = re.escape(owner) + r"\s*([=<>])(.*)" if owner else r"[^=<>]*([=<>])(.*)"
    match = re.fullmatch(pattern, word, re.DOTALL)
    if match is None:
        raise VaekitError(
            f"where {word}: expected field=value, such as label=7, or a range, such as age>60"
        )
    name, value = owner or word[: match.start(1)].strip(), match[2].strip()
    return name, value if match[1] == "=" else match[1] + value
