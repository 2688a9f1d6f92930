"""Points in a plane, read from .xy files: a kind of data that vaekit does not bring."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from vaekit.config import Data, Experiment, Network, Training
from vaekit.data.dataset import Dataset, Resident, Schema
from vaekit.data.modality import (
    Measured,
    Measures,
    Modality,
    Modelling,
    Output,
    Parts,
    Place,
    Shown,
    Source,
    Values,
)
from vaekit.data.options import Option
from vaekit.errors import VaekitError
from vaekit.figures import plots
from vaekit.figures.section import Section, image
from vaekit.files import new_folder
from vaekit.models.vae import Conditional
from vaekit.nn import MLP


class PointSchema(Schema, frozen=True, extra="forbid"):
    """What is learned from the training points: their centre and their spread."""

    modality: Literal["points"] = "points"
    centre: tuple[float, float]
    spread: float

    def __str__(self) -> str:
        return "points in a plane"

    @property
    def names(self) -> tuple[str, ...]:
        return ("x", "y")

    @property
    def shape(self) -> tuple[int]:
        return (2,)

    @property
    def dims(self) -> int:
        return 2


def read_points(source: str, scale: float = 1.0) -> Tensor:
    """The points (N, 2) of a file with one "x y" in each line."""
    try:
        found = np.loadtxt(source, dtype=np.float32, ndmin=2)
    except (OSError, ValueError) as error:
        raise VaekitError(f"{source}: expected two numbers in each line ({error})") from None
    if found.shape[1] != 2:
        raise VaekitError(f"{source}: expected two numbers in each line, got {found.shape[1]}")
    return torch.from_numpy(found) * scale


def read(data: Data, **options: Any) -> Dataset[PointSchema]:
    """Points to train on; the schema is learned from them."""
    raw = read_points(data.source, **data.options)
    x, y = raw.mean(0).tolist()
    schema = PointSchema(centre=(x, y), spread=float(raw.std()))
    return Dataset(Resident(raw), None, schema, data.source)


def load(
    source: str, *, schema: PointSchema, trained_on: Data, **options: Any
) -> Dataset[PointSchema]:
    """New points for a model."""
    raw = read_points(source, **trained_on.options)
    return Dataset(Resident(raw), None, schema, source)


def reread(data: Data, schema: PointSchema, **options: Any) -> Dataset[PointSchema]:
    """The points of a run that goes on."""
    return load(data.source, schema=schema, trained_on=data)


def to_tensor(raw: Tensor, schema: PointSchema) -> Tensor:
    """In units of the spread, about the centre."""
    return (raw - torch.tensor(schema.centre, device=raw.device)) / schema.spread


def present(x: Tensor, schema: PointSchema, context: Tensor | None) -> np.ndarray:
    """Points (N, 2) as they were."""
    return (x * schema.spread + torch.tensor(schema.centre)).numpy()


def settle(
    experiment: Experiment, data: Dataset, kind: str, reasons: list[str]
) -> tuple[list[str], Schema]:
    """What `auto` means for points."""
    reasons.append("architecture mlp: two numbers")
    words = {"architecture": "mlp", "likelihood": "normal", "binarise": "none"}
    return [f"model.{name}={word}" for name, word in words.items()], data.schema


class SharedNormal(nn.Module):
    """p(x | z): two normals with one learned standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, raw: Tensor) -> Independent:
        scale = self.log_scale.clamp(-6, 2).exp().expand_as(raw)
        return Independent(Normal(raw.float(), scale), 1)


def parts(
    network: Network, schema: PointSchema, between: Any, context: int
) -> tuple[nn.Module, nn.Module]:
    """An encoding net, and a decoder that returns a distribution."""
    features, latent = between
    encoding = MLP((2,), (64, 64), features, context=context)
    decoding = MLP(latent, (64, 64), (2,), context=context)
    return encoding, Conditional(decoding, SharedNormal(), event_dim=1)


def write(points: np.ndarray, schema: PointSchema, place: Place) -> dict[str, str]:
    """A new .xy file."""
    path = place.named or new_folder(place.folder) / f"{place.stem}.xy"
    if path.exists():
        raise VaekitError(f"{path}: is there already; choose another name")
    np.savetxt(path, points, fmt="%.6g")
    return {"points": str(path)}


def describe(schema: PointSchema, count: int, held: int, source: str) -> list[str]:
    return [f"{count:,} points of {source}, {held:,} of them held out"]


def sections(shown: Shown) -> list[Section]:
    """For the report: where held-out points lie, and where new ones do."""
    real = to_tensor(shown.held.raw.take(torch.arange(len(shown.held))), shown.held.schema)
    made = shown.trained.draw(len(real), shown.seed)
    path = shown.plots / "points.png"
    plots.latent_map(path, made, None, (), real)
    caption = f"New points on top of held-out ones (grey), drawn from {shown.source}."
    return [Section("Points", caption, image(path, False))]


def distance(compared: Parts, **options: Any) -> Measured:
    """For `evaluate --metrics samples`: how far the centre of new points is from that of others."""
    other = to_tensor(
        compared.other.raw.take(torch.arange(len(compared.other))), compared.other.schema
    )
    made = compared.trained.draw(len(other), compared.seed)
    return Measured({"samples": {"centre": float((made.mean(0) - other.mean(0)).norm())}})


def points(source: str) -> Experiment:
    """What `vaekit train some.xy` does when nothing more is said."""
    return Experiment(
        data=Data(source=source), model=Network(latent=2), train=Training(epochs=100, lr=3e-3)
    )


MODALITY = Modality(
    name="points",
    datum="point",
    schema=PointSchema,
    source=Source(
        forms=".xy files",
        recognises=lambda source: str(source).endswith(".xy"),
        read=read,
        reread=reread,
        load=load,
        recipes={"points": points},
        suffixes=(".xy",),
    ),
    values=Values(
        prepare=lambda raw, schema, generator: to_tensor(raw, schema), to_tensor=to_tensor
    ),
    model=Modelling(settle=settle, discrete=lambda network, schema: False, parts=parts),
    output=Output(
        as_data=lambda likelihood: likelihood.mean.cpu(),
        readings={"sample": lambda likelihood: likelihood.sample().cpu()},
        write=write,
        describe=describe,
        present=present,
        impute="a point has both its numbers or is none",
        augment="points have no classes",
        next=("generate {} -n 500",),
    ),
    measures=Measures(named={"samples": distance}, report=sections),
    options={"train": (Option("scale", "Points are multiplied by this.", float),)},
)
