"""A trained model and its methods. All results are reproducible: means, or draws from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from vaekit.assembly.latents import in_words as latent_in_words
from vaekit.assembly.latents import kind_of
from vaekit.assembly.model import build_model
from vaekit.config import Experiment
from vaekit.core.fixed_batches import batch_size, in_fixed_batches
from vaekit.core.random import seeded
from vaekit.core.trace import Model
from vaekit.data import conditions
from vaekit.data.dataset import Dataset, Progress, Schema
from vaekit.data.modality import Modality, Tell
from vaekit.data.registry import modality
from vaekit.disk import checkpoint
from vaekit.distributions.guidance import extrapolate
from vaekit.errors import VaekitError
from vaekit.models.codes.posteriors import CodePosterior
from vaekit.tasks import further, given, resample, sampler_choice, score, verbs
from vaekit.tasks.batches import ROWS, batches, first
from vaekit.tasks.own_data import own_part
from vaekit.tasks.score import Scores


def ignore(sentence: str) -> None:
    """A `Tell` that does nothing."""


@dataclass(frozen=True)
class Codes:
    """The posteriors of N data: mean and standard deviation of each latent dimension, both (N, Z)."""

    mean: Tensor
    scale: Tensor


@dataclass(frozen=True, repr=False)
class Trained:
    """A trained model with its schema and settings, as `vaekit.load("runs/digits")` returns it."""

    model: Model
    schema: Schema
    experiment: Experiment
    folder: Path | None = None
    sampler: str | None = (
        None  # name of the sampler that replaces the prior; None: its own, and draws use the choice
    )

    def __repr__(self) -> str:
        model = self.experiment.model
        latent = latent_in_words(model.latent, model.levels, model.posterior)
        kind = f"{model.architecture}, {latent}, prior {model.prior}, likelihood {model.likelihood}"
        return f"<Trained {self.folder or 'in memory'}: {self.schema}, {kind}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes: label k is `classes[k]`. Empty if there are no classes."""
        return getattr(self.schema, "classes", ())

    @property
    def samples_from(self) -> str:
        """The default sampler: "prior", or a density fitted to the codes, such as "gmm:10"."""
        return self.sampling().sampler or resample.PRIOR

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
        """Z, the number of dimensions of all latents together."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def context(self, where: Mapping[str, Any], n: int = 1) -> Tensor | None:
        """Rows (n, F) with the conditions `where` (`{"label": 7}`), the others open; or None."""
        if not where:
            return None
        if not isinstance(where, Mapping):
            raise VaekitError(
                f"where={where!r}: expected conditions by name, such as {{'label': 7}}"
            )
        words = {str(name): str(value) for name, value in where.items()}
        return conditions.where(words, self.schema.conditions).expand(n, -1)

    def generate(
        self,
        n: int,
        seed: int | None = None,
        where: Mapping[str, Any] | Sequence[str] | None = None,
        sampler: str | None = None,
        tell: Tell = ignore,
        **options: Any,
    ) -> Any:
        """`n` new data in the form in which people use them.

        Images are a tensor (n, C, H, W) in [0, 1], the likelihood's means; rows of a table are a
        Polars frame with the table's units, words and dates. Latents are drawn from the density
        that the run chose for its codes; `sampler` names another: "prior", "gmm:10", "flow".

        `where` gives conditions, as `{"label": 7}` or `["age>60"]`: on a condition of the model,
        or, for tables, on any column. Options of images are `reading` ("mean" or "sample") and
        `guidance` (above 1: closer to `where`, with less variety); of tables, `reading`.
        """
        return verbs.generate(self, n, seed, where, sampler, tell, **options)

    def impute(
        self, source: Any, draws: int = 1, seed: int | None = None, tell: Tell = ignore
    ) -> Any:
        """The table `source` (a file or frame) with missing cells drawn given the present ones."""
        return verbs.impute(self, source, draws, seed, tell).data

    def augment(
        self, n: int | None = None, seed: int | None = None, tell: Tell = ignore, **options: Any
    ) -> Any:
        """The run's training data, without those held out, and new data of rare classes; tables
        need `balance="column"`."""
        return verbs.augment(self, n, seed, tell, **options).data

    def score(
        self,
        data: Any = None,
        by: str | None = None,
        seed: int = 0,
        contamination: float = 0.0,
        tell: Tell = ignore,
    ) -> Scores:
        """Anomaly scores of `data`: a file, folder or result of `read`; None: the held-out data.

        `by` is one of `vaekit.tasks.score.BY`; None: a detector for rows, or the reconstruction.
        """
        return score.score(self, data, by, seed, contamination, tell)

    def evaluate(
        self,
        data: Any = None,
        draws: int = 500,
        seed: int = 0,
        limit: int | None = None,
        progress: Progress = lambda what, done, total: None,
        metrics: Sequence[str] = ("nll",),
        sampler: str | None = None,
        tell: Tell = ignore,
        **options: Any,
    ) -> dict[str, Any]:
        """Bound, likelihood and use of the latents on `data`, as plain numbers in nats per datum.

        `data` is a file, a folder, a result of `read`, or None for the run's own held-out data.
        `metrics` are "nll" and those of the kind of data (`samples`, `augmentation` ...), which
        have `options`; `sampler` draws new data for them. The NLL uses `draws` importance draws
        (0: none) on `limit` data chosen by the seed (None: all). `progress` gets what is done, and
        how much of how much.
        """
        data = own_part(self) if data is None else given.dataset(self, data)
        ask = further.Ask(tuple(metrics), draws, limit, sampler, seed)
        return further.evaluate(self, data, ask, progress, tell, **options)[0]

    def draw(
        self,
        n: int,
        seed: int | None = None,
        reading: str | None = None,
        where: Mapping[str, Any] | None = None,
        guidance: float = 1.0,
        sampler: str | None = None,
    ) -> Tensor:
        """`n` new data x (n, *shape) in model units, read from p(x | z) in the way `reading`.

        `where` are conditions; with `guidance` above 1 data are closer to them and vary less.
        Raises VaekitError.
        """
        if n < 1:
            raise VaekitError(f"expected to generate at least 1 {self.modality.datum}, got {n}")
        if guidance != 1 and not self.schema.conditions:
            raise VaekitError(
                "guidance strengthens conditions; this model was trained without conditions"
            )
        if guidance != 1 and not where:
            raise VaekitError(
                f"guidance {guidance:g} strengthens conditions: give one, such as where label=7"
            )
        if not 0 <= guidance < math.inf:
            raise VaekitError(f"guidance {guidance:g}: expected a number of at least 0")
        context, read = self.context(where or {}, n), self._reading(reading)
        source = self.sampling(sampler)
        with torch.no_grad(), seeded(seed):
            sizes = [min(ROWS, n - start) for start in range(0, n, ROWS)]
            return torch.cat(
                [read(source._drawn(size, first(context, size), guidance)) for size in sizes]
            )

    def sampling(self, sampler: str | None = None, tell: Tell = ignore) -> Trained:
        """The model with its prior replaced by `sampler`, or by the density that the run chose."""
        if sampler and sampler != resample.PRIOR:
            return resample.sampled(self, sampler, tell)
        if sampler:
            return replace(self, sampler=sampler)
        return self if self.sampler else self._chosen

    @cached_property
    def _chosen(self) -> Trained:
        return sampler_choice.chosen(self)

    def _reading(self, name: str | None) -> Callable[[Distribution], Tensor]:
        known = self.modality.output.readings
        name = name or next(iter(known))
        if name not in known:
            raise VaekitError(f"reading '{name}': expected {' or '.join(known)}")
        return known[name]

    def _drawn(self, n: int, context: Tensor | None, guidance: float) -> Distribution:
        context = None if context is None else context.to(self.device)
        latents = self.model.sample(n, context)
        given = self.model.decode(latents, context)
        return given if guidance == 1 else extrapolate(given, self.model.decode(latents), guidance)

    def encode(self, x: Any, context: Tensor | None = None) -> Codes:
        """Posteriors of x (N, *shape) given conditions (N, F); each depends on its datum only.

        x is a tensor, a file, a folder or what `read` returned.
        """
        x, context = given.tensor(self, x, context)
        self._require_data(x)
        self._require_context(context, len(x))
        self.model.eval()
        size = batch_size(self.schema.dims)
        return Codes(*in_fixed_batches(self._moments, size, x.float(), context))

    def indices(self, x: Any, context: Tensor | None = None) -> Tensor:
        """Codebook indices of x (N, *shape), int64 (N, places), for a quantised latent."""
        if self.kind != "codes":
            raise VaekitError(
                f"indices: this model's latents are {self.kind}, not codes; use encode"
            )
        x, context = given.tensor(self, x, context)
        self._require_data(x)
        self._require_context(context, len(x))
        self.model.eval()
        return in_fixed_batches(self._indices, batch_size(self.schema.dims), x.float(), context)[0]

    def _indices(self, x: Tensor, context: Tensor | None) -> tuple[Tensor]:
        known = None if context is None else context.to(self.device)
        (posterior,) = self.model.encode(x.to(self.device), known)
        return (cast(CodePosterior, posterior).indices.cpu(),)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Data (N, *shape) decoded from z (N, Z), each depending on its own latents only: one value
        that represents p(x | z)."""
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise VaekitError(f"expected latents of shape (N, {self.latent}), got {tuple(z.shape)}")
        self._require_context(context, len(z))
        self.model.eval()
        return in_fixed_batches(self._data_of, batch_size(self.schema.dims), z, context)[0]

    def _data_of(self, z: Tensor, context: Tensor | None) -> tuple[Tensor]:
        known = None if context is None else context.to(self.device)
        likelihood = self.model.decode(self._latents(z.to(self.device)), known)
        return (self.modality.output.as_data(likelihood),)

    def reconstruct(self, x: Any, context: Tensor | None = None) -> Any:
        """x (N, *shape) encoded to its posterior mean and decoded again; of a file, new data as `generate` has them."""
        if not isinstance(x, Tensor):
            return verbs.reconstruct(self, given.dataset(self, x))[0]
        return self.decode(self.encode(x, context).mean, context)

    def interpolate(self, a: Any, b: Any, steps: int = 10, context: Tensor | None = None) -> Any:
        """Data (steps, *shape) on the line between the posterior means of a and b, ends included.

        If a and b are files, the line connects the first datum of each, and the data come in the
        form in which `generate` returns them.
        Of the conditions `context` (2, F), numbers are interpolated, classes change half way.
        """
        if steps < 2:
            raise VaekitError(f"expected at least 2 steps, got {steps}")
        if two := given.ends(self, a, b):
            return verbs.interpolate(self, *two, steps)
        way = torch.linspace(0, 1, steps)[:, None]
        ends = self.encode(torch.stack((a, b)), context).mean
        return self.decode(torch.lerp(ends[0], ends[1], way), self.between(context, steps))

    def between(self, context: Tensor | None, steps: int) -> Tensor | None:
        """Conditions (steps, F) on the line between two data with conditions `context` (2, F)."""
        if context is None:
            return None
        way = torch.linspace(0, 1, steps)[:, None]
        counted = torch.tensor(conditions.sizes(self.schema.conditions)) > 0
        return torch.lerp(context[0], context[1], torch.where(counted, way.round(), way))

    def info(self) -> dict[str, Any]:
        """The facts of the run as plain data, as the verb `info` prints them as JSON."""
        return verbs.info(self)

    def read(self, source: str | Path, **options: Any) -> Dataset:
        """Data for this model from a file, a folder or a named set, in the form of its schema.

        Images are resized if training did so, which `notes` say; otherwise they must fit. `options`
        depend on the kind of data.
        """
        trained_on = self.experiment.data
        return self.modality.source.load(
            source, schema=self.schema, trained_on=trained_on, **options
        )

    def batches(self, data: Dataset, seed: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Batches of x and context as the likelihood needs them; `seed` is for drawing bits."""
        for x, context in batches(data, self.schema, seed, self.device):
            self.modality.values.require_fits(x, self.experiment.model, self.schema, data.source)
            yield x, context

    @property
    def kind(self) -> str:
        """The kind of the latents: `continuous`, `categories` or `codes`."""
        return kind_of(self.experiment.model)

    def _moments(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posteriors of all latents: each (N, Z), on the CPU."""
        known = None if context is None else context.to(self.device)
        posteriors = self.model.encode(x.to(self.device), known)
        return _joined(posteriors, "mean"), _joined(posteriors, "stddev")

    def _require_data(self, x: Tensor) -> None:
        shape = self.schema.shape
        if (
            not isinstance(x, Tensor)
            or x.dim() != 1 + len(shape)
            or not len(x)
            or x.shape[1:] != shape
        ):
            raise VaekitError(
                f"expected {self.modality.plural} of shape (N, {_by(shape)}), got ({_by(getattr(x, 'shape', ()))})"
            )

    def _require_context(self, context: Tensor | None, n: int) -> None:
        if context is None:
            return
        wanted = (n, len(conditions.sizes(self.schema.conditions)))
        if context.shape != wanted:
            raise VaekitError(f"expected a context of shape {wanted}, got {tuple(context.shape)}")
        conditions.check(context, self.schema.conditions)

    def _latents(self, z: Tensor) -> tuple[Tensor, ...]:
        """Latents (N, Z) split into one tensor per latent, in the shapes of the model."""
        parts = z.split([math.prod(shape) for shape in self.shapes], dim=1)
        return tuple(
            part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)
        )


def _joined(posteriors: tuple[Distribution, ...], what: str) -> Tensor:
    """The attribute `what` of the posteriors of all latents: (N, Z), on the CPU."""
    return torch.cat([getattr(q, what).flatten(1) for q in posteriors], dim=1).cpu()


def load_model(folder: str | Path, device: str = "cpu") -> Trained:
    """A trained model from its run folder or from a folder of `save`. Nothing is unpickled."""
    folder = Path(folder)
    experiment, schema = checkpoint.load_config(folder)
    model = build_model(experiment.model, schema)
    path = folder / checkpoint.WEIGHTS
    checkpoint.load_weights(model, checkpoint.load_tensors(path)[0], path)
    return Trained(model.to(device).eval(), schema, experiment, folder)


def save(trained: Trained, folder: str | Path) -> None:
    """Write the model without its run (config.json, model.safetensors), for `load_model`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_config(folder, trained.experiment, trained.schema)
    checkpoint.save_tensors(folder / checkpoint.WEIGHTS, trained.model.state_dict(), {})


def _by(shape: Any) -> str:
    return ", ".join(str(n) for n in shape)
