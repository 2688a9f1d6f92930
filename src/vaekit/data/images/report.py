"""The sections of a report on images: sheets of pictures and a map of the latent space."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vaekit.data.dataset import Dataset
from vaekit.data.images.schema import to_tensor
from vaekit.data.modality import Shown, TrainedModel
from vaekit.figures import plots
from vaekit.figures.section import Section, image
from vaekit.figures.sheets import save_sheet, side_by_side

MOST = 2000
"""The largest number of held-out images on the map."""


def sections(shown: Shown) -> Sequence[Section]:
    """Samples, reconstructions, interpolations, traversals and the latent map."""
    trained, held, place = shown.trained, shown.held, shown.plots
    few = _pictures(held, MOST)
    told = {
        "samples": _samples(place / "samples.png", trained, shown.seed, shown.source),
        "reconstructions": _reconstructions(place / "reconstructions.png", trained, few, held),
    }
    if _one_vector(trained):
        told["traversals"] = _traversals(place / "traversals.png", trained, few, held)
    save_sheet(
        place / "interpolations.png", _lines(trained, few, held.context), 12, "Interpolations"
    )
    told["interpolations"] = (
        "Interpolations",
        "Images decoded along straight lines between the codes of two held-out images, which are at the ends.",
    )
    told["latent"] = _map(place / "latent.png", trained, few, held, shown.training)
    return [
        Section(*text, image(place / f"{name}.png", name != "latent"))
        for name, text in told.items()
    ]


def _pictures(data: Dataset, most: int) -> Tensor:
    """The first pictures (N, C, H, W) in [0, 1]."""
    return to_tensor(data.raw.take(torch.arange(min(len(data), most))), data.schema)


def _head(context: Tensor | None, n: int) -> Tensor | None:
    return None if context is None else context[:n]


def _one_vector(trained: TrainedModel) -> bool:
    return trained.kind == "continuous" and len(trained.shapes) == 1


def _samples(path: Path, trained: TrainedModel, seed: int, source: str) -> tuple[str, str]:
    """New images. If the model is conditioned on classes, each class has a row with its name."""
    field = next((f for f in trained.schema.conditions if f.kind == "category"), None)
    if field is None:
        save_sheet(path, trained.draw(64, seed), 16, "New images")
    else:
        names = list(field.classes[:12])
        rows = [trained.draw(12, seed, where={field.name: name}) for name in names]
        save_sheet(path, torch.cat(rows), 12, f"New images, by {field.name}", names)
    return "Samples", html.escape(f"The decoder's mean for latents drawn from {source}.")


def _reconstructions(
    path: Path, trained: TrainedModel, few: Tensor, held: Dataset
) -> tuple[str, str]:
    columns = min(16, len(few))
    shown = few[: columns * min(3, len(few) // columns)]
    copies = trained.reconstruct(shown, _head(held.context, len(shown)))
    names = ["original", "reconstruction"] * (len(shown) // columns)
    pairs = side_by_side(shown, copies, columns)
    save_sheet(path, pairs, columns, "Held-out images and their reconstructions", names)
    return "Reconstructions", "Images that the model was not trained on, encoded and decoded."


TRAVERSED, STEPS, REACH = 8, 11, 2.5
"""Traversals: the number of dimensions, the number of steps, and the reach either way in standard deviations of
the codes."""


def _traversals(path: Path, trained: TrainedModel, few: Tensor, held: Dataset) -> tuple[str, str]:
    """Vary the dimensions with the most information, one at a time, around the code of one held-out image."""
    codes = trained.encode(few, _head(held.context, len(few)))
    spread = codes.mean.std(0, correction=0)
    kl = kl_by_dimension(codes.mean, codes.scale)
    most = kl.argsort(descending=True)[:TRAVERSED]
    ways = torch.linspace(-REACH, REACH, STEPS)
    z = codes.mean[:1].repeat(len(most) * STEPS, 1)
    for i, k in enumerate(most.tolist()):
        z[i * STEPS : (i + 1) * STEPS, k] = codes.mean[:, k].mean() + ways * spread[k]
    known = None if held.context is None else held.context[:1].expand(len(z), -1)
    names = [f"z{k}  {kl[k]:.1f} nats" for k in most.tolist()]
    save_sheet(path, trained.decode(z, known), STEPS, "One latent dimension at a time", names)
    caption = (
        "The latent dimensions that carry the most information (KL from N(0, 1), in nats), largest first. Each row "
        f"varies one of them by {REACH:g} standard deviations either way; the others keep one held-out image's code."
    )
    return "Traversals", caption


def kl_by_dimension(mean: Tensor, scale: Tensor) -> Tensor:
    """KL(N(mean, scale²) || N(0, 1)) of each dimension, averaged over the data (N, Z): (Z,), in nats."""
    return kl_divergence(Normal(mean, scale), Normal(0.0, 1.0)).mean(0)


def _map(
    path: Path, trained: TrainedModel, few: Tensor, held: Dataset, training: Dataset
) -> tuple[str, str]:
    seen = training.subset(torch.arange(min(len(training), MOST)))
    labels = None if held.labels is None else held.labels[: len(few)]
    codes = trained.encode(few, _head(held.context, len(few))).mean
    below = trained.encode(
        to_tensor(seen.raw.take(torch.arange(len(seen))), seen.schema), seen.context
    ).mean
    plots.latent_map(path, codes, labels, getattr(held.schema, "classes", ()), below)
    caption = "Where images lie in the latent space: training data in grey, held-out data on top."
    return "Latent map", caption


def _lines(trained: TrainedModel, few: Tensor, context: Tensor | None, rows: int = 4) -> Tensor:
    """Rows of interpolations between neighbouring images of the data, with the originals at both ends."""
    pairs = [torch.tensor((2 * i % len(few), (2 * i + 1) % len(few))) for i in range(rows)]
    known = [None if context is None else context[pair] for pair in pairs]
    lines = [(few[i], few[j], c) for (i, j), c in zip(pairs, known, strict=True)]
    return torch.cat(
        [torch.cat((a[None], trained.interpolate(a, b, 10, c), b[None])) for a, b, c in lines]
    )
