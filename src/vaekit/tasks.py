"""What people do with a trained model. Tensors in and out; everything is repeatable: means, or a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit import build, checkpoint, evaluate
from vaekit.config import Experiment
from vaekit.data.images import Images, ImageSchema, Progress, load, to_tensor
from vaekit.data.images.binarise import is_black_and_white, prepare
from vaekit.data.images.likelihoods import likelihood
from vaekit.errors import VaekitError
from vaekit.rng import seeded
from vaekit.trace import Model

ROWS = 512
"""How many images go through a network at a time."""


NLL_PIXELS = 2**22
"""How many decoded pixels the NLL holds at a time."""

MI_IMAGES = 2000
"""The mutual information is estimated on at most so many images: it compares each with all."""

Pixels = Callable[[Distribution], Tensor]
"""How a picture is read off p(x | z)."""


def picture(likelihood: Distribution) -> Tensor:
    """The likelihood's mean, in [0, 1], on the CPU."""
    return likelihood.mean.clamp(0, 1).cpu()


def drawn_picture(likelihood: Distribution) -> Tensor:
    """A draw from the likelihood, in [0, 1], on the CPU."""
    return likelihood.sample().clamp(0, 1).cpu()


READINGS: dict[str, Pixels] = {"mean": picture, "sample": drawn_picture}


@dataclass(frozen=True)
class Codes:
    """The posteriors of N data: mean and standard deviation of each latent dimension, both (N, Z)."""

    mean: Tensor
    scale: Tensor


@dataclass(frozen=True, repr=False)
class Trained:
    """A trained model with all that it takes to use it: `vaekit.load("runs/digits")`."""

    model: Model
    schema: ImageSchema
    experiment: Experiment
    folder: Path | None = None

    def __repr__(self) -> str:
        model, form = self.experiment.model, self.schema
        kind = f"{model.architecture}, latent {model.latent}, prior {model.prior}, likelihood {model.likelihood}"
        return f"<Trained {self.folder or 'in memory'}: {form.height}x{form.width}x{form.channels} images, {kind}>"

    @property
    def latent(self) -> int:
        """Z, the number of latent dimensions."""
        return self.experiment.model.latent

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def generate(self, n: int, seed: int | None = None, pixels: Pixels = picture) -> Tensor:
        """New images at `n` draws from the prior, (n, C, H, W) in [0, 1]: `pixels` reads them, by default the mean."""
        if n < 1:
            raise VaekitError(f"expected to generate at least 1 image, got {n}")
        with torch.no_grad(), seeded(seed):
            sizes = [ROWS] * (n // ROWS) + [n % ROWS] * (n % ROWS > 0)
            return torch.cat([pixels(self.model.generate(size)) for size in sizes])

    def encode(self, x: Tensor) -> Codes:
        """The posteriors of images x (N, C, H, W) in [0, 1]."""
        posteriors = [self.model.encode(part)[0] for part in self._parts(x)]
        return Codes(torch.cat([q.mean.cpu() for q in posteriors]), torch.cat([q.stddev.cpu() for q in posteriors]))

    def decode(self, z: Tensor) -> Tensor:
        """Images at latents z (N, Z): the decoder's means, (N, C, H, W) in [0, 1]."""
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise VaekitError(f"expected latents of shape (N, {self.latent}), got {tuple(z.shape)}")
        with torch.no_grad():
            return torch.cat([picture(self.model.decode((part.to(self.device),))) for part in z.split(ROWS)])

    def reconstruct(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) encoded to its posterior mean and decoded again."""
        return self.decode(self.encode(x).mean)

    def interpolate(self, a: Tensor, b: Tensor, steps: int = 10) -> Tensor:
        """Images on the straight line between the posterior means of a and b, ends included: (steps, C, H, W)."""
        if steps < 2:
            raise VaekitError(f"expected at least 2 steps, got {steps}")
        ends = self.encode(torch.stack((a, b))).mean
        return self.decode(torch.lerp(ends[0], ends[1], torch.linspace(0, 1, steps)[:, None]))

    def read(self, source: str | Path, **options: Any) -> Images:
        """Data for this model from a file, a folder or a named set, in the form of its schema.

        Where training resized, so does this, and so with `data.channels`; else they must fit. `notes` tell of it.
        """
        if options.get("channels") is None:
            options["channels"] = self.experiment.data.channels
        return load(source, schema=self.schema, **options)

    def batches(self, images: Images, seed: int = 0) -> Iterator[tuple[Tensor, None]]:
        """The images as the likelihood wants them; grey ones are binarised with `seed` where the model is binary."""
        for x, context in batches(images, self.schema, seed, self.device):
            if self._binary and self.schema.binarise != "dynamic" and not is_black_and_white(x):
                raise VaekitError(
                    f"{images.source}: has grey levels, this model's likelihood wants pixels in {{0, 1}}; "
                    "make them black and white, or train with binarise=dynamic"
                )
            yield x, context

    @property
    def _binary(self) -> bool:
        return likelihood(self.experiment.model.likelihood, self.schema.channels).binary

    def evaluate(
        self,
        images: Images,
        draws: int = 500,
        seed: int = 0,
        limit: int | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> dict[str, Any]:
        """Bound, likelihood and use of the latents on `images`, as plain numbers in nats per image.

        `draws` importance draws for the NLL (0 leaves it out), on `limit` images drawn by the seed (all when None),
        which is what takes the time: `progress` is told ("scoring", images done, images).
        """
        bound = evaluate.bound(self.model, self.batches(images, seed), seed)
        report = {"n": len(images)} | {name: vars(getattr(bound, name)) for name in ("elbo", "distortion", "rate")}
        means = evaluate.posterior_means(self.model, self.batches(images, seed))
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        few = images.subset(order[:MI_IMAGES].sort().values)
        report |= {"active_units": evaluate.active_units(means), "latent": self.latent}
        report["mutual_information"] = evaluate.mutual_information(self.model, self.batches(few, seed), seed)
        if draws:
            report |= self._nll(images.subset(order[: limit or len(images)].sort().values), draws, seed, progress)
        return report

    def _nll(self, images: Images, draws: int, seed: int, progress: Progress) -> dict[str, Any]:
        told, rows = _told(self.batches(images, seed), len(images), progress), max(16, NLL_PIXELS // self.schema.dims)
        estimate = evaluate.nll(self.model, told, draws, min(rows, 8192), seed)
        numbers: dict[str, Any] = {"nll": vars(estimate) | {"draws": draws}}
        if likelihood(self.experiment.model.likelihood, self.schema.channels).discrete:
            numbers["bits_per_dim"] = evaluate.bits_per_dim(estimate.value, self.schema.dims)
        return numbers

    def _parts(self, x: Tensor) -> Iterator[Tensor]:
        if x.dim() != 4 or x.shape[1:] != self.schema.shape:
            raise VaekitError(f"expected images of shape (N, {_by(self.schema.shape)}), got ({_by(x.shape)})")
        self.model.eval()
        with torch.no_grad():
            for part in x.split(ROWS):
                yield part.to(self.device, torch.float32)


def _told(batches: Iterator[tuple[Tensor, None]], total: int, progress: Progress) -> Iterator[tuple[Tensor, None]]:
    """The same batches, a few images at a time, so that progress can be told as they are done."""
    done = 0
    for x, context in batches:
        for part in x.split(32):
            progress("scoring", done, total)
            yield part, context
            done += len(part)
    progress("scoring", total, total)


def batches(
    images: Images, schema: ImageSchema, seed: int, device: torch.device | str = "cpu", index: Tensor | None = None
) -> Iterator[tuple[Tensor, None]]:
    """x (B, C, H, W) and no context, of all images or of those at `index`; bits, if any, are drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    for part in (torch.arange(len(images)) if index is None else index).split(ROWS):
        yield prepare(images.raw.take(part), schema, generator).to(device), None


def load_model(folder: str | Path, device: str = "cpu") -> Trained:
    """A trained model from its run folder or from where `save` put it. Nothing is unpickled."""
    folder = Path(folder)
    experiment, schema = checkpoint.load_config(folder)
    model = build.model(experiment.model, schema)
    path = folder / checkpoint.WEIGHTS
    checkpoint.load_weights(model, checkpoint.load_tensors(path)[0], path)
    return Trained(model.to(device).eval(), schema, experiment, folder)


def save(trained: Trained, folder: str | Path) -> None:
    """Write the model alone (config.json, model.safetensors), to be read by `load_model`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_config(folder, trained.experiment, trained.schema)
    checkpoint.save_tensors(folder / checkpoint.WEIGHTS, trained.model.state_dict(), {})


def as_images(images: Images) -> Tensor:
    """All of a data set as one tensor (N, C, H, W) in [0, 1]."""
    return to_tensor(images.raw.take(torch.arange(len(images))), images.schema)


def in_words(estimate: Mapping[str, Any], digits: int = 2) -> str:
    """ "40.00 ± 1.96", or "40.00" alone where a single image has no standard error (NaN, and null in JSON)."""
    value, error = f"{estimate['value']:.{digits}f}", estimate["error"]
    return value if error is None or math.isnan(error) else f"{value} ± {error:.{digits}f}"


def _by(shape: Any) -> str:
    return ", ".join(str(n) for n in shape)
