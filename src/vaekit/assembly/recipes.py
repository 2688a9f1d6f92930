"""Recipes: complete experiments by name, such as the defaults of `vaekit train SOURCE`."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.config import Experiment, nearest
from vaekit.data import registry
from vaekit.errors import VaekitError


def recipes() -> dict[str, Callable[[str], Experiment]]:
    """All recipes of all kinds of data, by name."""
    kinds = [registry.modality(name) for name in registry.names()]
    return {name: make for kind in kinds for name, make in kind.source.recipes.items()}


def choose(source: str, recipe: str = "auto") -> Experiment:
    """The recipe of that name for `source`; `auto` is the recipe for this source, or for its kind
    of data.

    Raises VaekitError."""
    if recipe == "auto":
        kind = registry.named(source).source
        recipe = kind.presets.get(source) or next(iter(kind.recipes))
    known = recipes()
    if recipe not in known:
        raise VaekitError(f"there is no recipe '{recipe}'{nearest(recipe, list(known))}")
    return known[recipe](source)
