"""Resolves an experiment: replaces every `auto` by a value, and says why."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vaekit.assembly import latents, priors
from vaekit.assembly.model import build_objective, build_untrained, count_cost, require_fit
from vaekit.assembly.objectives import explain_free_bits
from vaekit.config import Experiment
from vaekit.data.conditions import describe
from vaekit.data.dataset import Dataset, Schema
from vaekit.data.registry import modality
from vaekit.errors import VaekitError
from vaekit.training.engine import choose_device, has_fast_bf16

STEPS = 10_000
"""The number of steps of a run whose length is not set (approximate)."""

BF16_PAYS = 5e7
"""The number of multiply-adds in a forward pass of a batch above which bfloat16 products gain more
than the casts cost."""

COMPILE_PAYS = 2.5e12
"""The number of multiply-adds in all forward passes of a run above which compiling saves more time
than it takes."""


COMPILE_MINUTES = 10
"""A run with a shorter time limit, in minutes, is not compiled: compiling can take minutes."""

FEW_HELD_OUT = 10
"""Numbers measured on fewer held-out data than this come with a warning."""


@dataclass(frozen=True)
class Resolved:
    """An experiment without `auto`, the data with the schema for its likelihood, and the reasons
    for the choices."""

    experiment: Experiment
    data: Dataset
    reasons: list[str] = field(default_factory=list)
    parameters: int = 0
    steps: int = 0
    macs: int = 0
    """The number of multiply-adds in a forward pass of one datum."""
    seconds: float | None = None
    """The expected time of the run on this machine, if it was measured."""


def resolve(experiment: Experiment, data: Dataset) -> Resolved:
    """Choose likelihood, network, batch, length, device, precision, compilation, in this order."""
    reasons = [f"the model is conditioned on {describe(field)}" for field in data.schema.conditions]
    kind = latents.kind_of(experiment.model)
    kind_of_data = modality(data.schema.modality).model
    changes, schema = kind_of_data.settle(experiment, data, kind, reasons)
    settled = experiment.override(*changes, *_prior(experiment, data, reasons))
    settled = settled.override(*_length(settled, data, reasons))
    schema = kind_of_data.learn(
        schema, with_schema(data, schema).subset(split(settled, len(data))[0])
    )
    training = len(data) - held_out(settled, len(data))
    objective = build_objective(settled, training, schema)
    _fits_data(settled, schema, training)
    model = build_untrained(settled.model, schema)
    require_fit(model, schema, objective)
    parameters, macs = count_cost(model, schema)
    steps = total_steps(settled, len(data))
    settled = settled.override(*_machine(settled, macs, steps, reasons))
    reasons += explain_free_bits(settled.objective.bound)
    reasons += _few_held_out(settled, data)
    return Resolved(settled, with_schema(data, schema), reasons, parameters, steps, macs)


def held_out(experiment: Experiment, n: int) -> int:
    """The number of held-out data among n data."""
    return min(max(1, round(n * experiment.data.holdout)), 10_000, n - 1)


def split(experiment: Experiment, n: int) -> tuple[Tensor, Tensor]:
    """Indices of the training and of the held-out data, from the seed."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(experiment.train.seed))
    held = held_out(experiment, n)
    return order[held:], order[:held]


def _few_held_out(experiment: Experiment, data: Dataset) -> list[str]:
    """A warning if fewer than `FEW_HELD_OUT` data are held out."""
    held, kind = held_out(experiment, len(data)), modality(data.schema.modality)
    if held >= FEW_HELD_OUT:
        return []
    are = "is" if held == 1 else "are"
    return [
        f"only {kind.counted(held)} {are} held out: the held-out numbers, and the choice of the "
        f"best weights, are hardly more than a guess; use more {kind.plural}, or hold out a larger "
        f"part of them: data.holdout, now {experiment.data.holdout:g}"
    ]


def total_steps(experiment: Experiment, n: int) -> int:
    """The number of steps of a resolved run on n data, which include the held-out ones."""
    train = experiment.train
    assert train.batch != "auto"
    assert train.epochs != "auto"
    return train.steps or train.epochs * -(-(n - held_out(experiment, n)) // train.batch)


def _fits_data(experiment: Experiment, schema: Schema, training: int) -> None:
    """Raise VaekitError if there are more codes or components than data: they cannot be learned."""
    network = experiment.model
    places, wanted = latents.codes(network, schema), priors.learned_from_data(network.prior)
    if places and places[1] > training * places[0]:
        raise VaekitError(
            f"latent '{network.latent}': {places[1]:,} codes are more than the {training * places[0]:,} places in "
            f"{training:,} training data; ask for fewer, such as vq:{max(2, training * places[0] // 8)}"
        )
    if wanted > training:
        raise VaekitError(
            f"prior '{network.prior}': {wanted:,} components are too many for {training:,} "
            "training data; ask for fewer"
        )


def _prior(experiment: Experiment, data: Dataset, reasons: list[str]) -> list[str]:
    """The setting of an `auto` prior.

    A conditional model gets a flow: a standard prior does not match the codes of one class. On
    MNIST only 56 % of the samples had the class that was asked for, with a flow 90 %.
    """
    if experiment.model.prior != "auto":
        return []
    name = priors.default(latents.kind_of(experiment.model), bool(data.schema.conditions))
    if name == "flow":
        reasons.append("prior flow: it depends on the conditions, so that samples meet them")
    elif name != "standard":
        reasons.append(
            f"prior {name}: learned, since random codes would not give samples like the data"
        )
    return [f"model.prior={name}"]


def _length(experiment: Experiment, data: Dataset, reasons: list[str]) -> list[str]:
    train, n = experiment.train, len(data) - held_out(experiment, len(data))
    if train.batch == "auto":
        most = (
            512 if experiment.model.architecture == "mlp" else 128
        )  # feature maps need much memory
        batch = min(most, max(32, 2 ** max(0, (n // 20).bit_length() - 1)))
        reasons.append(f"batch {batch}: {n:,} training data")
    else:
        batch = train.batch
    if train.steps:
        epochs = -(-train.steps * batch // n)
    else:
        epochs = (
            min(500, max(20, round(STEPS * batch / n))) if train.epochs == "auto" else train.epochs
        )
    return [f"train.batch={batch}", f"train.epochs={epochs}"]


def _machine(experiment: Experiment, macs: int, steps: int, reasons: list[str]) -> list[str]:
    train = experiment.train
    device, why = choose_device(train.device)
    reasons.append(f"device {device}: {why}")
    precision, compiled, per_step = train.precision, train.compile, macs * int(train.batch)
    if train.strategy == "fsdp" and train.optimiser == "soap":
        raise VaekitError(
            "optimiser soap needs whole matrices, fsdp splits them; use train.strategy=ddp or adamw"
        )
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) and per_step >= BF16_PAYS else "32"
        reasons.append(f"precision {precision}")
    if compiled == "auto":
        able = device == "cuda" or shutil.which("c++") is not None
        long = (
            per_step * steps >= COMPILE_PAYS and (train.max_minutes or math.inf) >= COMPILE_MINUTES
        )
        gains = device != "cpu" or experiment.model.architecture != "patches"
        compiled = able and gains and device != "mps" and train.strategy != "fsdp" and long
        why = "a short run" if gains else "on a CPU, it does not make patches faster"
        reasons.append(
            "compiled: the run is long enough to gain from it"
            if compiled
            else f"not compiled: {why}"
        )
    return [
        f"train.device={device}",
        f"train.precision='{precision}'",
        f"train.compile={str(compiled).lower()}",
    ]


def with_schema(data: Dataset, schema: Schema) -> Dataset:
    from dataclasses import replace

    test = data.test and replace(data.test, schema=schema)
    return replace(data, schema=schema, test=test)
