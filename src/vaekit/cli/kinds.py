"""Options of the kinds of data. Verbs offer them, and refuse those that the run's kind does not have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.data import registry
from vaekit.data.options import Option
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data.modality import Modality

Verb = Callable[..., None]

BEFORE = "seed"
"""In a verb's help, the options of kinds of data stand before this option, if the verb has it."""


@dataclass
class Offered:
    """An option, the kinds of data that have it, and its purpose: `read`, `write` or the name of a verb."""

    option: Option
    purpose: str
    kinds: list[str] = field(default_factory=list)


class Given:
    """The options of kinds of data that the user typed, with their values."""

    def __init__(self, offered: Mapping[str, Offered], values: Mapping[str, Any]) -> None:
        self._offered = offered
        self.values = {name: value for name, value in values.items() if _is_given(value)}

    def of(self, kind: Modality) -> dict[str, dict[str, Any]]:
        """The options, grouped by purpose. Raises a VaekitError for an option that this kind does not have."""
        for name, value in self.values.items():
            _require_known(self._offered[name], value, kind.name)
        found: dict[str, dict[str, Any]] = {each.purpose: {} for each in self._offered.values()}
        for name, value in self.values.items():
            found[self._offered[name].purpose][name] = value
        return found

    def fields(self) -> dict[str, Any]:
        """The fields of an experiment that the options set. Options without a field go into `data.options`."""
        fields: dict[str, Any] = {}
        further: dict[str, Any] = {}
        for name, value in self.values.items():
            place = self._offered[name].option.field
            if place:
                fields[place] = value
            else:
                further[name] = value
        return fields | ({"data.options": further} if further else {})


def _is_given(value: Any) -> bool:
    """Whether an option was typed. 0 counts as typed; False and empty lists do not."""
    return not (value is None or value is False or value == [] or value == ())


def _require_known(offered: Offered, value: Any, kind: str) -> None:
    typed, choices = offered.option.typed, offered.option.choices
    if kind not in offered.kinds:
        owners = " and ".join(offered.kinds)
        raise VaekitError(f"{typed}: is for {owners}, and this run is of {kind}; leave it out")
    if choices and value not in choices:
        raise VaekitError(f"{typed} {value}: expected {' or '.join(choices)}")


def of_kinds(*purposes: str, settings: tuple[Option, ...] = ()) -> Callable[[Verb], Verb]:
    """Mark a verb: its argument `given` gets the typed options that kinds of data have for these purposes.

    `settings` are options for data of every kind, passed in the same way.
    """

    def mark(verb: Verb) -> Verb:
        verb.purposes, verb.settings = purposes, settings  # type: ignore[attr-defined]
        return verb

    return mark


def with_options(verb: Verb) -> Verb:
    """The verb with the options of all registered kinds of data added to its own."""
    purposes = getattr(verb, "purposes", ())
    if not purposes:
        return verb
    offered = _offered(purposes, verb.settings)  # type: ignore[attr-defined]
    signature = inspect.signature(verb, eval_str=True)
    own = [part for part in signature.parameters.values() if part.name != "given"]
    places = [part.name for part in own]
    at = places.index(BEFORE) if BEFORE in places else len(own)
    parameters = [*own[:at], *(_parameter(each.option) for each in offered.values()), *own[at:]]

    @functools.wraps(verb)
    def run(**values: Any) -> None:
        mine = {name: values.pop(name) for name in offered}
        verb(**values, given=Given(offered, mine))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {part.name: part.annotation for part in parameters}
    return run


def _offered(purposes: tuple[str, ...], settings: tuple[Option, ...]) -> dict[str, Offered]:
    known = [kind for kind, _ in registry.options()]
    found = {option.name: Offered(option, purposes[0], list(known)) for option in settings}
    for kind, options in registry.options():
        for purpose in purposes:
            for option in options.get(purpose, ()):
                offered = found.setdefault(option.name, Offered(option, purpose))
                offered.kinds.append(kind)
    return found


def _parameter(option: Option) -> inspect.Parameter:
    flag = option.type is bool
    info = typer.Option(
        *filter(None, (option.typed, option.also)),
        help=option.help,
        metavar=option.metavar,
        parser=option.parse,
        rich_help_panel=option.panel if option.field else None,
    )
    kind = Any if option.parse else option.type
    annotation = Annotated[bool, info] if flag else Annotated[kind | None, info]  # type: ignore[valid-type]
    default = False if flag else None
    return inspect.Parameter(
        option.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation
    )
