"""The settings of an experiment: everything needed to reproduce a run, validated before it starts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vaekit.errors import VaekitError

Auto = Literal["auto"]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def listed(value: Any) -> Any:
    """Split text such as `a,b` into a list."""
    return (
        [word.strip() for word in value.split(",") if word.strip()]
        if isinstance(value, str)
        else value
    )


def several(value: Any) -> Any:
    """Put a single string into a list."""
    return [value] if isinstance(value, str) else value


def counted(value: Any) -> Any:
    """Convert a string of digits such as "16" to an int."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


class Part(BaseModel):
    """A section of an experiment. Unknown fields are errors, and fields cannot be reassigned."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Part):
    """Where the data come from and how they are read."""

    source: str = Field(
        "digits", description="digits, a folder, .npz/.npy, an idx folder, a file or hf:owner/name"
    )
    array: str | None = Field(None, description="which array of an .npz file")
    labels: str | None = Field(
        None, description="which array, or column of a table, holds the labels"
    )
    size: int | tuple[int, int] | None = Field(
        None, description="resize to this side, or [height, width]"
    )
    channels: Literal[1, 3] | None = Field(None, description="1 grey, 3 colour")
    holdout: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="held out to choose the best weights"
    )
    condition: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (),
        description="conditions of the model: label, arrays, columns of data.table; name:category, name:number",
    )
    table: str | None = Field(None, description="a CSV file of attributes, with one row per image")
    augment: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (),
        description="random changes of training images: [flip, shift:2, crop:0.8, brightness:0.1]",
    )
    kinds: dict[str, str] | None = Field(
        None, description="kinds of table columns that should not be inferred: {zip: category}"
    )
    constraints: Annotated[tuple[str, ...], BeforeValidator(several)] = Field(
        (),
        description="rules that rows of a table must obey: [total = price * quantity, age >= 18]",
    )
    options: dict[str, Any] = Field({}, description="options of other kinds of data, by name")
    memory_budget: Positive | None = Field(
        None, description="size in bytes above which data stay on disk"
    )


class Network(Part):
    """The model: its nets, its latent space, its prior and its likelihood."""

    architecture: Literal["auto", "mlp", "conv", "patches", "chain"] = "auto"
    size: Literal["tiny", "small", "base", "large"] = "small"
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="widths of the mlp's layers, instead of `size`"
    )
    activation: Literal["relu", "tanh", "silu", "gelu", "softplus", "gated"] = "silu"
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the mlp's features dropped in training; reduces overfitting"
    )
    latent: Annotated[Positive | str, BeforeValidator(counted)] = Field(
        16, description="dimensions, or discrete: categorical:20x10, vq:512, rvq:4x256, fsq:8,5,5,5"
    )
    levels: Positive = Field(
        1,
        description="the number of levels of a hierarchy of latents, inferred and generated top-down",
    )
    posterior: str = Field(
        "normal",
        description="normal, or flow: a normal transformed by couplings that depend on the data",
    )
    condition_width: Positive = Field(
        64, description="length of the vector that embeds the conditions"
    )
    condition_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1,
        description="share of training data whose conditions are hidden, so that they are optional afterwards",
    )
    prior: str = Field(
        "auto", description="auto, or a prior that suits the latent: see docs/priors.md"
    )
    likelihood: str = Field(
        "auto", description="auto, or a likelihood's name: see docs/likelihoods.md"
    )
    binarise: Literal["auto", "none", "static", "dynamic"] = "auto"


class Cost(Part):
    """The objective."""

    bound: str = Field(
        "elbo",
        description="a bound, and terms added with +, such as elbo+beta-tc:6: see docs/objectives.md",
    )
    beta: Annotated[float, Field(ge=0)] = Field(
        1.0, description="weight of the KL; 1 is the ELBO itself"
    )
    warmup: Fraction = Field(
        0.1, description="fraction of the run (or of a cycle) over which beta rises from 0"
    )
    cycles: Annotated[int, Field(ge=0)] = Field(
        0, description="0: one rise; n: the rise repeats n times"
    )


class Training(Part):
    """How the model is trained."""

    epochs: Positive | Auto = "auto"
    steps: Positive | None = Field(None, description="instead of epochs")
    batch: Positive | Auto = "auto"
    optimiser: Literal["adamw", "soap"] = Field(
        "adamw", description="soap needs fewer steps, but each takes longer (dense nets)"
    )
    lr: Annotated[float, Field(gt=0)] = 1e-3
    lr_warmup: Fraction = 0.02
    lr_floor: Fraction = 0.01
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=1)] = Field(
        10.0, description="largest gradient norm, as a multiple of its running mean"
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    validations: Positive = Field(
        40, description="the number of times the held-out bound is measured in a whole run"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        10,
        description="stop after this number of validations in a row without improvement; 0: never",
    )
    max_minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="plan the run for this time; stop and save after this number of minutes"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: str = Field("auto", description="auto, cpu, cuda or mps")
    devices: Positive = 1
    nodes: Positive = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Annotated[Literal["auto", "32", "bf16"], BeforeValidator(str)] = "auto"
    compile: bool | Auto = "auto"


class Experiment(Part):
    """All settings of a run. `vaekit train` replaces every `auto` and writes them to `experiment.yaml`.

    The same file trains the same model again."""

    data: Data = Data()
    model: Network = Network()
    objective: Cost = Cost()
    train: Training = Training()

    def override(self, *assignments: str) -> Experiment:
        """A copy of the experiment with `field=value` changes: `train.lr=3e-4`, or just `lr=3e-4`."""
        values = self.model_dump()
        for assignment in assignments:
            section, field, value = _parse(assignment)
            values[section][field] = value
        return Experiment.checked(values)

    @staticmethod
    def checked(values: Any) -> Experiment:
        """An experiment from plain data. A VaekitError names a wrong field, what it expects and what it got."""
        try:
            return Experiment.model_validate(values)
        except ValidationError as error:
            raise VaekitError(_in_words(error)) from None

    @staticmethod
    def read(path: Path) -> Experiment:
        """The experiment in a YAML file."""
        try:
            return Experiment.checked(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise VaekitError(
                f"{path}: cannot be read ({error.strerror}); expected an experiment in YAML"
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise VaekitError(f"{path}: is not valid YAML ({str(error).splitlines()[0]})") from None

    def to_yaml(self) -> str:
        """The experiment as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def fields() -> dict[str, str]:
    """Every field as `section.field` with its description."""
    found: dict[str, str] = {}
    for name, section in Experiment.model_fields.items():
        part = cast(type[BaseModel], section.annotation)
        found |= {f"{name}.{f}": info.description or "" for f, info in part.model_fields.items()}
    return found


WORD = re.compile(r"[a-z][a-z0-9+:.-]*:")
"""A word that ends with a colon, such as `mixture:`. YAML would read it as a mapping; here it is text."""

NEAR, MANY = 0.65, 40
"""For an unknown name: the least similarity (difflib's ratio) for a suggestion, and how many names are listed
if there is none."""


def nearest(word: str, known: Iterable[str] | Mapping[str, str]) -> str:
    """`; did you mean 'x'?` if a known name is similar, else a list of the known names.

    A mapping gives, for every name, the text to show for it.
    """
    written = known if isinstance(known, Mapping) else {name: name for name in known}
    close = difflib.get_close_matches(word, written, n=1, cutoff=NEAR)
    if close:
        return f"; did you mean '{written[close[0]]}'?"
    names = list(written.values())
    more = f" and {len(names) - MANY:,} more" if len(names) > MANY else ""
    return f"; there are: {', '.join(names[:MANY])}{more}"


def _parse(assignment: str) -> tuple[str, str, Any]:
    key, equals, text = assignment.partition("=")
    if not equals:
        raise VaekitError(f"'{assignment}': expected field=value, such as train.lr=3e-4")
    known = list(fields())
    matches = [k for k in known if k in (key, f"train.{key}")] or [
        k for k in known if k.endswith(f".{key}")
    ]
    if len(matches) > 1:
        raise VaekitError(f"'{key}' could be {' or '.join(matches)}; say which")
    if not matches:
        leaves = [k.split(".")[1] for k in known] if "." not in key else known
        raise VaekitError(f"there is no field '{key}'{nearest(key, sorted(set(leaves)))}")
    section, field = matches[0].split(".")
    try:
        return section, field, _value(text)
    except yaml.YAMLError:
        raise VaekitError(
            f"{matches[0]}: '{text}' is not a valid value; quote text that looks like YAML"
        ) from None


def _value(text: str) -> Any:
    if WORD.fullmatch(text):
        return text
    value = yaml.safe_load(text) if text else None
    if isinstance(value, str) and value == text:  # YAML 1.1 reads 3e-4 as text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][:2]) or "the experiment"
    if first["type"] == "extra_forbidden":
        known = [k for k in fields() if k.startswith(str(first["loc"][0]))] or list(fields())
        return f"there is no field '{where}'{nearest(where, known)}"
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}"
