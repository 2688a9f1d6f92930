"""Whole experiments, a function each: what `vaekit train SOURCE` does when nothing more is said, and known results."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.assembly.recipes import images, tables
from vaekit.config import Experiment, nearest
from vaekit.data import named
from vaekit.errors import VaekitError

RECIPES: dict[str, Callable[[str], Experiment]] = {
    "images": images.images,
    "tables": tables.tables,
    "digits": images.digits,
    "mnist-density": images.mnist_density,
    "mnist-iwae": images.mnist_iwae,
}


def choose(source: str, recipe: str = "auto") -> Experiment:
    """The recipe of that name for `source`; `auto` takes the one made for the source."""
    if recipe == "auto":
        recipe = "digits" if source == "digits" else named(source).name
    if recipe not in RECIPES:
        raise VaekitError(f"there is no recipe '{recipe}'{nearest(recipe, list(RECIPES))}")
    return RECIPES[recipe](source)
