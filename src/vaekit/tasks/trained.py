"""What people do with a trained model. Tensors in and out; everything is repeatable: means, or a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from vaekit.assembly.latents import in_words as latent_in_words
from vaekit.assembly.latents import kind_of
from vaekit.assembly.model import build_model
from vaekit.config import Experiment
from vaekit.core.random import seeded
from vaekit.core.trace import Model
from vaekit.data import Dataset, Modality, Progress, Schema, conditions, modality
from vaekit.disk import checkpoint
from vaekit.distributions.guidance import extrapolate
from vaekit.errors import VaekitError
from vaekit.measures import bounds

ROWS = 512
"""How many data go through a network at a time."""


NLL_PIXELS = 2**22
"""How many decoded pixels the NLL holds at a time."""

MI_IMAGES = 2000
"""Mutual information and spread of reconstructions are of at most so many data: the former compares each with all."""

CERTAIN = "a datum has one code and no other, so more draws give the same draw: the ELBO is the only bound"
OWN = "every datum has one code, so that each of a few has its own, whatever the codes have learned"
BELOW = (
    "a latent's mean moves with those above it, so that its variance does not show its own use: see the KL of "
    "each latent"
)
UNPAIRED = "it wants the density of every code under every datum, which here takes a pass of the model for each pair"
"""Why a number is left out."""


@dataclass(frozen=True)
class Codes:
    """The posteriors of N data: mean and standard deviation of each latent dimension, both (N, Z)."""

    mean: Tensor
    scale: Tensor


@dataclass(frozen=True, repr=False)
class Trained:
    """A trained model with all that it takes to use it: `vaekit.load("runs/digits")`."""

    model: Model
    schema: Schema
    experiment: Experiment
    folder: Path | None = None
    sampler: str | None = (
        None  # what the model's prior is: None (its own; samples from the run's choice) or a word
    )

    def __repr__(self) -> str:
        model = self.experiment.model
        latent = latent_in_words(model.latent, model.levels, model.posterior)
        kind = f"{model.architecture}, {latent}, prior {model.prior}, likelihood {model.likelihood}"
        return f"<Trained {self.folder or 'in memory'}: {self.schema}, {kind}>"

    @property
    def modality(self) -> Modality:
        return modality(self.schema.modality)

    @cached_property
    def shapes(self) -> tuple[Size, ...]:
        """The event shape of every latent, without the batch."""
        with torch.no_grad():
            return tuple(
                q.event_shape
                for q in self.model.encode(torch.zeros(1, *self.schema.shape, device=self.device))
            )

    @property
    def latent(self) -> int:
        """Z, the number of latent dimensions, those of all latents side by side."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def context(self, where: Mapping[str, Any], n: int = 1) -> Tensor | None:
        """Rows (n, F) that say `where` of every datum (`{"label": 7}`), the rest left open; None if nothing is said."""
        if not where:
            return None
        if not isinstance(where, Mapping):
            raise VaekitError(
                f"where={where!r}: expected what is asked for by name, such as {{'label': 7}}"
            )
        words = {str(name): str(value) for name, value in where.items()}
        return conditions.where(words, self.schema.conditions).expand(n, -1)

    def generate(
        self,
        n: int,
        seed: int | None = None,
        reading: str | None = None,
        where: Mapping[str, Any] | None = None,
        guidance: float = 1.0,
        sampler: str | None = None,
    ) -> Tensor:
        """`n` new data (n, *shape), read off p(x | z) as `reading` says: "mean" or "sample".

        Latents are drawn from the density that the run chose for its codes, or from the prior (`sampler="prior"`).

        Images (n, C, H, W) in [0, 1] are the likelihood's means, rows (n, C) are drawn from it.

        `where` says of a conditional model what they shall be, such as `{"label": 7}`; `guidance` above 1 makes more of
        that, at the price of variety.
        """
        if n < 1:
            raise VaekitError(f"expected to generate at least 1 {self.modality.datum}, got {n}")
        if guidance != 1 and not self.schema.conditions:
            raise VaekitError(
                "guidance strengthens what is asked for; this model was trained without --condition"
            )
        if not 0 <= guidance < math.inf or (guidance != 1 and not where):
            raise VaekitError(
                f"guidance {guidance:g}: expected a number of at least 0, and something asked for by where"
            )
        context, read = self.context(where or {}, n), self._reading(reading)
        source = self._source(sampler)
        with torch.no_grad(), seeded(seed):
            sizes = [min(ROWS, n - start) for start in range(0, n, ROWS)]
            return torch.cat(
                [read(source._drawn(size, head(context, size), guidance)) for size in sizes]
            )

    def _source(self, sampler: str | None) -> Trained:
        """The model to draw from."""
        if sampler not in (None, "prior"):
            raise VaekitError(
                f"sampler {sampler!r}: expected None or 'prior'; vaekit.api.sampled(run, {sampler!r}) fits one"
            )
        return self if sampler or self.sampler else self._chosen

    @cached_property
    def _chosen(self) -> Trained:
        from vaekit.tasks.sampler_choice import chosen  # knows this module

        return chosen(self)

    def _reading(self, name: str | None) -> Callable[[Distribution], Tensor]:
        known = self.modality.readings
        name = name or next(iter(known))
        if name not in known:
            raise VaekitError(f"reading '{name}': expected {' or '.join(known)}")
        return known[name]

    def _drawn(self, n: int, context: Tensor | None, guidance: float) -> Distribution:
        context = None if context is None else context.to(self.device)
        latents = self.model.sample(n, context)
        given = self.model.decode(latents, context)
        return given if guidance == 1 else extrapolate(given, self.model.decode(latents), guidance)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Codes:
        """The posteriors of data x (N, *shape), of which `context` (N, F) is known."""
        with torch.no_grad():
            posteriors = [self.model.encode(*part) for part in self._parts(x, context)]
            return Codes(_joined(posteriors, "mean"), _joined(posteriors, "stddev"))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Data at latents z (N, Z): for each the one that stands for the decoder's p(x | z), (N, *shape)."""
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise VaekitError(f"expected latents of shape (N, {self.latent}), got {tuple(z.shape)}")
        with torch.no_grad():
            parts = [self.model.decode(self._latents(a), c) for a, c in self._split(z, context)]
            return torch.cat([self.modality.point(part) for part in parts])

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (N, *shape) encoded to its posterior mean and decoded again."""
        return self.decode(self.encode(x, context).mean, context)

    def interpolate(
        self, a: Tensor, b: Tensor, steps: int = 10, context: Tensor | None = None
    ) -> Tensor:
        """Data on the straight line between the posterior means of a and b, ends included: (steps, *shape).

        `context` (2, F) is what is known of a and b: numbers go from the one to the other, classes change half way.
        """
        if steps < 2:
            raise VaekitError(f"expected at least 2 steps, got {steps}")
        ends, way = (
            self.encode(torch.stack((a, b)), context).mean,
            torch.linspace(0, 1, steps)[:, None],
        )
        between = None
        if context is not None:
            counted = torch.tensor(conditions.sizes(self.schema.conditions)) > 0
            between = torch.lerp(context[0], context[1], torch.where(counted, way.round(), way))
        return self.decode(torch.lerp(ends[0], ends[1], way), between)

    def read(self, source: str | Path, **options: Any) -> Dataset:
        """Data for this model from a file, a folder or a named set, in the form of its schema.

        Where training resized, so does this, and so with `data.channels`; else they must fit. `notes` tell of it.
        """
        if options.get("channels") is None:
            options["channels"] = self.experiment.data.channels
        return self.modality.load(source, schema=self.schema, **options)

    def batches(self, data: Dataset, seed: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The data as the likelihood wants them; what is drawn on the way (bits) comes from `seed`."""
        for x, context in batches(data, self.schema, seed, self.device):
            self.modality.refuse(x, self.experiment.model, self.schema, data.source)
            yield x, context

    def evaluate(
        self,
        data: Dataset,
        draws: int = 500,
        seed: int = 0,
        limit: int | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> dict[str, Any]:
        """Bound, likelihood and use of the latents on `data`, as plain numbers in nats per datum.

        `draws` importance draws for the NLL (0 leaves it out), on `limit` data drawn by the seed (all when None),
        which is what takes the time: `progress` is told ("scoring", how many are done, of how many).
        """
        bound = bounds.bound(self.model, self.batches(data, seed), seed)
        report = {"n": len(data)} | {
            name: vars(getattr(bound, name)) for name in ("elbo", "distortion", "rate")
        }
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
        report |= self._use(data, order, seed)
        if len(data) > 1:
            few = self.batches(data.subset(order[:MI_IMAGES].sort().values), seed)
            report["reconstruction_spread"] = bounds.reconstruction_spread(self.model, few)
        if self.kind == "codes":
            return report | {"left_out": {"nll": CERTAIN, "mutual_information": OWN}}
        if draws:
            report |= self._nll(
                data.subset(order[: limit or len(data)].sort().values), draws, seed, progress
            )
        return report

    @property
    def kind(self) -> str:
        """What the latents are: `continuous`, `categories` or `codes`."""
        return kind_of(self.experiment.model)

    def _use(self, data: Dataset, order: Tensor, seed: int) -> dict[str, Any]:
        """What use is made of the latents."""
        if self.kind == "codes":
            return bounds.code_use(self.model, self.batches(data, seed))
        if len(self.shapes) > 1:
            rates = bounds.rates(self.model, self.batches(data, seed), seed)
            return {
                "rates": rates,
                "left_out": {"active_units": BELOW, "mutual_information": UNPAIRED},
            }
        means = bounds.posterior_means(self.model, self.batches(data, seed))
        use: dict[str, Any] = {"active_units": bounds.active_units(means), "latent": self.latent}
        if self.experiment.model.posterior != "normal":
            return use | {"left_out": {"mutual_information": UNPAIRED}}
        few = data.subset(order[:MI_IMAGES].sort().values)
        return use | {
            "mutual_information": bounds.mutual_information(
                self.model, self.batches(few, seed), seed
            )
        }

    def _nll(self, data: Dataset, draws: int, seed: int, progress: Progress) -> dict[str, Any]:
        told, rows = (
            _told(self.batches(data, seed), len(data), progress),
            max(16, NLL_PIXELS // self.schema.dims),
        )
        estimate = bounds.nll(self.model, told, draws, min(rows, 8192), seed)
        numbers: dict[str, Any] = {"nll": vars(estimate) | {"draws": draws}}
        if self.modality.discrete(self.experiment.model, self.schema):
            numbers["bits_per_dim"] = bounds.bits_per_dim(estimate.value, self.schema.dims)
        return numbers

    def _parts(self, x: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        shape = self.schema.shape
        if (
            not isinstance(x, Tensor)
            or x.dim() != 1 + len(shape)
            or not len(x)
            or x.shape[1:] != shape
        ):
            raise VaekitError(
                f"expected {self.modality.datum}s of shape (N, {_by(shape)}), got ({_by(getattr(x, 'shape', ()))})"
            )
        self.model.eval()
        yield from self._split(x.float(), context)

    def _split(
        self, values: Tensor, context: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """A few rows at a time, on the model's device."""
        if context is not None and context.shape != (
            len(values),
            len(conditions.sizes(self.schema.conditions)),
        ):
            wanted = (len(values), len(conditions.sizes(self.schema.conditions)))
            raise VaekitError(f"expected a context of shape {wanted}, got {tuple(context.shape)}")
        if context is not None:
            conditions.check(context, self.schema.conditions)
        for i in range(0, len(values), ROWS):
            known = None if context is None else context[i : i + ROWS].to(self.device)
            yield values[i : i + ROWS].to(self.device), known

    def _latents(self, z: Tensor) -> tuple[Tensor, ...]:
        """Latents side by side (N, Z) as the model has them."""
        parts = z.split([math.prod(shape) for shape in self.shapes], dim=1)
        return tuple(
            part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)
        )


def head(context: Tensor | None, n: int) -> Tensor | None:
    """The first n rows of a context, if there is one."""
    return None if context is None else context[:n]


def _joined(posteriors: list[tuple[Distribution, ...]], what: str) -> Tensor:
    """A property of all posteriors, the latents side by side: (N, Z), on the CPU."""
    return torch.cat(
        [torch.cat([getattr(q, what).flatten(1) for q in part], dim=1).cpu() for part in posteriors]
    )


def _told(
    batches: Iterator[tuple[Tensor, Tensor | None]], total: int, progress: Progress
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The same batches, a few at a time, so that progress can be told as they are done."""
    done = 0
    for x, context in batches:
        for i in range(0, len(x), 32):
            progress("scoring", done + i, total)
            yield x[i : i + 32], None if context is None else context[i : i + 32]
        done += len(x)
    progress("scoring", total, total)


def batches(
    data: Dataset,
    schema: Schema,
    seed: int,
    device: torch.device | str = "cpu",
    index: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """x (B, *shape) and context, of all data or of those at `index`; bits, if any, are drawn from `seed`."""
    generator, prepare = torch.Generator().manual_seed(seed), modality(schema.modality).prepare
    for part in (torch.arange(len(data)) if index is None else index).split(ROWS):
        context = None if data.context is None else data.context[part].to(device)
        yield prepare(data.raw.take(part), schema, generator).to(device), context


def load_model(folder: str | Path, device: str = "cpu") -> Trained:
    """A trained model from its run folder or from where `save` put it. Nothing is unpickled."""
    folder = Path(folder)
    experiment, schema = checkpoint.load_config(folder)
    model = build_model(experiment.model, schema)
    path = folder / checkpoint.WEIGHTS
    checkpoint.load_weights(model, checkpoint.load_tensors(path)[0], path)
    return Trained(model.to(device).eval(), schema, experiment, folder)


def save(trained: Trained, folder: str | Path) -> None:
    """Write the model alone (config.json, model.safetensors), to be read by `load_model`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_config(folder, trained.experiment, trained.schema)
    checkpoint.save_tensors(folder / checkpoint.WEIGHTS, trained.model.state_dict(), {})


def as_tensor(data: Dataset) -> Tensor:
    """All of a data set as one tensor (N, *shape)."""
    return modality(data.schema.modality).to_tensor(
        data.raw.take(torch.arange(len(data))), data.schema
    )


def in_words(estimate: Mapping[str, Any], digits: int = 2) -> str:
    """ "40.00 ± 1.96", or "40.00" alone where a single datum has no standard error (NaN, and null in JSON)."""
    value, error = f"{estimate['value']:.{digits}f}", estimate["error"]
    return value if error is None or math.isnan(error) else f"{value} ± {error:.{digits}f}"


def _by(shape: Any) -> str:
    return ", ".join(str(n) for n in shape)
