"""Sheets of pictures, and where their codes lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vaekit.data import Dataset
from vaekit.report import plots
from vaekit.report.section import Section, image
from vaekit.tasks.trained import Trained, as_tensor, head

MOST = 2000
"""At most so many held-out images are on the map."""


def show(folder: Path, trained: Trained, held: Dataset, seed: int) -> Sequence[Section]:
    """Samples, reconstructions, interpolations and the latent map."""
    few, place = as_tensor(held.subset(torch.arange(min(len(held), MOST)))), folder / "plots"
    plots.save_sheet(place / "samples.png", *_samples(trained, seed))
    columns = min(16, len(few))
    shown = few[: columns * min(3, len(few) // columns)]
    pairs = plots.side_by_side(
        shown, trained.reconstruct(shown, head(held.context, len(shown))), columns
    )
    plots.save_sheet(place / "reconstructions.png", pairs, columns)
    plots.save_sheet(place / "interpolations.png", _lines(trained, few, held.context), 12)
    labels = None if held.labels is None else held.labels[: len(few)]
    codes = trained.encode(few, head(held.context, len(few))).mean
    plots.latent_map(place / "latent.png", codes, labels, getattr(held.schema, "classes", ()))
    told = {
        "samples": ("Samples", "New images: the decoder's mean at draws from the prior."),
        "reconstructions": (
            "Reconstructions",
            "Held-out originals, each row above its reconstructions.",
        ),
        "interpolations": (
            "Interpolations",
            "Straight lines between the codes of two held-out images, which are at the ends.",
        ),
        "latent": ("Latent map", "Where held-out images lie in the latent space."),
    }
    return [
        Section(*text, image(place / f"{name}.png", name != "latent"))
        for name, text in told.items()
    ]


def _samples(trained: Trained, seed: int) -> tuple[Tensor, int]:
    """The sheet of samples and its columns: of a model that knows classes, a row for each."""
    field = next((f for f in trained.schema.conditions if f.kind == "category"), None)
    if field is None:
        return trained.generate(64, seed), 16
    rows = [trained.generate(12, seed, where={field.name: name}) for name in field.classes[:12]]
    return torch.cat(rows), 12


def _lines(trained: Trained, few: Tensor, context: Tensor | None, rows: int = 4) -> Tensor:
    """Rows of interpolations between neighbours in the data's order, originals at both ends."""
    pairs = [torch.tensor((2 * i % len(few), (2 * i + 1) % len(few))) for i in range(rows)]
    known = [None if context is None else context[pair] for pair in pairs]
    lines = [(few[i], few[j], c) for (i, j), c in zip(pairs, known, strict=True)]
    return torch.cat(
        [torch.cat((a[None], trained.interpolate(a, b, 10, c), b[None])) for a, b, c in lines]
    )
