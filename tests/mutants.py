"""Mistakes that are easy to make in a VAE, each with the law that knows it.

A mutant is a function of vaekit with one piece of its source replaced. The function keeps its identity and gets the
other code, so that whoever holds it (an import, a registry, a module that was built before) is wrong with it.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pkgutil import resolve_name
from types import CodeType, FunctionType

from torch.distributions import Normal

from vaekit.core.objectives import detached

Law = Callable[[], object]


@dataclass(frozen=True)
class Mutant:
    """`before` becomes `after` in the function at `where`, and `law` must notice."""

    name: str
    where: str
    before: str
    after: str
    law: Law

    @contextmanager
    def made(self) -> Iterator[None]:
        """The mistake is in the library, until it is not."""
        function = function_at(self.where)
        was = function.__code__
        function.__code__ = rewritten(function, self.before, self.after)
        try:
            yield
        finally:
            function.__code__ = was


def function_at(where: str) -> FunctionType:
    """The plain function behind `module:name`, a method, a property or whatever a decorator made of it."""
    if where == "detached normal":
        return detached.registry[Normal]  # type: ignore[return-value]
    found = resolve_name(where if where.startswith("torch") else f"vaekit.{where}")
    found = inspect.unwrap(found.fget if isinstance(found, property) else found)
    assert isinstance(found, FunctionType)
    return found


def rewritten(function: FunctionType, before: str, after: str) -> CodeType:
    """The function's code with that piece of its source, which occurs once, replaced; compiled as in its class."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(before) == 1, (
        f"{function.__qualname__}: '{before}' occurs {source.count(before)} times"
    )
    body = "class _:\n" + textwrap.indent(source.replace(before, after), "    ")
    flags = __future__.annotations.compiler_flag
    module = compile(body, function.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
    (holder,) = _codes_in(module)
    code = next(inner for inner in _codes_in(holder) if inner.co_name == function.__code__.co_name)
    assert code.co_freevars == function.__code__.co_freevars
    return code


def _codes_in(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]
